//! Adapters by id.

use std::rc::Rc;

use serde::Serialize;
use wasm_bindgen::prelude::*;

use super::Engine;
use super::convert::{byte_arrays, from_js, required_bytes, throw, to_js};
use crate::checkpoint::Adapter;
use crate::config::{LoraOptions, ParameterReport, parameter_report};
use crate::generate::{Prompt, logit_difference};
use crate::model::Lora;

#[derive(Serialize)]
struct Count {
    #[serde(flatten)]
    report: ParameterReport,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct AdapterInfo {
    r: usize,
    lora_alpha: f64,
    target_modules: Vec<String>,
    parameters: usize,
}

#[derive(Serialize)]
struct CheckInfo {
    max_difference: f64,
}

/// The adapter of two files, `{config, model}`.
pub(super) fn adapter_of(files: &JsValue) -> Result<Adapter, JsValue> {
    let (config, model) = (required_bytes(files, "config")?, required_bytes(files, "model")?);
    Adapter::from_files(&config, &model).map_err(throw)
}

#[wasm_bindgen]
impl Engine {
    /// The parameters that an adapter with these settings would train, and warnings about them.
    pub fn count_parameters(&self, lora: JsValue) -> Result<JsValue, JsValue> {
        let base = self.base()?;
        let lora = from_js::<LoraOptions>("adapter settings", lora)?.config().map_err(throw)?;
        let report = parameter_report(&lora, base.model.config()).map_err(throw)?;
        to_js(&Count { report, warnings: lora.warnings(base.model.config()) })
    }

    /// Loads a PEFT adapter under an id, in place of another of that id.
    pub async fn load_adapter(
        &mut self,
        id: String,
        config: &[u8],
        model: &[u8],
    ) -> Result<JsValue, JsValue> {
        self.check_not_in_training(&id)?;
        let adapter = Adapter::from_files(config, model).map_err(throw)?;
        let base = self.base()?;
        let make = || Lora::from_adapter(&self.gpu, &adapter, base.model.config());
        let lora = self.gpu.make_room("the adapter", make).await.map_err(throw)?;
        self.adapters.insert(id, Rc::new(lora));
        to_js(&AdapterInfo {
            r: adapter.config.r,
            lora_alpha: adapter.config.lora_alpha,
            target_modules: adapter.module_names(),
            parameters: adapter.parameters(),
        })
    }

    /// Frees an adapter, if there is one of that id. The run's own stays as long as the run.
    pub fn drop_adapter(&mut self, id: &str) -> Result<(), JsValue> {
        self.check_not_in_training(id)?;
        self.adapters.remove(id);
        Ok(())
    }

    /// The ids of the adapters, sorted.
    pub fn adapters(&self) -> Vec<String> {
        self.adapters.keys().cloned().collect()
    }

    /// An adapter's two files, `{config, model}`.
    pub async fn export_adapter(&self, id: String) -> Result<JsValue, JsValue> {
        let adapter = self.adapter(&id)?.to_adapter(&self.gpu).await.map_err(throw)?;
        let files = adapter.to_files().map_err(throw)?;
        byte_arrays([("config", &*files.config), ("model", &*files.model)])
    }

    /// Reads an adapter's files afresh and compares: the largest difference between the logits of the token after
    /// `prompt` and those of the adapter in memory.
    pub async fn check_adapter(
        &self,
        id: String,
        files: JsValue,
        prompt: String,
    ) -> Result<JsValue, JsValue> {
        let base = self.base()?;
        let written = adapter_of(&files)?;
        let make = || Lora::from_adapter(&self.gpu, &written, base.model.config());
        let written = self.gpu.make_room("the adapter to be checked", make).await.map_err(throw)?;
        let adapters = [&**self.adapter(&id)?, &written];
        let max_difference = logit_difference(&base, adapters, &Prompt::Text(prompt)).await.map_err(throw)?;
        to_js(&CheckInfo { max_difference })
    }
}
