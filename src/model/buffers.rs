//! Activations, made once for the largest number of rows; a pass over fewer rows uses their first rows.

use std::collections::BTreeMap;

use super::{Gradients, Lora, heads};
use crate::config::{ModelConfig, ModuleId, NormRole, Projection};
use crate::error::Result;
use crate::gpu::{Allocator, Dtype, MemoryUse, Tensor};
use crate::kernels::fits_halves;
use crate::kernels::matmul_narrow::fits_narrow;

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
    /// All but what is small, in 16 bits: what goes into a product, or into attention, is f16 from where it is made, as
    /// cooperative matrices read it anyway; what norms read again, and may leave f16's range, is rounded to bf16.
    Halves,
    /// The layer's input: gradient checkpointing (Chen et al., arXiv:1604.06174).
    Input,
}

impl Keep {
    /// Whether a run over so many rows can have [`Keep::Halves`]: kernels read these four at a time, and the adapter's
    /// gradients must be added up in shares.
    pub(crate) fn suits_halves(gpu: &dyn Allocator, config: &ModelConfig, lora: &Lora, rows: usize) -> bool {
        // Half of a head's columns that turn are read together.
        let rotary = config.rope_parameters.iter().map(|rope| rope.rotary_dim / 2);
        let mut widths =
            [config.hidden_size, config.intermediate_size, heads(config).head_dim].into_iter().chain(rotary);
        // An operand in 16 bits that is multiplied by A or B has no other kernels: a rank may be odd.
        let mut sides = lora.modules().flat_map(|m| [m.module.in_features, m.module.out_features]);
        widths.all(fits_halves) && sides.all(fits_narrow) && Gradients::in_shares(gpu, config, lora, rows)
    }
}

/// What one decoder layer computes, and its backward pass reads again. "Operands" are f16 with [`Keep::Halves`], and f32
/// without.
#[derive(Clone)]
pub struct LayerBuffers {
    /// The residual stream on entry, `[rows, hidden_size]`.
    pub x: Tensor,
    /// After the norm before attention or MLP, an operand; of all layers in turn.
    pub normed: Tensor,
    /// Reciprocal root mean squares of `x`, `[rows]`.
    pub attention_rstd: Tensor,
    /// Queries, turned by their positions, `[rows, heads·head_dim]`, an operand.
    pub q: Tensor,
    /// Keys (turned) and values, `[rows, 2·kv_heads·head_dim]`, an operand.
    pub kv: Tensor,
    /// Queries and keys before their norms, in families that have them.
    pub heads_in: Option<HeadsIn>,
    /// Attention's output, `[rows, heads·head_dim]`, an operand.
    pub attention_out: Tensor,
    /// Log-sum-exp of the scores, `[rows, heads]`.
    pub lse: Tensor,
    /// The residual stream between attention and MLP.
    pub middle: Tensor,
    /// Reciprocal root mean squares of `middle`, `[rows]`.
    pub mlp_rstd: Tensor,
    /// Gate and up projections, `[rows, 2·intermediate_size]`, or without a gate up alone, in f32.
    pub gate_up: Tensor,
    /// The activated gate times up, or up activated, `[rows, intermediate_size]`, an operand; of all layers in turn.
    pub activated: Tensor,
    /// What is added to the residual stream, before its norm, in families that have one there: the
    /// attention's part and the MLP's.
    pub branches: Option<[Branch; 2]>,
    /// `s·x·Aᵀ` of each adapted projection, `[rows, r]`; of those of a stack beside each other, under the first's name.
    pub xa: BTreeMap<Projection, Tensor>,
    /// With [`Keep::Halves`]: what is kept of tensors that are of all layers in turn.
    halves: Option<Halves>,
}

/// What [`Keep::Halves`] keeps beside the operands.
#[derive(Clone)]
struct Halves {
    /// `x` and `middle` in bf16.
    streams: [Tensor; 2],
    /// `gate_up`, then its gradient, in f16.
    gate_up: Tensor,
    /// Other tensors, each with what is kept of it.
    rounded: Vec<[Tensor; 2]>,
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
        keep: Keep,
        first: Option<&Self>,
    ) -> Result<Self> {
        let heads = heads(config);
        let halves = keep == Keep::Halves;
        let typed = |label: &str, columns: usize, dtype: Dtype| gpu.tensor(label, &[rows, columns], dtype);
        let make = |label: &str, columns: usize| typed(label, columns, Dtype::F32);
        let operand = if halves { Dtype::F16 } else { Dtype::F32 };
        let shared = |label: &str, columns: usize, dtype: Dtype, of: Of| match first {
            Some(first) => Ok(of(first).clone()),
            None => typed(label, columns, dtype),
        };
        // What is kept in 16 bits is in f32 of all layers in turn.
        let large = |label: &str, columns: usize, of: Of| match first {
            Some(first) if halves => Ok(of(first).clone()),
            _ => make(label, columns),
        };
        let mut xa = BTreeMap::new();
        for &projection in config.family.projections {
            // Shared by all layers, it must hold the most columns of any of them.
            let layers = layer.map_or(0..config.num_hidden_layers, |layer| layer..layer + 1);
            let of_layer =
                |lora: &Lora, layer| lora.xa_columns(config.family, ModuleId { layer, projection });
            let columns = lora.and_then(|lora| layers.map(|layer| of_layer(lora, layer)).max());
            if let Some(columns) = columns.filter(|&columns| columns > 0) {
                xa.insert(projection, make("xa", columns)?);
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
        let mut buffers = Self {
            x: large("x", config.hidden_size, |layer| &layer.x)?,
            normed: shared("normed", config.hidden_size, operand, |layer| &layer.normed)?,
            attention_rstd: make("attention_rstd", 1)?,
            q: typed("q", heads.q_width(), operand)?,
            kv: typed("kv", heads.kv_width(), operand)?,
            heads_in: has(NormRole::Query).then(heads_in).transpose()?,
            attention_out: typed("attention_out", heads.q_width(), operand)?,
            lse: make("lse", heads.heads)?,
            middle: large("middle", config.hidden_size, |layer| &layer.middle)?,
            mlp_rstd: make("mlp_rstd", 1)?,
            gate_up: large("gate_up", inner_width(config), |layer| &layer.gate_up)?,
            activated: shared("activated", config.intermediate_size, operand, |layer| &layer.activated)?,
            branches: match has(NormRole::AttentionOutput) {
                true => Some([
                    branch("attention branch", |layer| &layer.branch(0).x)?,
                    branch("MLP branch", |layer| &layer.branch(1).x)?,
                ]),
                false => None,
            },
            xa,
            halves: None,
        };
        if halves {
            buffers.halves = Some(buffers.make_halves(gpu)?);
        }
        Ok(buffers)
    }

    fn make_halves(&self, gpu: &dyn Allocator) -> Result<Halves> {
        let kept = |x: &Tensor, dtype: Dtype| gpu.tensor("kept", x.shape(), dtype);
        let heads = self.heads_in.iter().flat_map(|heads| [&heads.q, &heads.k]);
        let branches = self.branches.iter().flatten().map(|branch| &branch.x);
        let rounded = heads.map(|x| (x, Dtype::F16)).chain(branches.map(|x| (x, Dtype::BF16)));
        Ok(Halves {
            streams: [kept(&self.x, Dtype::BF16)?, kept(&self.middle, Dtype::BF16)?],
            gate_up: kept(&self.gate_up, Dtype::F16)?,
            rounded: rounded.map(|(x, dtype)| Ok([x.clone(), kept(x, dtype)?])).collect::<Result<_>>()?,
        })
    }

    /// Where the norms before attention and MLP leave what the backward pass reads of their inputs, if it does not find
    /// these themselves.
    pub(super) fn kept_streams(&self) -> [Option<&Tensor>; 2] {
        self.halves.as_ref().map_or([None; 2], |halves| halves.streams.each_ref().map(Some))
    }

    /// The inputs of these norms as the backward pass finds them.
    pub(super) fn streams(&self) -> [&Tensor; 2] {
        let [x, middle] = self.kept_streams();
        [x.unwrap_or(&self.x), middle.unwrap_or(&self.middle)]
    }

    /// Where the activation leaves its input, if the backward pass does not find it itself.
    pub(super) fn kept_gate_up(&self) -> Option<&Tensor> {
        self.halves.as_ref().map(|halves| &halves.gate_up)
    }

    /// The activation's input as the backward pass finds it; then its gradient, an operand.
    pub(super) fn inner(&self) -> &Tensor {
        self.kept_gate_up().unwrap_or(&self.gate_up)
    }

    /// What is rounded to 16 bits after the layer, beside what is kept of it.
    pub(super) fn rounded(&self) -> impl Iterator<Item = [&Tensor; 2]> {
        self.halves.iter().flat_map(|halves| &halves.rounded).map(|pair| pair.each_ref())
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
            halves: self.halves.as_ref().map(|halves| Halves {
                streams: halves.streams.each_ref().map(cut),
                gate_up: cut(&halves.gate_up),
                rounded: halves.rounded.iter().map(|pair| pair.each_ref().map(cut)).collect(),
            }),
        }
    }

    /// `xa` of a projection with as many columns as it has in this layer.
    pub fn xa(&self, projection: Projection, columns: usize) -> Tensor {
        self.xa[&projection].narrowed(columns)
    }
}

/// The activations of a whole pass.
#[derive(Clone)]
pub struct PassBuffers {
    layers: Vec<LayerBuffers>,
    recomputed: bool,
    /// Queries, keys and values beside each other, as their projections give them, `[rows, q_width + kv_width]`; of all
    /// layers in turn.
    pub qkv: Tensor,
    /// The residual stream after the last layer.
    pub out: Tensor,
}

/// Columns of queries, keys and values together.
pub(super) fn qkv_width(config: &ModelConfig) -> usize {
    heads(config).q_width() + heads(config).kv_width()
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
            layers.push(LayerBuffers::new(gpu, config, Some(lora), rows, None, keep, None)?);
            for _ in 1..count {
                layers.push(LayerBuffers { x: residual("x")?, ..layers[0].clone() });
            }
        } else {
            for layer in 0..count {
                let first = layers.first();
                layers.push(LayerBuffers::new(gpu, config, Some(lora), rows, Some(layer), keep, first)?);
            }
        }
        let qkv = gpu.tensor("qkv", &[rows, qkv_width(config)], Dtype::F32)?;
        // A layer's input is not needed any more when its output is written, if what is kept of it is another tensor.
        let out = if keep == Keep::Halves { layers[0].x.clone() } else { residual("out")? };
        Ok(Self { layers, recomputed: keep == Keep::Input, qkv, out })
    }

    /// One set of activations that all layers share.
    pub fn for_inference(
        gpu: &dyn Allocator,
        config: &ModelConfig,
        lora: Option<&Lora>,
        rows: usize,
    ) -> Result<Self> {
        gpu.begin(MemoryUse::Activations);
        let layer = LayerBuffers::new(gpu, config, lora, rows, None, Keep::All, None)?;
        let qkv = gpu.tensor("qkv", &[rows, qkv_width(config)], Dtype::F32)?;
        Ok(Self { out: layer.x.clone(), qkv, layers: vec![layer], recomputed: false })
    }

    /// The same memory for a pass after which there is no backward pass: nothing is rounded.
    pub fn forward_only(mut self) -> Self {
        let halves = self.layers.iter_mut().filter_map(|layer| layer.halves.as_mut());
        halves.for_each(|halves| halves.rounded.clear());
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
            qkv: rows_of(&self.qkv, rows),
            out: rows_of(&self.out, rows),
        }
    }
}
