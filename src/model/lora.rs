//! The adapter in GPU memory: every A and B in one flat buffer, with one table of offsets.
//!
//! Gradients and AdamW's moments are flat buffers of the same layout, so that the optimizer is one
//! dispatch over all of them: one for each part where they pass the device's limits. Parts end between
//! matrices, or between rows of one that is larger than a part.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::checkpoint::{Adapter, AdapterModule};
use crate::config::{AdaptedModule, InitLoraWeights, LoraConfig, ModelConfig, ModuleId};
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
        let mut modules = BTreeMap::new();
        for (index, module) in config.resolve(model)?.into_iter().enumerate() {
            let a_at = take(module.r * module.in_features);
            let b_at = take(module.r * module.out_features);
            modules.insert(module.id, LoraModule { module, index: index as u32, a_at, b_at });
        }
        let pieces = modules.values().flat_map(|module: &LoraModule| {
            let AdaptedModule { r, in_features, out_features, .. } = module.module;
            [(r, in_features, module.b_at - module.a_at), (out_features, r, padded(module.b_len()))]
        });
        let cuts = gpu.part_limits().pack(pieces).ok_or_else(|| {
            let widest = modules.values().map(|module| module.module.in_features).max().unwrap_or(0);
            gpu.too_large("one matrix of the adapter", 4 * (widest * gpu.part_limits().rows) as u64)
        })?;
        let values = gpu.allocate("adapter", &[at], Dtype::F32, &cuts)?;
        Ok(Self { config: config.clone(), modules, values, cuts })
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

    /// Where the matrices of a layer lie in the flat buffers: from the first to the end of the last, and whether
    /// there is nothing between them. `None` for a layer that is not adapted.
    pub fn layer(&self, layer: usize) -> Option<(Range<usize>, bool)> {
        let mut of_layer = self.modules().filter(|m| m.module.id.layer == layer).peekable();
        let start = of_layer.peek()?.a_at;
        let (end, elements) =
            of_layer.fold((start, 0), |(_, sum), m| (m.b_at + m.b_len(), sum + m.a_len() + m.b_len()));
        Some((start..end, elements == end - start))
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
