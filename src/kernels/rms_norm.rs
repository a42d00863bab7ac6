//! RMSNorm, forward and backward. See `shaders/rms_norm.wgsl`, `shaders/rms_norm_backward.wgsl`.

use super::{ROW, expect_shape, shader, spread, wgsl};
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

fn forward_shader() -> Shader {
    shader::<RmsNormParams>("rms_norm", "", &[ROW, wgsl!("rms_norm")])
}

fn backward_shader() -> Shader {
    shader::<RmsNormBackwardParams>("rms_norm_backward", "", &[ROW, wgsl!("rms_norm_backward")])
}

pub(super) fn shaders() -> Vec<Shader> {
    vec![forward_shader(), backward_shader()]
}

/// `y = x·rstd·weight`: `x`, `y` `[rows, width]`, `weight [width]`; `rstd [rows]` is kept for the
/// backward pass.
pub fn rms_norm(plan: &mut PlanBuilder, x: &Tensor, weight: &Tensor, eps: f32, y: &Tensor, rstd: &Tensor) {
    let (rows, width) = (x.rows(), x.columns());
    expect_shape("y", y, rows, width);
    assert!(weight.len() == width && rstd.len() == rows, "one weight per column, one rstd per row");
    for part in row_parts(&[x, y, rstd]) {
        let [x, y, rstd] = [x, y, rstd].map(|tensor| tensor.slice(&part));
        let params = RmsNormParams { rows: part.len() as u32, width: width as u32, eps };
        plan.dispatch(forward_shader(), &params, &[&x, weight, &y, &rstd], spread(part.len()));
    }
}

/// `dx (+)=` the gradient for `dy`; `+=` if `accumulate`.
pub fn rms_norm_backward(
    plan: &mut PlanBuilder,
    x: &Tensor,
    weight: &Tensor,
    rstd: &Tensor,
    dy: &Tensor,
    dx: &Tensor,
    accumulate: bool,
) {
    let (rows, width) = (x.rows(), x.columns());
    expect_shape("dy", dy, rows, width);
    expect_shape("dx", dx, rows, width);
    for part in row_parts(&[x, rstd, dy, dx]) {
        let [x, rstd, dy, dx] = [x, rstd, dy, dx].map(|tensor| tensor.slice(&part));
        let (rows, width) = (part.len() as u32, width as u32);
        let params = RmsNormBackwardParams { rows, width, accumulate: accumulate.into() };
        plan.dispatch(backward_shader(), &params, &[&x, weight, &rstd, &dy, &dx], spread(part.len()));
    }
}
