//! The adapter in GPU memory: every A and B in one flat buffer, with one table of offsets.
//!
//! Gradients and AdamW's moments are flat buffers of the same layout, so that the optimizer is one
//! dispatch over all of them: one for each part where they pass the device's limits. Parts end between
//! matrices, or between rows of one that is larger than a part.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::backward::{Stage, stage};
use super::stack::{LoraStack, STACKED, fit, members};
use crate::checkpoint::{Adapter, AdapterModule};
use crate::config::{AdaptedModule, Family, InitLoraWeights, LoraConfig, ModelConfig, ModuleId};
use crate::error::Result;
use crate::gpu::{Allocator, Dtype, Gpu, MemoryUse, Tensor};

/// Pieces of the flat buffer start at multiples of this many floats, as bindings must.
const ALIGN: usize = 64;

/// A piece's length in a flat buffer.
fn padded(len: usize) -> usize {
    len.next_multiple_of(ALIGN)
}

/// One adapted linear layer and where its matrices lie in the flat buffers.
#[derive(Debug, Clone)]
pub struct LoraModule {
    /// Which layer, its rank and its scale.
    pub module: AdaptedModule,
    /// Tells its dropout mask from those of other modules.
    pub index: u32,
    /// Where A begins in a flat buffer.
    pub a_at: usize,
    /// Where B begins.
    pub b_at: usize,
}

impl LoraModule {
    /// A `[r, in_features]` in a flat buffer.
    pub fn a(&self, flat: &Tensor) -> Tensor {
        flat.view(self.a_at, &[self.module.r, self.module.in_features])
    }

    /// B `[out_features, r]` in a flat buffer.
    pub fn b(&self, flat: &Tensor) -> Tensor {
        flat.view(self.b_at, &[self.module.out_features, self.module.r])
    }

    fn a_len(&self) -> usize {
        self.module.r * self.module.in_features
    }

    fn b_len(&self) -> usize {
        self.module.r * self.module.out_features
    }
}

/// An adapter in GPU memory.
pub struct Lora {
    config: LoraConfig,
    modules: BTreeMap<ModuleId, LoraModule>,
    stacks: BTreeMap<(usize, Stage), LoraStack>,
    values: Tensor,
    /// Where the flat buffers are cut to fit the device's limits.
    cuts: Vec<usize>,
}

impl Lora {
    /// A new adapter as PEFT starts one: A from U(−1/√in, 1/√in) (kaiming-uniform with a = √5) or, if the
    /// configuration says `gaussian`, from N(0, 1/r²); B zero. The random numbers depend on `seed` and
    /// the module only.
    ///
    /// # Errors
    /// Those of [`LoraConfig::resolve`], and a buffer that the device does not allow.
    pub fn new(gpu: &Gpu, config: &LoraConfig, model: &ModelConfig, seed: u64) -> Result<Self> {
        let lora = Self::allocate(gpu, config, model)?;
        let mut flat = vec![0f32; lora.values.len()];
        for module in lora.modules.values() {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(u64::from(module.index) + 1);
            let bound = 1.0 / (module.module.in_features as f32).sqrt();
            let deviation = 1.0 / module.module.r as f64;
            for value in &mut flat[module.a_at..module.a_at + module.a_len()] {
                *value = match config.init_lora_weights {
                    InitLoraWeights::KaimingUniform => rng.random_range(-bound..bound),
                    InitLoraWeights::Gaussian => (deviation * normal(&mut rng)) as f32,
                };
            }
        }
        gpu.write(&lora.values, &flat);
        Ok(lora)
    }

    /// An adapter from a file, which must fit `model`.
    ///
    /// # Errors
    /// Those of [`Adapter::check`], and a buffer that the device does not allow.
    pub fn from_adapter(gpu: &Gpu, adapter: &Adapter, model: &ModelConfig) -> Result<Self> {
        adapter.check(model)?;
        let lora = Self::allocate(gpu, &adapter.config, model)?;
        let mut flat = vec![0f32; lora.values.len()];
        for part in &adapter.modules {
            let module = &lora.modules[&part.id];
            flat[module.a_at..module.a_at + module.a_len()].copy_from_slice(&part.a);
            flat[module.b_at..module.b_at + module.b_len()].copy_from_slice(&part.b);
        }
        gpu.write(&lora.values, &flat);
        Ok(lora)
    }

    /// An adapter of zeros: what the others fill, and what a plan counts.
    ///
    /// # Errors
    /// Those of [`LoraConfig::resolve`], and a buffer that the device does not allow.
    pub fn allocate(gpu: &dyn Allocator, config: &LoraConfig, model: &ModelConfig) -> Result<Self> {
        gpu.begin(MemoryUse::Adapter);
        let mut at = 0;
        let mut take = |len: usize| {
            let start = at;
            at += padded(len);
            start
        };
        let resolved = config.resolve(model)?;
        let mut modules = BTreeMap::new();
        // Every A of a stage, then every B, so that they can be one matrix each.
        let mut pieces = Vec::new();
        let indexed: Vec<(u32, AdaptedModule)> = (0..).zip(resolved).collect();
        let same_stage = |(_, a): &(u32, AdaptedModule), (_, b): &(u32, AdaptedModule)| {
            let of = |module: &AdaptedModule| (module.id.layer, stage(module.id.projection.role()));
            of(a) == of(b)
        };
        for group in indexed.chunk_by(same_stage) {
            let mut place = |rows: usize, columns: usize| {
                let start = take(rows * columns);
                pieces.push((rows, columns, padded(rows * columns)));
                start
            };
            let a_at: Vec<_> = group.iter().map(|(_, m)| place(m.r, m.in_features)).collect();
            let b_at: Vec<_> = group.iter().map(|(_, m)| place(m.out_features, m.r)).collect();
            for (((index, module), a_at), b_at) in group.iter().cloned().zip(a_at).zip(b_at) {
                modules.insert(module.id, LoraModule { module, index, a_at, b_at });
            }
        }
        let cuts = gpu.part_limits().pack(pieces).ok_or_else(|| {
            let widest = modules.values().map(|module| module.module.in_features).max().unwrap_or(0);
            gpu.too_large("one matrix of the adapter", 4 * (widest * gpu.part_limits().rows) as u64)
        })?;
        let values = gpu.allocate("adapter", &[at], Dtype::F32, &cuts)?;
        let mut lora = Self { config: config.clone(), modules, stacks: BTreeMap::new(), values, cuts };
        // Masks differ from projection to projection, so with dropout their inputs do.
        if config.lora_dropout == 0.0 && lora.values.part_count() <= 1 {
            lora.stacks = lora.find_stacks(model);
        }
        Ok(lora)
    }

    fn find_stacks(&self, model: &ModelConfig) -> BTreeMap<(usize, Stage), LoraStack> {
        let places = (0..model.num_hidden_layers).flat_map(|layer| STACKED.map(|stage| (layer, stage)));
        places.filter_map(|place| Some((place, self.find_stack(model, place)?))).collect()
    }

    fn find_stack(&self, model: &ModelConfig, (layer, of): (usize, Stage)) -> Option<LoraStack> {
        let members = members(model.family, of);
        let all: Vec<_> = members
            .iter()
            .map(|&projection| self.module(ModuleId { layer, projection }))
            .collect::<Option<_>>()?;
        let first = all.first()?;
        let (r, scale, in_features) = (first.module.r, first.module.scale, first.module.in_features);
        let widths: Vec<_> = all.iter().map(|m| m.module.out_features).collect();
        let alike = all.iter().all(|m| m.module.r == r && m.module.scale == scale);
        let (mut a_at, mut b_at) = (first.a_at, first.b_at);
        // Without a gap, and where the kernels' tiles and four columns at a time begin.
        let dense = all.iter().all(|m| {
            let here = m.a_at == a_at && m.b_at == b_at;
            (a_at, b_at) = (a_at + m.a_len(), b_at + m.b_len());
            here
        });
        (alike && dense && fit(&widths) && r.is_multiple_of(4)).then_some(LoraStack {
            r,
            scale,
            in_features,
            widths,
            a_at: first.a_at,
            b_at: first.b_at,
        })
    }

    /// A zeroed buffer of the adapter's layout.
    ///
    /// # Errors
    /// When the device has no room for it.
    pub fn flat(&self, gpu: &dyn Allocator, label: &str) -> Result<Tensor> {
        gpu.allocate(label, self.values.shape(), Dtype::F32, &self.cuts)
    }

    /// The adapter's configuration.
    pub fn config(&self) -> &LoraConfig {
        &self.config
    }

    /// The flat buffer of all A and B.
    pub fn values(&self) -> &Tensor {
        &self.values
    }

    /// The adapted modules, by layer and projection.
    pub fn modules(&self) -> impl Iterator<Item = &LoraModule> {
        self.modules.values()
    }

    /// A module, if it is adapted.
    pub fn module(&self, id: ModuleId) -> Option<&LoraModule> {
        self.modules.get(&id)
    }

    /// The adapters of a stage as one, if they are alike.
    pub fn stack(&self, layer: usize, stage: Stage) -> Option<&LoraStack> {
        self.stacks.get(&(layer, stage))
    }

    /// Columns of `xa` of a projection, or of the stack whose first it is; 0 if that is another's or nobody's.
    pub(super) fn xa_columns(&self, family: &Family, id: ModuleId) -> usize {
        let stage = stage(id.projection.role());
        match self.stack(id.layer, stage) {
            Some(stack) if members(family, stage).first() == Some(&id.projection) => stack.columns(),
            Some(_) => 0,
            None => self.module(id).map_or(0, |module| module.module.r),
        }
    }

    /// Where the matrices of a layer lie in the flat buffers: from the first to the end of the last, and whether
    /// there is nothing between them. `None` for a layer that is not adapted.
    pub fn layer(&self, layer: usize) -> Option<(Range<usize>, bool)> {
        let mut of_layer = self.modules().filter(|m| m.module.id.layer == layer).peekable();
        let first = of_layer.peek()?.a_at;
        let range = first..first;
        let (range, elements) = of_layer.fold((range, 0), |(range, sum), m| {
            let range = range.start.min(m.a_at)..range.end.max(m.b_at + m.b_len());
            (range, sum + m.a_len() + m.b_len())
        });
        let dense = elements == range.len();
        Some((range, dense))
    }

    /// Elements of the largest layer.
    pub fn largest_layer(&self) -> usize {
        let layers: BTreeSet<_> = self.modules().map(|m| m.module.id.layer).collect();
        layers
            .into_iter()
            .filter_map(|layer| self.layer(layer))
            .map(|(range, _)| range.len())
            .max()
            .unwrap_or(0)
    }

    /// The largest rank.
    pub fn max_rank(&self) -> usize {
        self.modules.values().map(|m| m.module.r).max().unwrap_or(0)
    }

    /// The most columns that `xa` of a projection, or of those of a stack, has.
    pub fn max_columns(&self) -> usize {
        self.stacks.values().map(LoraStack::columns).max().unwrap_or(0).max(self.max_rank())
    }

    /// Reads the adapter back.
    pub async fn to_adapter(&self, gpu: &Gpu) -> Result<Adapter> {
        let flat: Vec<f32> = gpu.read(&self.values).await?;
        Ok(Adapter { config: self.config.clone(), modules: self.split(&flat) })
    }

    /// The A and B parts of any flat buffer's contents.
    pub fn split(&self, flat: &[f32]) -> Vec<AdapterModule> {
        self.modules()
            .map(|m| AdapterModule {
                id: m.module.id,
                r: m.module.r,
                in_features: m.module.in_features,
                out_features: m.module.out_features,
                a: flat[m.a_at..m.a_at + m.a_len()].to_vec(),
                b: flat[m.b_at..m.b_at + m.b_len()].to_vec(),
            })
            .collect()
    }
}

/// A standard normal number (Box & Muller, 1958).
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}
