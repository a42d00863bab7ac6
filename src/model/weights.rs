//! The frozen weights in GPU memory, as stored on disk.

use std::collections::BTreeMap;

use half::{bf16, f16};

use super::NormWeight;
use crate::checkpoint::{SafetensorsFile, TensorInfo};
use crate::config::{LM_HEAD, ModelConfig, ModuleId, NormKind, NormRole, Projection, TensorKind, TensorSpec};
use crate::error::{Error, Result};
use crate::gpu::{Dtype, Gpu, PlanBuilder, Recorder, Tensor};
use crate::kernels::transpose::transpose;

/// Bytes read and uploaded at a time: neither host nor wasm memory holds more of a tensor.
const SLICE: u64 = 4 << 20;

/// A frozen linear layer.
pub struct LinearWeight {
    /// `[out_features, in_features]`, in the file's type.
    pub weight: Tensor,
    /// `[out_features]`, f32.
    pub bias: Option<Tensor>,
}

/// The weights of one decoder layer.
pub struct LayerWeights {
    norms: BTreeMap<NormRole, NormWeight>,
    linears: BTreeMap<Projection, LinearWeight>,
}

impl LayerWeights {
    /// A linear layer, one of the family's.
    pub fn linear(&self, projection: Projection) -> &LinearWeight {
        &self.linears[&projection]
    }

    /// A norm, if the family has it.
    pub fn norm(&self, role: NormRole) -> Option<&NormWeight> {
        self.norms.get(&role)
    }
}

/// All weights of a decoder.
pub struct Weights {
    /// `[vocab_size, hidden_size]`, in the file's type.
    pub embed_tokens: Tensor,
    /// `[max_position_embeddings, hidden_size]`, f32, where positions are learned.
    pub embed_positions: Option<Tensor>,
    /// Decoder layers, first to last.
    pub layers: Vec<LayerWeights>,
    /// The norm after the last layer.
    pub norm: NormWeight,
    /// `[vocab_size, hidden_size]`, in the file's type; `embed_tokens` itself if tied.
    pub lm_head: Tensor,
}

impl Weights {
    pub(super) async fn load(
        gpu: &Gpu,
        config: &ModelConfig,
        file: &SafetensorsFile,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self> {
        let mut loader = Loader { gpu, config, file, done: 0, total: 0, progress };
        // Everything is checked before anything is read: a wrong file fails at once.
        let mut expected = config.tensors();
        let embed_name = loader.embed_name();
        expected[0].name.clone_from(&embed_name);
        for tensor in &expected {
            loader.total += loader.info(&tensor.name, &tensor.shape)?.bytes();
        }

        let table = [config.vocab_size, config.hidden_size];
        let embed_tokens = loader.packed(&embed_name, &table).await?;
        let lm_head = match config.tie_word_embeddings {
            true => embed_tokens.clone(),
            false => loader.packed(LM_HEAD, &table).await?,
        };
        let embed_positions = match config.embed_positions_name() {
            Some(name) => {
                let shape = [config.max_position_embeddings, config.hidden_size];
                Some(loader.widened(&name, &shape, 0.0).await?)
            }
            None => None,
        };
        let norm = loader.norm(&config.norm_name(), config.hidden_size).await?;
        let mut layers = Vec::with_capacity(config.num_hidden_layers);
        for layer in 0..config.num_hidden_layers {
            layers.push(loader.layer(layer).await?);
        }
        Ok(Self { embed_tokens, embed_positions, layers, norm, lm_head })
    }
}

fn gpu_dtype(name: &str, info: &TensorInfo, file: &SafetensorsFile) -> Result<Dtype> {
    match info.dtype {
        safetensors::Dtype::F32 => Ok(Dtype::F32),
        safetensors::Dtype::F16 => Ok(Dtype::F16),
        safetensors::Dtype::BF16 => Ok(Dtype::BF16),
        other => Err(Error::unsupported(format!(
            "{}: tensor \"{name}\" has type {other:?}; expected F32, F16 or BF16. \
             Save the model in one of these types",
            file.name()
        ))),
    }
}

struct Loader<'a> {
    gpu: &'a Gpu,
    config: &'a ModelConfig,
    file: &'a SafetensorsFile,
    done: u64,
    total: u64,
    progress: &'a mut dyn FnMut(u64, u64),
}

impl Loader<'_> {
    /// What the file calls a tensor: some leave out the prefix.
    fn stored<'n>(&self, name: &'n str) -> &'n str {
        match name.strip_prefix(self.config.family.prefix) {
            Some(bare) if self.file.info(name).is_none() && self.file.info(bare).is_some() => bare,
            _ => name,
        }
    }

    /// The embedding's name; if the head is tied to it, whichever of the two the file has.
    fn embed_name(&self) -> String {
        let name = self.config.embed_tokens_name();
        let is_head = self.file.info(self.stored(&name)).is_none() && self.file.info(LM_HEAD).is_some();
        if self.config.tie_word_embeddings && is_head { LM_HEAD.to_owned() } else { name }
    }

    fn info(&self, name: &str, shape: &[usize]) -> Result<&TensorInfo> {
        let file = self.file.name();
        let info = self.file.info(self.stored(name)).ok_or_else(|| {
            Error::format(format!(
                "{file}: tensor \"{name}\" is missing; config.json asks for it with shape {shape:?}. \
                 Do config.json and the weights belong to the same model?"
            ))
        })?;
        if info.shape != shape {
            return Err(Error::format(format!(
                "{file}: tensor \"{name}\" has shape {:?}, but config.json asks for {shape:?}. \
                 Do config.json and the weights belong to the same model?",
                info.shape
            )));
        }
        gpu_dtype(name, info, self.file)?;
        Ok(info)
    }

    /// Reads a tensor slice by slice and hands each to `take(byte offset, bytes)`.
    async fn stream(&mut self, name: &str, bytes: u64, mut take: impl FnMut(u64, &[u8])) -> Result<()> {
        let mut at = 0;
        while at < bytes {
            let end = bytes.min(at + SLICE);
            let slice = self.file.read(self.stored(name), at..end).await?;
            take(at, &slice);
            self.done += end - at;
            (self.progress)(self.done, self.total);
            at = end;
        }
        // Errors of the device (out of memory above all) show here rather than at the end.
        self.gpu.check()
    }

    /// A tensor as it is stored.
    async fn packed(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let info = self.info(name, shape)?;
        let (bytes, dtype) = (info.bytes(), gpu_dtype(name, info, self.file)?);
        let tensor = self.gpu.tensor(name, shape, dtype)?;
        let gpu = self.gpu;
        self.stream(name, bytes, |at, slice| gpu.write_at(&tensor, at, slice)).await?;
        Ok(tensor)
    }

    /// A tensor widened to f32, plus `add`: norms, biases and positions are small and read by every row.
    async fn widened(&mut self, name: &str, shape: &[usize], add: f32) -> Result<Tensor> {
        let info = self.info(name, shape)?;
        let (bytes, dtype) = (info.bytes(), gpu_dtype(name, info, self.file)?);
        let tensor = self.gpu.tensor(name, shape, Dtype::F32)?;
        let (gpu, widening) = (self.gpu, (Dtype::F32.size() / dtype.size()) as u64);
        self.stream(name, bytes, |at, slice| {
            let pairs = || slice.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
            let mut values: Vec<f32> = match dtype {
                Dtype::F16 => pairs().map(|bits| f16::from_bits(bits).to_f32()).collect(),
                Dtype::BF16 => pairs().map(|bits| bf16::from_bits(bits).to_f32()).collect(),
                _ => slice.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            };
            if add != 0.0 {
                values.iter_mut().for_each(|value| *value += add);
            }
            gpu.write_at(&tensor, at * widening, bytemuck::cast_slice(&values));
        })
        .await?;
        Ok(tensor)
    }

    async fn norm(&mut self, name: &str, width: usize) -> Result<NormWeight> {
        let kind = self.config.family.norm_kind;
        let one = if kind == NormKind::RmsOnePlus { 1.0 } else { 0.0 };
        Ok(NormWeight {
            weight: self.widened(&format!("{name}.weight"), &[width], one).await?,
            bias: match kind {
                NormKind::LayerNorm => Some(self.widened(&format!("{name}.bias"), &[width], 0.0).await?),
                NormKind::Rms | NormKind::RmsOnePlus => None,
            },
            eps: self.config.norm_eps,
        })
    }

    async fn linear(&mut self, id: ModuleId) -> Result<LinearWeight> {
        let TensorSpec { name, shape, kind } = self.config.linear_tensor(id);
        let mut weight = self.packed(&name, &shape).await?;
        if kind == TensorKind::Conv1d {
            weight = self.transposed(&name, &weight)?;
        }
        let (out_features, _) = self.config.projection_shape(id.projection);
        let bias = match self.config.has_bias(id.projection) {
            true => Some(self.widened(&format!("{id}.bias"), &[out_features], 0.0).await?),
            false => None,
        };
        Ok(LinearWeight { weight, bias })
    }

    /// On the GPU, since the host holds no more than a slice of it; every kernel then finds one layout.
    fn transposed(&self, name: &str, weight: &Tensor) -> Result<Tensor> {
        let tensor = self.gpu.tensor(name, &[weight.columns(), weight.rows()], weight.dtype())?;
        let mut plan = PlanBuilder::new(self.gpu);
        transpose(&mut plan, weight, &tensor);
        let mut recorder = Recorder::new(self.gpu);
        recorder.run(&plan.finish(), None);
        recorder.submit();
        Ok(tensor)
    }

    async fn layer(&mut self, layer: usize) -> Result<LayerWeights> {
        let family = self.config.family;
        let mut linears = BTreeMap::new();
        for &projection in family.projections {
            linears.insert(projection, self.linear(ModuleId { layer, projection }).await?);
        }
        let mut norms = BTreeMap::new();
        for &(role, _) in family.norms {
            if let Some(name) = self.config.layer_norm_name(layer, role) {
                norms.insert(role, self.norm(&name, self.config.norm_width(role)).await?);
            }
        }
        Ok(LayerWeights { norms, linears })
    }
}
