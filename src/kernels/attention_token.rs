//! Attention of one row over a key-value cache, with all that happens to its queries and keys before. See
//! `shaders/attention_token.wgsl`, `shaders/attention_token_sum.wgsl`.
//!
//! One row has too few heads to fill a device, so the keys are shared out too: results of shares are weighed and added
//! up afterwards, if there are several.

use super::attention::{Heads, MAX_HEAD_DIM};
use super::{ROW, expect_shape, shader, spread, wgsl};
use crate::gpu::{PartLimits, PlanBuilder, Shader, Tensor, row_parts};
use crate::params;

params! {
    /// Parameter block of `attention_token.wgsl`.
    pub struct AttentionTokenParams {
        heads: u32, kv_heads: u32, head_dim: u32, rotary: u32, scale: f32,
        head_norm: u32, eps: f32,
        first: u32, count: u32, share_first: u32,
    }
}

params! {
    /// Parameter block of `attention_token_sum.wgsl`.
    pub struct AttentionTokenSumParams { heads: u32, head_dim: u32, shares: u32, }
}

/// Keys of a share; `SHARE` in the shader. A share's time is that of a few loads one after the other, so they are small.
const SHARE: usize = 64;

fn token_shader(fours: bool) -> Shader {
    let (name, part) = match fours {
        true => ("fours", wgsl!("shared/attention_fours")),
        false => ("ones", wgsl!("shared/attention_ones")),
    };
    let parts = [ROW, part, wgsl!("shared/attention_own"), wgsl!("attention_token")];
    shader::<AttentionTokenParams>("attention_token", name, &parts)
}

fn sum_shader() -> Shader {
    shader::<AttentionTokenSumParams>("attention_token_sum", "", &[wgsl!("attention_token_sum")])
}

pub(super) fn shaders() -> Vec<Shader> {
    vec![token_shader(true), token_shader(false), sum_shader()]
}

/// Shares of a cache of so many rows at most, however a device with these limits cuts it.
pub fn shares(capacity: usize, heads: &Heads, limits: &PartLimits) -> usize {
    let bytes = 4 * heads.kv_width() as u64 * capacity as u64;
    let cuts = if bytes <= limits.bytes { 0 } else { 2 * bytes.div_ceil(limits.bytes.max(1)) as usize };
    capacity.div_ceil(SHARE) + cuts
}

/// What it reads and writes; all of it f32 but `kv_range`.
pub struct TokenAttention<'a> {
    /// The keys that the row attends, of which the last is its own, `[1, 2]`.
    pub kv_range: &'a Tensor,
    /// Queries, keys and values as the projections give them, at least `[1, q_width + kv_width]`.
    pub qkv: &'a Tensor,
    /// Cosines and sines of the row's position, `[1, rotary]`; `None` turns nothing.
    pub angles: Option<&'a Tensor>,
    /// RMSNorm of the query heads and of the key heads, `[head_dim]` each, and its ε.
    pub head_norm: Option<([&'a Tensor; 2], f32)>,
    /// The cache, `[capacity, kv_width]`; the row's own key and value are written.
    pub cache: &'a Tensor,
    /// Results by share, `[shares, q_width]`.
    pub parts: &'a Tensor,
    /// Their log-sum-exp, `[shares, heads]`.
    pub lse: &'a Tensor,
    /// The result, `[1, q_width]`.
    pub y: &'a Tensor,
}

/// `y = softmax(scale·q·kᵀ)·v`.
pub fn attention_token(plan: &mut PlanBuilder, heads: &Heads, io: &TokenAttention<'_>) {
    assert!(heads.heads.is_multiple_of(heads.kv_heads) && heads.head_dim <= MAX_HEAD_DIM, "{heads:?}");
    assert!(io.qkv.len() >= heads.q_width() + heads.kv_width(), "queries, keys and values of one row");
    expect_shape("cache", io.cache, io.cache.rows(), heads.kv_width());
    expect_shape("y", io.y, 1, heads.q_width());
    let absent = plan.gpu().absent();
    let held = row_parts(&[io.cache]);
    let shares: usize = held.iter().map(|part| part.len().div_ceil(SHARE)).sum();
    assert!(io.parts.rows() >= shares && io.parts.columns() == heads.q_width(), "a row for each share");
    assert!(io.lse.rows() >= shares && io.lse.columns() == heads.heads, "a row for each share");
    let (y, lse) = (if shares == 1 { io.y } else { io.parts }, io.lse);
    let (norms, eps) = io.head_norm.unwrap_or(([&absent; 2], 0.0));
    let rotary = io.angles.map_or(0, Tensor::columns);
    assert!(rotary <= heads.head_dim, "no more columns turn than a head has");
    let mut share_first = 0;
    for part in &held {
        let params = AttentionTokenParams {
            heads: heads.heads as u32,
            kv_heads: heads.kv_heads as u32,
            head_dim: heads.head_dim as u32,
            rotary: rotary as u32,
            scale: heads.scale,
            head_norm: io.head_norm.is_some().into(),
            eps,
            first: part.start as u32,
            count: part.len() as u32,
            share_first: share_first as u32,
        };
        let angles = io.angles.unwrap_or(&absent);
        let bindings = [io.kv_range, io.qkv, angles, norms[0], norms[1], &io.cache.slice(part), y, lse];
        let of_part = part.len().div_ceil(SHARE);
        let shader = token_shader(heads.head_dim.is_multiple_of(4));
        plan.dispatch(shader, &params, &bindings, spread(of_part * heads.heads));
        share_first += of_part;
    }
    if shares > 1 {
        let params = AttentionTokenSumParams {
            heads: heads.heads as u32,
            head_dim: heads.head_dim as u32,
            shares: shares as u32,
        };
        plan.dispatch(sum_shader(), &params, &[io.parts, io.lse, io.y], [heads.heads as u32, 1, 1]);
    }
}
