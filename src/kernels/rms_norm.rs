//! RMSNorm, forward and backward. See `shaders/rms_norm.wgsl`, `shaders/rms_norm_backward.wgsl`.

use super::norms::{Backward, Forward, backward_parts, forward_parts};
use super::{expect_shape, shader, spread, wgsl};
use crate::gpu::{PlanBuilder, Shader, Tensor, row_parts};
use crate::params;

params! {
    /// Parameter block of `rms_norm.wgsl`.
    pub struct RmsNormParams { rows: u32, width: u32, eps: f32, }
}

params! {
    /// Parameter block of `rms_norm_backward.wgsl`.
    pub struct RmsNormBackwardParams { rows: u32, width: u32, accumulate: u32, }
}

fn forward_shader(types: Forward) -> Shader {
    let (name, mut parts) = forward_parts(types, 5);
    parts.push(wgsl!("rms_norm").into());
    shader::<RmsNormParams>("rms_norm", name, &parts)
}

fn backward_shader(types: Backward) -> Shader {
    let (name, mut parts) = backward_parts(types);
    parts.push(wgsl!("rms_norm_backward").into());
    shader::<RmsNormBackwardParams>("rms_norm_backward", name, &parts)
}

pub(super) fn shaders() -> Vec<Shader> {
    let forward = Forward::all().into_iter().map(forward_shader);
    forward.chain(Backward::all().into_iter().map(backward_shader)).collect()
}

/// `y = x·rstd·weight`: `x`, `y` and, if there is to be another copy of `x`, `kept` `[rows, width]`, `weight [width]`;
/// `rstd [rows]` is for the backward pass. `x` is f32 or bf16, `y` f32 or f16, `kept` bf16.
pub fn rms_norm(
    plan: &mut PlanBuilder,
    x: &Tensor,
    weight: &Tensor,
    eps: f32,
    [y, rstd]: [&Tensor; 2],
    kept: Option<&Tensor>,
) {
    let (rows, width) = (x.rows(), x.columns());
    expect_shape("y", y, rows, width);
    assert!(weight.len() == width && rstd.len() == rows, "one weight per column, one rstd per row");
    let shader = forward_shader(Forward::of(x, y, kept));
    for part in row_parts(&[&[x, y, rstd], kept.as_slice()].concat()) {
        let [x, y, rstd] = [x, y, rstd].map(|tensor| tensor.slice(&part));
        let kept = kept.map(|kept| kept.slice(&part));
        let params = RmsNormParams { rows: part.len() as u32, width: width as u32, eps };
        let bindings = [&[&x, weight, &y, &rstd], kept.as_ref().as_slice()].concat();
        plan.dispatch(shader.clone(), &params, &bindings, spread(part.len()));
    }
}

/// `dx (+)=` the gradient for `dy`; `+=` if `accumulate`. `operand` gets `dx` once more, in f16. `x` is f32 or bf16.
pub fn rms_norm_backward(
    plan: &mut PlanBuilder,
    [x, rstd]: [&Tensor; 2],
    weight: &Tensor,
    dy: &Tensor,
    dx: &Tensor,
    operand: Option<&Tensor>,
    accumulate: bool,
) {
    let (rows, width) = (x.rows(), x.columns());
    expect_shape("dy", dy, rows, width);
    expect_shape("dx", dx, rows, width);
    let shader = backward_shader(Backward::of(x, operand));
    for part in row_parts(&[&[x, rstd, dy, dx], operand.as_slice()].concat()) {
        let [x, rstd, dy, dx] = [x, rstd, dy, dx].map(|tensor| tensor.slice(&part));
        let operand = operand.map(|operand| operand.slice(&part));
        let (rows, width) = (part.len() as u32, width as u32);
        let params = RmsNormBackwardParams { rows, width, accumulate: accumulate.into() };
        let bindings = [&[&x, weight, &rstd, &dy, &dx], operand.as_ref().as_slice()].concat();
        plan.dispatch(shader.clone(), &params, &bindings, spread(part.len()));
    }
}
