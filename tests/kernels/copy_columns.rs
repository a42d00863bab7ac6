use postil::gpu::Gpu;
use postil::kernels::copy_columns as kernel;
use postil::kernels::matmul::Columns;

use super::compare::assert_same_bits;
use super::inputs::{Random, f32s, read, run, unwritten};
use crate::reference::copy_columns as reference;

/// Rows, the first column and the columns of either side, and the number copied; others stay as they are.
pub async fn copies_and_leaves_the_rest(gpu: &Gpu) {
    for (rows, (x_first, ldx), (y_first, ldy), count) in [
        (5, (0, 123), (0, 123), 123),
        (1, (0, 1), (2, 3), 1),
        (3, (64, 300), (0, 100), 77),
        (33, (7, 20), (9, 19), 10),
    ] {
        let x = Random::new(80).normal(rows * ldx);
        let mut expected = vec![f32::NAN; rows * ldy];
        reference::copy_columns(&x, (x_first, ldx), &mut expected, (y_first, ldy), count);
        let (x, y) = (f32s(gpu, &[rows, ldx], &x), unwritten(gpu, &[rows, ldy]));
        run(gpu, |plan| {
            kernel::copy_columns(plan, Columns::of(&x, x_first, count), Columns::of(&y, y_first, count));
        });
        assert_same_bits(&format!("{count} columns"), &read(gpu, &y).await, &expected);
    }
}

cases!(copies_and_leaves_the_rest);
