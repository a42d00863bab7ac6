use postil::gpu::Gpu;
use postil::kernels::layer_norm as kernel;

use super::compare::assert_close;
use super::inputs::{Random, f32s, read, run, unwritten, wide};
use crate::reference::layer_norm as reference;

/// As for RMSNorm: sums of 64 lanes' shares, about 100 roundings of 6e-8 of random sign, twice.
const TOLERANCE: f64 = 3e-6;

/// Two columns (one would have no deviation), one lane's share, an exact round of the lanes, more, odd.
const SHAPES: [(usize, usize); 6] = [(5, 123), (1, 2), (1, 64), (3, 65), (7, 768), (2, 1600)];

pub async fn forward(gpu: &Gpu) {
    for (rows, width) in SHAPES {
        // With an offset a variance of squares less the mean's square would cancel.
        for (size, offset) in [(1.0, 0.0), (1e-3, 0.0), (1.0, 30.0)] {
            let mut random = Random::new(40);
            let x: Vec<f32> = random.normal(rows * width).iter().map(|v| v * size + offset).collect();
            let (scale, bias) = (random.normal(width), random.normal(width));
            let (y, rstd) = (unwritten(gpu, &[rows, width]), unwritten(gpu, &[rows]));
            let x_gpu = f32s(gpu, &[rows, width], &x);
            let (w_gpu, b_gpu) = (f32s(gpu, &[width], &scale), f32s(gpu, &[width], &bias));
            run(gpu, |plan| kernel::layer_norm(plan, &x_gpu, &w_gpu, &b_gpu, 1e-5, &y, &rstd));
            let (expected, inverse) =
                reference::layer_norm(&wide(&x), &wide(&scale), &wide(&bias), f64::from(1e-5f32));
            let what = format!("{rows}×{width}, size {size}, offset {offset}");
            // An element's own rounding, 2^-24 of the offset, is that much more of its difference from the mean.
            let tolerance = TOLERANCE * f64::from(1.0 + offset);
            assert_close(&format!("y of {what}"), &read(gpu, &y).await, &expected, width, tolerance);
            assert_close(&format!("rstd of {what}"), &read(gpu, &rstd).await, &inverse, 1, tolerance);
        }
    }
}

pub async fn backward(gpu: &Gpu) {
    for (rows, width) in SHAPES {
        for accumulate in [false, true] {
            let mut random = Random::new(41);
            let [x, dy, before] = [(); 3].map(|()| random.normal(rows * width));
            let scale = random.normal(width);
            let (_, rstd) = reference::layer_norm(&wide(&x), &wide(&scale), &wide(&scale), 1e-5);
            let mut expected = reference::layer_norm_backward(&wide(&x), &wide(&scale), &rstd, &wide(&dy));
            let shape = [rows, width];
            let dx = if accumulate { f32s(gpu, &shape, &before) } else { unwritten(gpu, &shape) };
            if accumulate {
                expected.iter_mut().zip(&before).for_each(|(e, &b)| *e += f64::from(b));
            }
            let rstd: Vec<f32> = rstd.iter().map(|&v| v as f32).collect();
            let (x, dy) = (f32s(gpu, &shape, &x), f32s(gpu, &shape, &dy));
            let (scale, rstd) = (f32s(gpu, &[width], &scale), f32s(gpu, &[rows], &rstd));
            run(gpu, |plan| kernel::layer_norm_backward(plan, &x, &scale, &rstd, &dy, &dx, accumulate));
            let what = format!("dx of {rows}×{width}, accumulate {accumulate}");
            // Two normed elements are ±1 whatever x is: their gradient cancels to eps/(variance + eps).
            let tolerance = if width == 2 && !accumulate { 1e-1 } else { TOLERANCE };
            assert_close(&what, &read(gpu, &dx).await, &expected, width, tolerance);
        }
    }
}

cases!(forward, backward);
