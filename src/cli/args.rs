//! The arguments of `postil`.

use std::path::PathBuf;

use bytesize::ByteSize;
use clap::{Args, Parser, Subcommand, ValueEnum};
use postil::config::{LoraConfig, Schedule, TargetModules, TrainConfig};
use postil::data::{Columns, DataFormat};
use postil::generate::SamplingOptions;
use postil::{Error, Result};

use super::export::{ExportArgs, MergeArgs};

/// LoRA fine-tuning of language models on your own GPU.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// Print one JSON object (or one per line) for machines instead of text for people
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Subcommand)]
pub enum Command {
    /// Train an adapter on a data set
    Train(Box<TrainArgs>),
    /// Show what a data set is and which of its tokens would be trained on
    Data(DataArgs),
    /// Measure the loss of a model, with or without an adapter, on a data set
    Eval(EvalArgs),
    /// Continue a prompt with a model, with or without an adapter
    Generate(GenerateArgs),
    /// Write an adapter in the format of another tool
    Export(ExportArgs),
    /// Add an adapter to its base model's weights and write the model that results
    Merge(MergeArgs),
    /// Count the parameters that an adapter would train
    Params(ParamsArgs),
    /// List GPUs, their features and limits, and the kernel variants that would run
    Doctor(DeviceArg),
}

#[derive(Args)]
pub struct DeviceArg {
    /// GPU to use: a number from `postil doctor`, or a part of its name [default: the fastest]
    #[arg(long, value_name = "GPU")]
    pub device: Option<String>,
}

#[derive(Args)]
pub struct ModelArg {
    /// Base model: "demo" (built in); a folder with config.json, model.safetensors and tokenizer.json; a GGUF
    /// file; or the name of a model on the Hugging Face Hub, owner/name[@revision] or
    /// owner/name/file.gguf[@revision] (downloaded once, with HF_TOKEN if that is set)
    #[arg(long, default_value = "demo", value_name = "MODEL")]
    pub model: String,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum ScheduleArg {
    Constant,
    Linear,
    Cosine,
}

impl From<ScheduleArg> for Schedule {
    fn from(arg: ScheduleArg) -> Self {
        match arg {
            ScheduleArg::Constant => Self::Constant,
            ScheduleArg::Linear => Self::Linear,
            ScheduleArg::Cosine => Self::Cosine,
        }
    }
}

/// Arithmetic of the matrix products.
#[derive(Clone, Copy, ValueEnum)]
pub enum Precision {
    /// Weights as stored, everything computed in f32
    F32,
}

#[derive(Args)]
pub struct LoraArgs {
    /// Rank r of the adapter [default: 16]
    #[arg(long, value_name = "R")]
    pub rank: Option<usize>,
    /// lora_alpha; the adapter is scaled by alpha/rank [default: twice the rank]
    #[arg(long)]
    pub alpha: Option<f64>,
    /// Dropout probability on the adapter's input [default: 0]
    #[arg(long, value_name = "P")]
    pub dropout: Option<f64>,
    /// Layers to adapt: names separated by commas (q_proj,v_proj), a regular expression, or all-linear
    /// [default: all-linear]
    #[arg(long, value_name = "NAMES")]
    pub target_modules: Option<String>,
}

impl LoraArgs {
    /// Whether any of them was given.
    pub fn any(&self) -> bool {
        self.rank.is_some() || self.alpha.is_some() || self.dropout.is_some() || self.target_modules.is_some()
    }

    /// The configuration that they describe.
    pub fn config(&self) -> Result<LoraConfig> {
        let default = LoraConfig::default();
        let r = self.rank.unwrap_or(default.r);
        let target_modules = match &self.target_modules {
            Some(text) => TargetModules::parse(text)?,
            None => default.target_modules.clone(),
        };
        let config = LoraConfig {
            r,
            lora_alpha: self.alpha.unwrap_or(2.0 * r as f64),
            lora_dropout: self.dropout.unwrap_or(default.lora_dropout),
            target_modules,
            ..default
        };
        config.validate()?;
        Ok(config)
    }
}

/// How data files are read.
#[derive(Args)]
pub struct ReadArgs {
    /// Do not detect the data's format: a kind of file (jsonl, json, csv, tsv, parquet, txt), a format of
    /// records (messages, sharegpt, prompt-completion, alpaca, text), or both as in csv,text
    #[arg(long, value_name = "FORMAT")]
    pub data_format: Option<DataFormat>,
    /// Columns with other names, as in prompt=question,completion=answer. Fields are text, prompt, completion,
    /// instruction, input, output, messages, conversations and system
    #[arg(long, value_name = "FIELD=COLUMN,…")]
    pub columns: Option<Columns>,
}

impl ReadArgs {
    /// Refuses what would have no effect on the built-in data.
    pub fn refuse(&self) -> Result<()> {
        if self.data_format.is_some() || self.columns.is_some() {
            return Err(Error::config(
                "--data-format and --columns say how a file is read, but the data is built in; leave them out",
            ));
        }
        Ok(())
    }
}

#[derive(Args)]
#[command(allow_negative_numbers = true)]
pub struct TrainArgs {
    #[command(flatten)]
    pub model: ModelArg,
    /// Data to train on: built in ("demo:pirate", which is "demo", "demo:headline", "demo:json"), or a file: JSON Lines, JSON, CSV,
    /// TSV, Parquet or plain text
    #[arg(long, default_value = "demo", value_name = "demo|FILE")]
    pub data: String,
    #[command(flatten)]
    pub read: ReadArgs,
    /// Folder for the adapter and checkpoints
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    #[command(flatten)]
    pub lora: LoraArgs,
    /// Start from this PEFT adapter instead of a new one
    #[arg(long, value_name = "DIR")]
    pub init_adapter: Option<PathBuf>,
    /// Passes over the data [default: 3]
    #[arg(long, value_name = "N", conflicts_with = "max_steps")]
    pub epochs: Option<f64>,
    /// Optimizer steps, whatever the number of epochs
    #[arg(long, value_name = "N")]
    pub max_steps: Option<usize>,
    /// Examples, or packed rows, in a micro-batch [default: 4]
    #[arg(long, value_name = "N")]
    pub batch_size: Option<usize>,
    /// Micro-batches in an optimizer step [default: 1]
    #[arg(long, value_name = "N")]
    pub grad_accum: Option<usize>,
    /// Compute each layer's activations again in the backward pass instead of keeping them: less memory, more
    /// time, the same results
    #[arg(long)]
    pub gradient_checkpointing: bool,
    /// GPU memory that the run may take, such as 8GiB [default: by the kind of GPU, raised to what it grants]
    #[arg(long, value_name = "SIZE")]
    pub memory_budget: Option<ByteSize>,
    /// If the run does not fit, make it: a smaller batch with more accumulation, gradient checkpointing, and only
    /// if these are not enough shorter examples
    #[arg(long)]
    pub auto: bool,
    /// Print what memory the run would take, and what it may take, and exit
    #[arg(long)]
    pub plan: bool,
    /// Cut examples to this many tokens [default: 1024]
    #[arg(long, value_name = "TOKENS")]
    pub max_length: Option<usize>,
    /// Pack short examples into rows of up to --max-length tokens; each is computed as if it were alone
    #[arg(long, conflicts_with = "group_by_length")]
    pub packing: bool,
    /// Order the data so that batches hold examples of about equal length
    #[arg(long)]
    pub group_by_length: bool,
    /// Peak learning rate [default: 2e-4]
    #[arg(long)]
    pub lr: Option<f64>,
    /// How the learning rate falls after the warm-up [default: cosine]
    #[arg(long)]
    pub schedule: Option<ScheduleArg>,
    /// Steps over which the learning rate rises from 0 [default: 5 % of all steps, at most 100]
    #[arg(long, value_name = "N")]
    pub warmup_steps: Option<usize>,
    /// AdamW's weight decay [default: 0]
    #[arg(long)]
    pub weight_decay: Option<f64>,
    /// Clip the gradient's global norm to this; 0 clips nothing [default: 1]
    #[arg(long, value_name = "NORM")]
    pub max_grad_norm: Option<f64>,
    /// Seed of the adapter, the order of the data and the dropout [default: 42]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Keep the data in the file's order
    #[arg(long)]
    pub no_shuffle: bool,
    /// Train on every token of chat data, not only on what the assistant says
    #[arg(long)]
    pub train_on_all: bool,
    /// Held-out data to evaluate on, a file as for --data
    #[arg(long, value_name = "FILE", conflicts_with = "eval_split")]
    pub eval_data: Option<PathBuf>,
    /// Hold out this share of the data to evaluate on
    #[arg(long, value_name = "F")]
    pub eval_split: Option<f64>,
    /// Evaluate every N steps [default: ten times in the run, at least 10 steps apart]
    #[arg(long, value_name = "N")]
    pub eval_steps: Option<usize>,
    /// Write a checkpoint every N steps
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub save_steps: usize,
    /// Go on from the newest checkpoint in --out (same options and data), or begin if there is none
    #[arg(long)]
    pub resume: bool,
    /// Arithmetic of the matrix products
    #[arg(long, default_value = "f32")]
    pub precision: Precision,
    /// Write one JSON object per optimizer step to this file
    #[arg(long, value_name = "FILE.jsonl")]
    pub log: Option<PathBuf>,
    /// Time every kernel on the GPU and print a table at the end (slows the run down)
    #[arg(long)]
    pub profile: bool,
    #[command(flatten)]
    pub device: DeviceArg,
}

impl TrainArgs {
    /// The training settings that they describe.
    pub fn config(&self) -> Result<TrainConfig> {
        let Precision::F32 = self.precision;
        let default = TrainConfig::default();
        let config = TrainConfig {
            num_train_epochs: self.epochs.unwrap_or(default.num_train_epochs),
            max_steps: self.max_steps,
            per_device_train_batch_size: self.batch_size.unwrap_or(default.per_device_train_batch_size),
            gradient_accumulation_steps: self.grad_accum.unwrap_or(default.gradient_accumulation_steps),
            max_length: self.max_length.unwrap_or(default.max_length),
            learning_rate: self.lr.unwrap_or(default.learning_rate),
            lr_scheduler_type: self.schedule.map_or(default.lr_scheduler_type, Into::into),
            warmup_steps: self.warmup_steps,
            weight_decay: self.weight_decay.unwrap_or(default.weight_decay),
            max_grad_norm: self.max_grad_norm.unwrap_or(default.max_grad_norm),
            seed: self.seed.unwrap_or(default.seed),
            shuffle: !self.no_shuffle,
            assistant_only_loss: !self.train_on_all,
            gradient_checkpointing: self.gradient_checkpointing,
            packing: self.packing,
            group_by_length: self.group_by_length,
            eval_steps: self.eval_steps,
            save_steps: Some(self.save_steps),
            ..default
        };
        config.validate()?;
        if let Some(fraction) = self.eval_split
            && !(fraction > 0.0 && fraction < 1.0)
        {
            return Err(Error::config(format!(
                "--eval-split is {fraction}; expected a share between 0 and 1"
            )));
        }
        Ok(config)
    }
}

#[derive(Args)]
pub struct DataArgs {
    #[command(flatten)]
    pub model: ModelArg,
    /// Data to look at: "demo" or "demo:NAME" (built in), or a file as for `postil train`
    #[arg(long, default_value = "demo", value_name = "demo|FILE")]
    pub data: String,
    #[command(flatten)]
    pub read: ReadArgs,
    /// Cut examples to this many tokens
    #[arg(long, default_value_t = TrainConfig::default().max_length, value_name = "TOKENS")]
    pub max_length: usize,
    /// Train on every token of chat data, not only on what the assistant says
    #[arg(long)]
    pub train_on_all: bool,
    /// Examples to show token by token
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub rows: usize,
}

#[derive(Args)]
pub struct EvalArgs {
    #[command(flatten)]
    pub model: ModelArg,
    /// PEFT adapter to put on the model
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,
    /// Data to evaluate on: "demo" or "demo:NAME" (the built-in held-out rows), or a file as for `postil train`
    #[arg(long, default_value = "demo", value_name = "demo|FILE")]
    pub data: String,
    #[command(flatten)]
    pub read: ReadArgs,
    /// Examples in a batch
    #[arg(long, default_value_t = 4, value_name = "N")]
    pub batch_size: usize,
    /// Cut examples to this many tokens
    #[arg(long, default_value_t = 1024, value_name = "TOKENS")]
    pub max_length: usize,
    /// Count every token of chat data, not only what the assistant says
    #[arg(long)]
    pub train_on_all: bool,
    #[command(flatten)]
    pub device: DeviceArg,
}

#[derive(Args)]
#[command(allow_negative_numbers = true)]
pub struct GenerateArgs {
    #[command(flatten)]
    pub model: ModelArg,
    /// PEFT adapter to put on the model
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,
    /// Text to go on from
    #[arg(long)]
    pub prompt: String,
    /// Put the prompt into the model's chat template, as a user's message
    #[arg(long)]
    pub chat: bool,
    /// Most tokens to write
    #[arg(long, default_value_t = SamplingOptions::default().max_new_tokens, value_name = "N")]
    pub max_new_tokens: usize,
    /// Divides the logits; 0 always takes the likeliest token
    #[arg(long, default_value_t = SamplingOptions::default().temperature, value_name = "T")]
    pub temperature: f64,
    /// Keep the K likeliest tokens; 0 keeps all
    #[arg(long, default_value_t = SamplingOptions::default().top_k, value_name = "K")]
    pub top_k: usize,
    /// Keep the likeliest tokens that together have this probability; 1 keeps all
    #[arg(long, default_value_t = SamplingOptions::default().top_p, value_name = "P")]
    pub top_p: f64,
    /// Seed of the draws
    #[arg(long, default_value_t = SamplingOptions::default().seed)]
    pub seed: u64,
    #[command(flatten)]
    pub device: DeviceArg,
}

#[derive(Args)]
pub struct ParamsArgs {
    #[command(flatten)]
    pub model: ModelArg,
    #[command(flatten)]
    pub lora: LoraArgs,
}
