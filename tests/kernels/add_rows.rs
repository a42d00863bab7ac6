use postil::gpu::Gpu;
use postil::kernels::add_rows as kernel;

use super::compare::assert_close;
use super::inputs::{Random, f32s, read, run, u32s, wide};
use crate::reference::add_rows as reference;

/// One product and one sum of f32.
const TOLERANCE: f64 = 2e-7;

const SHAPES: [(usize, usize); 4] = [(5, 123), (1, 1), (2, 128), (257, 3)];

pub async fn every_mode(gpu: &Gpu) {
    for (rows, width) in SHAPES {
        let mut random = Random::new(70);
        let (y, x, table) =
            (random.normal(rows * width), random.normal(rows * width), random.normal(7 * width));
        let index = random.below(7, rows);
        let shape = [rows, width];
        let outputs = [(); 3].map(|()| f32s(gpu, &shape, &y));
        let (x_gpu, table_gpu) = (f32s(gpu, &shape, &x), f32s(gpu, &[7, width], &table));
        let index_gpu = u32s(gpu, &[rows], &index);
        run(gpu, |plan| {
            kernel::scale(plan, &outputs[0], 5.5);
            kernel::add(plan, &outputs[1], &x_gpu);
            kernel::add_gathered(plan, &outputs[2], &table_gpu, &index_gpu);
        });
        let (x, table) = (wide(&x), wide(&table));
        for (what, output, scale, x, index) in [
            ("scale", &outputs[0], 5.5, None, None),
            ("add", &outputs[1], 1.0, Some(&x[..]), None),
            ("add_gathered", &outputs[2], 1.0, Some(&table[..]), Some(&index[..])),
        ] {
            let mut expected = wide(&y);
            reference::add_rows(&mut expected, width, scale, x, index);
            let what = format!("{what} of {rows}×{width}");
            assert_close(&what, &read(gpu, output).await, &expected, width, TOLERANCE);
        }
    }
}

cases!(every_mode);
