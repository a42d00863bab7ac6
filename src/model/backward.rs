//! The backward pass: layers in reverse, gradients of A and B only, and nothing below the lowest adapted
//! layer.
//!
//! With `xa = s·dropout(x)·Aᵀ` kept from the forward pass and `dxa = s·dy·B`:
//! `dB += dyᵀ·xa`, `dA += dxaᵀ·dropout(x)`, `dx = mask ⊙ (dxa·A) + dy·W` (LoRA: Hu et al.,
//! arXiv:2106.09685; the derivatives are the chain rule on its equation 3).

use super::{Branch, Forward, Gradients, LayerWeights, Lora, LoraModule};
use crate::config::{Activation, ModuleId, NormRole, Role};
use crate::gpu::{PlanBuilder, Tensor};
use crate::kernels::attention::{AttentionBackward, attention_backward};
use crate::kernels::gelu::gelu_backward;
use crate::kernels::halves::pack_halves;
use crate::kernels::head_norm::head_norm_backward;
use crate::kernels::matmul::{Beside, Columns, Nn, matmul_tn};
use crate::kernels::rope::{Direction, rope};
use crate::kernels::rope_heads::{Turn, rope_merge};
use crate::kernels::swiglu::swiglu_backward;

/// Where in a layer a projection stands, in the order of the forward pass. Projections of one stage read
/// the same input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Queries, keys and values.
    Qkv,
    /// The attention's output.
    Output,
    /// The MLP's gate and up.
    GateUp,
    /// The MLP's output.
    Down,
}

/// Where a projection of this role stands.
pub fn stage(role: Role) -> Stage {
    match role {
        Role::Query | Role::Key | Role::Value | Role::QueryKeyValue => Stage::Qkv,
        Role::Output => Stage::Output,
        Role::Gate | Role::Up | Role::GateUp => Stage::GateUp,
        Role::Down => Stage::Down,
    }
}

/// Adds the backward pass of `pass` (recorded with an adapter) to a plan. `gradients.x` holds the gradient
/// of the pass's result; `gradients.adapter` is added to.
pub fn record_backward(plan: &mut PlanBuilder, pass: &Forward<'_>, gradients: &Gradients) {
    let modules = pass.lora.into_iter().flat_map(|lora| lora.modules());
    let lowest = modules.map(|m| (m.module.id.layer, stage(m.module.id.projection.role()))).min();
    let Some(lowest) = lowest else { return };
    let layers = pass.model.config().num_hidden_layers;
    if let Some(operand) = &gradients.operand {
        pack_halves(plan, &gradients.x, operand);
    }
    for layer in (lowest.0..layers).rev() {
        pass.restore(plan, layer);
        let layer = Backward { pass, gradients, layer, lowest };
        if layer.mlp_block(plan) {
            layer.attention_block(plan);
        }
        layer.add_up(plan);
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

    fn weights(&self) -> &LayerWeights {
        &self.pass.model.weights().layers[self.layer]
    }

    /// From the gradient of the layer's output to that of the stream between attention and MLP, both in
    /// `gradients.x`; whether to go on.
    fn mlp_block(&self, plan: &mut PlanBuilder) -> bool {
        let (pass, g) = (self.pass, self.gradients);
        let (config, buffers) = (pass.model.config(), pass.buffers.layer(self.layer));
        let width = config.intermediate_size;

        let branch = buffers.branches.as_ref().map(|[_, mlp]| (NormRole::MlpOutput, mlp));
        let dy = self.branch(plan, branch);
        // The gradient of the activation's input takes its place, and its result is made again.
        let (activated, inner) = (&buffers.activated, buffers.inner());
        let dxa = self.output_side(plan, Role::Down, dy.into(), &g.activated, false);
        // Where the gradient stops here, what it is turned into is not read any more.
        match config.hidden_act {
            Activation::Silu => swiglu_backward(plan, inner, &g.activated, activated),
            Activation::GeluTanh => gelu_backward(plan, inner, &g.activated, activated),
        }
        self.input_side(plan, Role::Down, activated, dxa);
        if !self.goes_on(Stage::Down) {
            return false;
        }
        pass.restore_input(plan, self.layer, Stage::GateUp);
        let (x, dx) = (&buffers.normed, &g.normed);
        if config.family.projection(Role::GateUp).is_some() {
            self.linear(plan, Role::GateUp, x, inner.into(), dx, false);
        } else if config.family.is_gated() {
            self.stacked(plan, Stage::GateUp, x, inner, &[(Role::Gate, width), (Role::Up, width)]);
        } else {
            self.linear(plan, Role::Up, x, inner.into(), dx, false);
        }
        if !self.goes_on(Stage::GateUp) {
            return false;
        }
        let [_, middle] = buffers.streams();
        self.norm(plan, NormRole::MlpInput, [middle, &buffers.mlp_rstd]);
        true
    }

    /// From there to the gradient of the layer's input.
    fn attention_block(&self, plan: &mut PlanBuilder) {
        let (pass, g) = (self.pass, self.gradients);
        let (model, buffers) = (pass.model, pass.buffers.layer(self.layer));
        let (heads, config) = (model.heads(), &model.config().layers[self.layer]);

        let branch = buffers.branches.as_ref().map(|[attention, _]| (NormRole::AttentionOutput, attention));
        let (out, dy) = (&buffers.attention_out, self.branch(plan, branch));
        self.linear(plan, Role::Output, out, dy.into(), &g.attention_out, false);
        if !self.goes_on(Stage::Output) {
            return;
        }
        let ranges = pass.inputs.ranges(config.is_sliding);
        // Where the gradients of queries, keys and values will be.
        let dy_operand = g.operand.as_ref().map(|_| g.qkv.narrowed(heads.q_width()));
        let io = AttentionBackward {
            kv_range: &ranges.kv_range,
            query_range: &ranges.query_range,
            q: &buffers.q,
            kv: &buffers.kv,
            y: out,
            lse: &buffers.lse,
            dy: &g.attention_out,
            delta: &g.delta,
            // Nothing else is in there now.
            by_head: &pass.buffers.qkv.narrowed(heads.q_width()),
            dy_operand: dy_operand.as_ref(),
            dq: &g.q,
            dkv: &g.kv,
        };
        attention_backward(plan, &heads, &io);
        self.query_key_value(plan);
        if self.goes_on(Stage::Qkv) {
            let [x, _] = buffers.streams();
            self.norm(plan, NormRole::AttentionInput, [x, &buffers.attention_rstd]);
        }
    }

    /// From the gradients of queries, keys and values to that of `normed`.
    fn query_key_value(&self, plan: &mut PlanBuilder) {
        let (g, pass) = (self.gradients, self.pass);
        let (buffers, heads) = (pass.buffers.layer(self.layer), pass.model.heads());
        let turn = pass.turn(self.layer);
        match &buffers.heads_in {
            None => rope_merge(plan, &turn, [&g.q, &g.kv], &g.qkv),
            Some(raw) => {
                for (role, x, rstd, d, count) in [
                    (NormRole::Query, &raw.q, &raw.q_rstd, &g.q, heads.heads),
                    (NormRole::Key, &raw.k, &raw.k_rstd, &g.kv, heads.kv_heads),
                ] {
                    if let Some(table) = turn.table {
                        rope(plan, turn.positions, table, d, [count, heads.head_dim], Direction::Backward);
                    }
                    if let Some(norm) = self.weights().norm(role) {
                        head_norm_backward(plan, x, &norm.weight, rstd, d);
                    }
                }
                rope_merge(plan, &Turn { table: None, ..turn }, [&g.q, &g.kv], &g.qkv);
            }
        }
        pass.restore_input(plan, self.layer, Stage::Qkv);
        let (x, q_width, half) = (&buffers.normed, heads.q_width(), heads.kv_width() / 2);
        if pass.model.config().family.projection(Role::QueryKeyValue).is_some() {
            self.linear(plan, Role::QueryKeyValue, x, (&g.qkv).into(), &g.normed, false);
            return;
        }
        let each = [(Role::Query, q_width), (Role::Key, half), (Role::Value, half)];
        self.stacked(plan, Stage::Qkv, x, &g.qkv, &each);
    }

    /// Adds the gradient that went through the norm before attention or MLP (its output's is in
    /// `gradients.normed`) to the residual stream's.
    fn norm(&self, plan: &mut PlanBuilder, role: NormRole, x_and_rstd: [&Tensor; 2]) {
        let (g, norm) = (self.gradients, self.weights().norm(role).expect("one of the family's"));
        norm.backward(plan, x_and_rstd, &g.normed, &g.x, g.operand.as_ref(), true);
    }

    /// The gradient of what attention or MLP gave, before the norm on it in families that have one.
    fn branch(&self, plan: &mut PlanBuilder, branch: Option<(NormRole, &Branch)>) -> &Tensor {
        let g = self.gradients;
        let Some((role, branch)) = branch else { return g.operand.as_ref().unwrap_or(&g.x) };
        let norm = self.weights().norm(role).expect("one of the family's");
        norm.backward(plan, [&branch.x, &branch.rstd], &g.x, &g.normed, g.operand.as_ref(), false);
        g.operand.as_ref().unwrap_or(&g.normed)
    }

    /// The adapter's gradients of a stage's projections with input `x`, whose outputs' gradients are beside each other in
    /// `dy` with these widths, and that of their input in `gradients.normed` where it is needed.
    fn stacked(&self, plan: &mut PlanBuilder, of: Stage, x: &Tensor, dy: &Tensor, each: &[(Role, usize)]) {
        let (pass, g) = (self.pass, self.gradients);
        let dx = &g.normed;
        let mut first = 0;
        let each: Vec<_> = each
            .iter()
            .map(|&(role, width)| {
                first += width;
                (role, Columns::of(dy, first - width, width))
            })
            .collect();
        let is_adapted = each.iter().any(|&(role, _)| self.adapter(role).is_some());
        let weights = self.weights().stack(of);
        let stack = pass.lora.and_then(|lora| Some((lora, lora.stack(self.layer, of)?)));
        let Some((lora, stack)) = stack else {
            match weights {
                Some(whole) if !is_adapted => {
                    if self.goes_on(of) {
                        Nn::new(dy, &whole.linear.weight, dx).add_to(plan);
                    }
                }
                _ => {
                    for (i, &(role, dy)) in each.iter().enumerate() {
                        self.linear(plan, role, x, dy, dx, i > 0);
                    }
                }
            }
            return;
        };
        let (values, r, beside) = (lora.values(), stack.r, Beside(&stack.widths));
        let projection = pass.model.projection(each[0].0);
        let xa = pass.buffers.layer(self.layer).xa(projection, stack.columns());
        let dxa = g.xa.narrowed(stack.columns());
        let scale = pass.adapter_scale * stack.scale;
        Nn { scale, beside, ..Nn::new(dy, &stack.b(values), &dxa) }.add_low_rank_to(plan);
        if self.goes_on(of) {
            match weights {
                Some(whole) => {
                    let extension = Some((&dxa, &stack.a(values)));
                    Nn { extension, ..Nn::new(dy, &whole.linear.weight, dx) }.add_to(plan);
                }
                None => {
                    for (i, &(role, dy)) in each.iter().enumerate() {
                        let weight = &self.weights().linear(pass.model.projection(role)).weight;
                        let (_, module) = self.adapter(role).expect("all are adapted");
                        let extension = Some((&dxa, &module.a(values)));
                        let accumulate = i > 0;
                        Nn { extension, e_first: i * r, accumulate, ..Nn::new(dy, weight, dx) }.add_to(plan);
                    }
                }
            }
        }
        match (&g.shares, lora.layer(self.layer)) {
            (Some(shares), Some((range, _))) => {
                shares.add_products(plan, dy.into(), &xa, [stack.b_at - range.start, r], beside);
                shares.add_product(plan, x.into(), (&dxa).into(), stack.a_at - range.start, true, None);
            }
            _ => {
                for (i, &(role, dy)) in each.iter().enumerate() {
                    let (_, module) = self.adapter(role).expect("all are adapted");
                    let [xa, dxa] = [&xa, &dxa].map(|of| Columns::of(of, i * r, r));
                    matmul_tn(plan, dy, xa, &module.b(&g.adapter), None);
                    matmul_tn(plan, dxa, x, &module.a(&g.adapter), None);
                }
            }
        }
    }

    /// The adapter's gradients of one projection with input `x` and output gradient `dy`, and
    /// `dx (+)=` the gradient of its input where it is needed.
    fn linear(
        &self,
        plan: &mut PlanBuilder,
        role: Role,
        x: &Tensor,
        dy: Columns<'_>,
        dx: &Tensor,
        accumulate: bool,
    ) {
        let dxa = self.output_side(plan, role, dy, dx, accumulate);
        self.input_side(plan, role, x, dxa);
    }

    /// The part of [`Self::linear`] that does not read `x`: returns `dxa = s·dy·B`, adds to `dB`, and
    /// `dx (+)= dy·W + dxa·A`.
    fn output_side(
        &self,
        plan: &mut PlanBuilder,
        role: Role,
        dy: Columns<'_>,
        dx: &Tensor,
        accumulate: bool,
    ) -> Option<Tensor> {
        let weight = &self.weights().linear(self.pass.model.projection(role)).weight;
        let base = Nn { accumulate, ..Nn::new(dy, weight, dx) };
        let goes_on = self.goes_on(stage(role));
        let Some((lora, module)) = self.adapter(role) else {
            if goes_on {
                base.add_to(plan);
            }
            return None;
        };
        let r = module.module.r;
        let xa = self.pass.buffers.layer(self.layer).xa(module.module.id.projection, r);
        let dxa = self.gradients.xa.narrowed(r);
        let b = module.b(lora.values());
        Nn { scale: self.pass.scale_of(module), ..Nn::new(dy, &b, &dxa) }.add_low_rank_to(plan);
        match (&self.gradients.shares, lora.layer(self.layer)) {
            (Some(shares), Some((range, _))) => {
                shares.add_product(plan, dy, (&xa).into(), module.b_at - range.start, false, None);
            }
            _ => matmul_tn(plan, dy, &xa, &module.b(&self.gradients.adapter), None),
        }
        if goes_on {
            let a = module.a(lora.values());
            Nn { extension: Some((&dxa, &a)), dropout: self.dropout(module), ..base }.add_to(plan);
        }
        Some(dxa)
    }

    /// The other part: adds to `dA`.
    fn input_side(&self, plan: &mut PlanBuilder, role: Role, x: &Tensor, dxa: Option<Tensor>) {
        let (Some((lora, module)), Some(dxa)) = (self.adapter(role), dxa) else { return };
        let dropout = self.dropout(module);
        match (&self.gradients.shares, lora.layer(self.layer)) {
            (Some(shares), Some((range, _))) => {
                shares.add_product(plan, x.into(), (&dxa).into(), module.a_at - range.start, true, dropout);
            }
            _ => matmul_tn(plan, &dxa, x, &module.a(&self.gradients.adapter), dropout),
        }
    }

    /// The adapter of a projection, if it has one.
    fn adapter(&self, role: Role) -> Option<(&Lora, &LoraModule)> {
        let id = ModuleId { layer: self.layer, projection: self.pass.model.projection(role) };
        self.pass.lora.and_then(|lora| Some((lora, lora.module(id)?)))
    }

    fn dropout(&self, module: &LoraModule) -> Option<u32> {
        self.pass.dropout.then_some(module.index)
    }

    /// Adds what the shares of the layer's gradients gave to the adapter's.
    fn add_up(&self, plan: &mut PlanBuilder) {
        let (g, tokens) = (self.gradients, self.gradients.x.rows());
        let lora = self.pass.lora.expect("there is an adapter");
        let (Some(shares), Some((range, dense))) = (&self.gradients.shares, lora.layer(self.layer)) else {
            return;
        };
        if dense {
            shares.add_up(plan, tokens, 0, &g.adapter.view(range.start, &[range.len()]));
            return;
        }
        // What lies between the matrices is not theirs.
        for module in lora.modules().filter(|m| m.module.id.layer == self.layer) {
            for (at, y) in [(module.a_at, module.a(&g.adapter)), (module.b_at, module.b(&g.adapter))] {
                shares.add_up(plan, tokens, at - range.start, &y);
            }
        }
    }
}
