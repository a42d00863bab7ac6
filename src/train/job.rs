//! From records and settings to a run that is ready for its first step.

use std::rc::Rc;

use super::memory::Demand;
use super::records::Records;
use super::rows::{as_rows, session_options};
use super::state::Checkpoint;
use super::trainer::{Trainer, TrainingData};
use crate::base::Base;
use crate::checkpoint::Adapter;
use crate::config::{LoraConfig, ModelConfig, TrainConfig};
use crate::data::{DataReport, Prepared, split};
use crate::error::{Context, Error, Result};
use crate::gpu::{Gpu, MemoryBudget};
use crate::memory::MemoryReport;
use crate::model::{Lora, ROW_MULTIPLE, WeightBytes};
use crate::tokenizer::Tokenizer;

/// Where the adapter comes from.
pub enum Start {
    /// A new adapter.
    New(LoraConfig),
    /// An adapter from a file, with its own configuration.
    Adapter(Adapter),
    /// A run of the same settings and data that goes on.
    Checkpoint {
        /// Where it was.
        checkpoint: Box<Checkpoint>,
        /// The adapter settings that are expected there; `None` takes what it has.
        lora: Option<LoraConfig>,
        /// Whether it may have more steps than it had (see [`Trainer::resume`]).
        extend: bool,
    },
}

/// What is to be done.
pub struct Job {
    /// Where to start.
    pub start: Start,
    /// Settings of the training.
    pub train: TrainConfig,
    /// Records to train on.
    pub data: Rc<Records>,
    /// Records to evaluate on.
    pub evaluation: Option<Rc<Records>>,
    /// Without `evaluation`: hold out this share of the examples.
    pub eval_split: Option<f64>,
    /// How much memory the run may take.
    pub memory: MemoryOptions,
}

/// How much memory a run may take, and what to do if it wants more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryOptions {
    /// Corrected by what the device grants when the run is planned.
    pub budget: MemoryBudget,
    /// Make the changes that a run that is too large needs.
    pub auto: bool,
}

/// A run whose data are tokenized, before any GPU memory is taken.
pub struct TokenizedJob {
    job: Job,
    tokenized: Tokenized,
    warnings: Vec<String>,
}

/// A run against its budget.
pub struct Fit {
    /// As it goes.
    pub report: MemoryReport,
    /// As its settings were, if they were changed by the chosen proposal.
    pub before: Option<MemoryReport>,
}

/// What became of the records.
struct Tokenized {
    data: TrainingData,
    warnings: Vec<String>,
    target_tokens: u64,
    report: DataReport,
    evaluation: Option<DataReport>,
}

/// A run before its first step, and what to tell of it.
pub struct ReadyJob {
    /// The run.
    pub trainer: Trainer,
    /// What a person should know before it starts.
    pub warnings: Vec<String>,
    /// Training examples.
    pub examples: usize,
    /// Held-out examples.
    pub eval_examples: usize,
    /// Target tokens in the training examples.
    pub target_tokens: u64,
    /// What became of the data set's rows, the part held out by `eval_split` among them.
    pub data: DataReport,
    /// The same of the held-out data set.
    pub evaluation: Option<DataReport>,
}

impl Job {
    /// Checks everything and tokenizes.
    ///
    /// # Errors
    /// The first thing that cannot work.
    pub fn tokenize(self, model: &ModelConfig, tokenizer: &Tokenizer) -> Result<TokenizedJob> {
        self.train.validate()?;
        let mut warnings = self.train.warnings();
        let lora_config = self.lora_config();
        let modules = lora_config.resolve(model)?;
        if let Start::Checkpoint { checkpoint, .. } = &self.start {
            let found = &checkpoint.adapter.config;
            if found.resolve(model)? != modules || found.lora_dropout != lora_config.lora_dropout {
                return Err(Error::config(
                    "the checkpoint's adapter has another rank, alpha, dropout or other target modules than \
                     these options. Use the options of the interrupted run to resume it",
                ));
            }
        }
        warnings.extend(lora_config.warnings(model));
        warnings.extend(model.warnings());
        let tokenized = self.examples(model, tokenizer)?;
        Ok(TokenizedJob { job: self, tokenized, warnings })
    }

    fn examples(&self, model: &ModelConfig, tokenizer: &Tokenizer) -> Result<Tokenized> {
        let prepare = |data: &Records| data.prepare(model, tokenizer, &self.train);
        let Prepared { examples, report } = prepare(&self.data)?;
        let mut warnings = report.warnings.clone();
        let (train, held_out, evaluation) = match (&self.evaluation, self.eval_split) {
            (Some(evaluation), _) => {
                let held_out = prepare(evaluation).context(|| "held-out data")?;
                let more = held_out.report.warnings.iter();
                warnings.extend(more.map(|warning| format!("held-out data: {warning}")));
                (examples, Some(held_out.examples), Some(held_out.report))
            }
            (None, Some(fraction)) => {
                let (train, held_out) = split(&examples, fraction, self.train.seed)?;
                (train, Some(held_out), None)
            }
            (None, None) => (examples, None, None),
        };
        let target_tokens = match (&held_out, &evaluation) {
            // Part of the data set's were held out.
            (Some(held_out), None) => report.target_tokens - held_out.target_tokens()?,
            _ => report.target_tokens,
        };
        let data = TrainingData { train, evaluation: held_out };
        Ok(Tokenized { data, warnings, target_tokens, report, evaluation })
    }

    /// Everything at once, for a base that is loaded already.
    ///
    /// # Errors
    /// Those of [`Self::tokenize`], [`MemoryReport::checked`] and [`TokenizedJob::start`].
    pub async fn prepare(self, base: &Base) -> Result<ReadyJob> {
        let model = &base.model;
        let mut job = self.tokenize(model.config(), &base.tokenizer)?;
        let fit = job.fit(model.gpu(), model.config(), &base.tokenizer, model.weight_bytes()).await?;
        fit.report.checked()?;
        job.start(base).await
    }

    fn lora_config(&self) -> &LoraConfig {
        match &self.start {
            Start::New(config) => config,
            Start::Adapter(adapter) => &adapter.config,
            Start::Checkpoint { checkpoint, lora, .. } => lora.as_ref().unwrap_or(&checkpoint.adapter.config),
        }
    }
}

impl TokenizedJob {
    /// What a person should know so far.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// What the run takes on `gpu`, beside the weights of the base, and what it may take.
    ///
    /// # Errors
    /// What no device with these limits can hold.
    pub async fn memory(
        &mut self,
        gpu: &Gpu,
        model: &ModelConfig,
        weights: WeightBytes,
    ) -> Result<MemoryReport> {
        let (job, data) = (&self.job, &self.tokenized.data);
        let (train, lora) = (&job.train, job.lora_config());
        let held_out = data.evaluation.clone().unwrap_or_else(|| data.train.choose([]));
        let (rows, held_out) = (as_rows(train, data.train.clone()), as_rows(train, held_out));
        let arithmetic = gpu.arithmetic(train.precision)?;
        let options = |changed: &TrainConfig| {
            let (rows, max_length) = ([&rows, &held_out], changed.max_length);
            let mut options = session_options(changed, lora.lora_dropout, rows, max_length, arithmetic);
            if changed.packing && max_length < train.max_length {
                // Shorter examples are packed anew; rows are full at most.
                let full = changed.per_device_train_batch_size.saturating_mul(max_length);
                options.rows = full.next_multiple_of(ROW_MULTIPLE);
            }
            options
        };
        let demand = Demand { gpu, model, lora, weights, options: &options };
        let mut budget = job.memory.budget.clone();
        budget.correct(gpu, demand.plan(train)?.peak).await;
        let report = demand.report(train, budget)?;
        // What was found out holds for the next plan.
        self.job.memory.budget.clone_from(&report.budget);
        Ok(report)
    }

    /// The plan of the run, with changes of its settings if it needs and may have them. Whether it fits then is
    /// for the host to look at, which knows how to say it.
    ///
    /// # Errors
    /// Those of [`Self::memory`].
    pub async fn fit(
        &mut self,
        gpu: &Gpu,
        model: &ModelConfig,
        tokenizer: &Tokenizer,
        weights: WeightBytes,
    ) -> Result<Fit> {
        let report = self.memory(gpu, model, weights).await?;
        let Some(proposal) = report.chosen().filter(|_| self.job.memory.auto) else {
            return Ok(Fit { report, before: None });
        };
        self.job.train = proposal.changes.applied(&self.job.train);
        if proposal.changes.max_length.is_some() {
            self.tokenized = self.job.examples(model, tokenizer)?;
        }
        let now = self.memory(gpu, model, weights).await?;
        Ok(Fit { report: now, before: Some(report) })
    }

    /// Makes the buffers.
    ///
    /// # Errors
    /// A device without room; a checkpoint of another run.
    pub async fn start(self, base: &Base) -> Result<ReadyJob> {
        base.model.gpu().make_room("the run", || self.make(base)).await
    }

    fn make(self, base: &Base) -> Result<ReadyJob> {
        let Self { job, tokenized, mut warnings } = self;
        let Tokenized { data, warnings: of_data, target_tokens, report, evaluation } = tokenized;
        warnings.extend(of_data);
        let (model, gpu) = (base.model.config(), base.model.gpu());
        let (examples, eval_examples) = (data.train.len(), data.evaluation.as_ref().map_or(0, |e| e.len()));
        if let Start::Checkpoint { checkpoint, .. } = &job.start {
            let (before, now) = (&checkpoint.state.device, gpu.caps().adapter.describe());
            if *before != now {
                warnings.push(format!(
                    "the run began on {before} and goes on on {now}: its losses will differ in the last digits"
                ));
            }
        }
        let trainer = match job.start {
            Start::Checkpoint { checkpoint, extend, .. } => {
                let trainer = Trainer::resume(&base.model, job.train, data, &checkpoint, extend)?;
                let (before, now) = (checkpoint.state.max_steps, trainer.progress().total);
                if now > before {
                    warnings.push(format!(
                        "the run had {before} steps and now has {now}: from here on the learning rate is that of a \
                         run of {now} steps"
                    ));
                }
                trainer
            }
            Start::New(mut config) => {
                config.base_model_name_or_path = Some(base.name.clone());
                config.revision.clone_from(&base.revision);
                let lora = Lora::new(gpu, &config, model, job.train.seed)?;
                Trainer::new(&base.model, lora, job.train, data)?
            }
            Start::Adapter(adapter) => {
                let lora = Lora::from_adapter(gpu, &adapter, model)?;
                Trainer::new(&base.model, lora, job.train, data)?
            }
        };
        Ok(ReadyJob { trainer, warnings, examples, eval_examples, target_tokens, data: report, evaluation })
    }
}
