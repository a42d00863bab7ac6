//! The frozen weights in GPU memory, as stored on disk.

use half::{bf16, f16};

use crate::checkpoint::{TensorInfo, TensorSource};
use crate::config::{ModelConfig, ModuleId, Projection};
use crate::error::{Error, Result};
use crate::gpu::{Dtype, Gpu, Tensor};

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
    /// `[hidden_size]`, f32.
    pub input_layernorm: Tensor,
    /// `[hidden_size]`, f32.
    pub post_attention_layernorm: Tensor,
    linears: Vec<LinearWeight>,
}

impl LayerWeights {
    /// A linear layer.
    pub fn linear(&self, projection: Projection) -> &LinearWeight {
        &self.linears[projection as usize]
    }
}

/// All weights of a Llama-family decoder.
pub struct Weights {
    /// `[vocab_size, hidden_size]`, in the file's type.
    pub embed_tokens: Tensor,
    /// Decoder layers, first to last.
    pub layers: Vec<LayerWeights>,
    /// `[hidden_size]`, f32.
    pub norm: Tensor,
    /// `[vocab_size, hidden_size]`, in the file's type; `embed_tokens` itself if tied.
    pub lm_head: Tensor,
}

const EMBED_TOKENS: &str = "model.embed_tokens.weight";
const LM_HEAD: &str = "lm_head.weight";

impl Weights {
    pub(super) async fn load(
        gpu: &Gpu,
        config: &ModelConfig,
        file: &dyn TensorSource,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self> {
        let mut loader = Loader { gpu, file, done: 0, total: 0, progress };
        // Everything is checked before anything is read: a wrong file fails at once.
        let table = [config.vocab_size, config.hidden_size];
        let (embed_name, head_name) = table_names(config, file);
        let mut expected = vec![(embed_name.to_owned(), table.to_vec())];
        if head_name != embed_name {
            expected.push((head_name.to_owned(), table.to_vec()));
        }
        expected.push(("model.norm.weight".to_owned(), vec![config.hidden_size]));
        for layer in 0..config.num_hidden_layers {
            for norm in [INPUT_LAYERNORM, POST_ATTENTION_LAYERNORM] {
                expected.push((norm_name(layer, norm), vec![config.hidden_size]));
            }
            for projection in Projection::ALL {
                let name = ModuleId { layer, projection }.name();
                let (out_features, in_features) = config.projection_shape(projection);
                if config.has_bias(projection) {
                    expected.push((format!("{name}.bias"), vec![out_features]));
                }
                expected.push((format!("{name}.weight"), vec![out_features, in_features]));
            }
        }
        for (name, shape) in &expected {
            loader.total += loader.info(name, shape)?.bytes();
        }

        let embed_tokens = loader.packed(embed_name, &table).await?;
        let lm_head = if head_name == embed_name {
            embed_tokens.clone()
        } else {
            loader.packed(head_name, &table).await?
        };
        let norm = loader.widened("model.norm.weight", config.hidden_size).await?;
        let mut layers = Vec::with_capacity(config.num_hidden_layers);
        for layer in 0..config.num_hidden_layers {
            layers.push(loader.layer(config, layer).await?);
        }
        Ok(Self { embed_tokens, layers, norm, lm_head })
    }
}

/// The names under which the embedding and the head are stored: one and the same when they are tied,
/// and then whichever of the two the file has.
fn table_names(config: &ModelConfig, file: &dyn TensorSource) -> (&'static str, &'static str) {
    if !config.tie_word_embeddings {
        (EMBED_TOKENS, LM_HEAD)
    } else if file.info(EMBED_TOKENS).is_none() && file.info(LM_HEAD).is_some() {
        (LM_HEAD, LM_HEAD)
    } else {
        (EMBED_TOKENS, EMBED_TOKENS)
    }
}

const INPUT_LAYERNORM: &str = "input_layernorm";
const POST_ATTENTION_LAYERNORM: &str = "post_attention_layernorm";

fn norm_name(layer: usize, norm: &str) -> String {
    format!("model.layers.{layer}.{norm}.weight")
}

fn gpu_dtype(name: &str, info: &TensorInfo, file: &dyn TensorSource) -> Result<Dtype> {
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
    file: &'a dyn TensorSource,
    done: u64,
    total: u64,
    progress: &'a mut dyn FnMut(u64, u64),
}

impl Loader<'_> {
    fn info(&self, name: &str, shape: &[usize]) -> Result<&TensorInfo> {
        let file = self.file.name();
        let info = self.file.info(name).ok_or_else(|| {
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
            let slice = self.file.read(name, at..end).await?;
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

    /// A vector, widened to f32: norms and biases are small and read by every row.
    async fn widened(&mut self, name: &str, len: usize) -> Result<Tensor> {
        let info = self.info(name, &[len])?;
        let (bytes, dtype) = (info.bytes(), gpu_dtype(name, info, self.file)?);
        let mut raw = Vec::with_capacity(bytes as usize);
        self.stream(name, bytes, |_, slice| raw.extend_from_slice(slice)).await?;
        let pairs = || raw.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
        let values: Vec<f32> = match dtype {
            Dtype::F16 => pairs().map(|bits| f16::from_bits(bits).to_f32()).collect(),
            Dtype::BF16 => pairs().map(|bits| bf16::from_bits(bits).to_f32()).collect(),
            _ => raw.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        };
        self.gpu.tensor_from(name, &[len], Dtype::F32, &values)
    }

    async fn layer(&mut self, config: &ModelConfig, layer: usize) -> Result<LayerWeights> {
        let hidden = config.hidden_size;
        let mut linears = Vec::with_capacity(Projection::ALL.len());
        for projection in Projection::ALL {
            let name = ModuleId { layer, projection }.name();
            let (out_features, in_features) = config.projection_shape(projection);
            let weight = self.packed(&format!("{name}.weight"), &[out_features, in_features]).await?;
            let bias = match config.has_bias(projection) {
                true => Some(self.widened(&format!("{name}.bias"), out_features).await?),
                false => None,
            };
            linears.push(LinearWeight { weight, bias });
        }
        Ok(LayerWeights {
            input_layernorm: self.widened(&norm_name(layer, INPUT_LAYERNORM), hidden).await?,
            post_attention_layernorm: self
                .widened(&norm_name(layer, POST_ATTENTION_LAYERNORM), hidden)
                .await?,
            linears,
        })
    }
}
