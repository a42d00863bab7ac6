//! Adapters in other tools' formats, from the two files that PEFT has and back to them, and merged models.

use std::rc::Rc;

use js_sys::{Array, Function, Object, Reflect, Uint8Array};
use serde::Serialize;
use wasm_bindgen::prelude::*;

use super::Engine;
use super::convert::{byte_arrays, throw, to_js};
use super::model::{base_files, reporter};
use crate::base::OpenedBase;
use crate::checkpoint::{Adapter, AdapterFiles, Merge, Outtype, Sharding, TensorSource};
use crate::error::{Error, ErrorKind};
use crate::generate::{MergeProbe, Prompt};
use crate::gpu::human_bytes;
use crate::model::Lora;
use crate::sink::CallbackSink;
use crate::source::MemorySource;

#[derive(Serialize)]
struct MergedFile<'a> {
    name: &'a str,
    bytes: u64,
}

/// Why a merged model was not checked.
#[derive(Serialize)]
struct Unchecked {
    reason: String,
}

/// An adapter's files as PEFT has them, `{config, model}`.
fn peft_files(adapter: &Adapter) -> Result<JsValue, JsValue> {
    let AdapterFiles { config, model } = adapter.to_files().map_err(throw)?;
    byte_arrays([("config", &*config), ("model", &*model)])
}

#[wasm_bindgen]
impl Engine {
    /// A PEFT adapter of the loaded model as a GGUF file; `outtype` is `f32` or `f16`.
    pub fn adapter_to_gguf(&self, config: &[u8], model: &[u8], outtype: &str) -> Result<Vec<u8>, JsValue> {
        let outtype = Outtype::from_name(outtype).map_err(throw)?;
        let adapter = Adapter::from_files(config, model).map_err(throw)?;
        adapter.to_gguf(self.base()?.model.config(), outtype).map_err(throw)
    }

    /// The PEFT files, `{config, model}`, of an adapter of the loaded model in a GGUF file.
    pub async fn adapter_from_gguf(&self, bytes: Vec<u8>) -> Result<JsValue, JsValue> {
        let source = MemorySource::new("the GGUF file", bytes);
        let adapter = Adapter::from_gguf(&source, self.base()?.model.config()).await;
        peft_files(&adapter.map_err(throw)?)
    }

    /// A PEFT adapter of the loaded model as the two files of mlx-lm, `{config, adapters}`.
    pub fn adapter_to_mlx(&self, config: &[u8], model: &[u8]) -> Result<JsValue, JsValue> {
        let adapter = Adapter::from_files(config, model).map_err(throw)?;
        let files = adapter.to_mlx(self.base()?.model.config()).map_err(throw)?;
        byte_arrays([("config", &*files.config), ("adapters", &*files.model)])
    }

    /// The PEFT files, `{config, model}`, of an adapter of the loaded model in mlx-lm's.
    pub fn adapter_from_mlx(&self, config: Vec<u8>, adapters: Vec<u8>) -> Result<JsValue, JsValue> {
        let files = AdapterFiles { config, model: adapters };
        peft_files(&Adapter::from_mlx(&files, self.base()?.model.config()).map_err(throw)?)
    }

    /// The files of weights that the base with a PEFT adapter added to them has: `{weights, index?}`, where `weights`
    /// is a list of `{name, bytes}` and `index` is `model.safetensors.index.json`.
    pub fn merged_files(&self, config: &[u8], model: &[u8]) -> Result<JsValue, JsValue> {
        let adapter = Adapter::from_files(config, model).map_err(throw)?;
        let source = self.weights()?;
        let merge = self.merge_of(&*source, &adapter)?;
        let files = merge.files().map(|(name, bytes)| to_js(&MergedFile { name, bytes }));
        let weights = files.collect::<Result<Array, _>>()?;
        let object = Object::new();
        Reflect::set(&object, &"weights".into(), &weights)?;
        if let Some(index) = merge.index().map_err(throw)? {
            Reflect::set(&object, &"index".into(), &Uint8Array::from(&index[..]))?;
        }
        Ok(object.into())
    }

    /// Writes one of the [`merged_files`](Self::merged_files), by its number, in pieces: each is handed to `write`, and
    /// the next once what that returned is fulfilled.
    pub async fn merge(
        &self,
        config: Vec<u8>,
        model: Vec<u8>,
        file: usize,
        write: Function,
    ) -> Result<(), JsValue> {
        let adapter = Adapter::from_files(&config, &model).map_err(throw)?;
        let source = self.weights()?;
        let merge = self.merge_of(&*source, &adapter)?;
        let name = merge.files().nth(file).map(|(name, _)| name.to_owned());
        let name = name.ok_or_else(|| throw(Error::config(format!("there is no file {file} to merge"))))?;
        merge.write(file, &mut CallbackSink::new(name, write), &mut |_| {}).await.map_err(throw)
    }

    /// Loads the files of a merged model (as [`load_model`](Self::load_model) takes them) beside the base, and compares
    /// the logits of the token after `prompt` with those of the base with the adapter that was merged into it:
    /// `{max_difference, allowed, effect, dtype}`, a [`MergeCheck`](crate::generate::MergeCheck). `{reason}` if there
    /// is no room for a second model.
    pub async fn check_merged(
        &mut self,
        files: JsValue,
        config: Vec<u8>,
        model: Vec<u8>,
        prompt: String,
        on_progress: Option<Function>,
    ) -> Result<JsValue, JsValue> {
        let base = self.base()?;
        let opened = OpenedBase::open(base_files(&files).await?).map_err(throw)?;
        let second = opened.weight_bytes(&self.gpu).map_err(throw)?.peak();
        let taken = self.gpu.allocated_bytes();
        self.budget.correct(&self.gpu, taken.saturating_add(second)).await;
        let free = self.budget.bytes.saturating_sub(taken);
        if second > free {
            let (second, free, budget) =
                (human_bytes(second), human_bytes(free), human_bytes(self.budget.bytes));
            let reason = format!(
                "to load it beside the base takes {second} of GPU memory, and {free} of the budget of {budget} are free"
            );
            return to_js(&Unchecked { reason });
        }
        let check = async {
            let adapter = Adapter::from_files(&config, &model)?;
            let make = || Lora::from_adapter(&self.gpu, &adapter, base.model.config());
            let lora = self.gpu.make_room("the adapter to be checked", make).await?;
            let probe = MergeProbe::of(&base, &lora, Prompt::Text(prompt)).await?;
            let merged = opened.load(&self.gpu, &mut reporter(on_progress)).await?;
            probe.check(&merged).await
        };
        match check.await {
            Ok(check) => to_js(&check),
            // The plan knows what is asked for, not what the device has left.
            Err(error) if error.kind() == ErrorKind::OutOfMemory => {
                to_js(&Unchecked { reason: error.to_string() })
            }
            Err(error) => Err(throw(error)),
        }
    }
}

impl Engine {
    fn weights(&self) -> Result<Rc<dyn TensorSource>, JsValue> {
        self.weights.clone().ok_or_else(|| throw(Error::config("no model is loaded")))
    }

    fn merge_of<'a>(&self, source: &'a dyn TensorSource, adapter: &'a Adapter) -> Result<Merge<'a>, JsValue> {
        Merge::new(source, adapter, self.base()?.model.config(), Sharding::AsBase).map_err(throw)
    }
}
