//! From records and settings to a run that is ready for its first step.

use super::memory::{Demand, MemoryReport};
use super::state::Checkpoint;
use super::trainer::{Trainer, TrainingData, session_options};
use crate::base::Base;
use crate::checkpoint::Adapter;
use crate::config::{LoraConfig, ModelConfig, TrainConfig};
use crate::data::{Dataset, PrepareOptions, Prepared, prepare, split};
use crate::error::{Context, Error, Result};
use crate::gpu::{Gpu, MemoryBudget, human_bytes};
use crate::model::Lora;
use crate::tokenizer::Tokenizer;

/// Where the adapter comes from.
pub enum Start {
    /// A new adapter.
    New(LoraConfig),
    /// An adapter from a file, with its own configuration.
    Adapter(Adapter),
    /// An interrupted run of the same settings and data; the adapter settings are those expected.
    Checkpoint(Box<Checkpoint>, LoraConfig),
}

/// What is to be done.
pub struct Job {
    /// Where to start.
    pub start: Start,
    /// Settings of the training.
    pub train: TrainConfig,
    /// Records to train on.
    pub data: Dataset,
    /// Records to evaluate on.
    pub evaluation: Option<Dataset>,
    /// Without `evaluation`: hold out this share of the records.
    pub eval_split: Option<f64>,
    /// How much memory the run may take.
    pub memory: MemoryOptions,
}

/// How much memory a run may take, and what to do if it wants more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryOptions {
    /// Bytes; `None` is the default for the device's kind, raised to what the device grants.
    pub budget: Option<u64>,
    /// Make the changes that a run that is too large needs.
    pub auto: bool,
}

/// A run whose data are tokenized, before any GPU memory is taken.
pub struct TokenizedJob {
    job: Job,
    data: TrainingData,
    warnings: Vec<String>,
    target_tokens: u64,
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
}

/// Tokenizes records for a model.
pub fn prepare_for(
    config: &ModelConfig,
    tokenizer: &Tokenizer,
    data: &Dataset,
    train: &TrainConfig,
) -> Result<Prepared> {
    let options = PrepareOptions {
        max_length: train.max_length,
        context: config.max_position_embeddings,
        assistant_only_loss: train.assistant_only_loss,
    };
    prepare(data, tokenizer, config.vocab_size, &options)
}

impl Job {
    /// Checks everything and tokenizes.
    ///
    /// # Errors
    /// The first thing that cannot work.
    pub fn tokenize(mut self, model: &ModelConfig, tokenizer: &Tokenizer) -> Result<TokenizedJob> {
        self.train.validate()?;
        if let (None, Some(fraction)) = (&self.evaluation, self.eval_split.take()) {
            let (data, held_out) = split(self.data, fraction, self.train.seed)?;
            (self.data, self.evaluation) = (data, Some(held_out));
        }
        let mut warnings = self.train.warnings();
        let lora_config = self.lora_config();
        let modules = lora_config.resolve(model)?;
        if let Start::Checkpoint(checkpoint, _) = &self.start {
            let found = &checkpoint.adapter.config;
            if found.resolve(model)? != modules || found.lora_dropout != lora_config.lora_dropout {
                return Err(Error::config(
                    "the checkpoint's adapter has another rank, alpha, dropout or other target modules than \
                     these options. Use the options of the interrupted run to resume it",
                ));
            }
        }
        warnings.extend(lora_config.warnings(model));

        let prepared = prepare_for(model, tokenizer, &self.data, &self.train)?;
        warnings.extend(prepared.warnings);
        let held_out = self.evaluation.as_ref();
        let held_out = held_out
            .map(|data| prepare_for(model, tokenizer, data, &self.train).context(|| "held-out data"))
            .transpose()?;
        let held_out = held_out.map(|prepared| {
            warnings.extend(prepared.warnings.iter().map(|warning| format!("held-out data: {warning}")));
            prepared.examples
        });
        let data = TrainingData { train: prepared.examples, evaluation: held_out.unwrap_or_default() };
        Ok(TokenizedJob { job: self, data, warnings, target_tokens: prepared.target_tokens })
    }

    /// Everything at once, for a base that is loaded already.
    ///
    /// # Errors
    /// Those of [`Self::tokenize`], [`TokenizedJob::fit`] and [`TokenizedJob::start`].
    pub async fn prepare(self, base: &Base) -> Result<ReadyJob> {
        let (model, gpu) = (base.model.config(), base.model.gpu());
        let weights = base.model.weight_bytes();
        let mut job = self.tokenize(model, &base.tokenizer)?;
        job.fit(gpu, model, &base.tokenizer, weights, weights).await?;
        job.start(base)
    }

    fn lora_config(&self) -> &LoraConfig {
        match &self.start {
            Start::New(config) => config,
            Start::Adapter(adapter) => &adapter.config,
            Start::Checkpoint(_, config) => config,
        }
    }
}

impl TokenizedJob {
    /// What the run takes on `gpu`, beside `weights` bytes of the base, of which `taken` are allocated, and what
    /// it may take.
    ///
    /// # Errors
    /// What no device with these limits can hold.
    pub async fn memory(
        &self,
        gpu: &Gpu,
        model: &ModelConfig,
        weights: u64,
        taken: u64,
    ) -> Result<MemoryReport> {
        let Job { train, memory, .. } = &self.job;
        let lora = self.job.lora_config();
        let options =
            |train: &TrainConfig| session_options(train, lora.lora_dropout, &self.data, train.max_length);
        let demand = Demand { gpu, model, lora, weights, options: &options };
        let mut budget = memory.budget.map_or_else(|| MemoryBudget::default_for(gpu), MemoryBudget::given);
        budget.raise(gpu, demand.plan(train)?.total, taken).await;
        demand.report(train, budget)
    }

    /// Makes sure that the run fits, by changes of its settings if it may; they are among the warnings then.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfMemory`](crate::error::ErrorKind::OutOfMemory) with the plan and what would help.
    pub async fn fit(
        &mut self,
        gpu: &Gpu,
        model: &ModelConfig,
        tokenizer: &Tokenizer,
        weights: u64,
        taken: u64,
    ) -> Result<MemoryReport> {
        let report = self.memory(gpu, model, weights, taken).await?;
        if report.fits {
            return Ok(report);
        }
        let Some(choice) = report.choice().filter(|_| self.job.memory.auto) else {
            return Err(report.error());
        };
        let shortened = choice.train.max_length != self.job.train.max_length;
        self.job.train = choice.train.clone();
        self.warnings.push(format!(
            "to fit {} of GPU memory instead of {}, the run goes with {}",
            human_bytes(report.budget.bytes),
            human_bytes(report.plan.total),
            choice.changes.join(", ")
        ));
        if shortened {
            self.tokenize_again(model, tokenizer)?;
        }
        let report = self.memory(gpu, model, weights, taken).await?;
        if report.fits { Ok(report) } else { Err(report.error()) }
    }

    /// For other settings.
    fn tokenize_again(&mut self, model: &ModelConfig, tokenizer: &Tokenizer) -> Result<()> {
        let prepared = prepare_for(model, tokenizer, &self.job.data, &self.job.train)?;
        self.warnings.extend(prepared.warnings);
        self.target_tokens = prepared.target_tokens;
        self.data.train = prepared.examples;
        if let Some(data) = &self.job.evaluation {
            self.data.evaluation =
                prepare_for(model, tokenizer, data, &self.job.train).context(|| "held-out data")?.examples;
        }
        Ok(())
    }

    /// Makes the buffers.
    ///
    /// # Errors
    /// A device without room; a checkpoint of another run.
    pub fn start(self, base: &Base) -> Result<ReadyJob> {
        let Self { job, data, warnings, target_tokens } = self;
        let (model, gpu) = (base.model.config(), base.model.gpu());
        let (examples, eval_examples) = (data.train.len(), data.evaluation.len());
        let trainer = match job.start {
            Start::Checkpoint(checkpoint, _) => Trainer::resume(&base.model, job.train, data, &checkpoint)?,
            Start::New(mut config) => {
                config.base_model_name_or_path = Some(base.name.clone());
                let lora = Lora::new(gpu, &config, model, job.train.seed)?;
                Trainer::new(&base.model, lora, job.train, data)?
            }
            Start::Adapter(adapter) => {
                let lora = Lora::from_adapter(gpu, &adapter, model)?;
                Trainer::new(&base.model, lora, job.train, data)?
            }
        };
        Ok(ReadyJob { trainer, warnings, examples, eval_examples, target_tokens })
    }
}
