use postil::gpu::Gpu;
use postil::kernels::swiglu as kernel;

use super::compare::{assert_close, assert_same_bits};
use super::inputs::{Random, f32s, read, run, unwritten, wide};
use crate::reference::swiglu as reference;

/// No sums: WGSL's exp is good to 3 + 2|x| ULP, so at |x| ≤ 4 about 11 ULP of 1.2e-7 (an eighth of
/// that on the average), division 2.5.
const TOLERANCE: f64 = 2e-6;

const SHAPES: [(usize, usize); 5] = [(5, 123), (1, 1), (2, 128), (1, 257), (77, 64)];

pub async fn forward(gpu: &Gpu) {
    for (rows, width) in SHAPES {
        let gate_up = Random::new(20).normal(2 * rows * width);
        let (x, y) = (f32s(gpu, &[rows, 2 * width], &gate_up), unwritten(gpu, &[rows, width]));
        run(gpu, |plan| kernel::swiglu(plan, &x, &y));
        let expected = reference::swiglu(&wide(&gate_up), width);
        assert_close(&format!("{rows}×{width}"), &read(gpu, &y).await, &expected, width, TOLERANCE);
    }
}

pub async fn backward(gpu: &Gpu) {
    for (rows, width) in SHAPES {
        let mut random = Random::new(21);
        let (gate_up, dy) = (random.normal(2 * rows * width), random.normal(rows * width));
        let (x, d) = (f32s(gpu, &[rows, 2 * width], &gate_up), f32s(gpu, &[rows, width], &dy));
        let y = unwritten(gpu, &[rows, width]);
        run(gpu, |plan| {
            kernel::swiglu(plan, &x, &y);
            kernel::swiglu_backward(plan, &x, &d);
        });
        let expected = reference::swiglu_backward(&wide(&gate_up), &wide(&dy), width);
        assert_close(&format!("{rows}×{width}"), &read(gpu, &x).await, &expected, 2 * width, TOLERANCE);
        assert_same_bits(&format!("y of {rows}×{width}"), &read(gpu, &d).await, &read(gpu, &y).await);
    }
}

/// Gates where exp(−gate) would leave f32's range: the result is 0 or `gate·up`, and finite.
pub async fn large_gates(gpu: &Gpu) {
    let gates = [-200.0, -100.0, -88.8, -80.0, -30.0, 0.0, 30.0, 80.0, 88.8, 100.0, 200.0];
    let width = gates.len();
    let gate_up: Vec<f32> = gates.iter().copied().chain([1.5; 11]).collect();
    let dy = vec![-0.5; width];
    let (x, d) = (f32s(gpu, &[1, 2 * width], &gate_up), f32s(gpu, &[1, width], &dy));
    let y = unwritten(gpu, &[1, width]);
    run(gpu, |plan| {
        kernel::swiglu(plan, &x, &y);
        kernel::swiglu_backward(plan, &x, &d);
    });
    let expected = reference::swiglu(&wide(&gate_up), width);
    assert_close("y", &read(gpu, &y).await, &expected, width, TOLERANCE);
    let expected = reference::swiglu_backward(&wide(&gate_up), &wide(&dy), width);
    assert_close("d_gate_up", &read(gpu, &x).await, &expected, 2 * width, TOLERANCE);
}

cases!(forward, backward, large_gates);
