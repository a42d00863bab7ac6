//! From records and settings to a run that is ready for its first step.

use super::state::Checkpoint;
use super::trainer::{Trainer, TrainingData};
use crate::base::Base;
use crate::checkpoint::Adapter;
use crate::config::{LoraConfig, TrainConfig};
use crate::data::{Dataset, PrepareOptions, Prepared, prepare, split};
use crate::error::{Context, Error, Result};
use crate::model::Lora;

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

/// Tokenizes records for `base`.
pub fn prepare_for(base: &Base, data: &Dataset, train: &TrainConfig) -> Result<Prepared> {
    let config = base.model.config();
    let options = PrepareOptions {
        max_length: train.max_length,
        context: config.max_position_embeddings,
        assistant_only_loss: train.assistant_only_loss,
    };
    prepare(data, &base.tokenizer, config.vocab_size, &options)
}

impl Job {
    /// Checks everything, tokenizes, and makes the buffers.
    ///
    /// # Errors
    /// The first thing that cannot work, before any GPU memory is taken where possible.
    pub fn prepare(self, base: &Base) -> Result<ReadyJob> {
        self.train.validate()?;
        let (data, evaluation) = match (self.evaluation, self.eval_split) {
            (None, Some(fraction)) => {
                let (data, held_out) = split(self.data, fraction, self.train.seed)?;
                (data, Some(held_out))
            }
            (evaluation, _) => (self.data, evaluation),
        };
        let mut warnings = self.train.warnings();
        let model = base.model.config();
        let lora_config = match &self.start {
            Start::New(config) => config,
            Start::Adapter(adapter) => &adapter.config,
            Start::Checkpoint(_, config) => config,
        };
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

        let prepared = prepare_for(base, &data, &self.train)?;
        warnings.extend(prepared.warnings);
        let held_out = evaluation
            .map(|data| prepare_for(base, &data, &self.train).context(|| "held-out data"))
            .transpose()?;
        let held_out = held_out.map(|prepared| {
            warnings.extend(prepared.warnings.iter().map(|warning| format!("held-out data: {warning}")));
            prepared.examples
        });
        let data = TrainingData { train: prepared.examples, evaluation: held_out.unwrap_or_default() };
        let (examples, eval_examples) = (data.train.len(), data.evaluation.len());
        let gpu = base.model.gpu();
        let trainer = match self.start {
            Start::Checkpoint(checkpoint, _) => Trainer::resume(&base.model, self.train, data, &checkpoint)?,
            Start::New(mut config) => {
                config.base_model_name_or_path = Some(base.name.clone());
                let lora = Lora::new(gpu, &config, model, self.train.seed)?;
                Trainer::new(&base.model, lora, self.train, data)?
            }
            Start::Adapter(adapter) => {
                let lora = Lora::from_adapter(gpu, &adapter, model)?;
                Trainer::new(&base.model, lora, self.train, data)?
            }
        };
        Ok(ReadyJob { trainer, warnings, examples, eval_examples, target_tokens: prepared.target_tokens })
    }
}
