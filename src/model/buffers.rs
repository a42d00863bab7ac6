//! Activations and gradients, made once for the largest number of rows; a pass over fewer rows uses
//! their first rows.

use std::collections::BTreeMap;

use super::{Lora, heads};
use crate::config::{Arithmetic, ModelConfig, NormRole, Projection, Role};
use crate::data::Batch;
use crate::error::Result;
use crate::gpu::{Allocator, Dtype, Gpu, MemoryUse, Tensor};
use crate::kernels::loss_scale::LossScale;
use crate::kernels::matmul_narrow::Shares;

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
    /// Who attends whom in layers that see everything before.
    pub full: Ranges,
    /// Who attends whom in layers with a sliding window, if the model has such layers.
    pub sliding: Option<Ranges>,
    /// Rows whose next token is a target, `[rows]`, then [`NONE`](crate::kernels::NONE).
    pub target_rows: Tensor,
    /// Those tokens, `[rows]`.
    pub target_ids: Tensor,
}

/// Which rows attend which.
#[derive(Clone)]
pub struct Ranges {
    /// First and one past the last key row that a row attends, `[rows, 2]`.
    pub kv_range: Tensor,
    /// First and one past the last row that attends a key row, `[rows, 2]`.
    pub query_range: Tensor,
}

impl Ranges {
    fn new(gpu: &dyn Allocator, rows: usize) -> Result<Self> {
        let pairs = |label: &str| gpu.tensor(label, &[rows, 2], Dtype::U32);
        Ok(Self { kv_range: pairs("kv_range")?, query_range: pairs("query_range")? })
    }

    fn first(&self, rows: usize) -> Self {
        Self { kv_range: rows_of(&self.kv_range, rows), query_range: rows_of(&self.query_range, rows) }
    }
}

impl Inputs {
    /// Inputs of a model for up to `rows` rows.
    pub fn new(gpu: &dyn Allocator, config: &ModelConfig, rows: usize) -> Result<Self> {
        let column = |label: &str| gpu.tensor(label, &[rows], Dtype::U32);
        Ok(Self {
            input_ids: column("input_ids")?,
            positions: column("positions")?,
            full: Ranges::new(gpu, rows)?,
            sliding: config.sliding_window.map(|_| Ranges::new(gpu, rows)).transpose()?,
            target_rows: column("target_rows")?,
            target_ids: column("target_ids")?,
        })
    }

    /// Uploads what describes a batch.
    pub fn write(&self, gpu: &Gpu, config: &ModelConfig, batch: &Batch) {
        gpu.write(&self.input_ids, &batch.input_ids);
        gpu.write(&self.positions, &batch.positions);
        gpu.write(&self.full.kv_range, &batch.kv_range);
        gpu.write(&self.full.query_range, &batch.query_range);
        if let (Some(ranges), Some(window)) = (&self.sliding, config.sliding_window) {
            gpu.write(&ranges.kv_range, &batch.sliding_kv_range(window));
            gpu.write(&ranges.query_range, &batch.sliding_query_range(window));
        }
        gpu.write(&self.target_rows, &batch.target_rows);
        gpu.write(&self.target_ids, &batch.target_ids);
    }

    /// The ranges of a layer.
    pub(super) fn ranges(&self, is_sliding: bool) -> &Ranges {
        match &self.sliding {
            Some(ranges) if is_sliding => ranges,
            _ => &self.full,
        }
    }

    /// The same memory for the first `rows` rows.
    pub fn first(&self, rows: usize) -> Self {
        Self {
            input_ids: rows_of(&self.input_ids, rows),
            positions: rows_of(&self.positions, rows),
            full: self.full.first(rows),
            sliding: self.sliding.as_ref().map(|ranges| ranges.first(rows)),
            target_rows: rows_of(&self.target_rows, rows),
            target_ids: rows_of(&self.target_ids, rows),
        }
    }
}

/// Columns of what the MLP activates: gate and up, or up alone.
pub(super) fn inner_width(config: &ModelConfig) -> usize {
    if config.family.is_gated() { 2 * config.intermediate_size } else { config.intermediate_size }
}

/// What one decoder layer computes, and its backward pass reads again.
#[derive(Clone)]
pub struct LayerBuffers {
    /// The residual stream on entry, `[rows, hidden_size]`.
    pub x: Tensor,
    /// After the norm before the attention.
    pub attention_in: Tensor,
    /// Its reciprocal root mean squares, `[rows]`.
    pub attention_rstd: Tensor,
    /// Queries, turned by their positions, `[rows, heads·head_dim]`.
    pub q: Tensor,
    /// Keys (turned) and values, `[rows, 2·kv_heads·head_dim]`.
    pub kv: Tensor,
    /// Queries and keys before their norms, in families that have them.
    pub heads_in: Option<HeadsIn>,
    /// Attention's output, `[rows, heads·head_dim]`.
    pub attention_out: Tensor,
    /// Log-sum-exp of the scores, `[rows, heads]`.
    pub lse: Tensor,
    /// The residual stream between attention and MLP.
    pub middle: Tensor,
    /// After the norm before the MLP.
    pub mlp_in: Tensor,
    /// Its reciprocal root mean squares, `[rows]`.
    pub mlp_rstd: Tensor,
    /// Gate and up projections, `[rows, 2·intermediate_size]`, or without a gate up alone.
    pub gate_up: Tensor,
    /// The activated gate times up, or up activated, `[rows, intermediate_size]`.
    pub activated: Tensor,
    /// What is added to the residual stream, before its norm, in families that have one there: the
    /// attention's part and the MLP's.
    pub branches: Option<[Branch; 2]>,
    /// `s·x·Aᵀ` of each adapted projection, `[rows, r]`.
    pub xa: BTreeMap<Projection, Tensor>,
}

/// Queries and keys before their norms.
#[derive(Clone)]
pub struct HeadsIn {
    /// Queries, `[rows, heads·head_dim]`.
    pub q: Tensor,
    /// Keys, `[rows, kv_heads·head_dim]`.
    pub k: Tensor,
    /// Reciprocal root mean squares of the query heads, `[rows, heads]`.
    pub q_rstd: Tensor,
    /// Those of the key heads, `[rows, kv_heads]`.
    pub k_rstd: Tensor,
}

/// The output of attention or MLP before its norm.
#[derive(Clone)]
pub struct Branch {
    /// `[rows, hidden_size]`.
    pub x: Tensor,
    /// Its reciprocal root mean squares, `[rows]`.
    pub rstd: Tensor,
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
        let mut xa = BTreeMap::new();
        for &projection in config.family.projections {
            // Shared by all layers, it must hold the largest rank of any of them.
            let rank = lora.and_then(|lora| {
                lora.modules()
                    .filter(|m| m.module.id.projection == projection)
                    .filter(|m| layer.is_none_or(|layer| m.module.id.layer == layer))
                    .map(|m| m.module.r)
                    .max()
            });
            if let Some(r) = rank {
                xa.insert(projection, make("xa", r)?);
            }
        }
        let heads_in = || -> Result<HeadsIn> {
            Ok(HeadsIn {
                q: make("q before norm", heads.q_width())?,
                k: make("k before norm", heads.kv_width() / 2)?,
                q_rstd: make("q_rstd", heads.heads)?,
                k_rstd: make("k_rstd", heads.kv_heads)?,
            })
        };
        let branch = |label: &str| -> Result<Branch> {
            Ok(Branch { x: make(label, config.hidden_size)?, rstd: make("branch rstd", 1)? })
        };
        let has = |role: NormRole| config.family.norm_name(role).is_some();
        Ok(Self {
            x: make("x", config.hidden_size)?,
            attention_in: make("attention_in", config.hidden_size)?,
            attention_rstd: make("attention_rstd", 1)?,
            q: make("q", heads.q_width())?,
            kv: make("kv", heads.kv_width())?,
            heads_in: has(NormRole::Query).then(heads_in).transpose()?,
            attention_out: make("attention_out", heads.q_width())?,
            lse: make("lse", heads.heads)?,
            middle: make("middle", config.hidden_size)?,
            mlp_in: make("mlp_in", config.hidden_size)?,
            mlp_rstd: make("mlp_rstd", 1)?,
            gate_up: make("gate_up", inner_width(config))?,
            activated: make("activated", config.intermediate_size)?,
            branches: match has(NormRole::AttentionOutput) {
                true => Some([branch("attention branch")?, branch("MLP branch")?]),
                false => None,
            },
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
            heads_in: self.heads_in.as_ref().map(|heads| HeadsIn {
                q: cut(&heads.q),
                k: cut(&heads.k),
                q_rstd: cut(&heads.q_rstd),
                k_rstd: cut(&heads.k_rstd),
            }),
            attention_out: cut(&self.attention_out),
            lse: cut(&self.lse),
            middle: cut(&self.middle),
            mlp_in: cut(&self.mlp_in),
            mlp_rstd: cut(&self.mlp_rstd),
            gate_up: cut(&self.gate_up),
            activated: cut(&self.activated),
            branches: self.branches.as_ref().map(|branches| {
                branches.each_ref().map(|branch| Branch { x: cut(&branch.x), rstd: cut(&branch.rstd) })
            }),
            xa: self.xa.iter().map(|(&projection, xa)| (projection, cut(xa))).collect(),
        }
    }

    /// `xa` of a projection with the rank of a module of this layer.
    pub fn xa(&self, projection: Projection, r: usize) -> Tensor {
        self.xa[&projection].narrowed(r)
    }
}

/// The activations of a whole pass.
#[derive(Clone)]
pub struct PassBuffers {
    layers: Vec<LayerBuffers>,
    recomputed: bool,
    /// The output of a fused projection to queries, keys and values, on its way to their own matrices.
    pub qkv: Option<Tensor>,
    /// The residual stream after the last layer.
    pub out: Tensor,
}

/// Workspace for the rows of a fused projection to queries, keys and values, if the family has one.
fn fused(gpu: &dyn Allocator, config: &ModelConfig, label: &str, rows: usize) -> Result<Option<Tensor>> {
    let Some(projection) = config.family.projection(Role::QueryKeyValue) else { return Ok(None) };
    let (columns, _) = config.projection_shape(projection);
    gpu.tensor(label, &[rows, columns], Dtype::F32).map(Some)
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
        let qkv = fused(gpu, config, "qkv", rows)?;
        Ok(Self { layers, recomputed: checkpointing, qkv, out: residual("out")? })
    }

    /// One set of activations that all layers share.
    pub fn for_inference(
        gpu: &dyn Allocator,
        config: &ModelConfig,
        lora: Option<&Lora>,
        rows: usize,
    ) -> Result<Self> {
        gpu.begin(MemoryUse::Activations);
        let layer = LayerBuffers::new(gpu, config, lora, rows, None)?;
        let qkv = fused(gpu, config, "qkv", rows)?;
        Ok(Self { out: layer.x.clone(), qkv, layers: vec![layer], recomputed: false })
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
            qkv: self.qkv.as_ref().map(|qkv| rows_of(qkv, rows)),
            out: rows_of(&self.out, rows),
        }
    }
}

/// Gradients of activations, shared by all layers, and of the adapter.
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
    /// Of a fused projection's output.
    pub qkv: Option<Tensor>,
    /// Of `xa`, `[rows, largest rank]`.
    pub xa: Tensor,
    /// Where the adapter's gradients of one layer are added up, if that is done in shares.
    pub shares: Option<Shares>,
}

impl Gradients {
    /// Gradients for up to `rows` rows.
    pub fn new(
        gpu: &dyn Allocator,
        config: &ModelConfig,
        lora: &Lora,
        rows: usize,
        arithmetic: Arithmetic,
    ) -> Result<Self> {
        let heads = heads(config);
        gpu.begin(MemoryUse::Gradients);
        let adapter = lora.flat(gpu, "adapter gradient")?;
        gpu.begin(MemoryUse::Activations);
        let make = |label: &str, columns: usize| gpu.tensor(label, &[rows, columns], Dtype::F32);
        // A product in shares reads whole operands, four columns at a time, and adds up in the flat buffer.
        let widths = || lora.modules().flat_map(|m| [m.module.in_features, m.module.out_features]);
        let widest = widths().max().unwrap_or(0).max(inner_width(config));
        let widest = Tensor::byte_size(&[rows, widest], Dtype::F32).unwrap_or(u64::MAX);
        let in_shares = arithmetic == Arithmetic::F16
            && widest.max(adapter.bytes()) <= gpu.part_limits().bytes
            && widths().all(|width| width.is_multiple_of(4));
        Ok(Self {
            adapter,
            state: LossScale::tensor(gpu)?,
            x: make("dx", config.hidden_size)?,
            normed: make("d_normed", config.hidden_size)?,
            activated: make("d_activated", config.intermediate_size)?,
            gate_up: make("d_gate_up", inner_width(config))?,
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
            activated: cut(&self.activated),
            gate_up: cut(&self.gate_up),
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
