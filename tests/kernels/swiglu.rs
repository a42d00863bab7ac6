use postil::gpu::{Dtype, Gpu};
use postil::kernels::swiglu as kernel;

use super::compare::{assert_close, assert_same_bits};
use super::halves::{assert_rounded, tolerance};
use super::inputs::{Random, f32s, read, run, stored, unwritten, unwritten_in, wide};
use crate::reference::swiglu as reference;

/// No sums: WGSL's exp is good to 3 + 2|x| ULP, so at |x| ≤ 4 about 11 ULP of 1.2e-7 (an eighth of
/// that on the average), division 2.5. A result in f16 is that near before it is rounded.
const TOLERANCE: f64 = 2e-6;

const SHAPES: [(usize, usize); 5] = [(5, 123), (1, 1), (2, 128), (1, 257), (77, 64)];

/// The types in which rows of this width can be: those of 16 bits go by four.
pub fn types(width: usize) -> &'static [Dtype] {
    if width.is_multiple_of(4) { &[Dtype::F32, Dtype::F16] } else { &[Dtype::F32] }
}

pub async fn forward(gpu: &Gpu) {
    for (rows, width) in SHAPES {
        let values = Random::new(20).normal(2 * rows * width);
        let expected = reference::swiglu(&wide(&values), width);
        let x = f32s(gpu, &[rows, 2 * width], &values);
        for &dtype in types(width) {
            let [y, beside] = [(); 2].map(|()| unwritten_in(gpu, &[rows, width], dtype));
            let kept = (dtype == Dtype::F16).then(|| unwritten_in(gpu, &[rows, 2 * width], dtype));
            run(gpu, |plan| {
                kernel::swiglu(plan, &x, &y, None);
                kernel::swiglu(plan, &x, &beside, kept.as_ref());
            });
            let (what, got) = (format!("{rows}×{width}, {dtype:?}"), read(gpu, &y).await);
            assert_close(&what, &got, &expected, width, TOLERANCE + tolerance(dtype));
            assert_same_bits(&what, &read(gpu, &beside).await, &got);
            if let Some(kept) = kept {
                assert_rounded(&format!("x of {what}"), &read(gpu, &kept).await, &values, dtype);
            }
        }
    }
}

pub async fn backward(gpu: &Gpu) {
    for (rows, width) in SHAPES {
        for &dtype in types(width) {
            let mut random = Random::new(21);
            let (gate_up, dy) = (random.normal(2 * rows * width), random.normal(rows * width));
            let (x, gate_up) = stored(gpu, &[rows, 2 * width], dtype, &gate_up);
            let d = f32s(gpu, &[rows, width], &dy);
            let [y, again] = [(); 2].map(|()| unwritten_in(gpu, &[rows, width], dtype));
            run(gpu, |plan| {
                if dtype == Dtype::F32 {
                    kernel::swiglu(plan, &x, &y, None);
                }
                kernel::swiglu_backward(plan, &x, &d, &again);
            });
            let (what, tolerance) = (format!("{rows}×{width}, {dtype:?}"), TOLERANCE + tolerance(dtype));
            let expected = reference::swiglu_backward(&gate_up, &wide(&dy), width);
            assert_close(&what, &read(gpu, &x).await, &expected, 2 * width, tolerance);
            let (what, again) = (format!("y of {what}"), read(gpu, &again).await);
            assert_close(&what, &again, &reference::swiglu(&gate_up, width), width, tolerance);
            if dtype == Dtype::F32 {
                assert_same_bits(&what, &again, &read(gpu, &y).await);
            }
            assert_same_bits("dy", &read(gpu, &d).await, &dy);
        }
    }
}

/// Gates where exp(−gate) would leave f32's range: the result is 0 or `gate·up`, and finite.
pub async fn large_gates(gpu: &Gpu) {
    let gates = [-200.0, -100.0, -88.75, -80.0, -30.0, 0.0, 30.0, 80.0, 88.75, 100.0, 200.0, 300.0];
    for (width, dtype) in [(11, Dtype::F32), (12, Dtype::F32), (12, Dtype::F16)] {
        let gate_up = [&gates[..width], &[1.5; 12][..width]].concat();
        let dy = vec![-0.5; width];
        let x32 = f32s(gpu, &[1, 2 * width], &gate_up);
        let (x, gate_up) = stored(gpu, &[1, 2 * width], dtype, &gate_up);
        let d = f32s(gpu, &[1, width], &dy);
        let (y, again) = (unwritten(gpu, &[1, width]), unwritten_in(gpu, &[1, width], dtype));
        run(gpu, |plan| {
            kernel::swiglu(plan, &x32, &y, None);
            kernel::swiglu_backward(plan, &x, &d, &again);
        });
        let expected = reference::swiglu(&gate_up, width);
        let tolerance = TOLERANCE + tolerance(dtype);
        assert_close("y", &read(gpu, &y).await, &expected, width, TOLERANCE);
        assert_close("y again", &read(gpu, &again).await, &expected, width, tolerance);
        let expected = reference::swiglu_backward(&gate_up, &wide(&dy), width);
        assert_close("d_gate_up", &read(gpu, &x).await, &expected, 2 * width, tolerance);
    }
}

cases!(forward, backward, large_gates);
