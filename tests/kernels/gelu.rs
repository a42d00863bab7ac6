use postil::gpu::{Dtype, Gpu};
use postil::kernels::gelu as kernel;

use super::compare::{assert_close, assert_same_bits};
use super::halves::{assert_rounded, tolerance};
use super::inputs::{Random, f32s, read, run, stored, unwritten_in, wide};
use super::swiglu::types;
use crate::reference::gelu as reference;

/// No sums: WGSL's exp is good to 3 + 2|x| ULP, at |2u| ≤ 10 about 23 ULP of 1.2e-7, where 1 + exp leaves
/// little of it; division 2.5. A result in f16 is that near before it is rounded.
const TOLERANCE: f64 = 2e-6;

const SHAPES: [(usize, usize); 5] = [(5, 123), (1, 1), (2, 128), (1, 257), (77, 64)];

fn columns(width: usize, gated: bool) -> usize {
    if gated { 2 * width } else { width }
}

pub async fn forward(gpu: &Gpu) {
    for ((rows, width), gated) in SHAPES.into_iter().flat_map(|shape| [(shape, false), (shape, true)]) {
        let shape = [rows, columns(width, gated)];
        let values = Random::new(60).normal(rows * columns(width, gated));
        let expected = reference::gelu(&wide(&values), width, gated);
        let x = f32s(gpu, &shape, &values);
        for &dtype in types(width) {
            let [y, beside] = [(); 2].map(|()| unwritten_in(gpu, &[rows, width], dtype));
            let kept = (dtype == Dtype::F16).then(|| unwritten_in(gpu, &shape, dtype));
            run(gpu, |plan| {
                kernel::gelu(plan, &x, &y, None);
                kernel::gelu(plan, &x, &beside, kept.as_ref());
            });
            let (what, got) = (format!("{rows}×{width}, gated {gated}, {dtype:?}"), read(gpu, &y).await);
            assert_close(&what, &got, &expected, width, TOLERANCE + tolerance(dtype));
            assert_same_bits(&what, &read(gpu, &beside).await, &got);
            if let Some(kept) = kept {
                assert_rounded(&format!("x of {what}"), &read(gpu, &kept).await, &values, dtype);
            }
        }
    }
}

pub async fn backward(gpu: &Gpu) {
    for ((rows, width), gated) in SHAPES.into_iter().flat_map(|shape| [(shape, false), (shape, true)]) {
        for &dtype in types(width) {
            let (mut random, columns) = (Random::new(61), columns(width, gated));
            let (x, dy) = (random.normal(rows * columns), random.normal(rows * width));
            let (x, values) = stored(gpu, &[rows, columns], dtype, &x);
            let d = f32s(gpu, &[rows, width], &dy);
            let [y, again] = [(); 2].map(|()| unwritten_in(gpu, &[rows, width], dtype));
            run(gpu, |plan| {
                if dtype == Dtype::F32 {
                    kernel::gelu(plan, &x, &y, None);
                }
                kernel::gelu_backward(plan, &x, &d, &again);
            });
            let what = format!("{rows}×{width}, gated {gated}, {dtype:?}");
            let tolerance = TOLERANCE + tolerance(dtype);
            let expected = reference::gelu_backward(&values, &wide(&dy), width, gated);
            assert_close(&what, &read(gpu, &x).await, &expected, columns, tolerance);
            let (what, again) = (format!("y of {what}"), read(gpu, &again).await);
            assert_close(&what, &again, &reference::gelu(&values, width, gated), width, tolerance);
            if dtype == Dtype::F32 {
                assert_same_bits(&what, &again, &read(gpu, &y).await);
            }
            assert_same_bits("dy", &read(gpu, &d).await, &dy);
        }
    }
}

/// Where exp would leave f32's range, or the cube does: 0 or x, with a slope of 0 or 1.
pub async fn large_values(gpu: &Gpu) {
    let x = [-1e20, -1e13, -200.0, -31.0, -30.0, -12.0, 12.0, 30.0, 31.0, 200.0, 1e13, 1e20];
    // One at a time, and four.
    for x in [&x[..11], &x] {
        let shape = [1, x.len()];
        let (x_gpu, dy) = (f32s(gpu, &shape, x), f32s(gpu, &shape, &vec![1.0; x.len()]));
        let [y, again] = [(); 2].map(|()| unwritten_in(gpu, &shape, Dtype::F32));
        run(gpu, |plan| {
            kernel::gelu(plan, &x_gpu, &y, None);
            kernel::gelu_backward(plan, &x_gpu, &dy, &again);
        });
        let (y, slopes) = (read(gpu, &y).await, read(gpu, &x_gpu).await);
        for ((x, y), dx) in x.iter().zip(y).zip(slopes) {
            let (exact, slope) = if *x > 0.0 { (*x, 1.0) } else { (0.0, 0.0) };
            assert!((y - exact).abs() <= 1e-6 * exact.abs() + 1e-10, "gelu({x}) is {y}");
            assert!((dx - slope).abs() <= 1e-6, "gelu'({x}) is {dx}");
        }
    }
}

cases!(forward, backward, large_values);
