//! Gradients: of the adapter, and of the activations of the layer that a backward pass is in.

use super::buffers::{fused, inner_width, rows_of};
use super::{Lora, heads};
use crate::config::ModelConfig;
use crate::error::Result;
use crate::gpu::{Allocator, Dtype, MemoryUse, Tensor};
use crate::kernels::loss_scale::LossScale;
use crate::kernels::matmul_narrow::Shares;

/// Gradients of activations, shared by all layers, and of the adapter. Those of the MLP take the place of what they
/// are the gradients of ([`LayerBuffers`](super::LayerBuffers)).
#[derive(Clone)]
pub struct Gradients {
    /// Of the adapter, flat, added to.
    pub adapter: Tensor,
    /// Their norm, and the scale of the loss ([`LossScale`]).
    pub state: Tensor,
    /// Of the residual stream, `[rows, hidden_size]`.
    pub x: Tensor,
    /// Of a norm's output, or of what is normed before it is added to the residual stream.
    pub normed: Tensor,
    /// Of `attention_out`.
    pub attention_out: Tensor,
    /// `Σ dy·y` per row and head.
    pub delta: Tensor,
    /// Of `q`.
    pub q: Tensor,
    /// Of `kv`.
    pub kv: Tensor,
    /// Of a fused projection's output.
    pub qkv: Option<Tensor>,
    /// Of `xa`, `[rows, largest rank]`.
    pub xa: Tensor,
    /// Where the adapter's gradients of one layer are added up, if that is done in shares.
    pub shares: Option<Shares>,
}

impl Gradients {
    /// Gradients for up to `rows` rows.
    pub fn new(gpu: &dyn Allocator, config: &ModelConfig, lora: &Lora, rows: usize) -> Result<Self> {
        let heads = heads(config);
        gpu.begin(MemoryUse::Gradients);
        let adapter = lora.flat(gpu, "adapter gradient")?;
        gpu.begin(MemoryUse::Activations);
        let make = |label: &str, columns: usize| gpu.tensor(label, &[rows, columns], Dtype::F32);
        // A product in shares reads whole operands, four columns at a time, and adds up in the flat buffer.
        let widths = || lora.modules().flat_map(|m| [m.module.in_features, m.module.out_features]);
        let widest = widths().max().unwrap_or(0).max(inner_width(config)).max(heads.kv_width());
        let widest = Tensor::byte_size(&[rows, widest], Dtype::F32).unwrap_or(u64::MAX);
        let in_shares = widest.max(adapter.bytes()) <= gpu.part_limits().bytes
            && widths().all(|width| width.is_multiple_of(4));
        Ok(Self {
            adapter,
            state: LossScale::tensor(gpu)?,
            x: make("dx", config.hidden_size)?,
            normed: make("d_normed", config.hidden_size)?,
            attention_out: make("d_attention_out", heads.q_width())?,
            delta: make("delta", heads.heads)?,
            q: make("dq", heads.q_width())?,
            kv: make("dkv", heads.kv_width())?,
            qkv: fused(gpu, config, "dqkv", rows)?,
            xa: make("dxa", lora.max_rank())?,
            shares: if in_shares { Shares::new(gpu, rows, lora.largest_layer())? } else { None },
        })
    }

    /// The same memory for the first `rows` rows.
    pub fn first(&self, rows: usize) -> Self {
        let cut = |tensor: &Tensor| rows_of(tensor, rows);
        Self {
            adapter: self.adapter.clone(),
            state: self.state.clone(),
            x: cut(&self.x),
            normed: cut(&self.normed),
            attention_out: cut(&self.attention_out),
            delta: cut(&self.delta),
            q: cut(&self.q),
            kv: cut(&self.kv),
            qkv: self.qkv.as_ref().map(cut),
            xa: cut(&self.xa),
            shares: self.shares.clone(),
        }
    }
}
