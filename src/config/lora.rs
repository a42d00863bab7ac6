//! The adapter's configuration: PEFT's `adapter_config.json`.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::matching::{ExcludeModules, OneOrMany, TargetModules, full_match};
use crate::error::{Error, Result};

/// More than any useful rank; bounds what a hostile file can make us allocate.
const MAX_RANK: usize = 4096;

/// A LoRA adapter's configuration, with PEFT's names.
///
/// In JSON a missing field has this type's [`Default`]; [`LoraConfig::from_json`] reads a file that
/// PEFT wrote, where a missing field has PEFT's default. Either way:
///
/// - fields that would change the computation to something the engine does not do (`use_dora`, `bias`
///   other than `"none"`, `modules_to_save`, `init_lora_weights` with PiSSA …) are refused by name;
/// - fields that change nothing here (`inference_mode`, `peft_version`, the options of other
///   initialisations …) are dropped, and so is any unknown field that is `null`, `false` or empty;
/// - any other unknown field is refused: PEFT drops it with a warning, but a newer PEFT's adapter would
///   then be computed wrongly.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraConfig {
    /// Rank of the adapters, 1 to 4096.
    pub r: usize,
    /// Scale before it is divided by r (or √r): written as an integer when it is one, since some
    /// readers accept nothing else.
    pub lora_alpha: f64,
    /// Probability that an adapter's input element is dropped in training; at least 0, less than 1.
    pub lora_dropout: f64,
    /// Which modules get an adapter.
    pub target_modules: TargetModules,
    /// Which of them do not.
    pub exclude_modules: Option<ExcludeModules>,
    /// Ranks of modules that differ from `r`. A key matches as `^(.*\.)?(KEY)$`; keys are tried in
    /// sorted order, which is the order in PEFT's files.
    pub rank_pattern: BTreeMap<String, usize>,
    /// Alphas of modules that differ from `lora_alpha`, likewise.
    pub alpha_pattern: BTreeMap<String, f64>,
    /// The only layers that get adapters. Goes with a list of names in `target_modules`, and not for
    /// entries that are whole names. An empty list means no restriction. (PEFT also writes a bare
    /// number.)
    pub layers_to_transform: Option<Vec<usize>>,
    /// Names of the module list before the layer's index (`layers`), as regular expressions.
    pub layers_pattern: Option<Vec<String>>,
    /// Scale by alpha/√r (rank-stabilised LoRA) instead of alpha/r.
    pub use_rslora: bool,
    /// What `A` starts as.
    pub init_lora_weights: InitLoraWeights,
    /// Whether the adapted weights are stored `[in_features, out_features]`, as GPT-2's are. PEFT needs it
    /// to merge an adapter; nothing here does, and [`crate::checkpoint::Adapter`] writes what its modules
    /// are.
    pub fan_in_fan_out: bool,
    /// Where the base model came from.
    pub base_model_name_or_path: Option<String>,
    /// The base model's revision.
    pub revision: Option<String>,
}

/// How `A` is initialised; `B` always starts at zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InitLoraWeights {
    /// `true` in JSON: uniform between ±1/√in_features.
    #[default]
    KaimingUniform,
    /// `"gaussian"`: normal with standard deviation 1/r.
    Gaussian,
}

impl Default for LoraConfig {
    /// Rank 16 and alpha 32 on all linear modules.
    fn default() -> Self {
        Self {
            r: 16,
            lora_alpha: 32.0,
            lora_dropout: 0.0,
            target_modules: TargetModules::AllLinear,
            exclude_modules: None,
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
            layers_to_transform: None,
            layers_pattern: None,
            use_rslora: false,
            init_lora_weights: InitLoraWeights::default(),
            fan_in_fan_out: false,
            base_model_name_or_path: None,
            revision: None,
        }
    }
}

impl LoraConfig {
    /// Reads an `adapter_config.json`. Missing fields have PEFT's defaults (r 8, alpha 8; for the Llama
    /// family `q_proj` and `v_proj`); `peft_type` must be there.
    ///
    /// # Errors
    ///
    /// `Format` for text that is not such a file, `Unsupported` or `Config` for its values, by field.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        const FILE: &str = "adapter_config.json";
        let value: Value = serde_json::from_slice(json)
            .map_err(|error| Error::format(format!("{FILE}: not valid JSON: {error}")))?;
        let Value::Object(map) = value else {
            return Err(Error::format(format!("{FILE}: expected a JSON object")));
        };
        if !map.contains_key("peft_type") {
            return Err(Error::format(format!(
                "{FILE}: peft_type is missing: not a PEFT adapter's configuration"
            )));
        }
        let peft_defaults = Self {
            r: 8,
            lora_alpha: 8.0,
            target_modules: TargetModules::List(vec!["q_proj".to_owned(), "v_proj".to_owned()]),
            ..Self::default()
        };
        Self::from_map(map, peft_defaults).map_err(|error| error.context(FILE))
    }

    /// The text of an `adapter_config.json`: sorted keys, indent 2, as PEFT writes it.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(self)
            .map_err(|error| Error::config(format!("adapter_config.json cannot be written: {error}")))
    }

    fn from_map(map: Map<String, Value>, defaults: Self) -> Result<Self> {
        let mut fields = Fields(map);
        fields.refuse_unsupported()?;
        let config = Self {
            r: fields.take("r")?.unwrap_or(defaults.r),
            lora_alpha: fields.take("lora_alpha")?.unwrap_or(defaults.lora_alpha),
            lora_dropout: fields.take("lora_dropout")?.unwrap_or(defaults.lora_dropout),
            target_modules: fields.take("target_modules")?.unwrap_or(defaults.target_modules),
            exclude_modules: fields.take("exclude_modules")?,
            rank_pattern: fields.take("rank_pattern")?.unwrap_or_default(),
            alpha_pattern: fields.take("alpha_pattern")?.unwrap_or_default(),
            layers_to_transform: fields.take("layers_to_transform")?.map(OneOrMany::into_vec),
            layers_pattern: fields.take("layers_pattern")?.map(OneOrMany::into_vec),
            use_rslora: fields.take("use_rslora")?.unwrap_or_default(),
            init_lora_weights: fields.init_lora_weights()?,
            fan_in_fan_out: fields.take("fan_in_fan_out")?.unwrap_or_default(),
            base_model_name_or_path: fields.take("base_model_name_or_path")?,
            revision: fields.take("revision")?,
        };
        fields.refuse_rest()?;
        config.validate()?;
        Ok(config)
    }

    /// Checks every value that can be checked without a model.
    ///
    /// # Errors
    ///
    /// `Config` for the first value that cannot be used, by its field.
    pub fn validate(&self) -> Result<()> {
        let rank = |name: &str, r: usize| match r {
            0 => Err(Error::config(format!("{name} is 0; expected a rank of 1 or more"))),
            1..=MAX_RANK => Ok(()),
            _ => Err(Error::config(format!("{name} is {r}; expected a rank of at most {MAX_RANK}"))),
        };
        rank("r", self.r)?;
        for (key, &r) in &self.rank_pattern {
            rank(&format!("rank_pattern \"{key}\""), r)?;
        }
        let alpha = |name: &str, alpha: f64| {
            let message = || format!("{name} is {alpha}; expected a finite number, 0 or more");
            if (alpha as f32).is_finite() && alpha >= 0.0 { Ok(()) } else { Err(Error::config(message())) }
        };
        alpha("lora_alpha", self.lora_alpha)?;
        for (key, &value) in &self.alpha_pattern {
            alpha(&format!("alpha_pattern \"{key}\""), value)?;
        }
        if !(0.0..1.0).contains(&self.lora_dropout) {
            return Err(Error::config(format!(
                "lora_dropout is {}; expected 0 or more and less than 1",
                self.lora_dropout
            )));
        }
        match &self.target_modules {
            TargetModules::List(names) if names.is_empty() => {
                return Err(Error::config("target_modules is empty: nothing would be trained"));
            }
            TargetModules::List(_) => {}
            TargetModules::Regex(_) | TargetModules::AllLinear => {
                let layers = [
                    ("layers_to_transform", self.layers_to_transform.is_some()),
                    ("layers_pattern", self.layers_pattern.is_some()),
                ];
                if let Some((field, _)) = layers.iter().find(|(_, given)| *given) {
                    return Err(Error::config(format!(
                        "{field} goes with a list of names in target_modules, not with a regular expression or \
                         all-linear; list the names"
                    )));
                }
            }
        }
        if self.layers_to_transform.is_none() && self.layers_pattern.as_ref().is_some_and(|p| !p.is_empty()) {
            return Err(Error::config("layers_pattern needs layers_to_transform"));
        }
        if let TargetModules::Regex(regex) = &self.target_modules {
            full_match("target_modules", regex)?;
        }
        Ok(())
    }
}

impl Serialize for LoraConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fn value(from: impl Serialize) -> Value {
            // Strings, numbers and maps of them: no value here fails to convert.
            serde_json::to_value(from).unwrap_or_default()
        }
        // PEFT writes keys sorted. Readers older than a field warn about it, so a field added to PEFT
        // later is written only when it is set.
        let mut map: BTreeMap<&str, Value> = BTreeMap::from([
            ("base_model_name_or_path", value(&self.base_model_name_or_path)),
            ("bias", value("none")),
            ("fan_in_fan_out", value(self.fan_in_fan_out)),
            ("inference_mode", value(true)),
            (
                "init_lora_weights",
                match self.init_lora_weights {
                    InitLoraWeights::KaimingUniform => value(true),
                    InitLoraWeights::Gaussian => value("gaussian"),
                },
            ),
            ("lora_alpha", number(self.lora_alpha)),
            ("lora_dropout", value(self.lora_dropout)),
            ("modules_to_save", Value::Null),
            ("peft_type", value("LORA")),
            ("r", value(self.r)),
            ("revision", value(&self.revision)),
            ("target_modules", value(&self.target_modules)),
            ("task_type", value("CAUSAL_LM")),
        ]);
        if let Some(exclude) = &self.exclude_modules {
            map.insert("exclude_modules", value(exclude));
        }
        if !self.rank_pattern.is_empty() {
            map.insert("rank_pattern", value(&self.rank_pattern));
        }
        if !self.alpha_pattern.is_empty() {
            let alphas = self.alpha_pattern.iter().map(|(key, &alpha)| (key.clone(), number(alpha)));
            map.insert("alpha_pattern", Value::Object(alphas.collect()));
        }
        if let Some(layers) = &self.layers_to_transform {
            map.insert("layers_to_transform", value(layers));
        }
        if let Some(pattern) = &self.layers_pattern {
            map.insert("layers_pattern", value(pattern));
        }
        if self.use_rslora {
            map.insert("use_rslora", value(true));
        }
        map.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for LoraConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = Map::deserialize(deserializer)?;
        Self::from_map(map, Self::default()).map_err(serde::de::Error::custom)
    }
}

/// An alpha as JSON: an integer when it is one.
fn number(alpha: f64) -> Value {
    // Up to 2^53 every integer is exact.
    if alpha.fract() == 0.0 && alpha.abs() < 9007199254740992.0 {
        Value::from(alpha as i64)
    } else {
        Value::from(alpha)
    }
}

/// Fields that PEFT writes and that change nothing here: metadata, and options of features that are
/// themselves refused or have no effect on these modules.
const WITHOUT_EFFECT: [&str; 11] = [
    "auto_mapping",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "inference_mode",
    "loftq_config",
    "lora_ga_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "runtime_config",
];

/// What a field that changes the computation must be when it is not null.
fn only() -> [(&'static str, Value); 5] {
    [
        ("peft_type", Value::from("LORA")),
        ("task_type", Value::from("CAUSAL_LM")),
        ("bias", Value::from("none")),
        ("use_dora", Value::from(false)),
        ("lora_bias", Value::from(false)),
    ]
}

/// The fields of an `adapter_config.json` that nobody took yet.
struct Fields(Map<String, Value>);

impl Fields {
    fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => T::deserialize(&value)
                .map(Some)
                .map_err(|error| Error::config(format!("{name}: cannot use {value}: {error}"))),
        }
    }

    fn refuse_unsupported(&mut self) -> Result<()> {
        for (name, only) in only() {
            if let Some(found) = self.0.remove(name)
                && !found.is_null()
                && found != only
            {
                return Err(Error::unsupported(format!("{name} {found} is not supported; only {only} is")));
            }
        }
        Ok(())
    }

    fn init_lora_weights(&mut self) -> Result<InitLoraWeights> {
        match self.0.remove("init_lora_weights") {
            None | Some(Value::Null | Value::Bool(true)) => Ok(InitLoraWeights::KaimingUniform),
            Some(found) if found == "gaussian" => Ok(InitLoraWeights::Gaussian),
            Some(found) => Err(Error::unsupported(format!(
                "init_lora_weights {found} is not supported; only true and \"gaussian\" are"
            ))),
        }
    }

    fn refuse_rest(&self) -> Result<()> {
        let says_nothing = |value: &Value| match value {
            Value::Null | Value::Bool(false) => true,
            Value::String(text) => text.is_empty(),
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            Value::Bool(true) | Value::Number(_) => false,
        };
        match self
            .0
            .iter()
            .find(|(name, value)| !WITHOUT_EFFECT.contains(&name.as_str()) && !says_nothing(value))
        {
            None => Ok(()),
            Some((name, value)) => Err(Error::unsupported(format!(
                "{name} {value} is not supported; take the field out if the adapter does not need it"
            ))),
        }
    }
}
