//! What the page wants done, as the core takes it.

use serde::Deserialize;
use wasm_bindgen::JsValue;

use super::{dataset, from_js, property, required_bytes, throw};
use crate::checkpoint::Adapter;
use crate::config::{LoraConfig, TargetModules};
use crate::error::Result;
use crate::gpu::MemoryBudget;
use crate::train::{Job, MemoryOptions, Start};

/// The page's spelling of an adapter's settings.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LoraOptions {
    r: usize,
    lora_alpha: Option<f64>,
    lora_dropout: Option<f64>,
    target_modules: TargetModules,
}

impl LoraOptions {
    pub(super) fn config(self) -> Result<LoraConfig> {
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

/// What the page wants done; see [`Engine::start`](super::Engine::start).
pub(super) fn job(
    options: &JsValue,
    train: &JsValue,
    evaluation: &JsValue,
    budget: MemoryBudget,
) -> Result<Job, JsValue> {
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
        memory: MemoryOptions { budget, auto: false },
    })
}
