//! SwiGLU, forward and backward. See `shaders/swiglu.wgsl`, `shaders/swiglu_backward.wgsl`.

use super::{expect_shape, per_element, shader, wgsl};
use crate::gpu::{PlanBuilder, Shader, Tensor, row_parts};
use crate::params;

params! {
    /// Parameter block of both kernels.
    pub struct SwigluParams { rows: u32, width: u32, }
}

fn forward_shader() -> Shader {
    shader::<SwigluParams>("swiglu", "", &[wgsl!("swiglu")])
}

fn backward_shader() -> Shader {
    shader::<SwigluParams>("swiglu_backward", "", &[wgsl!("swiglu_backward")])
}

pub(super) fn shaders() -> Vec<Shader> {
    vec![forward_shader(), backward_shader()]
}

/// `y = silu(gate) ⊙ up`: `gate_up [rows, 2·width]` holds gate, then up; `y [rows, width]`.
pub fn swiglu(plan: &mut PlanBuilder, gate_up: &Tensor, y: &Tensor) {
    let (rows, width) = (y.rows(), y.columns());
    expect_shape("gate_up", gate_up, rows, 2 * width);
    for part in row_parts(&[gate_up, y]) {
        let bindings = [&gate_up.slice(&part), &y.slice(&part)];
        let params = SwigluParams { rows: part.len() as u32, width: width as u32 };
        plan.dispatch(forward_shader(), &params, &bindings, per_element(part.len() * width));
    }
}

/// Puts the gradient for `dy [rows, width]` in the place of `gate_up`, and `y` in the place of `dy`.
pub fn swiglu_backward(plan: &mut PlanBuilder, gate_up: &Tensor, dy: &Tensor) {
    let (rows, width) = (dy.rows(), dy.columns());
    expect_shape("gate_up", gate_up, rows, 2 * width);
    for part in row_parts(&[gate_up, dy]) {
        let bindings = [&gate_up.slice(&part), &dy.slice(&part)];
        let params = SwigluParams { rows: part.len() as u32, width: width as u32 };
        plan.dispatch(backward_shader(), &params, &bindings, per_element(part.len() * width));
    }
}
