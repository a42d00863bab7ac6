//! The backward pass: layers in reverse, gradients of A and B only, and nothing below the lowest adapted
//! layer.
//!
//! With `xa = s·dropout(x)·Aᵀ` kept from the forward pass and `dxa = s·dy·B`:
//! `dB += dyᵀ·xa`, `dA += dxaᵀ·dropout(x)`, `dx = mask ⊙ (dxa·A) + dy·W` (LoRA: Hu et al.,
//! arXiv:2106.09685; the derivatives are the chain rule on its equation 3).

use super::{Forward, Gradients, LayerBuffers, LoraModule};
use crate::config::{ModuleId, Projection};
use crate::gpu::{PlanBuilder, Tensor};
use crate::kernels::attention::{AttentionBackward, attention_backward};
use crate::kernels::matmul::{Columns, Nn, matmul_tn};
use crate::kernels::rms_norm::rms_norm_backward;
use crate::kernels::rope::{Direction, rope};
use crate::kernels::swiglu::swiglu_backward;

/// Where in a layer a projection stands, in the order of the forward pass. Projections of one stage read
/// the same input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Qkv,
    Output,
    GateUp,
    Down,
}

fn stage(projection: Projection) -> Stage {
    match projection {
        Projection::QProj | Projection::KProj | Projection::VProj => Stage::Qkv,
        Projection::OProj => Stage::Output,
        Projection::GateProj | Projection::UpProj => Stage::GateUp,
        Projection::DownProj => Stage::Down,
    }
}

/// Adds the backward pass of `pass` (recorded with an adapter) to a plan. `gradients.x` holds the gradient
/// of the pass's result; `gradients.adapter` is added to.
pub fn record_backward(plan: &mut PlanBuilder, pass: &Forward<'_>, gradients: &Gradients) {
    let modules = pass.lora.into_iter().flat_map(|lora| lora.modules());
    let lowest = modules.map(|m| (m.module.id.layer, stage(m.module.id.projection))).min();
    let Some(lowest) = lowest else { return };
    let layers = pass.model.config().num_hidden_layers;
    for layer in (lowest.0..layers).rev() {
        // The forward pass leaves those of the last layer behind.
        if pass.buffers.recomputed() && layer + 1 < layers {
            pass.recompute(plan, layer);
        }
        Backward { pass, gradients, layer, lowest }.layer(plan);
    }
}

struct Backward<'a> {
    pass: &'a Forward<'a>,
    gradients: &'a Gradients,
    layer: usize,
    lowest: (usize, Stage),
}

impl Backward<'_> {
    /// Whether anything before this stage is adapted, so that the gradient of its input is needed.
    fn goes_on(&self, stage: Stage) -> bool {
        (self.layer, stage) > self.lowest
    }

    fn layer(&self, plan: &mut PlanBuilder) {
        let (pass, g) = (self.pass, self.gradients);
        let (model, buffers) = (pass.model, pass.buffers.layer(self.layer));
        let (heads, weights) = (model.heads(), &model.weights().layers[self.layer]);
        let width = model.config().intermediate_size;

        self.linear(plan, Projection::DownProj, &buffers.activated, (&g.x).into(), &g.activated, false);
        if !self.goes_on(Stage::Down) {
            return;
        }
        swiglu_backward(plan, &buffers.gate_up, &g.activated, &g.gate_up);
        let (gate, up) = (Columns::of(&g.gate_up, 0, width), Columns::of(&g.gate_up, width, width));
        self.linear(plan, Projection::GateProj, &buffers.mlp_in, gate, &g.normed, false);
        self.linear(plan, Projection::UpProj, &buffers.mlp_in, up, &g.normed, true);
        if !self.goes_on(Stage::GateUp) {
            return;
        }
        let LayerBuffers { middle, mlp_rstd, x, attention_rstd, .. } = buffers;
        rms_norm_backward(plan, middle, &weights.post_attention_layernorm, mlp_rstd, &g.normed, &g.x, true);

        let out = &buffers.attention_out;
        self.linear(plan, Projection::OProj, out, (&g.x).into(), &g.attention_out, false);
        if !self.goes_on(Stage::Output) {
            return;
        }
        let io = AttentionBackward {
            kv_range: &pass.inputs.kv_range,
            query_range: &pass.inputs.query_range,
            q: &buffers.q,
            kv: &buffers.kv,
            y: out,
            lse: &buffers.lse,
            dy: &g.attention_out,
            delta: &g.delta,
            dq: &g.q,
            dkv: &g.kv,
        };
        attention_backward(plan, &heads, &io);
        for (dx, heads) in [(&g.q, heads.heads), (&g.kv, heads.kv_heads)] {
            rope(plan, &pass.inputs.positions, pass.rope_table, dx, heads, Direction::Backward);
        }
        let half = heads.kv_width() / 2;
        let (k, v) = (Columns::of(&g.kv, 0, half), Columns::of(&g.kv, half, half));
        self.linear(plan, Projection::QProj, &buffers.attention_in, (&g.q).into(), &g.normed, false);
        self.linear(plan, Projection::KProj, &buffers.attention_in, k, &g.normed, true);
        self.linear(plan, Projection::VProj, &buffers.attention_in, v, &g.normed, true);
        if !self.goes_on(Stage::Qkv) {
            return;
        }
        rms_norm_backward(plan, x, &weights.input_layernorm, attention_rstd, &g.normed, &g.x, true);
    }

    /// The adapter's gradients of one projection with input `x` and output gradient `dy`, and
    /// `dx (+)=` the gradient of its input where it is needed.
    fn linear(
        &self,
        plan: &mut PlanBuilder,
        projection: Projection,
        x: &Tensor,
        dy: Columns<'_>,
        dx: &Tensor,
        accumulate: bool,
    ) {
        let id = ModuleId { layer: self.layer, projection };
        let weight = &self.pass.model.weights().layers[self.layer].linear(projection).weight;
        let base = Nn { accumulate, ..Nn::new(dy, weight, dx) };
        let goes_on = self.goes_on(stage(projection));
        let Some((lora, module)) = self.pass.lora.and_then(|lora| Some((lora, lora.module(id)?))) else {
            if goes_on {
                base.add_to(plan);
            }
            return;
        };
        let dropout = self.pass.dropout.then_some(module.index);
        let dxa = self.adapter(plan, module, x, dy, dropout);
        if goes_on {
            let a = module.a(lora.values());
            Nn { extension: Some((&dxa, &a)), dropout, ..base }.add_to(plan);
        }
    }

    /// Adds to `dA` and `dB`; returns `dxa = s·dy·B`.
    fn adapter(
        &self,
        plan: &mut PlanBuilder,
        module: &LoraModule,
        x: &Tensor,
        dy: Columns<'_>,
        dropout: Option<u32>,
    ) -> Tensor {
        let lora = self.pass.lora.expect("the module is one of its");
        let r = module.module.r;
        let xa = self.pass.buffers.layer(self.layer).xa(module.module.id.projection, r);
        let dxa = self.gradients.xa.narrowed(r);
        matmul_tn(plan, dy, &xa, &module.b(&self.gradients.adapter), None);
        let b = module.b(lora.values());
        Nn { scale: module.module.scale, ..Nn::new(dy, &b, &dxa) }.add_to(plan);
        matmul_tn(plan, &dxa, x, &module.a(&self.gradients.adapter), dropout);
        dxa
    }
}
