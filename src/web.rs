//! The facade that the page's worker calls: plain objects in and out, one call at a time. No logic.
//!
//! `www/lib/engine.d.ts` has its types. Errors are JavaScript `Error` objects with a `kind`
//! ([`ErrorKind`](crate::ErrorKind)'s name).

mod adapters;
mod convert;
mod data;
mod export;
mod generate;
mod model;
mod runs;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use serde::Serialize;
use wasm_bindgen::prelude::*;

use self::convert::{throw, to_js};
use self::data::KeptData;
use self::runs::Run;
use crate::base::Base;
use crate::checkpoint::TensorSource;
use crate::error::Error;
use crate::gpu::{Gpu, MemoryBudget};
use crate::model::Lora;

/// Logs a panic with its place: it is a bug, and the worker is lost with it.
#[wasm_bindgen(start)]
pub fn start() {
    console_error_panic_hook::set_once();
}

/// One GPU, one base model, any number of adapters by id, and at most one run, whose adapter is one of them.
#[wasm_bindgen]
pub struct Engine {
    gpu: Arc<Gpu>,
    base: Option<Rc<Base>>,
    /// The base's weights where they came from.
    weights: Option<Rc<dyn TensorSource>>,
    adapters: BTreeMap<String, Rc<Lora>>,
    /// Data files by id.
    data: BTreeMap<String, KeptData>,
    run: Option<Run>,
    budget: MemoryBudget,
}

#[derive(Serialize)]
struct MemoryInfo {
    allocated: u64,
    peak: u64,
}

impl Engine {
    fn base(&self) -> Result<Rc<Base>, JsValue> {
        self.base.clone().ok_or_else(|| throw(Error::config("no model is loaded")))
    }

    fn adapter(&self, id: &str) -> Result<&Rc<Lora>, JsValue> {
        self.adapters.get(id).ok_or_else(|| {
            throw(Error::config(format!("there is no adapter \"{id}\": train or load one under this name")))
        })
    }

    /// Refuses to touch the adapter that is in training.
    fn check_not_in_training(&self, id: &str) -> Result<(), JsValue> {
        match &self.run {
            Some(run) if run.adapter == id => Err(throw(Error::config(format!(
                "the adapter \"{id}\" is the run's; finish the run first, or use another name"
            )))),
            _ => Ok(()),
        }
    }
}

#[wasm_bindgen]
impl Engine {
    /// Opens the GPU.
    pub async fn create() -> Result<Engine, JsValue> {
        let gpu = Gpu::open(None).await.map_err(throw)?;
        let budget = MemoryBudget::default_for(&gpu);
        Ok(Self {
            gpu,
            base: None,
            weights: None,
            adapters: BTreeMap::new(),
            data: BTreeMap::new(),
            run: None,
            budget,
        })
    }

    /// What the GPU is.
    pub fn device(&self) -> Result<JsValue, JsValue> {
        to_js(&self.gpu.caps().adapter)
    }

    /// Whether the device has failed. It stays so: every later call fails too, and only another engine helps.
    pub fn has_failed(&self) -> bool {
        self.gpu.check().is_err()
    }

    /// From now on calls `listener(done, total)` when a pipeline is compiled: how many of those under way are.
    pub fn on_compiling(&self, listener: js_sys::Function) {
        self.gpu.on_compiling(move |done, total| {
            // A failing listener is the page's concern.
            let _ = listener.call2(&JsValue::NULL, &done.into(), &total.into());
        });
    }

    /// Sets how many bytes of GPU memory may be taken; without a number, the default for the device.
    pub fn set_memory_budget(&mut self, bytes: Option<f64>) {
        self.budget = MemoryBudget::for_gpu(&self.gpu, bytes.map(|bytes| bytes as u64));
    }

    /// Bytes of GPU memory that there are now and that there were at most, by this program's own count.
    pub fn memory(&self) -> Result<JsValue, JsValue> {
        to_js(&MemoryInfo { allocated: self.gpu.allocated_bytes(), peak: self.gpu.peak_allocated_bytes() })
    }
}
