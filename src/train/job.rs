//! From records and settings to a run that is ready for its first step.

use super::state::Checkpoint;
use super::trainer::{Trainer, TrainingData};
use crate::base::Base;
use crate::checkpoint::Adapter;
use crate::config::{LoraConfig, ModelConfig, TrainConfig};
use crate::data::{DataReport, Dataset, PrepareOptions, Prepared, prepare, split};
use crate::error::{Context, Error, Result};
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
    /// Without `evaluation`: hold out this share of the examples.
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
    /// What became of the data set's rows, the part held out by `eval_split` among them.
    pub data: DataReport,
    /// The same of the held-out data set.
    pub evaluation: Option<DataReport>,
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
    /// Checks everything, tokenizes, and makes the buffers.
    ///
    /// # Errors
    /// The first thing that cannot work, before any GPU memory is taken where possible.
    pub fn prepare(self, base: &Base) -> Result<ReadyJob> {
        self.train.validate()?;
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

        let prepare = |data| prepare_for(model, &base.tokenizer, data, &self.train);
        let Prepared { examples, report } = prepare(&self.data)?;
        warnings.extend(report.warnings.iter().cloned());
        let (train, held_out, eval_report) = match (&self.evaluation, self.eval_split) {
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
        let target_tokens = match (&held_out, &eval_report) {
            // Part of the data set's were held out.
            (Some(held_out), None) => report.target_tokens - held_out.target_tokens()?,
            _ => report.target_tokens,
        };
        let data = TrainingData { train, evaluation: held_out };
        let (examples, eval_examples) = (data.train.len(), data.evaluation.as_ref().map_or(0, |e| e.len()));
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
        Ok(ReadyJob {
            trainer,
            warnings,
            examples,
            eval_examples,
            target_tokens,
            data: report,
            evaluation: eval_report,
        })
    }
}
