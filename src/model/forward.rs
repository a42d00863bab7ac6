//! The forward pass: embedding, decoder layers, and the residual stream that the head reads.

use super::{Inputs, LayerBuffers, Lora, Model, PassBuffers};
use crate::config::{ModuleId, Projection};
use crate::gpu::{PlanBuilder, Tensor};
use crate::kernels::attention::attention;
use crate::kernels::gather::{gather, scatter};
use crate::kernels::matmul::{Columns, Nt};
use crate::kernels::rms_norm::rms_norm;
use crate::kernels::rope::{Direction, rope};
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
    /// Draw dropout masks on the adapter's inputs (their probability is one of the step's values).
    pub dropout: bool,
    /// Rotary table, at least as long as the largest position.
    pub rope_table: &'a Tensor,
    /// The rows.
    pub inputs: &'a Inputs,
    /// Activations for as many rows.
    pub buffers: &'a PassBuffers,
    /// With it, attention reads keys and values from the cache and `kv_range` counts its rows.
    pub cache: Option<&'a Cache>,
}

/// Adds the whole pass to a plan; the result is in `buffers.out`.
pub fn record_forward(plan: &mut PlanBuilder, pass: &Forward<'_>) {
    gather(plan, &pass.inputs.input_ids, &pass.model.weights().embed_tokens, &pass.buffers.layer(0).x);
    for layer in 0..pass.model.config().num_hidden_layers {
        pass.attention_block(plan, layer);
        pass.mlp_block(plan, layer);
        pass.mlp_output(plan, layer);
    }
}

impl Forward<'_> {
    /// Computes a layer's activations again from its input, to the bit (gradient checkpointing: Chen et al.,
    /// arXiv:1604.06174). What the layer hands on is not needed any more.
    pub(super) fn recompute(&self, plan: &mut PlanBuilder, layer: usize) {
        self.attention_block(plan, layer);
        self.mlp_block(plan, layer);
        self.low_rank(plan, layer, Projection::DownProj, &self.buffers.layer(layer).activated);
    }

    fn attention_block(&self, plan: &mut PlanBuilder, layer: usize) {
        let (buffers, model) = (self.buffers.layer(layer), self.model);
        let (heads, weights) = (model.heads(), &model.weights().layers[layer]);
        let eps = model.config().rms_norm_eps;
        let normed = &buffers.attention_in;
        rms_norm(plan, &buffers.x, &weights.input_layernorm, eps, normed, &buffers.attention_rstd);
        let half = heads.kv_width() / 2;
        self.linear(plan, layer, Projection::QProj, normed, (&buffers.q).into(), None);
        self.linear(plan, layer, Projection::KProj, normed, Columns::of(&buffers.kv, 0, half), None);
        self.linear(plan, layer, Projection::VProj, normed, Columns::of(&buffers.kv, half, half), None);
        for (x, heads) in [(&buffers.q, heads.heads), (&buffers.kv, heads.kv_heads)] {
            rope(plan, &self.inputs.positions, self.rope_table, x, heads, Direction::Forward);
        }
        let kv = match self.cache {
            None => &buffers.kv,
            Some(cache) => {
                scatter(plan, &cache.slots, &buffers.kv, &cache.layers[layer]);
                &cache.layers[layer]
            }
        };
        let LayerBuffers { q, attention_out, lse, .. } = buffers;
        attention(plan, &heads, &self.inputs.kv_range, q, kv, attention_out, lse);
        let middle = (&buffers.middle).into();
        self.linear(plan, layer, Projection::OProj, attention_out, middle, Some(&buffers.x));
    }

    fn mlp_block(&self, plan: &mut PlanBuilder, layer: usize) {
        let (buffers, model) = (self.buffers.layer(layer), self.model);
        let (weights, width) = (&model.weights().layers[layer], model.config().intermediate_size);
        let eps = model.config().rms_norm_eps;
        let normed = &buffers.mlp_in;
        rms_norm(plan, &buffers.middle, &weights.post_attention_layernorm, eps, normed, &buffers.mlp_rstd);
        let gate_up = &buffers.gate_up;
        self.linear(plan, layer, Projection::GateProj, normed, Columns::of(gate_up, 0, width), None);
        self.linear(plan, layer, Projection::UpProj, normed, Columns::of(gate_up, width, width), None);
        swiglu(plan, gate_up, &buffers.activated);
    }

    fn mlp_output(&self, plan: &mut PlanBuilder, layer: usize) {
        let buffers = self.buffers.layer(layer);
        let out = self.buffers.after(layer).into();
        self.linear(plan, layer, Projection::DownProj, &buffers.activated, out, Some(&buffers.middle));
    }

    /// `y = x·Wᵀ + s·(dropout(x)·Aᵀ)·Bᵀ + bias + residual`, the low-rank part as an extension of K.
    fn linear(
        &self,
        plan: &mut PlanBuilder,
        layer: usize,
        projection: Projection,
        x: &Tensor,
        y: Columns<'_>,
        residual: Option<&Tensor>,
    ) {
        let linear = self.model.weights().layers[layer].linear(projection);
        let base = Nt { bias: linear.bias.as_ref(), residual, ..Nt::new(x, &linear.weight, y) };
        match self.low_rank(plan, layer, projection, x) {
            None => base.add_to(plan),
            Some((xa, b)) => Nt { extension: Some((&xa, &b)), ..base }.add_to(plan),
        }
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
        let scale = module.module.scale;
        Nt { scale, dropout: self.dropout.then_some(module.index), ..Nt::new(x, &a, &xa) }.add_to(plan);
        Some((xa, module.b(lora.values())))
    }
}
