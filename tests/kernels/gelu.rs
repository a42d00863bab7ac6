use postil::gpu::Gpu;
use postil::kernels::gelu as kernel;

use super::compare::{assert_close, assert_same_bits};
use super::inputs::{Random, f32s, read, run, unwritten, wide};
use crate::reference::gelu as reference;

/// No sums: WGSL's exp is good to 3 + 2|x| ULP, at |2u| ≤ 10 about 23 ULP of 1.2e-7, where 1 + exp leaves
/// little of it; division 2.5.
const TOLERANCE: f64 = 2e-6;

const SHAPES: [(usize, usize); 5] = [(5, 123), (1, 1), (2, 128), (1, 257), (77, 64)];

fn columns(width: usize, gated: bool) -> usize {
    if gated { 2 * width } else { width }
}

pub async fn forward(gpu: &Gpu) {
    for ((rows, width), gated) in SHAPES.into_iter().flat_map(|shape| [(shape, false), (shape, true)]) {
        let x = Random::new(60).normal(rows * columns(width, gated));
        let expected = reference::gelu(&wide(&x), width, gated);
        let (x, y) = (f32s(gpu, &[rows, columns(width, gated)], &x), unwritten(gpu, &[rows, width]));
        run(gpu, |plan| kernel::gelu(plan, &x, &y));
        let what = format!("{rows}×{width}, gated {gated}");
        assert_close(&what, &read(gpu, &y).await, &expected, width, TOLERANCE);
    }
}

pub async fn backward(gpu: &Gpu) {
    for ((rows, width), gated) in SHAPES.into_iter().flat_map(|shape| [(shape, false), (shape, true)]) {
        let (mut random, columns) = (Random::new(61), columns(width, gated));
        let (x, dy) = (random.normal(rows * columns), random.normal(rows * width));
        let expected = reference::gelu_backward(&wide(&x), &wide(&dy), width, gated);
        let (x, dy) = (f32s(gpu, &[rows, columns], &x), f32s(gpu, &[rows, width], &dy));
        let y = unwritten(gpu, &[rows, width]);
        run(gpu, |plan| {
            kernel::gelu(plan, &x, &y);
            kernel::gelu_backward(plan, &x, &dy);
        });
        let what = format!("{rows}×{width}, gated {gated}");
        assert_close(&what, &read(gpu, &x).await, &expected, columns, TOLERANCE);
        assert_same_bits(&what, &read(gpu, &dy).await, &read(gpu, &y).await);
    }
}

/// Where exp would leave f32's range, or the cube does: 0 or x, with a slope of 0 or 1.
pub async fn large_values(gpu: &Gpu) {
    let x = [-1e20, -1e13, -200.0, -31.0, -30.0, -12.0, 12.0, 30.0, 31.0, 200.0, 1e13, 1e20];
    let expected = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 12.0, 30.0, 31.0, 200.0, 1e13, 1e20];
    let (x_gpu, dy) = (f32s(gpu, &[1, 12], &x), f32s(gpu, &[1, 12], &[1.0; 12]));
    let y = unwritten(gpu, &[1, 12]);
    run(gpu, |plan| {
        kernel::gelu(plan, &x_gpu, &y);
        kernel::gelu_backward(plan, &x_gpu, &dy);
    });
    for ((x, exact), (y, dx)) in
        x.iter().zip(expected).zip(read(gpu, &y).await.into_iter().zip(read(gpu, &x_gpu).await))
    {
        assert!((y - exact).abs() <= 1e-6 * exact.abs() + 1e-10, "gelu({x}) is {y}");
        let slope = if exact == 0.0 { 0.0 } else { 1.0 };
        assert!((dx - slope).abs() <= 1e-6, "gelu'({x}) is {dx}");
    }
}

cases!(forward, backward, large_values);
