//! RMSNorm of each head by itself, forward and backward. See `shaders/head_norm.wgsl`,
//! `shaders/head_norm_backward.wgsl`.

use super::matmul::Columns;
use super::{ROW, expect_shape, shader, spread, wgsl};
use crate::gpu::{PlanBuilder, Shader, Tensor, row_parts};
use crate::params;

params! {
    /// Parameter block of `head_norm.wgsl`.
    pub struct HeadNormParams { rows: u32, heads: u32, head_dim: u32, ldy: u32, y_offset: u32, eps: f32, }
}

params! {
    /// Parameter block of `head_norm_backward.wgsl`.
    pub struct HeadNormBackwardParams { rows: u32, heads: u32, head_dim: u32, ldd: u32, }
}

fn forward_shader() -> Shader {
    shader::<HeadNormParams>("head_norm", "", &[ROW, wgsl!("head_norm")])
}

fn backward_shader() -> Shader {
    shader::<HeadNormBackwardParams>("head_norm_backward", "", &[ROW, wgsl!("head_norm_backward")])
}

pub(super) fn shaders() -> Vec<Shader> {
    vec![forward_shader(), backward_shader()]
}

/// `y = x·rstd·weight`, head by head: `x`, `y` `[rows, heads·head_dim]`, `weight [head_dim]`; `rstd [rows, heads]` is kept
/// for the backward pass.
pub fn head_norm<'a>(
    plan: &mut PlanBuilder,
    x: &Tensor,
    weight: &Tensor,
    eps: f32,
    y: impl Into<Columns<'a>>,
    rstd: &Tensor,
) {
    let Columns { tensor: y, first, count } = y.into();
    let (rows, heads, head_dim) = (x.rows(), rstd.columns(), weight.len());
    expect_shape("x", x, rows, heads * head_dim);
    expect_shape("rstd", rstd, rows, heads);
    assert!(y.rows() == rows && count == heads * head_dim, "y has x's rows and heads");
    for part in row_parts(&[x, y, rstd]) {
        let [x, y, rstd] = [x, y, rstd].map(|tensor| tensor.slice(&part));
        let params = HeadNormParams {
            rows: part.len() as u32,
            heads: heads as u32,
            head_dim: head_dim as u32,
            ldy: y.columns() as u32,
            y_offset: first as u32,
            eps,
        };
        plan.dispatch(forward_shader(), &params, &[&x, weight, &y, &rstd], spread(part.len() * heads));
    }
}

/// Turns the gradient of `y`, the first columns of `d [rows, any]`, into that of `x`.
pub fn head_norm_backward(plan: &mut PlanBuilder, x: &Tensor, weight: &Tensor, rstd: &Tensor, d: &Tensor) {
    let (rows, heads, head_dim) = (x.rows(), rstd.columns(), weight.len());
    expect_shape("x", x, rows, heads * head_dim);
    expect_shape("rstd", rstd, rows, heads);
    assert!(d.rows() == rows && d.columns() >= heads * head_dim, "d has x's rows and room for its heads");
    for part in row_parts(&[x, rstd, d]) {
        let [x, rstd, d] = [x, rstd, d].map(|tensor| tensor.slice(&part));
        let params = HeadNormBackwardParams {
            rows: part.len() as u32,
            heads: heads as u32,
            head_dim: head_dim as u32,
            ldd: d.columns() as u32,
        };
        plan.dispatch(backward_shader(), &params, &[&x, weight, &rstd, &d], spread(part.len() * heads));
    }
}
