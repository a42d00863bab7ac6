//! Causal grouped-query attention without a rows × rows matrix, forward and backward. See
//! `shaders/attention.wgsl`, `attention_delta.wgsl`, `attention_dq.wgsl`, `attention_dkv.wgsl`.
//!
//! Which keys a row attends is data (`kv_range`), not code: documents laid end to end in a batch, a
//! cache during generation and a sliding window are all ranges.

use super::{expect_shape, per_element, shader, spread, wgsl};
use crate::gpu::{PlanBuilder, Shader, Tensor};
use crate::params;

/// Largest `head_dim` that the kernels hold in workgroup memory.
pub const MAX_HEAD_DIM: usize = 256;

params! {
    /// Parameter block of the three per-head kernels.
    pub struct AttentionParams { rows: u32, heads: u32, kv_heads: u32, head_dim: u32, scale: f32, }
}

params! {
    /// Parameter block of `attention_delta.wgsl`.
    pub struct AttentionDeltaParams { items: u32, head_dim: u32, }
}

const HEAD: &str = wgsl!("shared/head");

fn forward_shader() -> Shader {
    shader::<AttentionParams>("attention", "", &[HEAD, wgsl!("attention")])
}

fn delta_shader() -> Shader {
    shader::<AttentionDeltaParams>("attention_delta", "", &[wgsl!("attention_delta")])
}

fn dq_shader() -> Shader {
    shader::<AttentionParams>("attention_dq", "", &[HEAD, wgsl!("attention_dq")])
}

fn dkv_shader() -> Shader {
    shader::<AttentionParams>("attention_dkv", "", &[HEAD, wgsl!("attention_dkv")])
}

pub(super) fn shaders() -> Vec<Shader> {
    vec![forward_shader(), delta_shader(), dq_shader(), dkv_shader()]
}

/// Number and width of the heads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heads {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Columns of one head, at most [`MAX_HEAD_DIM`].
    pub head_dim: usize,
    /// What scores are multiplied by.
    pub scale: f32,
}

impl Heads {
    fn params(&self, rows: usize) -> AttentionParams {
        assert!(self.head_dim <= MAX_HEAD_DIM && self.heads.is_multiple_of(self.kv_heads));
        AttentionParams {
            rows: rows as u32,
            heads: self.heads as u32,
            kv_heads: self.kv_heads as u32,
            head_dim: self.head_dim as u32,
            scale: self.scale,
        }
    }

    /// Columns of `q` and of the output.
    pub fn q_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Columns of `kv`: the keys of all heads, then their values.
    pub fn kv_width(&self) -> usize {
        2 * self.kv_heads * self.head_dim
    }
}

/// `y = softmax(scale·q·kᵀ)·v`. `kv_range [rows, 2]`: the rows of `kv` that each row attends (never
/// none); `q`, `y` `[rows, heads·head_dim]`; `kv [any, 2·kv_heads·head_dim]`; `lse [rows, heads]`.
pub fn attention(
    plan: &mut PlanBuilder,
    heads: &Heads,
    kv_range: &Tensor,
    q: &Tensor,
    kv: &Tensor,
    y: &Tensor,
    lse: &Tensor,
) {
    let rows = q.rows();
    expect_shape("q", q, rows, heads.q_width());
    expect_shape("y", y, rows, heads.q_width());
    expect_shape("kv", kv, kv.rows(), heads.kv_width());
    expect_shape("lse", lse, rows, heads.heads);
    expect_shape("kv_range", kv_range, rows, 2);
    plan.dispatch(
        forward_shader(),
        &heads.params(rows),
        &[kv_range, q, kv, y, lse],
        spread(rows * heads.heads),
    );
}

/// What the backward pass reads and writes; shapes as in [`attention`].
pub struct AttentionBackward<'a> {
    /// Keys of each query row, `[rows, 2]`.
    pub kv_range: &'a Tensor,
    /// Queries of each key row, `[rows, 2]`.
    pub query_range: &'a Tensor,
    /// Queries.
    pub q: &'a Tensor,
    /// Keys and values.
    pub kv: &'a Tensor,
    /// The forward pass's output.
    pub y: &'a Tensor,
    /// The forward pass's log-sum-exp.
    pub lse: &'a Tensor,
    /// Gradient of `y`.
    pub dy: &'a Tensor,
    /// Workspace `[rows, heads]`.
    pub delta: &'a Tensor,
    /// Gradient of `q`, written.
    pub dq: &'a Tensor,
    /// Gradient of `kv`, written.
    pub dkv: &'a Tensor,
}

/// The gradients of `q`, `k` and `v`.
pub fn attention_backward(plan: &mut PlanBuilder, heads: &Heads, io: &AttentionBackward<'_>) {
    let rows = io.q.rows();
    for (name, tensor) in [("q", io.q), ("y", io.y), ("dy", io.dy), ("dq", io.dq)] {
        expect_shape(name, tensor, rows, heads.q_width());
    }
    for (name, tensor) in [("kv", io.kv), ("dkv", io.dkv)] {
        expect_shape(name, tensor, rows, heads.kv_width());
    }
    for (name, tensor) in [("lse", io.lse), ("delta", io.delta)] {
        expect_shape(name, tensor, rows, heads.heads);
    }
    let items = rows * heads.heads;
    let delta = AttentionDeltaParams { items: items as u32, head_dim: heads.head_dim as u32 };
    plan.dispatch(delta_shader(), &delta, &[io.y, io.dy, io.delta], per_element(items));
    let params = heads.params(rows);
    plan.dispatch(
        dq_shader(),
        &params,
        &[io.kv_range, io.q, io.kv, io.dy, io.lse, io.delta, io.dq],
        spread(items),
    );
    plan.dispatch(
        dkv_shader(),
        &params,
        &[io.query_range, io.q, io.kv, io.dy, io.lse, io.delta, io.dkv],
        spread(rows * heads.kv_heads),
    );
}
