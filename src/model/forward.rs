//! The forward pass: embedding, decoder layers, and the residual stream that the head reads.

use super::{Branch, Inputs, LayerBuffers, LayerWeights, Lora, LoraModule, Model, PassBuffers, Stage};
use crate::config::{Activation, ModuleId, NormRole, Projection, Role};
use crate::gpu::{PlanBuilder, Tensor};
use crate::kernels::add_rows;
use crate::kernels::attention::{AttentionForward, attention};
use crate::kernels::gather::{gather, scatter};
use crate::kernels::gelu::gelu;
use crate::kernels::halves::{pack_halves, unpack_halves};
use crate::kernels::head_norm::head_norm;
use crate::kernels::matmul::{Beside, Columns, Nt};
use crate::kernels::rope_heads::{Turn, rope_split};
use crate::kernels::swiglu::swiglu;

/// Keys and values of earlier tokens, for generation.
pub struct Cache {
    /// `[capacity, 2·kv_heads·head_dim]` of each layer.
    pub layers: Vec<Tensor>,
    /// Where each row of a pass is kept, `[rows]`; [`NONE`](crate::kernels::NONE) is not kept.
    pub slots: Tensor,
}

/// Everything that a forward pass reads and writes.
pub struct Forward<'a> {
    /// The base model.
    pub model: &'a Model,
    /// The adapter, if it is to act.
    pub lora: Option<&'a Lora>,
    /// How strongly it acts: a factor on its alpha/r, 1 as it is trained.
    pub adapter_scale: f32,
    /// Draw dropout masks on the adapter's inputs (their probability is one of the step's values).
    pub dropout: bool,
    /// Rotary tables ([`Model::rope_tables`]), at least as long as the largest position.
    pub rope_tables: &'a [Tensor],
    /// The rows.
    pub inputs: &'a Inputs,
    /// Activations for as many rows.
    pub buffers: &'a PassBuffers,
    /// With it, attention reads keys and values from the cache and `kv_range` counts its rows.
    pub cache: Option<&'a Cache>,
}

/// Adds the whole pass to a plan; the result is in `buffers.out`.
pub fn record_forward(plan: &mut PlanBuilder, pass: &Forward<'_>) {
    pass.embed(plan);
    for layer in 0..pass.model.config().num_hidden_layers {
        pass.attention_block(plan, layer);
        pass.mlp_block(plan, layer);
        pass.mlp_output(plan, layer);
        pass.keep(plan, layer);
    }
}

impl Forward<'_> {
    /// Computes a layer's activations again from its input, to the bit (gradient checkpointing: Chen et al.,
    /// arXiv:1604.06174). What the layer hands on is not needed any more, unless a norm stands before it; and the forward
    /// pass leaves those of the last layer behind.
    fn recompute(&self, plan: &mut PlanBuilder, layer: usize) {
        self.attention_block(plan, layer);
        self.mlp_block(plan, layer);
        let buffers = self.buffers.layer(layer);
        if buffers.branches.is_some() {
            self.mlp_output(plan, layer);
        } else {
            self.low_rank(plan, layer, self.model.projection(Role::Down), &buffers.activated);
        }
    }

    /// The tokens' embeddings, with learned positions if the model has them.
    fn embed(&self, plan: &mut PlanBuilder) {
        let (weights, inputs, x) = (self.model.weights(), self.inputs, &self.buffers.layer(0).x);
        gather(plan, &inputs.input_ids, &weights.embed_tokens, x);
        let scale = self.model.config().embedding_scale;
        if scale != 1.0 {
            add_rows::scale(plan, x, scale);
        }
        if let Some(positions) = &weights.embed_positions {
            add_rows::add_gathered(plan, x, positions, &inputs.positions);
        }
    }

    fn weights(&self, layer: usize) -> &LayerWeights {
        &self.model.weights().layers[layer]
    }

    fn attention_block(&self, plan: &mut PlanBuilder, layer: usize) {
        let (buffers, model) = (self.buffers.layer(layer), self.model);
        let (heads, config) = (model.heads(), &model.config().layers[layer]);
        self.norm_input(plan, layer, Stage::Qkv);
        self.query_key_value(plan, layer);
        rope_split(plan, &self.turn(layer), &self.buffers.qkv, [&buffers.q, &buffers.kv]);
        let kv = match self.cache {
            None => &buffers.kv,
            Some(cache) => {
                scatter(plan, &cache.slots, &buffers.kv, &cache.layers[layer]);
                &cache.layers[layer]
            }
        };
        let LayerBuffers { q, attention_out, lse, .. } = buffers;
        let kv_range = &self.inputs.ranges(config.is_sliding).kv_range;
        attention(plan, &heads, &AttentionForward { kv_range, q, kv, y: attention_out, lse });
        let branch = buffers.branches.as_ref().map(|[attention, _]| (NormRole::AttentionOutput, attention));
        self.output(plan, layer, Role::Output, attention_out, branch, [&buffers.x, &buffers.middle]);
    }

    /// How a layer's queries and keys turn.
    pub(super) fn turn(&self, layer: usize) -> Turn<'_> {
        let table = self.model.config().layers[layer].rope.map(|index| &self.rope_tables[index]);
        Turn { positions: &self.inputs.positions, table, head_dim: self.model.heads().head_dim }
    }

    /// Queries, keys and values of `normed`, with the norms of their heads, beside each other.
    fn query_key_value(&self, plan: &mut PlanBuilder, layer: usize) {
        let (buffers, heads, qkv) = (self.buffers.layer(layer), self.model.heads(), &self.buffers.qkv);
        let (x, q_width, half) = (&buffers.normed, heads.q_width(), heads.kv_width() / 2);
        if self.model.config().family.projection(Role::QueryKeyValue).is_some() {
            self.linear(plan, layer, Role::QueryKeyValue, x, qkv.into(), None);
            return;
        }
        let (q, k) = (Columns::of(qkv, 0, q_width), Columns::of(qkv, q_width, half));
        let raw = buffers.heads_in.as_ref();
        let whole = raw.is_none().then(|| qkv.into());
        let each = [
            (Role::Query, raw.map_or(q, |raw| (&raw.q).into())),
            (Role::Key, raw.map_or(k, |raw| (&raw.k).into())),
            (Role::Value, Columns::of(qkv, q_width + half, half)),
        ];
        self.stacked(plan, layer, Stage::Qkv, x, whole, &each);
        let Some(raw) = raw else { return };
        for (role, x, y, rstd) in
            [(NormRole::Query, &raw.q, q, &raw.q_rstd), (NormRole::Key, &raw.k, k, &raw.k_rstd)]
        {
            if let Some(norm) = self.weights(layer).norm(role) {
                head_norm(plan, x, &norm.weight, norm.eps, y, rstd);
            }
        }
    }

    fn mlp_block(&self, plan: &mut PlanBuilder, layer: usize) {
        let (buffers, config) = (self.buffers.layer(layer), self.model.config());
        let (normed, width) = (&buffers.normed, config.intermediate_size);
        self.norm_input(plan, layer, Stage::GateUp);
        let inner = &buffers.gate_up;
        if config.family.projection(Role::GateUp).is_some() {
            self.linear(plan, layer, Role::GateUp, normed, inner.into(), None);
        } else if config.family.is_gated() {
            let [gate, up] = [0, width].map(|first| Columns::of(inner, first, width));
            let each = [(Role::Gate, gate), (Role::Up, up)];
            self.stacked(plan, layer, Stage::GateUp, normed, Some(inner.into()), &each);
        } else {
            self.linear(plan, layer, Role::Up, normed, inner.into(), None);
        }
        let (activated, kept) = (&buffers.activated, buffers.kept_gate_up());
        match config.hidden_act {
            Activation::Silu => swiglu(plan, inner, activated, kept),
            Activation::GeluTanh => gelu(plan, inner, activated, kept),
        }
    }

    /// `normed`: the input of attention ([`Stage::Qkv`]) or of the MLP.
    fn norm_input(&self, plan: &mut PlanBuilder, layer: usize, stage: Stage) {
        let buffers = self.buffers.layer(layer);
        let streams = [&buffers.x, &buffers.middle];
        self.norm_of_input(plan, layer, stage, streams, buffers.kept_streams());
    }

    /// The same again, from what was kept.
    pub(super) fn restore_input(&self, plan: &mut PlanBuilder, layer: usize, stage: Stage) {
        self.norm_of_input(plan, layer, stage, self.buffers.layer(layer).streams(), [None; 2]);
    }

    fn norm_of_input(
        &self,
        plan: &mut PlanBuilder,
        layer: usize,
        stage: Stage,
        [x, middle]: [&Tensor; 2],
        [kept_x, kept_middle]: [Option<&Tensor>; 2],
    ) {
        let LayerBuffers { normed, attention_rstd, mlp_rstd, .. } = self.buffers.layer(layer);
        match stage {
            Stage::Qkv => {
                self.norm(plan, layer, NormRole::AttentionInput, x, [normed, attention_rstd], kept_x)
            }
            _ => self.norm(plan, layer, NormRole::MlpInput, middle, [normed, mlp_rstd], kept_middle),
        }
    }

    /// Rounds to 16 bits what is kept so.
    fn keep(&self, plan: &mut PlanBuilder, layer: usize) {
        for [x, kept] in self.buffers.layer(layer).rounded() {
            pack_halves(plan, x, kept);
        }
    }

    /// The layer's activations as the backward pass reads them.
    pub(super) fn restore(&self, plan: &mut PlanBuilder, layer: usize) {
        for [x, kept] in self.buffers.layer(layer).rounded() {
            unpack_halves(plan, kept, x);
        }
        if self.buffers.recomputed() && layer + 1 < self.model.config().num_hidden_layers {
            self.recompute(plan, layer);
        }
    }

    fn mlp_output(&self, plan: &mut PlanBuilder, layer: usize) {
        let buffers = self.buffers.layer(layer);
        let branch = buffers.branches.as_ref().map(|[_, mlp]| (NormRole::MlpOutput, mlp));
        let streams = [&buffers.middle, self.buffers.after(layer)];
        self.output(plan, layer, Role::Down, &buffers.activated, branch, streams);
    }

    fn norm(
        &self,
        plan: &mut PlanBuilder,
        layer: usize,
        role: NormRole,
        x: &Tensor,
        y_and_rstd: [&Tensor; 2],
        kept: Option<&Tensor>,
    ) {
        self.weights(layer).norm(role).expect("one of the family's").forward(plan, x, y_and_rstd, kept);
    }

    /// What attention or MLP adds to the residual stream: from `x` through the linear module `role`, and
    /// through a norm with its branch in families that have one. `streams`: before it and after it.
    fn output(
        &self,
        plan: &mut PlanBuilder,
        layer: usize,
        role: Role,
        x: &Tensor,
        branch: Option<(NormRole, &Branch)>,
        [before, after]: [&Tensor; 2],
    ) {
        match branch {
            None => self.linear(plan, layer, role, x, after.into(), Some(before)),
            Some((norm, branch)) => {
                self.linear(plan, layer, role, x, (&branch.x).into(), None);
                self.norm(plan, layer, norm, &branch.x, [after, &branch.rstd], None);
                add_rows::add(plan, after, before);
            }
        }
    }

    /// `y = x·Wᵀ + s·(dropout(x)·Aᵀ)·Bᵀ + bias + residual`, the low-rank part as an extension of K.
    fn linear(
        &self,
        plan: &mut PlanBuilder,
        layer: usize,
        role: Role,
        x: &Tensor,
        y: Columns<'_>,
        residual: Option<&Tensor>,
    ) {
        let projection = self.model.projection(role);
        let linear = self.weights(layer).linear(projection);
        let base = Nt { bias: linear.bias.as_ref(), residual, ..Nt::new(x, &linear.weight, y) };
        match self.low_rank(plan, layer, projection, x) {
            None => base.add_to(plan),
            Some((xa, b)) => Nt { extension: Some((&xa, &b)), ..base }.add_to(plan),
        }
    }

    /// The projections of a stage: in one product where their weights are one and `whole` has all of their columns.
    fn stacked(
        &self,
        plan: &mut PlanBuilder,
        layer: usize,
        of: Stage,
        x: &Tensor,
        whole: Option<Columns<'_>>,
        each: &[(Role, Columns<'_>)],
    ) {
        let id = |role: &Role| ModuleId { layer, projection: self.model.projection(*role) };
        let adapted = self.lora.filter(|lora| each.iter().any(|(role, _)| lora.module(id(role)).is_some()));
        let low_rank = adapted.and_then(|lora| {
            let stack = lora.stack(layer, of)?;
            let xa = self.buffers.layer(layer).xa(id(&each[0].0).projection, stack.columns());
            let scale = self.adapter_scale * stack.scale;
            Nt { scale, ..Nt::new(x, &stack.a(lora.values()), &xa) }.add_low_rank_to(plan);
            Some((xa, stack.b(lora.values()), stack.r))
        });
        let extension = low_rank.as_ref().map(|(xa, b, _)| (xa, b));
        match (self.weights(layer).stack(of), whole) {
            (Some(stack), Some(y)) if adapted.is_none() || low_rank.is_some() => {
                let (linear, beside) = (&stack.linear, Beside(&stack.widths));
                Nt { bias: linear.bias.as_ref(), extension, beside, ..Nt::new(x, &linear.weight, y) }
                    .add_to(plan);
            }
            _ => {
                for (i, &(role, y)) in each.iter().enumerate() {
                    let Some((lora, (xa, _, r))) = adapted.zip(low_rank.as_ref()) else {
                        self.linear(plan, layer, role, x, y, None);
                        continue;
                    };
                    let linear = self.weights(layer).linear(self.model.projection(role));
                    let b = lora.module(id(&role)).expect("all are adapted").b(lora.values());
                    let (bias, extension) = (linear.bias.as_ref(), Some((xa, &b)));
                    Nt { bias, extension, e_first: i * r, ..Nt::new(x, &linear.weight, y) }.add_to(plan);
                }
            }
        }
    }

    /// s: alpha/r, as strong as the adapter acts in this pass.
    pub(super) fn scale_of(&self, module: &LoraModule) -> f32 {
        self.adapter_scale * module.module.scale
    }

    /// `xa = s·dropout(x)·Aᵀ`, and B; `None` if the projection is not adapted.
    fn low_rank(
        &self,
        plan: &mut PlanBuilder,
        layer: usize,
        projection: Projection,
        x: &Tensor,
    ) -> Option<(Tensor, Tensor)> {
        let lora = self.lora?;
        let module = lora.module(ModuleId { layer, projection })?;
        let a = module.a(lora.values());
        let xa = self.buffers.layer(layer).xa(projection, module.module.r);
        let scale = self.scale_of(module);
        Nt { scale, dropout: self.dropout.then_some(module.index), ..Nt::new(x, &a, &xa) }
            .add_low_rank_to(plan);
        Some((xa, module.b(lora.values())))
    }
}
