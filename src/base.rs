//! A base model as people have it: configuration, weights and tokenizer together.

use std::rc::Rc;
use std::sync::Arc;

#[cfg(not(target_arch = "wasm32"))]
mod folder;
#[cfg(not(target_arch = "wasm32"))]
pub use folder::{other_tokenizer_files, read_config, read_folder, read_model, read_text};

use crate::checkpoint::{GgufFile, Progress, TensorSource};
use crate::config::ModelConfig;
use crate::error::{Context, Error, Result};
use crate::gpu::Gpu;
use crate::model::{Model, WeightBytes};
use crate::source::ByteSource;
use crate::tokenizer::{Tokenizer, TokenizerFiles};

/// The files of a Hugging Face model folder beside its weights, or what stands for them in a file of another kind.
pub struct TextFiles {
    /// `config.json`.
    pub config: Vec<u8>,
    /// The tokenizer's.
    pub tokenizer: TokenizerFiles,
    /// `generation_config.json`: its end-of-sequence ids.
    pub generation_config: Option<Vec<u8>>,
}

/// All files of a model; the weights are read in slices, the rest is small.
pub struct BaseFiles {
    /// Name for people and for the adapter's `base_model_name_or_path`.
    pub name: String,
    /// The branch, tag or commit on the Hub, where one was named: the adapter's `revision`.
    pub revision: Option<String>,
    /// Everything but the weights.
    pub text: TextFiles,
    /// The tensors, under any of the names that [`Canonical`](crate::checkpoint::Canonical) knows.
    pub weights: Rc<dyn TensorSource>,
}

impl TextFiles {
    /// The model's configuration and its tokenizer.
    ///
    /// # Errors
    /// Those of each file's own reader.
    pub fn read(&self) -> Result<(ModelConfig, Tokenizer)> {
        let config = ModelConfig::from_json(&self.config)?;
        Ok((config, Tokenizer::for_model(&self.config, &self.tokenizer)?))
    }
}

impl BaseFiles {
    /// The files beside the weights, under their names.
    pub fn text_files(&self) -> Vec<(&'static str, &[u8])> {
        let tokenizer = &self.text.tokenizer;
        [
            ("config.json", Some(&self.text.config[..])),
            ("tokenizer.json", Some(&tokenizer.tokenizer)),
            ("tokenizer_config.json", tokenizer.tokenizer_config.as_deref()),
            ("special_tokens_map.json", tokenizer.special_tokens_map.as_deref()),
            ("chat_template.jinja", tokenizer.chat_template.as_ref().map(String::as_bytes)),
            ("generation_config.json", self.text.generation_config.as_deref()),
        ]
        .into_iter()
        .filter_map(|(name, bytes)| Some((name, bytes?)))
        .collect()
    }

    /// The files that a GGUF file stands for: its metadata has the configuration and the tokenizer.
    ///
    /// # Errors
    /// Those of [`GgufFile`]: `Format` for a file that is malformed, `Unsupported` for an architecture, type or
    /// tokenizer that cannot be used.
    pub async fn from_gguf(name: String, source: Rc<dyn ByteSource>) -> Result<Self> {
        let file = GgufFile::open(source).await?;
        let (tokenizer, tokenizer_config) = file.tokenizer()?;
        let tokenizer = TokenizerFiles {
            tokenizer,
            tokenizer_config: Some(tokenizer_config),
            is_complete: true,
            ..TokenizerFiles::default()
        };
        let text = TextFiles { config: file.config()?, tokenizer, generation_config: None };
        Ok(Self { name, revision: None, text, weights: Rc::new(file) })
    }
}

/// A loaded base model with its tokenizer.
pub struct Base {
    /// See [`BaseFiles::name`].
    pub name: String,
    /// See [`BaseFiles::revision`].
    pub revision: Option<String>,
    /// The model.
    pub model: Rc<Model>,
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// Tokens that end a generated text.
    pub stop: Vec<u32>,
}

/// A base model whose weights are not in GPU memory yet.
pub struct OpenedBase {
    /// See [`BaseFiles::name`].
    pub name: String,
    /// See [`BaseFiles::revision`].
    pub revision: Option<String>,
    /// The configuration.
    pub config: ModelConfig,
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    stop: Vec<u32>,
    weights: Rc<dyn TensorSource>,
}

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Ids {
    One(u32),
    Many(Vec<u32>),
}

#[derive(Default, serde::Deserialize)]
struct GenerationConfig {
    eos_token_id: Option<Ids>,
}

impl Base {
    /// Loads everything; `progress` is told of the bytes of the weights.
    ///
    /// # Errors
    /// Those of each file's own reader, with the file's name.
    pub async fn load(gpu: &Arc<Gpu>, files: BaseFiles, progress: &mut dyn FnMut(Progress)) -> Result<Self> {
        OpenedBase::open(files)?.load(gpu, progress).await
    }
}

impl OpenedBase {
    /// Reads everything but the weights.
    ///
    /// # Errors
    /// Those of each file's own reader, with the file's name.
    pub fn open(files: BaseFiles) -> Result<Self> {
        let (config, tokenizer) = files.text.read().context(|| files.name.clone())?;
        let generation: GenerationConfig = match &files.text.generation_config {
            None => GenerationConfig::default(),
            Some(json) => serde_json::from_slice(json)
                .map_err(|error| Error::format(format!("{}: generation_config.json: {error}", files.name)))?,
        };
        let mut stop = config.eos_token_id.clone();
        stop.extend(tokenizer.eos_token_id());
        match generation.eos_token_id {
            Some(Ids::One(id)) => stop.push(id),
            Some(Ids::Many(ids)) => stop.extend(ids),
            None => {}
        }
        stop.sort_unstable();
        stop.dedup();
        Ok(Self {
            name: files.name,
            revision: files.revision,
            config,
            tokenizer,
            stop,
            weights: files.weights,
        })
    }

    /// The memory that the weights will take on `gpu`.
    ///
    /// # Errors
    /// Weights that do not belong to the configuration.
    pub fn weight_bytes(&self, gpu: &Gpu) -> Result<WeightBytes> {
        Model::plan_weights(gpu, &self.config, &*self.weights)
    }

    /// The same with its weights from elsewhere, where they have come in the meantime.
    pub fn with_weights(self, weights: Rc<dyn TensorSource>) -> Self {
        Self { weights, ..self }
    }

    /// Loads the weights; `progress` is told of their bytes.
    ///
    /// # Errors
    /// Those of [`Model::load`].
    pub async fn load(self, gpu: &Arc<Gpu>, progress: &mut dyn FnMut(Progress)) -> Result<Base> {
        let Self { name, revision, config, tokenizer, stop, weights } = self;
        let model = Model::load(gpu, config, &*weights, progress).await?;
        Ok(Base { name, revision, model, tokenizer, stop })
    }
}

impl Base {
    /// Refuses ids that the model has no embedding for.
    pub fn check_ids(&self, ids: &[u32]) -> Result<()> {
        let vocab_size = self.model.config().vocab_size;
        match ids.iter().find(|&&id| id as usize >= vocab_size) {
            None => Ok(()),
            Some(id) => Err(Error::config(format!(
                "token id {id} (\"{}\") is outside the model's vocab_size of {vocab_size}: \
                 tokenizer.json and config.json do not belong together",
                self.tokenizer.token_text(*id)
            ))),
        }
    }
}
