//! The arguments of `postil`.

use std::path::PathBuf;
use std::str::FromStr;

use bytesize::ByteSize;
use clap::{Args, Parser, Subcommand, ValueEnum};
use postil::config::{DEMO, LoraConfig, LoraOptions, Precision, Schedule, TargetModules, TrainConfig};
use postil::data::{Columns, DataFormat};
use postil::generate::SamplingOptions;
use postil::{Error, Result};

use super::bench::BenchArgs;
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
    ///
    /// Ctrl-C ends the run after the step in progress: adapter and checkpoint are written, --resume goes on from
    /// there, and the exit status is 130. A second Ctrl-C ends it at once.
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
    /// Measure how fast this GPU trains or generates with a model of some size, and how fast it could
    Bench(Box<BenchArgs>),
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
pub struct BudgetArg {
    /// GPU memory that may be taken, such as 8GiB [default: by the kind of GPU, corrected by what it grants]
    #[arg(long, value_name = "SIZE", value_parser = byte_size)]
    pub memory_budget: Option<u64>,
}

fn byte_size(text: &str) -> Result<u64, String> {
    let size = text.parse::<ByteSize>().map_err(|_| "expected a size such as 8GiB, 512MiB or 6.5GB")?;
    Ok(size.as_u64())
}

#[derive(Args)]
pub struct ModelArg {
    /// Base model: "demo" (built in); a folder with config.json, model.safetensors and tokenizer.json; a GGUF
    /// file; or the name of a model on the Hugging Face Hub, owner/name[@revision] or
    /// owner/name/file.gguf[@revision] (downloaded once, with HF_TOKEN if that is set) [default: demo]
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
}

impl ModelArg {
    /// The model that is meant.
    pub fn name(&self) -> &str {
        self.model.as_deref().unwrap_or(DEMO)
    }
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
pub enum PrecisionArg {
    /// f16 where the GPU multiplies matrices faster in it, else f32
    Auto,
    /// Weights as stored, everything computed in f32
    F32,
    /// Operands of matrix products in f16, sums and everything else in f32
    F16,
}

impl From<PrecisionArg> for Precision {
    fn from(arg: PrecisionArg) -> Self {
        match arg {
            PrecisionArg::Auto => Self::Auto,
            PrecisionArg::F32 => Self::F32,
            PrecisionArg::F16 => Self::F16,
        }
    }
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
    /// Another rank for some modules, as in layers.0.self_attn.q_proj=4; the key is the end of a module's name, or a
    /// regular expression for it, as in PEFT's rank_pattern. May be given several times
    #[arg(long, value_name = "KEY=R", value_parser = pattern::<usize>)]
    pub rank_pattern: Vec<(String, usize)>,
    /// Another alpha for some modules, likewise, as in layers.0.self_attn.q_proj=8
    #[arg(long, value_name = "KEY=ALPHA", value_parser = pattern::<f64>)]
    pub alpha_pattern: Vec<(String, f64)>,
}

/// A module's name and a number, with `=` between them.
fn pattern<T: FromStr>(text: &str) -> Result<(String, T), String> {
    match text.rsplit_once('=').map(|(key, value)| (key.trim(), value.trim().parse())) {
        Some((key, Ok(value))) if !key.is_empty() => Ok((key.to_owned(), value)),
        _ => Err("expected a module's name and a number, as in layers.0.self_attn.q_proj=4".to_owned()),
    }
}

impl LoraArgs {
    /// Whether any of them was given.
    pub fn any(&self) -> bool {
        let patterns = self.rank_pattern.len() + self.alpha_pattern.len();
        let options = [self.rank.is_some(), self.alpha.is_some(), self.dropout.is_some()];
        options.contains(&true) || self.target_modules.is_some() || patterns > 0
    }

    /// `options` with those that were given in place of theirs.
    pub fn over(&self, options: LoraOptions) -> Result<LoraOptions> {
        let target_modules = match &self.target_modules {
            Some(text) => TargetModules::parse(text)?,
            None => options.target_modules,
        };
        let mut merged = LoraOptions {
            r: self.rank.unwrap_or(options.r),
            lora_alpha: self.alpha.or(options.lora_alpha),
            lora_dropout: self.dropout.unwrap_or(options.lora_dropout),
            target_modules,
            ..options
        };
        if !self.rank_pattern.is_empty() {
            merged.rank_pattern = self.rank_pattern.iter().cloned().collect();
        }
        if !self.alpha_pattern.is_empty() {
            merged.alpha_pattern = self.alpha_pattern.iter().cloned().collect();
        }
        Ok(merged)
    }

    /// The configuration that they describe.
    pub fn config(&self) -> Result<LoraConfig> {
        self.over(LoraOptions::default())?.config()
    }
}

/// Text that can be read as a `T`.
fn checked<T: FromStr>(text: &str) -> Result<String, T::Err> {
    text.parse::<T>().map(|_| text.to_owned())
}

/// How data files are read.
#[derive(Args, Default)]
pub struct ReadArgs {
    /// Do not detect the data's format: a kind of file (jsonl, json, csv, tsv, parquet, txt), a format of
    /// records (messages, sharegpt, prompt-completion, alpaca, text), or both as in csv,text
    #[arg(long, value_name = "FORMAT", value_parser = checked::<DataFormat>)]
    pub data_format: Option<String>,
    /// Columns with other names, as in prompt=question,completion=answer; with a comma in a name
    /// '"prompt=title, short",completion=answer'. Fields are text, prompt, completion, instruction, input, output,
    /// messages, conversations and system
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
    /// Everything that decides the run, in a JSON file: what the page downloads, or the run.json in the --out of another
    /// run. Other options take precedence over what it says
    #[arg(long, value_name = "FILE.json")]
    pub run: Option<PathBuf>,
    #[command(flatten)]
    pub model: ModelArg,
    /// Data to train on: built in ("demo:pirate", which is "demo", "demo:headline", "demo:json"), or a file: JSON Lines, JSON, CSV,
    /// TSV, Parquet or plain text; - is standard input [default: demo]
    #[arg(long, value_name = "demo|FILE")]
    pub data: Option<String>,
    #[command(flatten)]
    pub read: ReadArgs,
    /// Folder for the adapter and checkpoints; not needed for --plan
    #[arg(long, value_name = "DIR", required_unless_present = "plan")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub lora: LoraArgs,
    /// Start from this PEFT adapter instead of a new one. It brings its own rank, alpha, dropout and target modules, so
    /// --rank, --alpha, --dropout, --target-modules, --rank-pattern and --alpha-pattern cannot be given beside it
    #[arg(long, value_name = "DIR")]
    pub init_adapter: Option<String>,
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
    #[command(flatten)]
    pub memory: BudgetArg,
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
    /// Held-out data to evaluate on: a file as for --data, or the held-out rows of built-in data
    #[arg(long, value_name = "demo|FILE", conflicts_with = "eval_split")]
    pub eval_data: Option<String>,
    /// Hold out this share of the data to evaluate on
    #[arg(long, value_name = "F")]
    pub eval_split: Option<f64>,
    /// Evaluate every N steps [default: ten times in the run, at least 10 steps apart]
    #[arg(long, value_name = "N")]
    pub eval_steps: Option<usize>,
    /// Write a checkpoint every N steps [default: 100]
    #[arg(long, value_name = "N")]
    pub save_steps: Option<usize>,
    /// Go on from the newest checkpoint in --out (same options and data), or begin if there is none. With more --max-steps or
    /// --epochs than before it goes on for longer: the learning rate is then that of a run with all these steps
    #[arg(long, requires = "out")]
    pub resume: bool,
    /// Arithmetic of the matrix products [default: auto]
    #[arg(long)]
    pub precision: Option<PrecisionArg>,
    /// Write one JSON object per optimizer step to this file: step, loss, lr, grad_norm, tokens, tokens_per_second and,
    /// after an evaluation, eval_loss
    #[arg(long, value_name = "FILE.jsonl")]
    pub log: Option<PathBuf>,
    /// Time every kernel on the GPU and print a table at the end (slows the run down)
    #[arg(long)]
    pub profile: bool,
    #[command(flatten)]
    pub device: DeviceArg,
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
    /// Arithmetic of the matrix products [default: auto]
    #[arg(long)]
    pub precision: Option<PrecisionArg>,
    #[command(flatten)]
    pub memory: BudgetArg,
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
    /// How strongly the adapter acts: 1 as it was trained, 0 not at all
    #[arg(long, value_name = "FACTOR", requires = "adapter", default_value_t = 1.0)]
    pub adapter_scale: f64,
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
    pub memory: BudgetArg,
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
