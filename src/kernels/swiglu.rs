//! SwiGLU, forward and backward. See `shaders/swiglu.wgsl`, `shaders/swiglu_backward.wgsl`.

use super::activation::{self, Backward, Forward};
use super::{expect_shape, shader, wgsl};
use crate::gpu::{PlanBuilder, Shader, Tensor};
use crate::params;

params! {
    /// Parameter block of both kernels.
    pub struct SwigluParams { rows: u32, width: u32, }
}

fn forward_shader(types: Forward) -> Shader {
    let (name, mut parts) = types.parts();
    parts.push(wgsl!("swiglu").into());
    shader::<SwigluParams>("swiglu", name, &parts)
}

fn backward_shader(types: Backward) -> Shader {
    let (name, mut parts) = types.parts();
    parts.push(wgsl!("swiglu_backward").into());
    shader::<SwigluParams>("swiglu_backward", name, &parts)
}

pub(super) fn shaders() -> Vec<Shader> {
    Forward::ALL.map(forward_shader).into_iter().chain(Backward::ALL.map(backward_shader)).collect()
}

fn params(y: &Tensor) -> impl Fn(usize) -> SwigluParams {
    let width = y.columns() as u32;
    move |rows| SwigluParams { rows: rows as u32, width }
}

/// `y = silu(gate) ⊙ up`: `x [rows, 2·width]` holds gate, then up, in f32; `y [rows, width]` in f32 or f16. `kept` gets
/// `x` once more, in f16.
pub fn swiglu(plan: &mut PlanBuilder, x: &Tensor, y: &Tensor, kept: Option<&Tensor>) {
    expect_shape("x", x, y.rows(), 2 * y.columns());
    activation::forward(plan, forward_shader, params(y), x, y, kept);
}

/// Puts the gradient for `dy [rows, width]` in the place of `x`, and writes `y`; both in f32 or both in f16.
pub fn swiglu_backward(plan: &mut PlanBuilder, x: &Tensor, dy: &Tensor, y: &Tensor) {
    expect_shape("x", x, y.rows(), 2 * y.columns());
    activation::backward(plan, backward_shader, params(y), [x, dy, y]);
}
