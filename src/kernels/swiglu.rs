//! SwiGLU, forward and backward. See `shaders/swiglu.wgsl`, `shaders/swiglu_backward.wgsl`.

use super::{expect_shape, per_element, shader, wgsl};
use crate::gpu::{PlanBuilder, Shader, Tensor};
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
    let params = SwigluParams { rows: rows as u32, width: width as u32 };
    plan.dispatch(forward_shader(), &params, &[gate_up, y], per_element(rows * width));
}

/// `d_gate_up =` the gradient for `dy [rows, width]`.
pub fn swiglu_backward(plan: &mut PlanBuilder, gate_up: &Tensor, dy: &Tensor, d_gate_up: &Tensor) {
    let (rows, width) = (dy.rows(), dy.columns());
    expect_shape("gate_up", gate_up, rows, 2 * width);
    expect_shape("d_gate_up", d_gate_up, rows, 2 * width);
    let params = SwigluParams { rows: rows as u32, width: width as u32 };
    plan.dispatch(backward_shader(), &params, &[gate_up, dy, d_gate_up], per_element(rows * width));
}
