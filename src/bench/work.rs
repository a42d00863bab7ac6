//! What a training step has to compute and to move, counted from the configuration.
//!
//! A product of `M×K` and `K×N` is `2·M·N·K` floating-point operations. A step of T tokens needs:
//!
//! - forward: `2·T·K·N` for every linear module, `2·T·r·(K + N)` for its adapter, `4·head_dim·heads` for every pair of
//!   a query and a key that it sees (causal, within the window), and `2·V·H` of the head for every target token;
//! - backward: `dx` of the linear modules, as much as forward, without those below the lowest adapter; `dA`, `dB`,
//!   `B`'s and `A`'s part of `dx`, twice what the adapter takes forward; of the head, as much as forward; of the
//!   attention 2.5 times as much (scores are not kept: Dao et al., arXiv:2205.14135).
//!
//! No gradient of a frozen weight is among them, and neither is what gradient checkpointing computes again. Everything
//! that is not a matrix product counts by its bytes only: each operand is read once and each result written once, in
//! kernels as far apart as products, norms, rotary positions, the activation and the optimizer are.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Group, WeightType};
use crate::config::{AdaptedModule, LoraConfig, ModelConfig, ModuleId, NormRole, Role};
use crate::error::Result;
use crate::model::{Stage, heads, stage};

/// How the operands of a product lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// `x·Wᵀ`.
    Nt,
    /// `dy·W`.
    Nn,
    /// `aᵀ·b`, added to what is there.
    Tn,
}

/// A matrix product: `[m, n]` from a sum of `k`, and of `r` more of an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Product {
    /// How its operands lie.
    pub form: Form,
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// Length of the sum.
    pub k: usize,
    /// The adapter's extension of the sum; 0 without one.
    pub r: usize,
    /// Whether one operand is a frozen weight, rather than a matrix of the adapter or activations.
    pub frozen: bool,
}

impl Product {
    /// Floating-point operations.
    pub fn flops(&self) -> u64 {
        2 * self.m as u64 * self.n as u64 * (self.k + self.r) as u64
    }
}

/// What one kernel has to do, and how often it does it in a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// What it computes.
    pub name: String,
    /// Where it belongs.
    pub group: Group,
    /// How often a step does it.
    pub count: u64,
    /// Floating-point operations of one time.
    pub flops: u64,
    /// Bytes of one time.
    pub bytes: u64,
    /// Computed again by gradient checkpointing: part of the step's floor, not of the work that it needs.
    pub recomputed: bool,
    /// Its shape, of a matrix product.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<Product>,
}

/// The shape of a step.
#[derive(Debug, Clone, Copy)]
pub struct StepShape {
    /// Sequences in the batch.
    pub batch_size: usize,
    /// Tokens of each, all but the first predicted.
    pub length: usize,
    /// Tokens of a chunk of the head ([`chunk_rows`](crate::model::chunk_rows)).
    pub chunk: usize,
    /// See [`TrainConfig`](crate::config::TrainConfig::gradient_checkpointing).
    pub gradient_checkpointing: bool,
    /// See [`SessionOptions`](crate::train::SessionOptions::half_activations).
    pub half_activations: bool,
    /// Of the frozen weights.
    pub weights: WeightType,
}

impl StepShape {
    /// Bytes of an element of what goes into a product or into attention, and of what the backward pass reads again;
    /// everything else has 4, but what is kept beside it for the backward pass.
    fn operand(&self) -> u64 {
        if self.keeps_halves() { 2 } else { F32 }
    }

    /// Bytes of an element of what is kept beside something that is in f32.
    fn kept(&self) -> u64 {
        if self.keeps_halves() { 2 } else { 0 }
    }

    fn keeps_halves(&self) -> bool {
        self.half_activations && !self.gradient_checkpointing
    }
}

/// The work of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// Kernel by kernel, equal ones together.
    pub items: Vec<Item>,
}

impl Work {
    /// Of a step of this shape.
    ///
    /// # Errors
    /// Those of [`LoraConfig::resolve`].
    pub fn of(config: &ModelConfig, lora: &LoraConfig, shape: &StepShape) -> Result<Self> {
        let adapted = lora.resolve(config)?.into_iter().map(|module| (module.id, module)).collect();
        let mut counter = Counter { config, shape, adapted, items: Vec::new(), recomputed: false };
        counter.step();
        Ok(Self { items: counter.items })
    }

    /// Floating-point operations that the step needs.
    pub fn flops(&self) -> u64 {
        self.items.iter().filter(|item| !item.recomputed).map(|item| item.count * item.flops).sum()
    }

    /// Bytes that its kernels move at least.
    pub fn bytes(&self) -> u64 {
        self.items.iter().map(|item| item.count * item.bytes).sum()
    }
}

struct Counter<'a> {
    config: &'a ModelConfig,
    shape: &'a StepShape,
    adapted: BTreeMap<ModuleId, AdaptedModule>,
    items: Vec<Item>,
    recomputed: bool,
}

/// Bytes of what is f32.
const F32: u64 = 4;

/// Whether a norm's result is what projections read.
fn is_input(role: NormRole) -> bool {
    matches!(role, NormRole::MlpInput | NormRole::AttentionInput)
}

impl Counter<'_> {
    fn step(&mut self) {
        let (config, tokens) = (self.config, self.tokens());
        let hidden = tokens * config.hidden_size as u64;
        self.moved("embedding", Group::Other, hidden * (self.weight() + F32));
        for layer in 0..config.num_hidden_layers {
            self.forward(layer, true);
            self.kept("rounding to 16 bits");
        }
        self.head();
        // Nothing below the lowest adapter has a gradient.
        let lowest = self.adapted.keys().map(|id| (id.layer, stage(id.projection.role()))).min();
        let Some(lowest) = lowest else { return };
        for layer in (lowest.0..config.num_hidden_layers).rev() {
            if self.shape.gradient_checkpointing && layer + 1 < config.num_hidden_layers {
                self.recomputed = true;
                self.forward(layer, false);
                self.recomputed = false;
            }
            self.kept("widening from 16 bits");
            self.backward(layer, lowest);
        }
        let trained: u64 =
            self.adapted.values().map(|m| m.r as u64 * (m.in_features + m.out_features) as u64).sum();
        self.moved("gradient norm", Group::Optimizer, F32 * trained);
        self.moved("AdamW", Group::Optimizer, 7 * F32 * trained);
    }

    fn tokens(&self) -> u64 {
        self.shape.batch_size as u64 * self.shape.length as u64
    }

    fn weight(&self) -> u64 {
        self.shape.weights.dtype().size() as u64
    }

    /// A layer; `whole`: with its output, which checkpointing does not need again.
    fn forward(&mut self, layer: usize, whole: bool) {
        let (shape, tokens, config) = (self.shape, self.tokens(), self.config);
        let (operand, kept) = (shape.operand(), shape.kept());
        for &(role, _) in config.family.norms {
            self.norm(role, "norm", if is_input(role) { F32 + operand + kept } else { 2 * F32 });
        }
        for &projection in config.family.projections {
            let id = ModuleId { layer, projection };
            self.adapter_forward(id);
            if whole || projection.role() != Role::Down {
                self.linear_forward(id);
            }
        }
        let heads = heads(config);
        let columns = (2 * heads.q_width() + heads.kv_width()) as u64;
        self.attention(layer, "attention", Group::Attention, 2, columns * operand);
        self.rope();
        let (inner, width) = self.mlp_widths();
        self.moved("activation", Group::Activation, tokens * (inner * (F32 + kept) + width * operand));
        if config.family.norm_name(NormRole::AttentionOutput).is_some() {
            let bytes = 2 * tokens * config.hidden_size as u64 * 3 * F32;
            self.moved("residual addition", Group::Other, bytes);
        }
    }

    fn backward(&mut self, layer: usize, lowest: (usize, Stage)) {
        let (shape, tokens, config) = (self.shape, self.tokens(), self.config);
        let (operand, kept) = (shape.operand(), shape.kept());
        let goes_on = |stage: Stage| (layer, stage) > lowest;
        for &projection in config.family.projections {
            let at = stage(projection.role());
            if (layer, at) < lowest {
                continue;
            }
            let id = ModuleId { layer, projection };
            self.adapter_backward(id);
            if goes_on(at) {
                self.linear_backward(id);
            }
        }
        for &(role, _) in config.family.norms {
            // x and dy are read, dx is written, or added to, and written once more as an operand.
            let (before, bytes) = match role {
                NormRole::MlpInput => (Stage::GateUp, operand + 3 * F32 + kept),
                NormRole::AttentionInput => (Stage::Qkv, operand + 3 * F32 + kept),
                NormRole::MlpOutput => (Stage::Down, 3 * F32 + kept),
                NormRole::AttentionOutput => (Stage::Output, 3 * F32 + kept),
                NormRole::Query | NormRole::Key => (Stage::Output, 3 * F32),
            };
            // What comes after a stage is needed if the stage itself is.
            let is_output = matches!(role, NormRole::MlpOutput | NormRole::AttentionOutput);
            if goes_on(before) || is_output && (layer, before) >= lowest {
                self.norm(role, "norm backward", bytes);
            }
            if is_input(role) && (layer, before) >= lowest {
                self.norm(role, "norm", 2 * operand);
            }
        }
        let (inner, width) = self.mlp_widths();
        let bytes = tokens * (inner * 2 * operand + width * (F32 + operand));
        self.moved("activation backward", Group::Activation, bytes);
        if goes_on(Stage::Output) {
            let heads = heads(config);
            // q, y, k and v are read, and dy, and their gradients are written.
            let columns = (2 * heads.q_width() + heads.kv_width()) as u64;
            let bytes = columns * (operand + F32);
            self.attention(layer, "attention backward", Group::AttentionBackward, 5, bytes);
            self.rope();
        }
    }

    /// What is rounded to 16 bits after it was made, and widened again; all but what is so from the start.
    fn kept(&mut self, name: &str) {
        let (config, heads) = (self.config, heads(self.config));
        if !self.shape.keeps_halves() {
            return;
        }
        let has = |role| config.family.norm_name(role).is_some();
        let heads_in = if has(NormRole::Query) { heads.q_width() + heads.kv_width() / 2 } else { 0 };
        let branches = if has(NormRole::AttentionOutput) { 2 * config.hidden_size } else { 0 };
        if heads_in + branches > 0 {
            self.moved(name, Group::Halves, self.tokens() * (heads_in + branches) as u64 * (F32 + 2));
        }
    }

    /// Columns of what is activated, and of what it becomes.
    fn mlp_widths(&self) -> (u64, u64) {
        let width = self.config.intermediate_size as u64;
        (if self.config.family.is_gated() { 2 * width } else { width }, width)
    }

    /// `bytes`: read and written, of each element.
    fn norm(&mut self, role: NormRole, name: &str, bytes: u64) {
        let heads = heads(self.config);
        let (name, width) = match role {
            NormRole::Query => (format!("q {name}"), heads.q_width()),
            NormRole::Key => (format!("k {name}"), heads.kv_width() / 2),
            _ => (name.to_owned(), self.config.hidden_size),
        };
        self.moved(&name, Group::Norm, self.tokens() * width as u64 * bytes);
    }

    /// Queries, keys and values on their way between projections and attention, turned or not.
    fn rope(&mut self) {
        let heads = heads(self.config);
        let columns = (heads.q_width() + heads.kv_width()) as u64;
        let bytes = self.tokens() * columns * (F32 + self.shape.operand());
        self.moved("rotary positions", Group::Rope, bytes);
    }

    /// So many `products` of scores' size; so many bytes of a token's rows are moved.
    fn attention(&mut self, layer: usize, name: &str, group: Group, products: u64, moved: u64) {
        let (heads, length) = (heads(self.config), self.shape.length as u64);
        let window = self.config.sliding_window.filter(|_| self.config.layers[layer].is_sliding);
        let window = window.map_or(length, |window| length.min(window as u64));
        // The first tokens see 1, 2, … keys, the others a window of them.
        let pairs = self.shape.batch_size as u64 * (window * (window + 1) / 2 + (length - window) * window);
        let flops = products * 2 * (heads.heads * heads.head_dim) as u64 * pairs;
        let lse = heads.heads as u64 * F32;
        let bytes = self.tokens() * (moved + lse);
        let name = if window < length { format!("{name}, window {window}") } else { name.to_owned() };
        self.add(Item { name, group, count: 1, flops, bytes, recomputed: self.recomputed, product: None });
    }

    fn linear_forward(&mut self, id: ModuleId) {
        let (n, k) = self.config.projection_shape(id.projection);
        let r = self.adapted.get(&id).map_or(0, |module| module.r);
        // An output that is added to the residual stream is read and written.
        let is_output = matches!(id.projection.role(), Role::Output | Role::Down);
        let result = if is_output { 2 * F32 } else { F32 };
        let product = Product { form: Form::Nt, m: self.tokens() as usize, n, k, r, frozen: true };
        self.product(&format!("{} forward", id.projection.name()), product, result);
    }

    fn linear_backward(&mut self, id: ModuleId) {
        let (k, n) = self.config.projection_shape(id.projection);
        let r = self.adapted.get(&id).map_or(0, |module| module.r);
        let product = Product { form: Form::Nn, m: self.tokens() as usize, n, k, r, frozen: true };
        self.product(&format!("{} dx", id.projection.name()), product, F32);
    }

    fn adapter_forward(&mut self, id: ModuleId) {
        let Some(module) = self.adapted.get(&id) else { return };
        let (r, k, m) = (module.r, module.in_features, self.tokens() as usize);
        let product = Product { form: Form::Nt, m, n: r, k, r: 0, frozen: false };
        self.product(&format!("{} xa", id.projection.name()), product, F32);
    }

    fn adapter_backward(&mut self, id: ModuleId) {
        let Some(module) = self.adapted.get(&id) else { return };
        let (r, inputs, outputs) = (module.r, module.in_features, module.out_features);
        let (name, tokens) = (id.projection.name(), self.tokens() as usize);
        let product = |form, m, n, k| Product { form, m, n, k, r: 0, frozen: false };
        self.product(&format!("{name} dB"), product(Form::Tn, outputs, r, tokens), 2 * F32);
        self.product(&format!("{name} dxa"), product(Form::Nn, tokens, r, outputs), F32);
        self.product(&format!("{name} dA"), product(Form::Tn, r, inputs, tokens), 2 * F32);
    }

    /// The head on the target tokens, in chunks, with cross-entropy.
    fn head(&mut self) {
        let (shape, config) = (self.shape, self.config);
        let targets = shape.batch_size * (shape.length - 1);
        let (hidden, vocab) = (config.hidden_size, config.vocab_size);
        // The chunks but the last, and that.
        let chunk = shape.chunk.clamp(1, targets);
        for (m, count) in
            [(chunk, targets / chunk), (targets % chunk, usize::from(!targets.is_multiple_of(chunk)))]
        {
            for _ in 0..count {
                let nt = Product { form: Form::Nt, m, n: vocab, k: hidden, r: 0, frozen: true };
                self.product_of("lm_head forward", nt, F32, F32);
                let nn = Product { form: Form::Nn, m, n: hidden, k: vocab, r: 0, frozen: true };
                self.product_of("lm_head dx", nn, F32, F32);
            }
        }
        let rows = (targets * hidden) as u64;
        self.moved("cross-entropy", Group::Loss, 2 * F32 * targets as u64 * vocab as u64);
        self.moved("target rows", Group::Other, 4 * F32 * rows);
        self.moved("final norm", Group::Norm, rows * 2 * F32);
        self.moved("final norm backward", Group::Norm, rows * 3 * F32);
    }

    /// `result`: bytes that are moved for each of its elements.
    fn product(&mut self, name: &str, product: Product, result: u64) {
        self.product_of(name, product, self.shape.operand(), result);
    }

    /// The same with activations of so many bytes.
    fn product_of(&mut self, name: &str, product: Product, a: u64, result: u64) {
        let frozen = if product.frozen { self.weight() } else { F32 };
        let (m, n, k, r) = (product.m as u64, product.n as u64, product.k as u64, product.r as u64);
        let bytes = match product.form {
            Form::Nt | Form::Nn => m * k * a + n * k * frozen + (m + n) * r * F32,
            // Of the low-rank side in f32, of the activations in theirs.
            Form::Tn => k * m.min(n) * F32 + k * m.max(n) * a,
        };
        self.add(Item {
            name: name.to_owned(),
            group: Group::Matmul,
            count: 1,
            flops: product.flops(),
            bytes: bytes + m * n * result,
            recomputed: self.recomputed,
            product: Some(product),
        });
    }

    fn moved(&mut self, name: &str, group: Group, bytes: u64) {
        let (name, recomputed) = (name.to_owned(), self.recomputed);
        self.add(Item { name, group, count: 1, flops: 0, bytes, recomputed, product: None });
    }

    fn add(&mut self, item: Item) {
        let same = |other: &&mut Item| Item { count: item.count, ..(*other).clone() } == item;
        match self.items.iter_mut().find(same) {
            Some(found) => found.count += item.count,
            None => self.items.push(item),
        }
    }
}
