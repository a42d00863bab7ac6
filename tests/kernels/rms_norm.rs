use postil::gpu::Gpu;
use postil::kernels::rms_norm as kernel;

use super::compare::assert_close;
use super::inputs::{Random, f32s, read, run, unwritten, wide};
use crate::reference::rms_norm as reference;

/// A row's sum of up to 2,000 squares runs in 64 lanes of at most 33 terms and then over the lanes:
/// about 100 roundings of 6e-8 each, of random sign; square root and division add 2.5 ULP each.
const TOLERANCE: f64 = 2e-6;

/// One row, one lane's share, an exact round of the lanes, more, and an odd shape.
const SHAPES: [(usize, usize); 6] = [(5, 123), (1, 1), (1, 64), (3, 65), (7, 576), (2, 2000)];

pub async fn forward(gpu: &Gpu) {
    for (rows, width) in SHAPES {
        for (size, eps) in [(1.0, 1e-5), (1e-3, 1e-6), (300.0, 1e-6)] {
            let mut random = Random::new(10);
            let x: Vec<f32> = random.normal(rows * width).iter().map(|v| v * size).collect();
            let scale = random.normal(width);
            let (y, rstd) = (unwritten(gpu, &[rows, width]), unwritten(gpu, &[rows]));
            let (x_gpu, w_gpu) = (f32s(gpu, &[rows, width], &x), f32s(gpu, &[width], &scale));
            run(gpu, |plan| kernel::rms_norm(plan, &x_gpu, &w_gpu, eps, &y, &rstd));
            let (expected, inverse) = reference::rms_norm(&wide(&x), &wide(&scale), f64::from(eps));
            let what = format!("{rows}×{width}, size {size}");
            assert_close(&format!("y of {what}"), &read(gpu, &y).await, &expected, width, TOLERANCE);
            assert_close(&format!("rstd of {what}"), &read(gpu, &rstd).await, &inverse, 1, TOLERANCE);
        }
    }
}

pub async fn backward(gpu: &Gpu) {
    for (rows, width) in SHAPES {
        for accumulate in [false, true] {
            let mut random = Random::new(11);
            let [x, dy, before] = [(); 3].map(|()| random.normal(rows * width));
            let scale = random.normal(width);
            let (_, rstd) = reference::rms_norm(&wide(&x), &wide(&scale), 1e-5);
            let mut expected = reference::rms_norm_backward(&wide(&x), &wide(&scale), &rstd, &wide(&dy));
            let shape = [rows, width];
            let dx = if accumulate { f32s(gpu, &shape, &before) } else { unwritten(gpu, &shape) };
            if accumulate {
                expected.iter_mut().zip(&before).for_each(|(e, &b)| *e += f64::from(b));
            }
            let rstd: Vec<f32> = rstd.iter().map(|&v| v as f32).collect();
            let (x, dy) = (f32s(gpu, &shape, &x), f32s(gpu, &shape, &dy));
            let (scale, rstd) = (f32s(gpu, &[width], &scale), f32s(gpu, &[rows], &rstd));
            run(gpu, |plan| kernel::rms_norm_backward(plan, &x, &scale, &rstd, &dy, &dx, accumulate));
            let what = format!("dx of {rows}×{width}, accumulate {accumulate}");
            // A row of one element cancels to eps/(x² + eps) of its terms.
            let tolerance = if width == 1 && !accumulate { 1e-1 } else { TOLERANCE };
            assert_close(&what, &read(gpu, &dx).await, &expected, width, tolerance);
        }
    }
}

cases!(forward, backward);
