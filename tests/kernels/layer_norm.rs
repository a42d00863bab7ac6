use postil::gpu::{Dtype, Gpu};
use postil::kernels::layer_norm as kernel;

use super::compare::assert_close;
use super::halves::{assert_rounded, tolerance};
use super::inputs::{Random, f32s, read, run, stored, unwritten, unwritten_in, wide};
use super::rms_norm::{backward_types, forward_types};
use crate::reference::layer_norm as reference;

/// As for RMSNorm: sums of 64 lanes' shares, about 100 roundings of 6e-8 of random sign, twice. A result in 16
/// bits is that near before it is rounded.
const TOLERANCE: f64 = 3e-6;

/// Two columns (one would have no deviation), one lane's share, an exact round of the lanes, more, odd.
const SHAPES: [(usize, usize); 6] = [(5, 123), (1, 2), (1, 64), (3, 65), (7, 768), (2, 1600)];

pub async fn forward(gpu: &Gpu) {
    for (rows, width) in SHAPES {
        // With an offset a variance of squares less the mean's square would cancel.
        for (size, offset) in [(1.0, 0.0), (1e-3, 0.0), (1.0, 30.0)] {
            let mut random = Random::new(40);
            let values: Vec<f32> = random.normal(rows * width).iter().map(|v| v * size + offset).collect();
            let (scale, bias) = (random.normal(width), random.normal(width));
            let (w, b) = (f32s(gpu, &[width], &scale), f32s(gpu, &[width], &bias));
            for &(x, y, kept) in forward_types(width) {
                let what = format!("{rows}×{width}, size {size}, offset {offset}, {x:?} {y:?} {kept:?}");
                let (x, x_values) = stored(gpu, &[rows, width], x, &values);
                let of_type = |dtype: Dtype| unwritten_in(gpu, &[rows, width], dtype);
                let (y, kept, rstd) = (of_type(y), kept.map(of_type), unwritten(gpu, &[rows]));
                run(gpu, |plan| kernel::layer_norm(plan, &x, [&w, &b], 1e-5, [&y, &rstd], kept.as_ref()));
                let (expected, inverse) =
                    reference::layer_norm(&x_values, &wide(&scale), &wide(&bias), f64::from(1e-5f32));
                // An element's own rounding, 2^-24 of the offset, is that much more of its difference from the mean.
                let near = TOLERANCE * f64::from(1.0 + offset);
                let of_y = near + tolerance(y.dtype());
                assert_close(&format!("y of {what}"), &read(gpu, &y).await, &expected, width, of_y);
                assert_close(&format!("rstd of {what}"), &read(gpu, &rstd).await, &inverse, 1, near);
                if let Some(kept) = kept {
                    let got = read(gpu, &kept).await;
                    assert_rounded(&format!("x of {what}"), &got, &values, kept.dtype());
                }
            }
        }
    }
}

pub async fn backward(gpu: &Gpu) {
    for (rows, width) in SHAPES {
        for accumulate in [false, true] {
            let mut random = Random::new(41);
            let [x, dy, before] = [(); 3].map(|()| random.normal(rows * width));
            let scale = random.normal(width);
            let w = f32s(gpu, &[width], &scale);
            let shape = [rows, width];
            for &(x_type, operand) in backward_types(width) {
                let what = format!("dx of {rows}×{width}, accumulate {accumulate}, {x_type:?} {operand:?}");
                let (x, x_values) = stored(gpu, &shape, x_type, &x);
                let (_, rstd) = reference::layer_norm(&x_values, &wide(&scale), &wide(&scale), 1e-5);
                let mut expected =
                    reference::layer_norm_backward(&x_values, &wide(&scale), &rstd, &wide(&dy));
                let dx = if accumulate { f32s(gpu, &shape, &before) } else { unwritten(gpu, &shape) };
                if accumulate {
                    expected.iter_mut().zip(&before).for_each(|(e, &b)| *e += f64::from(b));
                }
                let rstd: Vec<f32> = rstd.iter().map(|&v| v as f32).collect();
                let (dy, rstd) = (f32s(gpu, &shape, &dy), f32s(gpu, &[rows], &rstd));
                let operand = operand.map(|dtype| unwritten_in(gpu, &shape, dtype));
                run(gpu, |plan| {
                    let operand = operand.as_ref();
                    kernel::layer_norm_backward(plan, [&x, &rstd], &w, &dy, &dx, operand, accumulate);
                });
                // Two normed elements are ±1 whatever x is: their gradient cancels to eps/(variance + eps).
                let tolerance = if width == 2 && !accumulate { 1e-1 } else { TOLERANCE };
                let got = read(gpu, &dx).await;
                assert_close(&what, &got, &expected, width, tolerance);
                if let Some(operand) = operand {
                    let copy = read(gpu, &operand).await;
                    assert_rounded(&format!("operand of {what}"), &copy, &got, operand.dtype());
                }
            }
        }
    }
}

cases!(forward, backward);
