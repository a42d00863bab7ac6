//! The facade that the page's worker calls: plain objects in and out, one call at a time. No logic.
//!
//! Errors are JavaScript `Error` objects with a `kind` ([`ErrorKind`](crate::ErrorKind)'s name).

mod files;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use js_sys::{Function, Uint8Array};
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;

use crate::base::Base;
use crate::checkpoint::{Adapter, Progress};
use crate::config::{LoraConfig, TargetModules, TrainConfig, parameter_report};
use crate::data::{Columns, DataFormat, DataReport, Dataset, PreviewToken, preview};
use crate::error::{Error, Result};
use crate::generate::{Prompt, SamplingOptions, generate};
use crate::gpu::Gpu;
use crate::model::Lora;
use crate::tokenizer::Message;
use crate::train::{Job, MemoryOptions, Start, Trainer, prepare_for};

/// Rows of a data set that [`Engine::inspect_data`] shows token by token.
const PREVIEW_ROWS: usize = 8;

/// Logs a panic with its place: it is a bug, and the worker is lost with it.
#[wasm_bindgen(start)]
pub fn start() {
    console_error_panic_hook::set_once();
}

fn throw(error: Error) -> JsValue {
    let object = js_sys::Error::new(&error.to_string());
    let kind = JsValue::from(format!("{:?}", error.kind()));
    // Setting a property of a fresh object cannot fail.
    let _ = js_sys::Reflect::set(&object, &"kind".into(), &kind);
    object.into()
}

fn to_js<T: Serialize>(value: &T) -> Result<JsValue, JsValue> {
    let plain = serde_wasm_bindgen::Serializer::json_compatible();
    value.serialize(&plain).map_err(|error| throw(Error::config(error.to_string())))
}

fn from_js<T: for<'de> Deserialize<'de>>(what: &str, value: JsValue) -> Result<T, JsValue> {
    serde_wasm_bindgen::from_value(value).map_err(|error| throw(Error::config(format!("{what}: {error}"))))
}

/// A property of an object; `undefined` if there is none.
fn property(object: &JsValue, name: &str) -> JsValue {
    js_sys::Reflect::get(object, &name.into()).unwrap_or(JsValue::UNDEFINED)
}

fn bytes(object: &JsValue, name: &str) -> Option<Vec<u8>> {
    property(object, name).dyn_into::<Uint8Array>().ok().map(|array| array.to_vec())
}

fn required_bytes(object: &JsValue, name: &str) -> Result<Vec<u8>, JsValue> {
    bytes(object, name).ok_or_else(|| throw(Error::config(format!("\"{name}\" is not a Uint8Array"))))
}

/// A data set: `{name, data: Uint8Array, format?, columns?: {field: column}}`, with `format` as
/// [`DataFormat`](crate::data::DataFormat) reads it.
fn dataset(file: &JsValue) -> Result<Dataset, JsValue> {
    let (format, columns) = (data_format(file)?, data_columns(file)?);
    Dataset::from_bytes(required_bytes(file, "data")?, &name_of(file), format, columns).map_err(throw)
}

fn data_columns(file: &JsValue) -> Result<Columns, JsValue> {
    let columns = property(file, "columns");
    let columns = match columns.is_object() {
        true => from_js::<BTreeMap<String, String>>("columns", columns)?,
        false => BTreeMap::new(),
    };
    Columns::new(columns).map_err(throw)
}

fn data_format(file: &JsValue) -> Result<DataFormat, JsValue> {
    match property(file, "format").as_string() {
        Some(text) if !text.is_empty() => text.parse().map_err(throw),
        _ => Ok(DataFormat::default()),
    }
}

fn name_of(object: &JsValue) -> String {
    property(object, "name").as_string().unwrap_or_default()
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
}

#[derive(Serialize)]
struct DataInfo<'a> {
    #[serde(flatten)]
    report: &'a DataReport,
    preview: Vec<Vec<PreviewToken>>,
}

#[derive(Serialize)]
struct RunInfo {
    total_steps: usize,
    examples: usize,
    eval_examples: usize,
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    eval_loss: Option<f64>,
}

#[derive(Serialize)]
struct StepInfo<'a> {
    #[serde(flatten)]
    report: &'a crate::train::StepReport,
    total_steps: usize,
    done: bool,
}

#[derive(Serialize)]
struct EndInfo {
    /// The step that the adapter is of.
    step: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    best_eval_loss: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    best_step: Option<usize>,
}

/// The page's spelling of an adapter's settings.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LoraOptions {
    r: usize,
    lora_alpha: Option<f64>,
    lora_dropout: Option<f64>,
    target_modules: TargetModules,
}

impl LoraOptions {
    fn config(self) -> Result<LoraConfig> {
        let config = LoraConfig {
            r: self.r,
            lora_alpha: self.lora_alpha.unwrap_or(2.0 * self.r as f64),
            lora_dropout: self.lora_dropout.unwrap_or(0.0),
            target_modules: self.target_modules,
            ..LoraConfig::default()
        };
        config.validate()?;
        Ok(config)
    }
}

/// What the page wants done; see [`Engine::start`].
fn job(options: &JsValue, train: &JsValue, evaluation: &JsValue) -> Result<Job, JsValue> {
    let init = property(options, "init_adapter");
    let start = if init.is_object() {
        let (config, model) = (required_bytes(&init, "config")?, required_bytes(&init, "model")?);
        Start::Adapter(Adapter::from_files(&config, &model).map_err(throw)?)
    } else {
        let lora: LoraOptions = from_js("adapter settings", property(options, "lora"))?;
        Start::New(lora.config().map_err(throw)?)
    };
    Ok(Job {
        start,
        train: from_js("training settings", property(options, "train"))?,
        data: dataset(train)?,
        evaluation: evaluation.is_object().then(|| dataset(evaluation)).transpose()?,
        eval_split: None,
        memory: MemoryOptions {
            budget: property(options, "memory_budget").as_f64().map(|bytes| bytes as u64),
            auto: property(options, "auto").is_truthy(),
        },
    })
}

/// One GPU, one base model, and at most one adapter, new or in training.
#[wasm_bindgen]
pub struct Engine {
    gpu: Arc<Gpu>,
    base: Option<Rc<Base>>,
    trainer: Option<Trainer>,
    lora: Option<Rc<Lora>>,
}

impl Engine {
    fn base(&self) -> Result<Rc<Base>, JsValue> {
        self.base.clone().ok_or_else(|| throw(Error::config("no model is loaded")))
    }

    fn running(&mut self) -> Result<&mut Trainer, JsValue> {
        self.trainer.as_mut().ok_or_else(|| throw(Error::config("no run was started")))
    }

    fn loaded(&self) -> Result<&Rc<Lora>, JsValue> {
        self.lora.as_ref().ok_or_else(|| throw(Error::config("there is no adapter yet: train or load one")))
    }
}

#[wasm_bindgen]
impl Engine {
    /// Opens the GPU.
    pub async fn create() -> Result<Engine, JsValue> {
        let gpu = Gpu::open(None).await.map_err(throw)?;
        Ok(Self { gpu, base: None, trainer: None, lora: None })
    }

    /// What the GPU is.
    pub fn device(&self) -> Result<JsValue, JsValue> {
        to_js(&self.gpu.caps().adapter)
    }

    /// Whether the device has failed. It stays so: every later call fails too, and only another engine helps.
    pub fn has_failed(&self) -> bool {
        self.gpu.check().is_err()
    }

    /// Loads a base model: `{name, config, weights, weights_index?, tokenizer, tokenizer_config?, chat_template?}`.
    /// `weights` is a list of `{name, blob}`, several with `weights_index` (`model.safetensors.index.json`). A
    /// `blob` is a `Blob`, or an object that a [`RemoteSource`](crate::source::RemoteSource) takes. A file
    /// called `….gguf` needs none of the others.
    ///
    /// `on_progress(done, total, bytes_per_second, seconds_left?)` is called for every slice.
    pub async fn load_model(
        &mut self,
        files: JsValue,
        on_progress: Option<Function>,
    ) -> Result<JsValue, JsValue> {
        let files = files::base_files(&files).await?;
        let mut progress = |progress: Progress| {
            if let Some(call) = &on_progress {
                let left = progress.seconds_left().map_or(JsValue::UNDEFINED, JsValue::from);
                let numbers = [progress.done as f64, progress.total as f64, progress.bytes_per_second];
                let arguments: js_sys::Array = numbers.into_iter().map(JsValue::from).chain([left]).collect();
                // A failing listener is the page's concern.
                let _ = call.apply(&JsValue::NULL, &arguments);
            }
        };
        self.trainer = None;
        self.lora = None;
        self.base = None;
        let base = Base::load(&self.gpu, files, &mut progress).await.map_err(throw)?;
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
        });
        self.base = Some(Rc::new(base));
        info
    }

    /// What a data set (see [`dataset`]) is, what is wrong with it, and what of it would be trained on.
    pub fn inspect_data(&self, file: JsValue, train: JsValue) -> Result<JsValue, JsValue> {
        let base = self.base()?;
        let train: TrainConfig = from_js("training settings", train)?;
        let data = dataset(&file)?;
        let prepared = prepare_for(base.model.config(), &base.tokenizer, &data, &train).map_err(throw)?;
        let preview = preview(&prepared.examples, &base.tokenizer, PREVIEW_ROWS).map_err(throw)?;
        to_js(&DataInfo { report: &prepared.report, preview })
    }

    /// The columns of a data set (see [`dataset`]), by their own names.
    pub fn data_columns(&self, file: JsValue) -> Result<JsValue, JsValue> {
        let data = required_bytes(&file, "data")?;
        to_js(&Dataset::columns(data, &name_of(&file), data_format(&file)?).map_err(throw)?)
    }

    /// The first `count` rows of a data set (see [`dataset`]), by its own names.
    pub fn data_rows(&self, file: JsValue, count: usize) -> Result<JsValue, JsValue> {
        let data = required_bytes(&file, "data")?;
        let (format, columns) = (data_format(&file)?, data_columns(&file)?);
        to_js(&Dataset::first_rows(data, &name_of(&file), format, &columns, count).map_err(throw)?)
    }

    /// The parameters that an adapter with these settings would train, and warnings about them.
    pub fn count_parameters(&self, lora: JsValue) -> Result<JsValue, JsValue> {
        #[derive(Serialize)]
        struct Count {
            #[serde(flatten)]
            report: crate::config::ParameterReport,
            warnings: Vec<String>,
        }
        let base = self.base()?;
        let lora = from_js::<LoraOptions>("adapter settings", lora)?.config().map_err(throw)?;
        let report = parameter_report(&lora, base.model.config()).map_err(throw)?;
        to_js(&Count { report, warnings: lora.warnings(base.model.config()) })
    }

    /// What GPU memory a run would take and may take, and what would make it fit; arguments as in
    /// [`Engine::start`].
    pub async fn plan_memory(
        &self,
        options: JsValue,
        train: JsValue,
        evaluation: JsValue,
    ) -> Result<JsValue, JsValue> {
        let base = self.base()?;
        let (model, weights) = (base.model.config(), base.model.weight_bytes());
        let job = job(&options, &train, &evaluation)?.tokenize(model, &base.tokenizer).map_err(throw)?;
        to_js(&job.memory(&self.gpu, model, weights, weights).await.map_err(throw)?)
    }

    /// Prepares a run: `options {lora, train, init_adapter?: {config, model}, memory_budget?, auto?}`, data as
    /// [`dataset`] takes it.
    pub async fn start(
        &mut self,
        options: JsValue,
        train: JsValue,
        evaluation: JsValue,
    ) -> Result<JsValue, JsValue> {
        let base = self.base()?;
        let job = job(&options, &train, &evaluation)?;
        self.trainer = None;
        let mut ready = job.prepare(&base).await.map_err(throw)?;
        let eval_loss = ready.trainer.evaluate().await.map_err(throw)?;
        let info = RunInfo {
            total_steps: ready.trainer.progress().total,
            examples: ready.examples,
            eval_examples: ready.eval_examples,
            warnings: ready.warnings,
            eval_loss,
        };
        self.lora = Some(Rc::clone(ready.trainer.session().lora()));
        self.trainer = Some(ready.trainer);
        to_js(&info)
    }

    /// The next optimizer step's report; `null` when the run is over or, with `stopping`, when no step is
    /// under way any more.
    pub async fn step(&mut self, stopping: bool) -> Result<JsValue, JsValue> {
        let trainer = self.running()?;
        let report = if stopping { trainer.drain().await } else { trainer.step().await };
        match report.map_err(throw)? {
            None => Ok(JsValue::NULL),
            Some(report) => {
                let progress = trainer.progress();
                let done = progress.step == progress.total;
                to_js(&StepInfo { report: &report, total_steps: progress.total, done })
            }
        }
    }

    /// Ends the run, now or when it is over; the adapter stays. Frees the run's memory.
    pub async fn finish(&mut self) -> Result<JsValue, JsValue> {
        let trainer = self.running()?;
        while trainer.drain().await.map_err(throw)?.is_some() {}
        let (step, best) = (trainer.progress().step, trainer.best());
        self.trainer = None;
        to_js(&EndInfo { step, best_eval_loss: best.map(|b| b.1), best_step: best.map(|b| b.0) })
    }

    /// Whether there is an adapter to generate with or to export.
    pub fn has_adapter(&self) -> bool {
        self.lora.is_some()
    }

    /// Loads a PEFT adapter in place of the current one.
    pub async fn load_adapter(&mut self, config: &[u8], model: &[u8]) -> Result<(), JsValue> {
        let adapter = Adapter::from_files(config, model).map_err(throw)?;
        let base = self.base()?;
        let lora = Lora::from_adapter(&self.gpu, &adapter, base.model.config()).map_err(throw)?;
        self.trainer = None;
        self.lora = Some(Rc::new(lora));
        Ok(())
    }

    /// Continues a prompt; `options` are [`SamplingOptions`] with `adapter` and `chat`. `on_text(piece)`
    /// returns false to stop.
    pub async fn generate(
        &self,
        prompt: String,
        options: JsValue,
        on_text: Function,
    ) -> Result<JsValue, JsValue> {
        let base = self.base()?;
        let flag = |name: &str| property(&options, name).is_truthy();
        let prompt = if flag("chat") {
            Prompt::Chat(vec![Message { role: "user".to_owned(), content: prompt }])
        } else {
            Prompt::Text(prompt)
        };
        let lora = if flag("adapter") { Some(self.loaded()?) } else { None };
        let number = |name: &str, default: f64| property(&options, name).as_f64().unwrap_or(default);
        let default = SamplingOptions::default();
        let sampling = SamplingOptions {
            max_new_tokens: number("max_new_tokens", default.max_new_tokens as f64) as usize,
            temperature: number("temperature", default.temperature),
            top_k: number("top_k", default.top_k as f64) as usize,
            top_p: number("top_p", default.top_p),
            seed: number("seed", default.seed as f64) as u64,
        };
        let mut text = |piece: &str| {
            on_text
                .call1(&JsValue::NULL, &piece.into())
                .is_ok_and(|goes_on| !goes_on.is_falsy() || goes_on.is_undefined())
        };
        let result =
            generate(&base, lora.map(|l| &**l), &prompt, &sampling, &mut text).await.map_err(throw)?;
        to_js(&result)
    }

    /// The adapter's two files, `{config, model}`.
    pub async fn export_adapter(&self) -> Result<JsValue, JsValue> {
        let adapter = self.loaded()?.to_adapter(&self.gpu).await.map_err(throw)?;
        let files = adapter.to_files().map_err(throw)?;
        let object = js_sys::Object::new();
        for (name, bytes) in [("config", &files.config), ("model", &files.model)] {
            js_sys::Reflect::set(&object, &name.into(), &Uint8Array::from(bytes.as_slice()))?;
        }
        Ok(object.into())
    }
}
