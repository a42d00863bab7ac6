//! Causal grouped-query attention without a rows × rows matrix, forward and backward. See
//! `shaders/attention.wgsl`, `attention_delta.wgsl`, `attention_dq.wgsl`, `attention_dkv.wgsl`.
//!
//! Which keys a row attends is data (`kv_range`), not code: documents laid end to end in a batch, a
//! cache during generation and a sliding window are all ranges. That holds for tensors in several parts too:
//! of a row's range a dispatch takes what lies in its part, and goes on from the parts before.

use std::ops::Range;

use super::{expect_shape, per_element, shader, spread, wgsl};
use crate::gpu::{PlanBuilder, Shader, Tensor, row_parts};
use crate::params;

/// Largest `head_dim` that the kernels hold in workgroup memory.
pub const MAX_HEAD_DIM: usize = 256;

params! {
    /// Parameter block of the three per-head kernels.
    pub struct AttentionParams {
        rows: u32, heads: u32, kv_heads: u32, head_dim: u32, scale: f32,
        first: u32, count: u32, accumulate: u32,
    }
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
    /// For `rows` rows, and the rows `held` of the other side, of which those before were seen already.
    fn params(&self, rows: usize, held: &Range<usize>) -> AttentionParams {
        assert!(self.head_dim <= MAX_HEAD_DIM && self.heads.is_multiple_of(self.kv_heads));
        AttentionParams {
            rows: rows as u32,
            heads: self.heads as u32,
            kv_heads: self.kv_heads as u32,
            head_dim: self.head_dim as u32,
            scale: self.scale,
            first: held.start as u32,
            count: held.len() as u32,
            accumulate: (held.start > 0).into(),
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
    for part in row_parts(&[kv_range, q, y, lse]) {
        let [kv_range, q, y, lse] = [kv_range, q, y, lse].map(|tensor| tensor.slice(&part));
        for held in row_parts(&[kv]) {
            let params = heads.params(part.len(), &held);
            let bindings = [&kv_range, &q, &kv.slice(&held), &y, &lse];
            plan.dispatch(forward_shader(), &params, &bindings, spread(part.len() * heads.heads));
        }
    }
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
    let (queries, keys) = (
        row_parts(&[io.kv_range, io.q, io.y, io.lse, io.dy, io.delta, io.dq]),
        row_parts(&[io.query_range, io.kv, io.dkv]),
    );
    for rows in &queries {
        let of_q = |tensor: &Tensor| tensor.slice(rows);
        let (dy, delta) = (of_q(io.dy), of_q(io.delta));
        let items = rows.len() * heads.heads;
        let params = AttentionDeltaParams { items: items as u32, head_dim: heads.head_dim as u32 };
        plan.dispatch(delta_shader(), &params, &[&of_q(io.y), &dy, &delta], per_element(items));
        let (kv_range, q, lse, dq) = (of_q(io.kv_range), of_q(io.q), of_q(io.lse), of_q(io.dq));
        for held in &keys {
            let bindings = [&kv_range, &q, &io.kv.slice(held), &dy, &lse, &delta, &dq];
            plan.dispatch(dq_shader(), &heads.params(rows.len(), held), &bindings, spread(items));
        }
    }
    for rows in &keys {
        let [query_range, kv, dkv] = [io.query_range, io.kv, io.dkv].map(|tensor| tensor.slice(rows));
        for held in &queries {
            let [q, dy, lse, delta] = [io.q, io.dy, io.lse, io.delta].map(|tensor| tensor.slice(held));
            let bindings = [&query_range, &q, &kv, &dy, &lse, &delta, &dkv];
            let grid = spread(rows.len() * heads.kv_heads);
            plan.dispatch(dkv_shader(), &heads.params(rows.len(), held), &bindings, grid);
        }
    }
}
