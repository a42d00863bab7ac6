//! The run file: everything that decides a run, in one JSON object. The page downloads it, `postil train --run`
//! reads it, and `postil train` writes that of its own run.
//!
//! ```json
//! {
//!   "postil": 1,
//!   "model": "demo",
//!   "data": { "train": "train.jsonl", "eval": "held-out.jsonl", "columns": { "prompt": "question" } },
//!   "lora": { "r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"], "rank_pattern": { "layers.0.mlp.*": 4 } },
//!   "train": { "max_steps": 100, "learning_rate": 2e-4 }
//! }
//! ```
//!
//! What is left out has its default, as on the command line. Any key that is not named here is refused.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{LoraConfig, TargetModules, TrainConfig};
use crate::error::{Error, Result};

/// The name of a run file in a run's folder.
pub const RUN_FILE: &str = "run.json";
/// The built-in model's and data's name.
pub const DEMO: &str = "demo";
/// The version of the format that is written, and the only one that is read.
const VERSION: u64 = 1;

/// A run. Paths are relative to the folder that the file is in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunFile {
    /// The format's version: 1.
    postil: u64,
    /// The base model: `demo`, a path, or `owner/name[@revision]` on the Hub.
    #[serde(default = "demo")]
    pub model: String,
    /// What to train and evaluate on.
    #[serde(default)]
    pub data: RunData,
    /// A new adapter's settings; its defaults if there is no `init_adapter` either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraOptions>,
    /// The folder of an adapter to start from, in place of `lora`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_adapter: Option<String>,
    /// The training.
    #[serde(default)]
    pub train: TrainConfig,
}

fn demo() -> String {
    DEMO.to_owned()
}

impl Default for RunFile {
    /// The built-in model on the built-in data.
    fn default() -> Self {
        Self {
            postil: VERSION,
            model: demo(),
            data: RunData::default(),
            lora: None,
            init_adapter: None,
            train: TrainConfig::default(),
        }
    }
}

/// A run's data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunData {
    /// A file, or built-in data: `demo` or `demo:NAME`, evaluated on its own held-out rows if neither `eval` nor
    /// `eval_split` is given.
    pub train: String,
    /// Held-out data: a file, or the held-out rows of built-in data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval: Option<String>,
    /// Without `eval`: the share of the examples to hold out, between 0 and 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_split: Option<f64>,
    /// The format of the files, where it is not to be detected: as
    /// [`DataFormat`](crate::data::DataFormat) is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Columns that have other names than the fields of a record: field to column.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, String>,
}

impl Default for RunData {
    fn default() -> Self {
        Self { train: demo(), eval: None, eval_split: None, format: None, columns: BTreeMap::new() }
    }
}

/// A new adapter's settings as people choose them; PEFT's names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoraOptions {
    /// Rank. Default 16.
    pub r: usize,
    /// Default: twice the rank.
    pub lora_alpha: Option<f64>,
    /// Default 0.
    pub lora_dropout: f64,
    /// Default `all-linear`.
    pub target_modules: TargetModules,
    /// Ranks of modules that differ from `r` (see [`LoraConfig::rank_pattern`]).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rank_pattern: BTreeMap<String, usize>,
    /// Alphas of modules that differ from `lora_alpha`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub alpha_pattern: BTreeMap<String, f64>,
}

impl Default for LoraOptions {
    fn default() -> Self {
        let LoraConfig { r, lora_dropout, target_modules, .. } = LoraConfig::default();
        let (rank_pattern, alpha_pattern) = (BTreeMap::new(), BTreeMap::new());
        Self { r, lora_alpha: None, lora_dropout, target_modules, rank_pattern, alpha_pattern }
    }
}

impl LoraOptions {
    /// The configuration that they describe.
    ///
    /// # Errors
    /// Those of [`LoraConfig::validate`].
    pub fn config(self) -> Result<LoraConfig> {
        let config = LoraConfig {
            r: self.r,
            lora_alpha: self.lora_alpha.unwrap_or(2.0 * self.r as f64),
            lora_dropout: self.lora_dropout,
            target_modules: self.target_modules,
            rank_pattern: self.rank_pattern,
            alpha_pattern: self.alpha_pattern,
            ..LoraConfig::default()
        };
        config.validate()?;
        Ok(config)
    }
}

impl RunFile {
    /// Reads a run file's text; `name` is said in errors.
    ///
    /// # Errors
    /// `Format` for what is no run file, `Unsupported` for another version, `Config` for a value or a key that
    /// cannot be used, by name.
    pub fn from_json(json: &[u8], name: &str) -> Result<Self> {
        let value: Value = serde_json::from_slice(json)
            .map_err(|error| Error::format(format!("{name}: not valid JSON: {error}")))?;
        match value.get("postil") {
            Some(version) if version.as_u64() == Some(VERSION) => {}
            Some(version) => {
                return Err(Error::unsupported(format!(
                    "{name}: a run file of version {version}; this program reads version {VERSION}"
                )));
            }
            None => {
                return Err(Error::format(format!(
                    "{name}: not a run file: expected a JSON object with \"postil\": {VERSION}"
                )));
            }
        }
        // From the text once more: its errors have a line.
        let run: Self =
            serde_json::from_slice(json).map_err(|error| Error::config(format!("{name}: {error}")))?;
        run.validate().map_err(|error| error.context(name))?;
        Ok(run)
    }

    /// Checks what can be checked without the files.
    ///
    /// # Errors
    /// `Config` for the first value that cannot be used, by its name.
    pub fn validate(&self) -> Result<()> {
        let RunData { eval, eval_split, .. } = &self.data;
        if let Some(share) = eval_split {
            if !(*share > 0.0 && *share < 1.0) {
                return Err(Error::config(format!(
                    "eval_split is {share}; expected a share between 0 and 1"
                )));
            }
            if eval.is_some() {
                return Err(Error::config(
                    "eval and eval_split are both given; held-out data comes from one of them",
                ));
            }
        }
        if self.lora.is_some() && self.init_adapter.is_some() {
            return Err(Error::config(
                "lora and init_adapter are both given, but an adapter brings its own settings; leave one of them out",
            ));
        }
        if let Some(lora) = &self.lora {
            lora.clone().config()?;
        }
        self.train.validate()
    }

    /// The text of the file.
    ///
    /// # Errors
    /// `Config` for a number that JSON does not have.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(self)
            .map_err(|error| Error::config(format!("the run file cannot be written: {error}")))
    }
}
