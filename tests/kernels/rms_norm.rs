use postil::gpu::{Dtype, Gpu};
use postil::kernels::rms_norm as kernel;

use super::compare::assert_close;
use super::halves::{assert_rounded, tolerance};
use super::inputs::{Random, f32s, read, run, stored, unwritten, unwritten_in, wide};
use crate::reference::rms_norm as reference;

/// A row's sum of up to 2,000 squares runs in 64 lanes of at most 33 terms and then over the lanes:
/// about 100 roundings of 6e-8 each, of random sign; square root and division add 2.5 ULP each. A result in 16 bits is
/// that near before it is rounded.
const TOLERANCE: f64 = 2e-6;

/// One row, one lane's share, an exact round of the lanes, more, and an odd shape.
const SHAPES: [(usize, usize); 6] = [(5, 123), (1, 1), (1, 64), (3, 65), (7, 576), (2, 2000)];

/// Types of `x`, of `y` and of what is kept of `x`.
pub type Forward = (Dtype, Dtype, Option<Dtype>);

/// Types of `x` and of `dx` as an operand.
pub type Backward = (Dtype, Option<Dtype>);

/// Those in which rows of this width can be: those of 16 bits go by four.
pub fn forward_types(width: usize) -> &'static [Forward] {
    const ALL: [Forward; 5] = [
        (Dtype::F32, Dtype::F32, None),
        (Dtype::F32, Dtype::F32, Some(Dtype::BF16)),
        (Dtype::F32, Dtype::F16, None),
        (Dtype::F32, Dtype::F16, Some(Dtype::BF16)),
        (Dtype::BF16, Dtype::F16, None),
    ];
    if width.is_multiple_of(4) { &ALL } else { &ALL[..1] }
}

/// As [`forward_types`].
pub fn backward_types(width: usize) -> &'static [Backward] {
    const ALL: [Backward; 4] = [
        (Dtype::F32, None),
        (Dtype::F32, Some(Dtype::F16)),
        (Dtype::BF16, None),
        (Dtype::BF16, Some(Dtype::F16)),
    ];
    if width.is_multiple_of(4) { &ALL } else { &ALL[..1] }
}

pub async fn forward(gpu: &Gpu) {
    for (rows, width) in SHAPES {
        for (size, eps) in [(1.0, 1e-5), (1e-3, 1e-6), (300.0, 1e-6)] {
            let mut random = Random::new(10);
            let values: Vec<f32> = random.normal(rows * width).iter().map(|v| v * size).collect();
            let scale = random.normal(width);
            let w = f32s(gpu, &[width], &scale);
            for &(x, y, kept) in forward_types(width) {
                let what = format!("{rows}×{width}, size {size}, {x:?} {y:?} {kept:?}");
                let (x, x_values) = stored(gpu, &[rows, width], x, &values);
                let of_type = |dtype: Dtype| unwritten_in(gpu, &[rows, width], dtype);
                let (y, kept, rstd) = (of_type(y), kept.map(of_type), unwritten(gpu, &[rows]));
                run(gpu, |plan| kernel::rms_norm(plan, &x, &w, eps, [&y, &rstd], kept.as_ref()));
                let (expected, inverse) = reference::rms_norm(&x_values, &wide(&scale), f64::from(eps));
                let of_y = TOLERANCE + tolerance(y.dtype());
                assert_close(&format!("y of {what}"), &read(gpu, &y).await, &expected, width, of_y);
                assert_close(&format!("rstd of {what}"), &read(gpu, &rstd).await, &inverse, 1, TOLERANCE);
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
            let mut random = Random::new(11);
            let [x, dy, before] = [(); 3].map(|()| random.normal(rows * width));
            let scale = random.normal(width);
            let w = f32s(gpu, &[width], &scale);
            let shape = [rows, width];
            for &(x_type, operand) in backward_types(width) {
                let what = format!("dx of {rows}×{width}, accumulate {accumulate}, {x_type:?} {operand:?}");
                let (x, x_values) = stored(gpu, &shape, x_type, &x);
                let (_, rstd) = reference::rms_norm(&x_values, &wide(&scale), 1e-5);
                let mut expected = reference::rms_norm_backward(&x_values, &wide(&scale), &rstd, &wide(&dy));
                let dx = if accumulate { f32s(gpu, &shape, &before) } else { unwritten(gpu, &shape) };
                if accumulate {
                    expected.iter_mut().zip(&before).for_each(|(e, &b)| *e += f64::from(b));
                }
                let rstd: Vec<f32> = rstd.iter().map(|&v| v as f32).collect();
                let (dy, rstd) = (f32s(gpu, &shape, &dy), f32s(gpu, &[rows], &rstd));
                let operand = operand.map(|dtype| unwritten_in(gpu, &shape, dtype));
                run(gpu, |plan| {
                    let operand = operand.as_ref();
                    kernel::rms_norm_backward(plan, [&x, &rstd], &w, &dy, &dx, operand, accumulate);
                });
                // A row of one element cancels to eps/(x² + eps) of its terms.
                let tolerance = if width == 1 && !accumulate { 1e-1 } else { TOLERANCE };
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
