//! The run: from settings and data to steps, checkpoints and its end.

use std::rc::Rc;

use serde::Serialize;
use wasm_bindgen::prelude::*;

use super::Engine;
use super::adapters::adapter_of;
use super::convert::{byte_arrays, bytes, from_js, property, throw, to_js};
use crate::config::LoraOptions;
use crate::error::Error;
use crate::train::{Checkpoint, Job, MemoryOptions, Start, StepReport, Trainer};

/// The run, and the id of its adapter.
pub(super) struct Run {
    pub adapter: String,
    trainer: Trainer,
}

#[derive(Serialize)]
struct RunInfo {
    step: usize,
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
    report: &'a StepReport,
    total_steps: usize,
    improved: bool,
    done: bool,
    memory: u64,
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

/// Where a run begins: at a checkpoint, with an adapter's files, or with a new adapter.
async fn start_of(options: &JsValue) -> Result<Start, JsValue> {
    let (checkpoint, init) = (property(options, "checkpoint"), property(options, "init_adapter"));
    if checkpoint.is_object() {
        let read = |name: &str| {
            bytes(&checkpoint, name)
                .ok_or_else(|| Error::format(format!("the checkpoint has no file {name} (a Uint8Array)")))
        };
        let checkpoint = Box::new(Checkpoint::from_files(read).await.map_err(throw)?);
        let extend = property(options, "extend").is_truthy();
        return Ok(Start::Checkpoint { checkpoint, lora: None, extend });
    }
    if init.is_object() {
        return Ok(Start::Adapter(adapter_of(&init)?));
    }
    let lora: LoraOptions = from_js("adapter settings", property(options, "lora"))?;
    Ok(Start::New(lora.config().map_err(throw)?))
}

impl Engine {
    /// What the page wants done; see [`Engine::start`].
    async fn job(
        &mut self,
        options: &JsValue,
        train: &str,
        evaluation: Option<&str>,
    ) -> Result<Job, JsValue> {
        Ok(Job {
            start: start_of(options).await?,
            train: from_js("training settings", property(options, "train"))?,
            data: self.records(train)?,
            evaluation: evaluation.map(|id| self.records(id)).transpose()?,
            eval_split: from_js("eval_split", property(options, "eval_split"))?,
            memory: MemoryOptions { budget: self.budget.clone(), auto: false },
        })
    }
}

fn no_run() -> JsValue {
    throw(Error::config("no run was started"))
}

#[wasm_bindgen]
impl Engine {
    /// What GPU memory a run would take and may take, and what would make it fit; arguments as in
    /// [`Engine::start`].
    pub async fn plan_memory(
        &mut self,
        options: JsValue,
        train: String,
        evaluation: Option<String>,
    ) -> Result<JsValue, JsValue> {
        let base = self.base()?;
        let (model, weights) = (base.model.config(), base.model.weight_bytes());
        let job = self.job(&options, &train, evaluation.as_deref()).await?;
        let mut job = job.tokenize(model, &base.tokenizer).map_err(throw)?;
        let report = job.memory(&self.gpu, model, weights).await.map_err(throw)?;
        self.budget.clone_from(&report.budget);
        to_js(&report)
    }

    /// Prepares a run, in place of another: `options {adapter, lora, train, eval_split?, init_adapter?: {config, model},
    /// checkpoint?, extend?}`, data by their ids (see [`put_data`](Self::put_data)). The adapter is then the one of the
    /// id `adapter`.
    pub async fn start(
        &mut self,
        options: JsValue,
        train: String,
        evaluation: Option<String>,
    ) -> Result<JsValue, JsValue> {
        let base = self.base()?;
        let adapter = property(&options, "adapter").as_string().filter(|id| !id.is_empty());
        let adapter =
            adapter.ok_or_else(|| throw(Error::config("\"adapter\" is no name for the run's adapter")))?;
        let job = self.job(&options, &train, evaluation.as_deref()).await?;
        self.run = None;
        let mut ready = job.prepare(&base).await.map_err(throw)?;
        let trainer = &mut ready.trainer;
        let step = trainer.progress().step;
        let eval_loss = match step {
            0 => trainer.evaluate().await.map_err(throw)?,
            // Made after the checkpoint's step, unless the run was stopped in it.
            _ => trainer.evaluate_if_due().await.map_err(throw)?.map(|(loss, _)| loss),
        };
        let info = RunInfo {
            step,
            total_steps: trainer.progress().total,
            examples: ready.examples,
            eval_examples: ready.eval_examples,
            warnings: ready.warnings,
            eval_loss,
        };
        self.adapters.insert(adapter.clone(), Rc::clone(ready.trainer.session().lora()));
        self.run = Some(Run { adapter, trainer: ready.trainer });
        to_js(&info)
    }

    /// The next optimizer step's report. `"ahead"` keeps another step under way, after `"one"` none is, `"drain"`
    /// begins none and is `null` when none is under way. `null` too when the run is over.
    pub async fn step(&mut self, mode: String) -> Result<JsValue, JsValue> {
        let trainer = &mut self.run.as_mut().ok_or_else(no_run)?.trainer;
        let report = match mode.as_str() {
            "ahead" => trainer.step().await,
            "one" => trainer.step_alone().await,
            "drain" => trainer.drain().await,
            _ => Err(Error::config(format!("mode is \"{mode}\"; expected \"ahead\", \"one\" or \"drain\""))),
        };
        match report.map_err(throw)? {
            None => Ok(JsValue::NULL),
            Some(report) => {
                let progress = trainer.progress();
                to_js(&StepInfo {
                    report: &report,
                    total_steps: progress.total,
                    improved: report.improved,
                    done: progress.step == progress.total,
                    memory: self.gpu.allocated_bytes(),
                })
            }
        }
    }

    /// The run's state after its last reported step: `{step, files}`, the files by name. An error while a step is under
    /// way.
    pub async fn checkpoint(&self) -> Result<JsValue, JsValue> {
        let trainer = &self.run.as_ref().ok_or_else(no_run)?.trainer;
        let files = trainer.checkpoint().await.and_then(|checkpoint| checkpoint.to_files()).map_err(throw)?;
        let files = byte_arrays(files.iter().map(|(name, bytes)| (*name, bytes.as_slice())))?;
        let object = js_sys::Object::new();
        js_sys::Reflect::set(&object, &"step".into(), &(trainer.progress().step as f64).into())?;
        js_sys::Reflect::set(&object, &"files".into(), &files)?;
        Ok(object.into())
    }

    /// Ends the run, now or when it is over; its adapter stays. Frees the run's memory.
    pub async fn finish(&mut self) -> Result<JsValue, JsValue> {
        let trainer = &mut self.run.as_mut().ok_or_else(no_run)?.trainer;
        while trainer.drain().await.map_err(throw)?.is_some() {}
        let (step, best) = (trainer.progress().step, trainer.best());
        self.run = None;
        to_js(&EndInfo { step, best_eval_loss: best.map(|b| b.1), best_step: best.map(|b| b.0) })
    }
}
