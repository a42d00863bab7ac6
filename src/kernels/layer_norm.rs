//! LayerNorm, forward and backward. See `shaders/layer_norm.wgsl`, `shaders/layer_norm_backward.wgsl`.

use super::{ROW, expect_shape, shader, spread, wgsl};
use crate::gpu::{PlanBuilder, Shader, Tensor};
use crate::params;

params! {
    /// Parameter block of `layer_norm.wgsl`.
    pub struct LayerNormParams { rows: u32, width: u32, eps: f32, }
}

params! {
    /// Parameter block of `layer_norm_backward.wgsl`.
    pub struct LayerNormBackwardParams { rows: u32, width: u32, accumulate: u32, }
}

fn forward_shader() -> Shader {
    shader::<LayerNormParams>("layer_norm", "", &[ROW, wgsl!("layer_norm")])
}

fn backward_shader() -> Shader {
    shader::<LayerNormBackwardParams>("layer_norm_backward", "", &[ROW, wgsl!("layer_norm_backward")])
}

pub(super) fn shaders() -> Vec<Shader> {
    vec![forward_shader(), backward_shader()]
}

/// `y = (x − mean)·rstd·weight + bias`: `x`, `y` `[rows, width]`, `weight`, `bias` `[width]`;
/// `rstd [rows]` is kept for the backward pass.
pub fn layer_norm(
    plan: &mut PlanBuilder,
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    eps: f32,
    y: &Tensor,
    rstd: &Tensor,
) {
    let (rows, width) = (x.rows(), x.columns());
    expect_shape("y", y, rows, width);
    assert!(weight.len() == width && bias.len() == width, "one weight and one bias per column");
    assert_eq!(rstd.len(), rows, "one rstd per row");
    let params = LayerNormParams { rows: rows as u32, width: width as u32, eps };
    plan.dispatch(forward_shader(), &params, &[x, weight, bias, y, rstd], spread(rows));
}

/// `dx (+)=` the gradient for `dy`; `+=` if `accumulate`.
pub fn layer_norm_backward(
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
    assert!(weight.len() == width && rstd.len() == rows, "one weight per column, one rstd per row");
    let params =
        LayerNormBackwardParams { rows: rows as u32, width: width as u32, accumulate: accumulate.into() };
    plan.dispatch(backward_shader(), &params, &[x, weight, rstd, dy, dx], spread(rows));
}
