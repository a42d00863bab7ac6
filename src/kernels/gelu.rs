//! GELU in its tanh form, with and without a gate, forward and backward. See `shaders/gelu.wgsl`,
//! `shaders/gelu_backward.wgsl`.

use super::activation::{self, Backward, Forward};
use super::{expect_shape, shader, wgsl};
use crate::gpu::{PlanBuilder, Shader, Tensor};
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

fn forward_shader(gated: bool, types: Forward) -> Shader {
    let ((form, part), (name, mut parts)) = (form(gated), types.parts());
    parts.extend([GELU, part, wgsl!("gelu")].map(Into::into));
    shader::<GeluParams>("gelu", format!("{form}-{name}"), &parts)
}

fn backward_shader(gated: bool, types: Backward) -> Shader {
    let ((form, part), (name, mut parts)) = (form(gated), types.parts());
    parts.extend([GELU, part, wgsl!("gelu_backward")].map(Into::into));
    shader::<GeluParams>("gelu_backward", format!("{form}-{name}"), &parts)
}

pub(super) fn shaders() -> Vec<Shader> {
    let mut all = Vec::new();
    for gated in [false, true] {
        all.extend(Forward::ALL.map(|types| forward_shader(gated, types)));
        all.extend(Backward::ALL.map(|types| backward_shader(gated, types)));
    }
    all
}

/// Whether `x` holds gate and up, or nothing but what is activated.
fn is_gated(x: &Tensor, y: &Tensor) -> bool {
    let gated = x.columns() == 2 * y.columns();
    expect_shape("x", x, y.rows(), if gated { 2 } else { 1 } * y.columns());
    gated
}

fn params(y: &Tensor) -> impl Fn(usize) -> GeluParams {
    let width = y.columns() as u32;
    move |rows| GeluParams { rows: rows as u32, width }
}

/// `y = gelu(gate) ⊙ up` for `x [rows, 2·width]`, gate, then up; `y = gelu(x)` for `x [rows, width]`; `y [rows, width]`.
/// Types and `kept` as in [`swiglu`](super::swiglu::swiglu).
pub fn gelu(plan: &mut PlanBuilder, x: &Tensor, y: &Tensor, kept: Option<&Tensor>) {
    let gated = is_gated(x, y);
    activation::forward(plan, |types| forward_shader(gated, types), params(y), x, y, kept);
}

/// Puts the gradient for `dy [rows, width]` in the place of `x`, and writes `y`; both in f32 or both in f16.
pub fn gelu_backward(plan: &mut PlanBuilder, x: &Tensor, dy: &Tensor, y: &Tensor) {
    let gated = is_gated(x, y);
    activation::backward(plan, |types| backward_shader(gated, types), params(y), [x, dy, y]);
}
