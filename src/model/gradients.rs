//! Gradients: of the adapter, and of the activations of the layer that a backward pass is in.

use super::buffers::{inner_width, qkv_width, rows_of};
use super::{Keep, Lora, heads};
use crate::config::ModelConfig;
use crate::error::Result;
use crate::gpu::{Allocator, Dtype, MemoryUse, Tensor};
use crate::kernels::loss_scale::LossScale;
use crate::kernels::matmul_narrow::Shares;

/// Gradients of activations, shared by all layers, and of the adapter. That of what the MLP activates takes that one's
/// place ([`LayerBuffers::inner`](super::LayerBuffers)). "Operands" are f16 with
/// [`Keep::Halves`](super::Keep::Halves), and f32 without.
#[derive(Clone)]
pub struct Gradients {
    /// Of the adapter, flat, added to.
    pub adapter: Tensor,
    /// Their norm, and the scale of the loss ([`LossScale`]).
    pub state: Tensor,
    /// Of the residual stream, `[rows, hidden_size]`.
    pub x: Tensor,
    /// `x`, or what is normed before it is added to it, as an operand, if that is another tensor.
    pub operand: Option<Tensor>,
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
    /// Of queries, keys and values beside each other, before they are turned; an operand.
    pub qkv: Tensor,
    /// Of `activated`.
    pub activated: Tensor,
    /// Of `xa`, `[rows, most columns of any]`.
    pub xa: Tensor,
    /// Where the adapter's gradients of one layer are added up, if that is done in shares.
    pub shares: Option<Shares>,
}

impl Gradients {
    /// Gradients for up to `rows` rows, of activations that are kept so; with [`Keep::Halves`] only if
    /// [`Self::in_shares`].
    pub fn new(
        gpu: &dyn Allocator,
        config: &ModelConfig,
        lora: &Lora,
        rows: usize,
        keep: Keep,
    ) -> Result<Self> {
        let heads = heads(config);
        gpu.begin(MemoryUse::Gradients);
        let adapter = lora.flat(gpu, "adapter gradient")?;
        gpu.begin(MemoryUse::Activations);
        let make = |label: &str, columns: usize| gpu.tensor(label, &[rows, columns], Dtype::F32);
        let halves = keep == Keep::Halves;
        let operand = |label: &str, columns: usize| {
            gpu.tensor(label, &[rows, columns], if halves { Dtype::F16 } else { Dtype::F32 })
        };
        Ok(Self {
            adapter,
            state: LossScale::tensor(gpu)?,
            x: make("dx", config.hidden_size)?,
            normed: make("d_normed", config.hidden_size)?,
            attention_out: make("d_attention_out", heads.q_width())?,
            delta: make("delta", heads.heads)?,
            q: make("dq", heads.q_width())?,
            kv: make("dkv", heads.kv_width())?,
            qkv: operand("dqkv", qkv_width(config))?,
            operand: if halves { Some(operand("dx as an operand", config.hidden_size)?) } else { None },
            activated: make("d_activated", config.intermediate_size)?,
            xa: make("dxa", lora.max_columns())?,
            shares: if Self::in_shares(gpu, config, lora, rows) {
                Shares::new(gpu, rows, lora.largest_layer())?
            } else {
                None
            },
        })
    }

    /// Whether the adapter's gradients can be added up in shares: a product in shares reads whole operands, four columns
    /// at a time, and adds up in the flat buffer.
    pub fn in_shares(gpu: &dyn Allocator, config: &ModelConfig, lora: &Lora, rows: usize) -> bool {
        let widths = || lora.modules().flat_map(|m| [m.module.in_features, m.module.out_features]);
        let widest = widths().max().unwrap_or(0).max(inner_width(config)).max(qkv_width(config));
        let widest = Tensor::byte_size(&[rows, widest], Dtype::F32).unwrap_or(u64::MAX);
        widest.max(lora.values().bytes()) <= gpu.part_limits().bytes
            && widths().all(|width| width.is_multiple_of(4))
    }

    /// The same in f32 throughout.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn leave_f16(&mut self, gpu: &dyn Allocator) -> Result<()> {
        gpu.begin(MemoryUse::Activations);
        self.qkv = gpu.tensor("dqkv", self.qkv.shape(), Dtype::F32)?;
        self.operand = None;
        Ok(())
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
            qkv: cut(&self.qkv),
            operand: self.operand.as_ref().map(cut),
            activated: cut(&self.activated),
            xa: cut(&self.xa),
            shares: self.shares.clone(),
        }
    }
}
