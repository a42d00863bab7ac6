//! Activations, made once for the largest number of rows; a pass over fewer rows uses their first rows.

use std::collections::BTreeMap;

use super::{Lora, heads};
use crate::config::{ModelConfig, NormRole, Projection, Role};
use crate::error::Result;
use crate::gpu::{Allocator, Dtype, MemoryUse, Tensor};

/// The first `rows` rows of a buffer.
pub(super) fn rows_of(tensor: &Tensor, rows: usize) -> Tensor {
    let mut shape = tensor.shape().to_vec();
    shape[0] = rows;
    tensor.view(0, &shape)
}

/// Columns of what the MLP activates: gate and up, or up alone.
pub(super) fn inner_width(config: &ModelConfig) -> usize {
    if config.family.is_gated() { 2 * config.intermediate_size } else { config.intermediate_size }
}

/// What a forward pass keeps of each layer for the backward pass. What takes little to compute again, the norms' and
/// the activation's results, is not kept in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Every tensor.
    All,
    /// All but what is small, rounded to 16 bits. The forward pass itself computes with what it has in f32.
    Halves,
    /// The layer's input: gradient checkpointing (Chen et al., arXiv:1604.06174).
    Input,
}

/// What one decoder layer computes, and its backward pass reads again.
#[derive(Clone)]
pub struct LayerBuffers {
    /// The residual stream on entry, `[rows, hidden_size]`.
    pub x: Tensor,
    /// After the norm before attention or MLP; of all layers in turn.
    pub normed: Tensor,
    /// Reciprocal root mean squares of `x`, `[rows]`.
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
    /// Reciprocal root mean squares of `middle`, `[rows]`.
    pub mlp_rstd: Tensor,
    /// Gate and up projections, `[rows, 2·intermediate_size]`, or without a gate up alone; then their gradient.
    pub gate_up: Tensor,
    /// The activated gate times up, or up activated, `[rows, intermediate_size]`, and its gradient; of all layers in
    /// turn.
    pub activated: Tensor,
    /// What is added to the residual stream, before its norm, in families that have one there: the
    /// attention's part and the MLP's.
    pub branches: Option<[Branch; 2]>,
    /// `s·x·Aᵀ` of each adapted projection, `[rows, r]`.
    pub xa: BTreeMap<Projection, Tensor>,
    /// With [`Keep::Halves`]: those of these tensors that are of all layers in turn, each with what is kept of it.
    kept: Vec<[Tensor; 2]>,
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

/// One of a layer's tensors.
type Of = fn(&LayerBuffers) -> &Tensor;

impl LayerBuffers {
    fn heads_in(&self) -> &HeadsIn {
        self.heads_in.as_ref().expect("every layer has the same tensors")
    }

    fn branch(&self, index: usize) -> &Branch {
        &self.branches.as_ref().expect("every layer has the same tensors")[index]
    }

    /// For one layer, or with `None` for all of them in turn. `first` has the tensors that it shares with others.
    fn new(
        gpu: &dyn Allocator,
        config: &ModelConfig,
        lora: Option<&Lora>,
        rows: usize,
        layer: Option<usize>,
        first: Option<(&Self, Keep)>,
    ) -> Result<Self> {
        let heads = heads(config);
        let make = |label: &str, columns: usize| gpu.tensor(label, &[rows, columns], Dtype::F32);
        let shared = |label: &str, columns: usize, of: Of| match first {
            Some((first, _)) => Ok(of(first).clone()),
            None => make(label, columns),
        };
        let large = |label: &str, columns: usize, of: Of| match first {
            Some((first, Keep::Halves)) => Ok(of(first).clone()),
            _ => make(label, columns),
        };
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
                q: large("q before norm", heads.q_width(), |layer| &layer.heads_in().q)?,
                k: large("k before norm", heads.kv_width() / 2, |layer| &layer.heads_in().k)?,
                q_rstd: make("q_rstd", heads.heads)?,
                k_rstd: make("k_rstd", heads.kv_heads)?,
            })
        };
        let branch = |label: &str, of: Of| -> Result<Branch> {
            Ok(Branch { x: large(label, config.hidden_size, of)?, rstd: make("branch rstd", 1)? })
        };
        let has = |role: NormRole| config.family.norm_name(role).is_some();
        Ok(Self {
            x: large("x", config.hidden_size, |layer| &layer.x)?,
            normed: shared("normed", config.hidden_size, |layer| &layer.normed)?,
            attention_rstd: make("attention_rstd", 1)?,
            q: large("q", heads.q_width(), |layer| &layer.q)?,
            kv: large("kv", heads.kv_width(), |layer| &layer.kv)?,
            heads_in: has(NormRole::Query).then(heads_in).transpose()?,
            attention_out: large("attention_out", heads.q_width(), |layer| &layer.attention_out)?,
            lse: make("lse", heads.heads)?,
            middle: large("middle", config.hidden_size, |layer| &layer.middle)?,
            mlp_rstd: make("mlp_rstd", 1)?,
            gate_up: large("gate_up", inner_width(config), |layer| &layer.gate_up)?,
            activated: shared("activated", config.intermediate_size, |layer| &layer.activated)?,
            branches: match has(NormRole::AttentionOutput) {
                true => Some([
                    branch("attention branch", |layer| &layer.branch(0).x)?,
                    branch("MLP branch", |layer| &layer.branch(1).x)?,
                ]),
                false => None,
            },
            xa,
            kept: Vec::new(),
        })
    }

    /// Makes room for the tensors that are of all layers in turn with [`Keep::Halves`]. Operands of products in f16 are
    /// kept in that; the residual stream, which may leave its range, and what is added to it in bf16.
    fn keep_halves(&mut self, gpu: &dyn Allocator) -> Result<()> {
        let streams = [&self.x, &self.middle].into_iter();
        let streams = streams.chain(self.branches.iter().flatten().map(|branch| &branch.x));
        let operands = [&self.q, &self.kv, &self.attention_out, &self.gate_up].into_iter();
        let operands = operands.chain(self.heads_in.iter().flat_map(|heads| [&heads.q, &heads.k]));
        let (streams, operands) = (streams.map(|x| (x, Dtype::BF16)), operands.map(|x| (x, Dtype::F16)));
        self.kept = streams
            .chain(operands)
            .map(|(tensor, dtype)| Ok([tensor.clone(), gpu.tensor("kept", tensor.shape(), dtype)?]))
            .collect::<Result<_>>()?;
        Ok(())
    }

    /// What is kept in 16 bits, beside the tensors that it is kept of; there are always two of a type together.
    pub(super) fn kept_pairs(&self) -> impl Iterator<Item = [(&Tensor, &Tensor); 2]> {
        self.kept.chunks_exact(2).map(|pair| [(&pair[0][0], &pair[0][1]), (&pair[1][0], &pair[1][1])])
    }

    fn first(&self, rows: usize) -> Self {
        let cut = |tensor: &Tensor| rows_of(tensor, rows);
        Self {
            x: cut(&self.x),
            normed: cut(&self.normed),
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
            mlp_rstd: cut(&self.mlp_rstd),
            gate_up: cut(&self.gate_up),
            activated: cut(&self.activated),
            branches: self.branches.as_ref().map(|branches| {
                branches.each_ref().map(|branch| Branch { x: cut(&branch.x), rstd: cut(&branch.rstd) })
            }),
            xa: self.xa.iter().map(|(&projection, xa)| (projection, cut(xa))).collect(),
            kept: self.kept.iter().map(|kept| kept.each_ref().map(cut)).collect(),
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
pub(super) fn fused(
    gpu: &dyn Allocator,
    config: &ModelConfig,
    label: &str,
    rows: usize,
) -> Result<Option<Tensor>> {
    let Some(projection) = config.family.projection(Role::QueryKeyValue) else { return Ok(None) };
    let (columns, _) = config.projection_shape(projection);
    gpu.tensor(label, &[rows, columns], Dtype::F32).map(Some)
}

impl PassBuffers {
    /// For a forward pass and the backward pass after it.
    pub fn for_training(
        gpu: &dyn Allocator,
        config: &ModelConfig,
        lora: &Lora,
        rows: usize,
        keep: Keep,
    ) -> Result<Self> {
        gpu.begin(MemoryUse::Activations);
        let residual = |label: &str| gpu.tensor(label, &[rows, config.hidden_size], Dtype::F32);
        let count = config.num_hidden_layers;
        let mut layers: Vec<LayerBuffers> = Vec::with_capacity(count);
        if keep == Keep::Input {
            // One set of the rest, which the backward pass computes again.
            layers.push(LayerBuffers::new(gpu, config, Some(lora), rows, None, None)?);
            for _ in 1..count {
                layers.push(LayerBuffers { x: residual("x")?, ..layers[0].clone() });
            }
        } else {
            for layer in 0..count {
                let first = layers.first().map(|first| (first, keep));
                layers.push(LayerBuffers::new(gpu, config, Some(lora), rows, Some(layer), first)?);
            }
        }
        if keep == Keep::Halves {
            // A layer's input is still there when that of the next one has been written.
            let odd = residual("x")?;
            layers.iter_mut().skip(1).step_by(2).for_each(|layer| layer.x = odd.clone());
            // The forward pass leaves those of the last layer behind.
            for layer in layers.iter_mut().rev().skip(1) {
                layer.keep_halves(gpu)?;
            }
        }
        let qkv = fused(gpu, config, "qkv", rows)?;
        Ok(Self { layers, recomputed: keep == Keep::Input, qkv, out: residual("out")? })
    }

    /// One set of activations that all layers share.
    pub fn for_inference(
        gpu: &dyn Allocator,
        config: &ModelConfig,
        lora: Option<&Lora>,
        rows: usize,
    ) -> Result<Self> {
        gpu.begin(MemoryUse::Activations);
        let layer = LayerBuffers::new(gpu, config, lora, rows, None, None)?;
        let qkv = fused(gpu, config, "qkv", rows)?;
        Ok(Self { out: layer.x.clone(), qkv, layers: vec![layer], recomputed: false })
    }

    /// The same memory for a pass after which there is no backward pass: it keeps nothing.
    pub fn forward_only(mut self) -> Self {
        self.layers.iter_mut().for_each(|layer| layer.kept.clear());
        self
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
