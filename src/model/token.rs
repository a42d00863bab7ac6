//! The pass of one token over the caches of those before it, in few dispatches: norms, LoRA, biases, activations and
//! residuals are taken on the way by the products ([`Matvec`]), and all of a head's affairs by its attention.
//!
//! What it computes is what [`record_forward`](super::record_forward) does; sums are added up in another order.

use super::buffers::{Branch, inner_width};
use super::{LayerWeights, Lora, LoraModule, Model, NormWeight, heads};
use crate::config::{Activation, ModelConfig, ModuleId, NormRole, Projection, Role};
use crate::error::Result;
use crate::gpu::{Allocator, Dtype, Gpu, MemoryUse, PlanBuilder, Tensor};
use crate::kernels::add_rows;
use crate::kernels::attention_token::{TokenAttention, attention_token, shares};
use crate::kernels::copy_columns::copy_columns;
use crate::kernels::gather::gather;
use crate::kernels::gelu::gelu;
use crate::kernels::matmul::Columns;
use crate::kernels::matvec::{Form, LowRank, Matvec, RowNorm, RowWeight};
use crate::kernels::sample::TokenState;
use crate::kernels::swiglu::swiglu;

/// Modules that read the same x: roles, or halves of a fused module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Joint {
    /// Queries, keys and values.
    QueryKeyValue,
    /// Gate and up, or up alone.
    GateUp,
    /// The attention's output.
    Output,
    /// Down.
    Down,
}

/// Rows of a linear module.
struct Share {
    projection: Projection,
    first: usize,
    count: usize,
}

impl Joint {
    fn shares(self, config: &ModelConfig) -> Vec<Share> {
        let family = config.family;
        let whole = |role: Role| {
            let projection = family.projection(role)?;
            Some(Share { projection, first: 0, count: config.projection_shape(projection).0 })
        };
        let roles: &[Role] = match self {
            Self::QueryKeyValue if family.projection(Role::QueryKeyValue).is_some() => &[Role::QueryKeyValue],
            Self::QueryKeyValue => &[Role::Query, Role::Key, Role::Value],
            Self::GateUp => {
                if let Some(projection) = family.projection(Role::GateUp) {
                    let count = config.intermediate_size;
                    return [0, count].map(|first| Share { projection, first, count }).into();
                }
                if family.is_gated() { &[Role::Gate, Role::Up] } else { &[Role::Up] }
            }
            Self::Output => &[Role::Output],
            Self::Down => &[Role::Down],
        };
        roles.iter().filter_map(|&role| whole(role)).collect()
    }

    fn has_bias(self, config: &ModelConfig) -> bool {
        self.shares(config).iter().any(|share| config.has_bias(share.projection))
    }
}

/// What a token's pass reads and writes, beside weights and caches. Each result of a product has room behind it for
/// what LoRA's A makes of the input.
pub struct TokenBuffers {
    /// Of its first `hidden_size` columns: the residual stream.
    hidden: Tensor,
    normed: Tensor,
    rstd: Tensor,
    angles: Vec<Tensor>,
    qkv: Tensor,
    parts: Tensor,
    lse: Tensor,
    attention_out: Tensor,
    /// What is added to the residual stream, before its norm, in families that have one there.
    branch: Option<Branch>,
    gate_up: Tensor,
    activated: Tensor,
    /// Biases of each layer's projections that are several: of queries, keys and values, and of gate and up.
    biases: Vec<[Option<Tensor>; 2]>,
    logits: Tensor,
}

impl TokenBuffers {
    /// For caches of `capacity` rows.
    ///
    /// # Errors
    /// When the device has no room for them.
    pub fn new(
        gpu: &dyn Allocator,
        config: &ModelConfig,
        lora: Option<&Lora>,
        capacity: usize,
    ) -> Result<Self> {
        gpu.begin(MemoryUse::Activations);
        let (heads, ranks) = (heads(config), 3 * lora.map_or(0, Lora::max_rank));
        let row = |label: &str, columns: usize| gpu.tensor(label, &[1, columns], Dtype::F32);
        let shares = shares(capacity, &heads, &gpu.part_limits());
        let bias = |joint: Joint| -> Result<Option<Tensor>> {
            let shares = joint.shares(config);
            let columns = shares.iter().map(|share| share.count).sum();
            let several = shares.len() > 1 && joint.has_bias(config);
            several.then(|| row("biases", columns)).transpose()
        };
        let branch = || -> Result<Branch> {
            Ok(Branch { x: row("branch", config.hidden_size + ranks)?, rstd: row("branch rstd", 1)? })
        };
        Ok(Self {
            hidden: row("hidden", config.hidden_size + ranks)?,
            normed: row("normed", config.hidden_size)?,
            rstd: row("rstd", 1)?,
            angles: (config.rope_parameters.iter())
                .map(|parameters| row("angles", parameters.rotary_dim))
                .collect::<Result<_>>()?,
            qkv: row("qkv", heads.q_width() + heads.kv_width() + ranks)?,
            parts: gpu.tensor("attention by share", &[shares, heads.q_width()], Dtype::F32)?,
            lse: gpu.tensor("lse by share", &[shares, heads.heads], Dtype::F32)?,
            attention_out: row("attention_out", heads.q_width())?,
            branch: config.family.norm_name(NormRole::AttentionOutput).map(|_| branch()).transpose()?,
            gate_up: row("gate_up", inner_width(config) + ranks)?,
            activated: row("activated", config.intermediate_size + ranks)?,
            biases: (0..config.num_hidden_layers)
                .map(|_| Ok([bias(Joint::QueryKeyValue)?, bias(Joint::GateUp)?]))
                .collect::<Result<_>>()?,
            logits: row("logits", config.vocab_size)?,
        })
    }

    /// Logits of the token that follows, `[1, vocab_size]`.
    pub fn logits(&self) -> &Tensor {
        &self.logits
    }

    /// The residual stream, `[1, hidden_size]`.
    pub fn hidden(&self, config: &ModelConfig) -> Tensor {
        self.hidden.narrowed(config.hidden_size)
    }

    /// Puts the biases together that are taken at once.
    pub fn fill(&self, gpu: &Gpu, model: &Model) {
        let mut plan = PlanBuilder::new(gpu);
        for (layer, biases) in model.weights().layers.iter().zip(&self.biases) {
            for (joint, to) in [Joint::QueryKeyValue, Joint::GateUp].into_iter().zip(biases) {
                let Some(to) = to else { continue };
                let mut at = 0;
                for share in joint.shares(model.config()) {
                    if let Some(bias) = &layer.linear(share.projection).bias {
                        let bias = bias.view(0, &[1, bias.len()]);
                        let bias = Columns::of(&bias, share.first, share.count);
                        copy_columns(&mut plan, bias, Columns::of(to, at, share.count));
                    }
                    at += share.count;
                }
            }
        }
        gpu.run_whole(&plan.finish());
    }
}

/// Everything that the pass of a token reads and writes.
pub struct TokenPass<'a> {
    /// The base model.
    pub model: &'a Model,
    /// The adapter, if it is to act.
    pub lora: Option<&'a Lora>,
    /// How strongly it acts: a factor on its alpha/r.
    pub adapter_scale: f32,
    /// Rotary tables ([`Model::rope_tables`]), as long as the caches.
    pub rope_tables: &'a [Tensor],
    /// The token and its position.
    pub state: &'a TokenState,
    /// Its own buffers.
    pub buffers: &'a TokenBuffers,
    /// Keys and values of each layer, `[capacity, 2·kv_heads·head_dim]`.
    pub caches: &'a [Tensor],
}

impl TokenPass<'_> {
    /// Adds the pass to a plan, up to the logits.
    pub fn record(&self, plan: &mut PlanBuilder) {
        self.embed(plan);
        for layer in 0..self.model.config().num_hidden_layers {
            self.attention_block(plan, layer);
            self.mlp_block(plan, layer);
        }
        self.head(plan);
    }

    /// Adds the last norm and the vocabulary projection of [`TokenBuffers::hidden`].
    pub fn head(&self, plan: &mut PlanBuilder) {
        let (weights, buffers) = (self.model.weights(), self.buffers);
        let (x, norm) = self.normed(plan, &buffers.hidden, &weights.norm);
        let head = [RowWeight::from(&weights.lm_head)];
        Matvec { norm, ..Matvec::new(x, &head, &buffers.logits) }.add_to(plan);
    }

    fn weights(&self, layer: usize) -> &LayerWeights {
        &self.model.weights().layers[layer]
    }

    fn embed(&self, plan: &mut PlanBuilder) {
        let (weights, config) = (self.model.weights(), self.model.config());
        let (hidden, positions) = (self.buffers.hidden(config), self.state.positions());
        gather(plan, &self.state.input_ids(), &weights.embed_tokens, &hidden);
        for (table, angles) in self.rope_tables.iter().zip(&self.buffers.angles) {
            gather(plan, &positions, table, angles);
        }
        if config.embedding_scale != 1.0 {
            add_rows::scale(plan, &hidden, config.embedding_scale);
        }
        if let Some(table) = &weights.embed_positions {
            add_rows::add_gathered(plan, &hidden, table, &positions);
        }
    }

    fn attention_block(&self, plan: &mut PlanBuilder, layer: usize) {
        let (model, buffers, weights) = (self.model, self.buffers, self.weights(layer));
        let (heads, config) = (model.heads(), &model.config().layers[layer]);
        self.linear(plan, layer, Joint::QueryKeyValue, &buffers.hidden, &buffers.qkv);
        let norms = [NormRole::Query, NormRole::Key].map(|role| weights.norm(role));
        let head_norm = match norms {
            [Some(query), Some(key)] => Some(([&query.weight, &key.weight], query.eps)),
            _ => None,
        };
        let io = TokenAttention {
            kv_range: &self.state.kv_range(config.is_sliding),
            qkv: &buffers.qkv,
            angles: config.rope.map(|index| &buffers.angles[index]),
            head_norm,
            cache: &self.caches[layer],
            parts: &buffers.parts,
            lse: &buffers.lse,
            y: &buffers.attention_out,
        };
        attention_token(plan, &heads, &io);
        self.output(plan, layer, Joint::Output, &buffers.attention_out, NormRole::AttentionOutput);
    }

    fn mlp_block(&self, plan: &mut PlanBuilder, layer: usize) {
        let buffers = self.buffers;
        self.linear(plan, layer, Joint::GateUp, &buffers.hidden, &buffers.activated);
        self.output(plan, layer, Joint::Down, &buffers.activated, NormRole::MlpOutput);
    }

    /// What attention or MLP adds to the residual stream, through a norm in families that have one there.
    fn output(&self, plan: &mut PlanBuilder, layer: usize, joint: Joint, x: &Tensor, norm: NormRole) {
        let (buffers, config) = (self.buffers, self.model.config());
        match (&buffers.branch, self.weights(layer).norm(norm)) {
            (Some(branch), Some(norm)) => {
                self.linear(plan, layer, joint, x, &branch.x);
                let x = branch.x.narrowed(config.hidden_size);
                norm.forward(plan, &x, [&buffers.normed, &branch.rstd], None);
                add_rows::add(plan, &buffers.hidden(config), &buffers.normed);
            }
            _ => self.linear(plan, layer, joint, x, &buffers.hidden),
        }
    }

    /// `x` under a norm: what a product reads, and what it has to do to it.
    fn normed<'t>(
        &'t self,
        plan: &mut PlanBuilder,
        x: &'t Tensor,
        norm: &'t NormWeight,
    ) -> (&'t Tensor, Option<RowNorm<'t>>) {
        let NormWeight { weight, bias, eps } = norm;
        if bias.is_none() {
            return (x, Some(RowNorm { weight, eps: Some(*eps) }));
        }
        let buffers = self.buffers;
        norm.forward(plan, &x.narrowed(weight.len()), [&buffers.normed, &buffers.rstd], None);
        (&buffers.normed, None)
    }

    /// `y = f(x·Wᵀ + s·(x·Aᵀ)·Bᵀ + bias)` of modules that read the same x, with the norm before them and the activation
    /// after them; added to y where that is the residual stream.
    fn linear(&self, plan: &mut PlanBuilder, layer: usize, joint: Joint, x: &Tensor, y: &Tensor) {
        let (config, weights) = (self.model.config(), self.weights(layer));
        let norm = match joint {
            Joint::QueryKeyValue => weights.norm(NormRole::AttentionInput),
            Joint::GateUp => weights.norm(NormRole::MlpInput),
            Joint::Output | Joint::Down => None,
        };
        let (x, norm) = norm.map_or((x, None), |norm| self.normed(plan, x, norm));
        let form = match (joint, config.hidden_act, config.family.is_gated()) {
            (Joint::GateUp, Activation::Silu, true) => Form::SiluPairs,
            (Joint::GateUp, Activation::GeluTanh, true) => Form::GeluPairs,
            (Joint::GateUp, _, false) => Form::Gelu,
            _ => Form::Columns,
        };
        let shares = joint.shares(config);
        let module = |share: &Share| -> Option<(&Lora, &LoraModule)> {
            let lora = self.lora?;
            Some((lora, lora.module(ModuleId { layer, projection: share.projection })?))
        };
        let rows: Vec<_> = (shares.iter())
            .map(|share| RowWeight {
                first: share.first,
                count: share.count,
                low_rank: module(share).map(|(_, m)| LowRank { at: m.b_at, r: m.module.r }),
                ..(&weights.linear(share.projection).weight).into()
            })
            .collect();
        let a: Vec<_> = shares
            .iter()
            .filter_map(|share| {
                let (lora, module) = module(share)?;
                Some((module.a(lora.values()), self.adapter_scale * module.module.scale))
            })
            .collect();
        let a: Vec<_> = a.iter().map(|(a, scale)| RowWeight { scale: *scale, ..a.into() }).collect();
        let [of_qkv, of_gate_up] = &self.buffers.biases[layer];
        let bias = match (&shares[..], joint) {
            ([share], _) => weights.linear(share.projection).bias.as_ref(),
            (_, Joint::QueryKeyValue) => of_qkv.as_ref(),
            _ => of_gate_up.as_ref(),
        };
        let is_output = matches!(joint, Joint::Output | Joint::Down);
        let accumulate = is_output && self.buffers.branch.is_none();
        let adapter = self.lora.map(Lora::values);
        let product =
            |form: Form, y| Matvec { norm, bias, adapter, form, accumulate, ..Matvec::new(x, &rows, y) };
        let low_rank = |plan: &mut PlanBuilder, y, e| {
            if !a.is_empty() {
                let norm = norm.map(|norm| RowNorm { eps: None, ..norm });
                Matvec { norm, y_first: e, ..Matvec::new(x, &a, y) }.add_to(plan);
            }
        };
        let is_pairs = matches!(form, Form::SiluPairs | Form::GeluPairs);
        let columns: usize = shares.iter().map(|share| share.count).sum();
        if !is_pairs || product(form, y).is_one(plan) {
            let e = if is_pairs { columns / 2 } else { columns };
            low_rank(plan, y, e);
            Matvec { e, ..product(form, y) }.add_to(plan);
            return;
        }
        // Weights in several parts: gate and up first, then what becomes of them.
        let gate_up = &self.buffers.gate_up;
        low_rank(plan, gate_up, columns);
        Matvec { e: columns, ..product(Form::Columns, gate_up) }.add_to(plan);
        let (gate_up, y) = (gate_up.narrowed(columns), y.narrowed(columns / 2));
        match form {
            Form::SiluPairs => swiglu(plan, &gate_up, &y, None),
            _ => gelu(plan, &gate_up, &y, None),
        }
    }
}
