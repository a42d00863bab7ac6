//! Activations and gradients, made once for the largest number of rows; a pass over fewer rows uses
//! their first rows.

use super::{Lora, Model, heads};
use crate::config::ModelConfig;
use crate::error::Result;
use crate::gpu::{Allocator, Dtype, MemoryUse, Tensor};

/// The first `rows` rows of a buffer.
pub(super) fn rows_of(tensor: &Tensor, rows: usize) -> Tensor {
    let mut shape = tensor.shape().to_vec();
    shape[0] = rows;
    tensor.view(0, &shape)
}

/// What describes the rows of a pass.
#[derive(Clone)]
pub struct Inputs {
    /// Token ids, `[rows]`.
    pub input_ids: Tensor,
    /// Positions in the row's document, `[rows]`.
    pub positions: Tensor,
    /// First and one past the last key row that a row attends, `[rows, 2]`.
    pub kv_range: Tensor,
    /// First and one past the last row that attends a key row, `[rows, 2]`.
    pub query_range: Tensor,
    /// Rows whose next token is a target, `[rows]`, then [`NONE`](crate::kernels::NONE).
    pub target_rows: Tensor,
    /// Those tokens, `[rows]`.
    pub target_ids: Tensor,
}

impl Inputs {
    /// Inputs for up to `rows` rows.
    pub fn new(gpu: &dyn Allocator, rows: usize) -> Result<Self> {
        let column = |label: &str| gpu.tensor(label, &[rows], Dtype::U32);
        let pairs = |label: &str| gpu.tensor(label, &[rows, 2], Dtype::U32);
        Ok(Self {
            input_ids: column("input_ids")?,
            positions: column("positions")?,
            kv_range: pairs("kv_range")?,
            query_range: pairs("query_range")?,
            target_rows: column("target_rows")?,
            target_ids: column("target_ids")?,
        })
    }

    /// The same memory for the first `rows` rows.
    pub fn first(&self, rows: usize) -> Self {
        Self {
            input_ids: rows_of(&self.input_ids, rows),
            positions: rows_of(&self.positions, rows),
            kv_range: rows_of(&self.kv_range, rows),
            query_range: rows_of(&self.query_range, rows),
            target_rows: rows_of(&self.target_rows, rows),
            target_ids: rows_of(&self.target_ids, rows),
        }
    }
}

/// What one decoder layer computes, and its backward pass reads again.
#[derive(Clone)]
pub struct LayerBuffers {
    /// The residual stream on entry, `[rows, hidden_size]`.
    pub x: Tensor,
    /// After `input_layernorm`.
    pub attention_in: Tensor,
    /// Its reciprocal root mean squares, `[rows]`.
    pub attention_rstd: Tensor,
    /// Queries, turned by their positions, `[rows, heads·head_dim]`.
    pub q: Tensor,
    /// Keys (turned) and values, `[rows, 2·kv_heads·head_dim]`.
    pub kv: Tensor,
    /// Attention's output, `[rows, heads·head_dim]`.
    pub attention_out: Tensor,
    /// Log-sum-exp of the scores, `[rows, heads]`.
    pub lse: Tensor,
    /// The residual stream between attention and MLP.
    pub middle: Tensor,
    /// After `post_attention_layernorm`.
    pub mlp_in: Tensor,
    /// Its reciprocal root mean squares, `[rows]`.
    pub mlp_rstd: Tensor,
    /// Gate and up projections, `[rows, 2·intermediate_size]`.
    pub gate_up: Tensor,
    /// `silu(gate) ⊙ up`, `[rows, intermediate_size]`.
    pub activated: Tensor,
    /// `s·x·Aᵀ` of each adapted projection, `[rows, r]`; by `Projection as usize`.
    pub xa: Vec<Option<Tensor>>,
}

impl LayerBuffers {
    /// For one layer, or with `None` for all of them in turn.
    fn new(
        gpu: &dyn Allocator,
        config: &ModelConfig,
        lora: Option<&Lora>,
        rows: usize,
        layer: Option<usize>,
    ) -> Result<Self> {
        let heads = heads(config);
        let make = |label: &str, columns: usize| gpu.tensor(label, &[rows, columns], Dtype::F32);
        let mut xa = Vec::new();
        for projection in crate::config::Projection::ALL {
            // Shared by all layers, it must hold the largest rank of any of them.
            let rank = lora.and_then(|lora| {
                lora.modules()
                    .filter(|m| m.module.id.projection == projection)
                    .filter(|m| layer.is_none_or(|layer| m.module.id.layer == layer))
                    .map(|m| m.module.r)
                    .max()
            });
            xa.push(rank.map(|r| make("xa", r)).transpose()?);
        }
        Ok(Self {
            x: make("x", config.hidden_size)?,
            attention_in: make("attention_in", config.hidden_size)?,
            attention_rstd: make("attention_rstd", 1)?,
            q: make("q", heads.q_width())?,
            kv: make("kv", heads.kv_width())?,
            attention_out: make("attention_out", heads.q_width())?,
            lse: make("lse", heads.heads)?,
            middle: make("middle", config.hidden_size)?,
            mlp_in: make("mlp_in", config.hidden_size)?,
            mlp_rstd: make("mlp_rstd", 1)?,
            gate_up: make("gate_up", 2 * config.intermediate_size)?,
            activated: make("activated", config.intermediate_size)?,
            xa,
        })
    }

    fn first(&self, rows: usize) -> Self {
        let cut = |tensor: &Tensor| rows_of(tensor, rows);
        Self {
            x: cut(&self.x),
            attention_in: cut(&self.attention_in),
            attention_rstd: cut(&self.attention_rstd),
            q: cut(&self.q),
            kv: cut(&self.kv),
            attention_out: cut(&self.attention_out),
            lse: cut(&self.lse),
            middle: cut(&self.middle),
            mlp_in: cut(&self.mlp_in),
            mlp_rstd: cut(&self.mlp_rstd),
            gate_up: cut(&self.gate_up),
            activated: cut(&self.activated),
            xa: self.xa.iter().map(|xa| xa.as_ref().map(cut)).collect(),
        }
    }

    /// `xa` of a projection with the rank of a module of this layer.
    pub fn xa(&self, projection: crate::config::Projection, r: usize) -> Tensor {
        let whole = self.xa[projection as usize].as_ref().expect("made for every adapted projection");
        whole.narrowed(r)
    }
}

/// The activations of a whole pass.
#[derive(Clone)]
pub struct PassBuffers {
    layers: Vec<LayerBuffers>,
    recomputed: bool,
    /// The residual stream after the last layer.
    pub out: Tensor,
}

impl PassBuffers {
    /// Keeps every layer's activations, as a backward pass needs; with `checkpointing` only every layer's
    /// input, beside one set of the rest that all layers share and the backward pass computes again.
    pub fn for_training(
        gpu: &dyn Allocator,
        config: &ModelConfig,
        lora: &Lora,
        rows: usize,
        checkpointing: bool,
    ) -> Result<Self> {
        gpu.begin(MemoryUse::Activations);
        let residual = |label: &str| gpu.tensor(label, &[rows, config.hidden_size], Dtype::F32);
        let layers = 0..config.num_hidden_layers;
        let layers: Vec<_> = if checkpointing {
            let shared = LayerBuffers::new(gpu, config, Some(lora), rows, None)?;
            let first = shared.x.clone();
            layers
                .map(|layer| {
                    let x = if layer == 0 { first.clone() } else { residual("x")? };
                    Ok(LayerBuffers { x, ..shared.clone() })
                })
                .collect::<Result<_>>()?
        } else {
            layers
                .map(|layer| LayerBuffers::new(gpu, config, Some(lora), rows, Some(layer)))
                .collect::<Result<_>>()?
        };
        Ok(Self { layers, recomputed: checkpointing, out: residual("out")? })
    }

    /// One set of activations that all layers share.
    pub fn for_inference(model: &Model, lora: Option<&Lora>, rows: usize) -> Result<Self> {
        let layer = LayerBuffers::new(model.gpu(), model.config(), lora, rows, None)?;
        Ok(Self { out: layer.x.clone(), layers: vec![layer], recomputed: false })
    }

    /// Whether the backward pass finds a layer's input only, and those of the last layer.
    pub fn recomputed(&self) -> bool {
        self.recomputed
    }

    /// The activations of a layer.
    pub fn layer(&self, layer: usize) -> &LayerBuffers {
        &self.layers[layer.min(self.layers.len() - 1)]
    }

    /// Where the output of a layer goes: the next one's input.
    pub fn after(&self, layer: usize) -> &Tensor {
        self.layers.get(layer + 1).map_or(&self.out, |next| &next.x)
    }

    /// The same memory for the first `rows` rows.
    pub fn first(&self, rows: usize) -> Self {
        Self {
            layers: self.layers.iter().map(|layer| layer.first(rows)).collect(),
            recomputed: self.recomputed,
            out: rows_of(&self.out, rows),
        }
    }
}

/// Gradients of activations, shared by all layers, and of the adapter.
#[derive(Clone)]
pub struct Gradients {
    /// Of the adapter, flat, added to.
    pub adapter: Tensor,
    /// Of the residual stream, `[rows, hidden_size]`.
    pub x: Tensor,
    /// Of a norm's output.
    pub normed: Tensor,
    /// Of `activated`.
    pub activated: Tensor,
    /// Of `gate_up`.
    pub gate_up: Tensor,
    /// Of `attention_out`.
    pub attention_out: Tensor,
    /// `Σ dy·y` per row and head.
    pub delta: Tensor,
    /// Of `q`.
    pub q: Tensor,
    /// Of `kv`.
    pub kv: Tensor,
    /// Of `xa`, `[rows, largest rank]`.
    pub xa: Tensor,
}

impl Gradients {
    /// Gradients for up to `rows` rows.
    pub fn new(gpu: &dyn Allocator, config: &ModelConfig, lora: &Lora, rows: usize) -> Result<Self> {
        let heads = heads(config);
        gpu.begin(MemoryUse::Gradients);
        let adapter = lora.flat(gpu, "adapter gradient")?;
        gpu.begin(MemoryUse::Activations);
        let make = |label: &str, columns: usize| gpu.tensor(label, &[rows, columns], Dtype::F32);
        Ok(Self {
            adapter,
            x: make("dx", config.hidden_size)?,
            normed: make("d_normed", config.hidden_size)?,
            activated: make("d_activated", config.intermediate_size)?,
            gate_up: make("d_gate_up", 2 * config.intermediate_size)?,
            attention_out: make("d_attention_out", heads.q_width())?,
            delta: make("delta", heads.heads)?,
            q: make("dq", heads.q_width())?,
            kv: make("dkv", heads.kv_width())?,
            xa: make("dxa", lora.max_rank())?,
        })
    }

    /// The same memory for the first `rows` rows.
    pub fn first(&self, rows: usize) -> Self {
        let cut = |tensor: &Tensor| rows_of(tensor, rows);
        Self {
            adapter: self.adapter.clone(),
            x: cut(&self.x),
            normed: cut(&self.normed),
            activated: cut(&self.activated),
            gate_up: cut(&self.gate_up),
            attention_out: cut(&self.attention_out),
            delta: cut(&self.delta),
            q: cut(&self.q),
            kv: cut(&self.kv),
            xa: cut(&self.xa),
        }
    }
}
