//! The frozen weights in GPU memory, as stored on disk.

use super::loader::Loader;
use crate::checkpoint::{Progress, TensorSource};
use crate::config::{ModelConfig, ModuleId, Projection};
use crate::error::Result;
use crate::gpu::{Gpu, Tensor};

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

impl Weights {
    pub(super) async fn load(
        gpu: &Gpu,
        config: &ModelConfig,
        source: &dyn TensorSource,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self> {
        let mut loader = Loader::new(gpu, source);
        let table = [config.vocab_size, config.hidden_size];
        // A tied table has either name.
        let tied_as_head = config.tie_word_embeddings && !loader.has(EMBED_TOKENS) && loader.has(LM_HEAD);
        let embed_tokens = loader.packed(if tied_as_head { LM_HEAD } else { EMBED_TOKENS }, &table)?;
        let lm_head = match config.tie_word_embeddings {
            true => embed_tokens.clone(),
            false => loader.packed(LM_HEAD, &table)?,
        };
        let norm = loader.widened("model.norm.weight", config.hidden_size)?;
        let layers = (0..config.num_hidden_layers).map(|layer| LayerWeights::new(&mut loader, config, layer));
        let layers = layers.collect::<Result<_>>()?;
        loader.run(progress).await?;
        Ok(Self { embed_tokens, layers, norm, lm_head })
    }
}

impl LayerWeights {
    fn new(loader: &mut Loader<'_>, config: &ModelConfig, layer: usize) -> Result<Self> {
        let mut norm =
            |norm: &str| loader.widened(&format!("model.layers.{layer}.{norm}.weight"), config.hidden_size);
        let input_layernorm = norm("input_layernorm")?;
        let post_attention_layernorm = norm("post_attention_layernorm")?;
        let mut linears = Vec::with_capacity(Projection::ALL.len());
        for projection in Projection::ALL {
            let name = ModuleId { layer, projection }.name();
            let (out_features, in_features) = config.projection_shape(projection);
            let weight = loader.packed(&format!("{name}.weight"), &[out_features, in_features])?;
            let bias = match config.has_bias(projection) {
                true => Some(loader.widened(&format!("{name}.bias"), out_features)?),
                false => None,
            };
            linears.push(LinearWeight { weight, bias });
        }
        Ok(Self { input_layernorm, post_attention_layernorm, linears })
    }
}

const EMBED_TOKENS: &str = "model.embed_tokens.weight";
const LM_HEAD: &str = "lm_head.weight";
