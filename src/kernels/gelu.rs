//! GELU in its tanh form, with and without a gate, forward and backward. See `shaders/gelu.wgsl`,
//! `shaders/gelu_backward.wgsl`.

use super::{expect_shape, per_element, shader, wgsl};
use crate::gpu::{PlanBuilder, Shader, Tensor, row_parts};
use crate::params;

params! {
    /// Parameter block of both kernels.
    pub struct GeluParams { rows: u32, width: u32, }
}

const GELU: &str = wgsl!("shared/gelu");

/// Name and file of the MLP's form.
fn form(gated: bool) -> (&'static str, &'static str) {
    if gated { ("gated", wgsl!("shared/gated")) } else { ("plain", wgsl!("shared/plain")) }
}

fn forward_shader(gated: bool) -> Shader {
    let (name, part) = form(gated);
    shader::<GeluParams>("gelu", name, &[GELU, part, wgsl!("gelu")])
}

fn backward_shader(gated: bool) -> Shader {
    let (name, part) = form(gated);
    shader::<GeluParams>("gelu_backward", name, &[GELU, part, wgsl!("gelu_backward")])
}

pub(super) fn shaders() -> Vec<Shader> {
    [false, true].into_iter().flat_map(|gated| [forward_shader(gated), backward_shader(gated)]).collect()
}

/// Whether `x` holds gate and up, or nothing but what is activated.
fn is_gated(x: &Tensor, width: usize) -> bool {
    x.columns() == 2 * width
}

/// `y = gelu(gate) ⊙ up` for `x [rows, 2·width]`, gate, then up; `y = gelu(x)` for `x [rows, width]`;
/// `y [rows, width]`.
pub fn gelu(plan: &mut PlanBuilder, x: &Tensor, y: &Tensor) {
    let (rows, width) = (y.rows(), y.columns());
    let gated = is_gated(x, width);
    expect_shape("x", x, rows, if gated { 2 * width } else { width });
    for part in row_parts(&[x, y]) {
        let bindings = [&x.slice(&part), &y.slice(&part)];
        let params = GeluParams { rows: part.len() as u32, width: width as u32 };
        plan.dispatch(forward_shader(gated), &params, &bindings, per_element(part.len() * width));
    }
}

/// Puts the gradient for `dy [rows, width]` in the place of `x`, and `y` in the place of `dy`.
pub fn gelu_backward(plan: &mut PlanBuilder, x: &Tensor, dy: &Tensor) {
    let (rows, width) = (dy.rows(), dy.columns());
    let gated = is_gated(x, width);
    expect_shape("x", x, rows, if gated { 2 * width } else { width });
    for part in row_parts(&[x, dy]) {
        let bindings = [&x.slice(&part), &dy.slice(&part)];
        let params = GeluParams { rows: part.len() as u32, width: width as u32 };
        plan.dispatch(backward_shader(gated), &params, &bindings, per_element(part.len() * width));
    }
}
