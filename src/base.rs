//! A base model as people have it: configuration, weights and tokenizer together.

use std::rc::Rc;
use std::sync::Arc;

use crate::checkpoint::SafetensorsFile;
use crate::config::ModelConfig;
use crate::error::{Context, Error, Result};
use crate::gpu::Gpu;
use crate::model::Model;
use crate::source::ByteSource;
use crate::tokenizer::Tokenizer;

/// The files of a Hugging Face model folder; the weights are read in slices, the rest is small.
pub struct BaseFiles {
    /// Name for people and for the adapter's `base_model_name_or_path`.
    pub name: String,
    /// `config.json`.
    pub config: Vec<u8>,
    /// `model.safetensors`.
    pub weights: Rc<dyn ByteSource>,
    /// `tokenizer.json`.
    pub tokenizer: Vec<u8>,
    /// `tokenizer_config.json`.
    pub tokenizer_config: Option<Vec<u8>>,
    /// `chat_template.jinja`.
    pub chat_template: Option<String>,
    /// `generation_config.json`: its end-of-sequence ids.
    pub generation_config: Option<Vec<u8>>,
}

/// A loaded base model with its tokenizer.
pub struct Base {
    /// See [`BaseFiles::name`].
    pub name: String,
    /// The model.
    pub model: Rc<Model>,
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// Tokens that end a generated text.
    pub stop: Vec<u32>,
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
    /// Loads everything; `progress(done, total)` counts bytes of the weights.
    ///
    /// # Errors
    /// Those of each file's own reader, with the file's name.
    pub async fn load(gpu: &Arc<Gpu>, files: BaseFiles, progress: &mut dyn FnMut(u64, u64)) -> Result<Self> {
        let config =
            ModelConfig::from_json(&files.config).context(|| format!("{}: config.json", files.name))?;
        let tokenizer = Tokenizer::for_model(
            &files.config,
            &files.tokenizer,
            files.tokenizer_config.as_deref(),
            files.chat_template.as_deref(),
        )
        .context(|| files.name.clone())?;
        let generation: GenerationConfig = match &files.generation_config {
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
        let file = SafetensorsFile::open(files.weights).await?;
        let model = Model::load(gpu, config, &file, progress).await?;
        Ok(Self { name: files.name, model, tokenizer, stop })
    }

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

/// Reads a folder as transformers saves it.
#[cfg(not(target_arch = "wasm32"))]
pub fn read_folder(dir: &std::path::Path) -> Result<BaseFiles> {
    use crate::source::FileSource;

    // Every file but the weights is small; a huge one is not what it claims to be.
    const MAX_TEXT: u64 = 64 << 20;
    if !dir.is_dir() {
        return Err(Error::new(
            crate::error::ErrorKind::Io,
            format!(
                "{}: not a folder. Name a folder with config.json, model.safetensors and tokenizer.json, or \
                     \"demo\" for the built-in model",
                dir.display()
            ),
        ));
    }
    let optional = |name: &str| -> Result<Option<Vec<u8>>> {
        let path = dir.join(name);
        match std::fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(path.display(), &error)),
            Ok(meta) if meta.len() > MAX_TEXT => {
                return Err(Error::format(format!("{}: {} bytes are too many", path.display(), meta.len())));
            }
            Ok(_) => {}
        }
        std::fs::read(&path).map(Some).map_err(|error| Error::io(path.display(), &error))
    };
    let required = |name: &str| -> Result<Vec<u8>> {
        optional(name)?.ok_or_else(|| {
            Error::new(
                crate::error::ErrorKind::Io,
                format!("{}: {name} is missing. A model folder has config.json, model.safetensors and tokenizer.json",
                        dir.display()),
            )
        })
    };
    let chat_template = optional("chat_template.jinja")?
        .map(|bytes| {
            String::from_utf8(bytes)
                .map_err(|_| Error::format(format!("{}: chat_template.jinja is not UTF-8", dir.display())))
        })
        .transpose()?;
    let config = required("config.json")?;
    let weights = dir.join("model.safetensors");
    if !weights.exists() {
        return Err(Error::new(
            crate::error::ErrorKind::Io,
            format!(
                "{}: model.safetensors is missing{}",
                dir.display(),
                if dir.join("model.safetensors.index.json").exists() {
                    "; models in several files are not supported: save it in one, with max_shard_size"
                } else {
                    ""
                }
            ),
        ));
    }
    Ok(BaseFiles {
        name: dir.display().to_string(),
        config,
        weights: Rc::new(FileSource::open(&weights)?),
        tokenizer: required("tokenizer.json")?,
        tokenizer_config: optional("tokenizer_config.json")?,
        chat_template,
        generation_config: optional("generation_config.json")?,
    })
}
