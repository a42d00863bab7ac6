//! The base model, from the files that the page hands over.

use std::rc::Rc;

use js_sys::Function;
use serde::Serialize;
use wasm_bindgen::prelude::*;
use web_sys::Blob;

use super::Engine;
use super::convert::{bytes, from_js, name_of, property, required_bytes, throw, to_js};
use crate::base::{BaseFiles, OpenedBase, TextFiles};
use crate::bench::{Setup, WeightType};
use crate::checkpoint::{Adapter, GgufFile, Merge, Progress, open_weights};
use crate::config::{LoraOptions, ModelConfig, TargetModules, TrainConfig};
use crate::error::Error;
use crate::memory::{MemoryPlan, MemoryReport, Work};
use crate::model::WeightBytes;
use crate::source::{BlobSource, ByteSource, RemoteSource};
use crate::tokenizer::TokenizerFiles;

/// One of the files of weights: `{name, blob}`.
fn weights_file(file: &JsValue) -> Result<(String, Rc<dyn ByteSource>), JsValue> {
    let name = name_of(file);
    let source: Rc<dyn ByteSource> = match property(file, "blob").dyn_into::<Blob>() {
        Ok(blob) => Rc::new(BlobSource::new(&name, blob)),
        Err(other) => Rc::new(RemoteSource::new(&name, other).map_err(throw)?),
    };
    Ok((name, source))
}

/// Calls `on_progress(done, total, bytes_per_second, seconds_left?)`, if it is given.
pub(super) fn reporter(on_progress: Option<Function>) -> impl FnMut(Progress) {
    move |progress| {
        if let Some(call) = &on_progress {
            let left = progress.seconds_left().map_or(JsValue::UNDEFINED, JsValue::from);
            let numbers = [progress.done as f64, progress.total as f64, progress.bytes_per_second];
            let arguments: js_sys::Array = numbers.into_iter().map(JsValue::from).chain([left]).collect();
            // A failing listener is the page's concern.
            let _ = call.apply(&JsValue::NULL, &arguments);
        }
    }
}

/// The files of the object that `Engine::load_model` is given.
pub(super) async fn base_files(files: &JsValue) -> Result<BaseFiles, JsValue> {
    let weights = property(files, "weights");
    let weights: js_sys::Array =
        weights.dyn_into().map_err(|_| throw(Error::config("\"weights\" is not a list of files")))?;
    let list = weights.iter().map(|file| weights_file(&file)).collect::<Result<Vec<_>, _>>()?;
    if let [(name, source)] = list.as_slice()
        && (name.to_ascii_lowercase().ends_with(".gguf")
            || GgufFile::is_one(&**source).await.map_err(throw)?)
    {
        return BaseFiles::from_gguf(name_of(files), Rc::clone(source)).await.map_err(throw);
    }
    let index = bytes(files, "weights_index");
    Ok(BaseFiles {
        name: name_of(files),
        revision: property(files, "revision").as_string(),
        text: TextFiles {
            config: required_bytes(files, "config")?,
            tokenizer: TokenizerFiles {
                tokenizer: required_bytes(files, "tokenizer")?,
                tokenizer_config: bytes(files, "tokenizer_config"),
                special_tokens_map: bytes(files, "special_tokens_map"),
                chat_template: property(files, "chat_template").as_string(),
                is_complete: false,
            },
            generation_config: bytes(files, "generation_config"),
        },
        weights: open_weights(&list, index.as_deref()).await.map_err(throw)?,
    })
}

#[derive(Serialize)]
struct ModelInfo<'a> {
    name: &'a str,
    parameters: u64,
    num_hidden_layers: usize,
    hidden_size: usize,
    vocab_size: usize,
    max_position_embeddings: usize,
    has_chat_template: bool,
    target_modules: Vec<&'static str>,
    refused_formats: RefusedFormats,
}

/// Why what is made of the model cannot be written in a format, where it cannot.
#[derive(Serialize)]
struct RefusedFormats {
    #[serde(skip_serializing_if = "Option::is_none")]
    gguf: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    merged: Option<String>,
}

impl Engine {
    /// Refuses weights that do not fit the budget.
    async fn check(&mut self, weights: WeightBytes) -> Result<MemoryReport, JsValue> {
        self.budget.correct(&self.gpu, weights.peak()).await;
        let plan = MemoryPlan::of_weights(weights);
        MemoryReport::new(Work::Loading, plan, self.budget.clone()).checked().map_err(throw)
    }
}

#[wasm_bindgen]
impl Engine {
    /// Whether weights of so many bytes fit, and the budget: before they are downloaded.
    pub async fn check_weights(&mut self, bytes: f64) -> Result<JsValue, JsValue> {
        to_js(&self.check(WeightBytes { kept: bytes as u64, loading: 0 }).await?)
    }

    /// GPU memory in bytes, at its peak, that a run would take on a model that is not loaded, by its `config.json`: of
    /// examples of the greatest length, with the modules and the length limit that loading it would leave, and one rank
    /// for all layers.
    pub fn plan_model(&self, config: &[u8], lora: JsValue, train: JsValue) -> Result<f64, JsValue> {
        let model = ModelConfig::from_json(config).map_err(throw)?;
        let mut lora: LoraOptions = from_js("adapter settings", lora)?;
        lora.rank_pattern.clear();
        lora.alpha_pattern.clear();
        if let TargetModules::List(names) = &mut lora.target_modules {
            let known = model.family.module_names();
            names.retain(|name| known.contains(&name.as_str()));
            if names.is_empty() {
                lora.target_modules = TargetModules::AllLinear;
            }
        }
        let mut train: TrainConfig = from_js("training settings", train)?;
        train.validate().map_err(throw)?;
        train.max_length = train.max_length.min(model.max_position_embeddings);
        let (weights, lora) = (WeightType::of_config(config).map_err(throw)?, lora.config().map_err(throw)?);
        let setup = Setup { name: "the model".to_owned(), model, weights, lora, train };
        Ok(setup.training_plan(&self.gpu).map_err(throw)?.peak as f64)
    }

    /// Whether there is a base model.
    pub fn has_model(&self) -> bool {
        self.base.is_some()
    }

    /// Loads a base model: `{name, revision?, config, weights, weights_index?, tokenizer, tokenizer_config?,
    /// special_tokens_map?, chat_template?, generation_config?}`.
    /// `weights` is a list of `{name, blob}`, several with `weights_index` (`model.safetensors.index.json`). A
    /// `blob` is a `Blob`, or an object that a [`RemoteSource`](crate::source::RemoteSource) takes. A file
    /// called `….gguf`, or one that begins as those do, needs none of the others. The model before it goes, with its
    /// adapters and its run, once the new one's files are found to be right and to fit the budget; until then a failure
    /// leaves it in place, which [`has_model`](Self::has_model) tells.
    ///
    /// `on_progress(done, total, bytes_per_second, seconds_left?)` is called for every slice.
    pub async fn load_model(
        &mut self,
        files: JsValue,
        on_progress: Option<Function>,
    ) -> Result<JsValue, JsValue> {
        let files = base_files(&files).await?;
        let mut progress = reporter(on_progress);
        let weights = Rc::clone(&files.weights);
        let opened = OpenedBase::open(files).map_err(throw)?;
        self.check(opened.weight_bytes(&self.gpu).map_err(throw)?).await?;
        self.run = None;
        self.adapters.clear();
        self.base = None;
        self.weights = None;
        let base = opened.load(&self.gpu, &mut progress).await.map_err(throw)?;
        let config = base.model.config();
        let info = to_js(&ModelInfo {
            name: &base.name,
            parameters: config.total_parameters(),
            num_hidden_layers: config.num_hidden_layers,
            hidden_size: config.hidden_size,
            vocab_size: config.vocab_size,
            max_position_embeddings: config.max_position_embeddings,
            has_chat_template: base.tokenizer.has_chat_template(),
            target_modules: config.family.module_names(),
            refused_formats: RefusedFormats {
                gguf: Adapter::check_gguf(config).err().map(|error| error.to_string()),
                merged: Merge::check_source(&*weights).err().map(|error| error.to_string()),
            },
        });
        self.base = Some(Rc::new(base));
        self.weights = Some(weights);
        info
    }
}
