//! A model's `config.json`.

use serde::Serialize;
use serde_json::{Map, Value};

use super::{ModuleId, Projection};
use crate::error::{Error, Result};

/// The most elements one weight matrix may have: the kernels index with 32-bit integers.
const MAX_ELEMENTS: u64 = 1 << 31;
/// More layers than any model has; bounds what a hostile file can make us list.
const MAX_LAYERS: usize = 4096;
/// The attention kernels keep one head's row in workgroup memory.
const MAX_HEAD_DIM: usize = 256;

/// The shape of a decoder model of the Llama family, with the names of its `config.json`.
///
/// Missing keys have the defaults of `transformers`' `LlamaConfig`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelConfig {
    /// Rows of the embedding table.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the MLP.
    pub intermediate_size: usize,
    /// Number of decoder layers.
    pub num_hidden_layers: usize,
    /// Number of query heads.
    pub num_attention_heads: usize,
    /// Number of key and value heads; divides `num_attention_heads`.
    pub num_key_value_heads: usize,
    /// Width of one head; even, at most 256.
    pub head_dim: usize,
    /// Positions that the model was made for.
    pub max_position_embeddings: usize,
    /// The ε of every RMSNorm.
    pub rms_norm_eps: f32,
    /// Base of the rotary frequencies θ^(−2i/head_dim).
    pub rope_theta: f64,
    /// Whether the vocabulary projection is the embedding table.
    pub tie_word_embeddings: bool,
    /// Whether `q_proj`, `k_proj`, `v_proj` and `o_proj` have a bias.
    pub attention_bias: bool,
    /// Whether `gate_proj`, `up_proj` and `down_proj` have a bias.
    pub mlp_bias: bool,
    /// Token that starts a text.
    pub bos_token_id: Option<u32>,
    /// Tokens that end a text; may be empty.
    pub eos_token_id: Vec<u32>,
    /// Token that fills up a batch.
    pub pad_token_id: Option<u32>,
    /// The model class that `config.json` names, such as `LlamaForCausalLM`.
    pub architecture: String,
}

impl ModelConfig {
    /// Reads a `config.json` as `transformers` 4 or 5 writes it.
    ///
    /// # Errors
    ///
    /// `Format` for text that is not such a file or holds impossible numbers; `Unsupported`, with the
    /// field and its value, for a model that this version does not compute.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        let value: Value = serde_json::from_slice(json)
            .map_err(|error| Error::format(format!("config.json: not valid JSON: {error}")))?;
        let Value::Object(map) = value else {
            return Err(Error::format("config.json: expected a JSON object"));
        };
        let fields = Fields(map);
        let architecture = fields.architecture()?;
        fields.refuse_unsupported()?;

        let hidden_size = fields.size("hidden_size", 4096)?;
        let num_attention_heads = fields.size("num_attention_heads", 32)?;
        let head_dim = match fields.get("head_dim") {
            Some(_) => fields.size("head_dim", 0)?,
            None if hidden_size.is_multiple_of(num_attention_heads) => hidden_size / num_attention_heads,
            None => {
                return Err(Error::format(format!(
                    "config.json: hidden_size {hidden_size} is not a multiple of num_attention_heads \
                     {num_attention_heads}, and there is no head_dim"
                )));
            }
        };
        let config = Self {
            vocab_size: fields.size("vocab_size", 32000)?,
            hidden_size,
            intermediate_size: fields.size("intermediate_size", 11008)?,
            num_hidden_layers: fields.size("num_hidden_layers", 32)?,
            num_attention_heads,
            num_key_value_heads: fields.size("num_key_value_heads", num_attention_heads)?,
            head_dim,
            max_position_embeddings: fields.size("max_position_embeddings", 2048)?,
            rms_norm_eps: fields.positive("rms_norm_eps", 1e-6)? as f32,
            rope_theta: fields.rope_theta()?,
            tie_word_embeddings: fields.bool("tie_word_embeddings", false)?,
            attention_bias: fields.bool("attention_bias", false)?,
            mlp_bias: fields.bool("mlp_bias", false)?,
            bos_token_id: fields.token("bos_token_id", Some(1))?,
            eos_token_id: fields.tokens("eos_token_id", &[2])?,
            pad_token_id: fields.token("pad_token_id", None)?,
            architecture,
        };
        config.validate()?;
        Ok(config)
    }

    /// Checks what relates several fields to each other or to the kernels' limits.
    fn validate(&self) -> Result<()> {
        let (heads, kv_heads, head_dim) = (self.num_attention_heads, self.num_key_value_heads, self.head_dim);
        if !heads.is_multiple_of(kv_heads) {
            return Err(Error::format(format!(
                "config.json: num_attention_heads {heads} is not a multiple of num_key_value_heads {kv_heads}"
            )));
        }
        if !head_dim.is_multiple_of(2) {
            return Err(Error::unsupported(format!(
                "config.json: head_dim {head_dim} is odd; rotary position embeddings turn pairs"
            )));
        }
        if head_dim > MAX_HEAD_DIM {
            return Err(Error::unsupported(format!(
                "config.json: head_dim {head_dim}: the attention kernels hold at most {MAX_HEAD_DIM}"
            )));
        }
        if self.num_hidden_layers > MAX_LAYERS {
            return Err(Error::unsupported(format!(
                "config.json: num_hidden_layers {}: at most {MAX_LAYERS}",
                self.num_hidden_layers
            )));
        }
        let matrix = |name: &str, rows: u64, columns: u64| match rows.checked_mul(columns) {
            Some(elements) if elements <= MAX_ELEMENTS => Ok(()),
            _ => Err(Error::unsupported(format!(
                "config.json: {name} would be a matrix of {rows} x {columns}; the kernels address at most \
                 2^31 elements"
            ))),
        };
        matrix("embed_tokens", self.vocab_size as u64, self.hidden_size as u64)?;
        // In u64 and before `projection_shape` multiplies: usize has 32 bits in a browser.
        matrix("q_proj", heads as u64 * head_dim as u64, self.hidden_size as u64)?;
        matrix("k_proj", kv_heads as u64 * head_dim as u64, self.hidden_size as u64)?;
        matrix("gate_proj", self.intermediate_size as u64, self.hidden_size as u64)?;

        let tokens = [("bos_token_id", self.bos_token_id), ("pad_token_id", self.pad_token_id)];
        let tokens = tokens.into_iter().filter_map(|(name, id)| id.map(|id| (name, id)));
        for (name, id) in tokens.chain(self.eos_token_id.iter().map(|&id| ("eos_token_id", id))) {
            if id as usize >= self.vocab_size {
                return Err(Error::format(format!(
                    "config.json: {name} {id} is outside the vocabulary of {} tokens",
                    self.vocab_size
                )));
            }
        }
        Ok(())
    }

    /// Shape of a projection's weight, `(out_features, in_features)`: y = x·Wᵀ.
    pub fn projection_shape(&self, projection: Projection) -> (usize, usize) {
        let query = self.num_attention_heads * self.head_dim;
        let key_value = self.num_key_value_heads * self.head_dim;
        match projection {
            Projection::QProj => (query, self.hidden_size),
            Projection::KProj | Projection::VProj => (key_value, self.hidden_size),
            Projection::OProj => (self.hidden_size, query),
            Projection::GateProj | Projection::UpProj => (self.intermediate_size, self.hidden_size),
            Projection::DownProj => (self.hidden_size, self.intermediate_size),
        }
    }

    /// Whether a projection has a bias of `[out_features]`.
    pub fn has_bias(&self, projection: Projection) -> bool {
        if projection.is_attention() { self.attention_bias } else { self.mlp_bias }
    }

    /// Every linear module but the vocabulary projection, ordered by layer, then projection.
    pub fn linear_modules(&self) -> Vec<ModuleId> {
        (0..self.num_hidden_layers)
            .flat_map(|layer| {
                Projection::ALL.into_iter().map(move |projection| ModuleId { layer, projection })
            })
            .collect()
    }

    /// Number of parameters as PyTorch counts them: biases and norms included, a tied vocabulary
    /// projection once.
    pub fn total_parameters(&self) -> u64 {
        let hidden = self.hidden_size as u64;
        let projections: u64 = Projection::ALL
            .into_iter()
            .map(|projection| {
                let (out_features, in_features) = self.projection_shape(projection);
                let bias = if self.has_bias(projection) { out_features as u64 } else { 0 };
                out_features as u64 * in_features as u64 + bias
            })
            .sum();
        let norms = 2 * hidden;
        let tables = if self.tie_word_embeddings { 1 } else { 2 };
        tables * self.vocab_size as u64 * hidden
            + self.num_hidden_layers as u64 * (projections + norms)
            + hidden
    }
}

/// The fields of a `config.json`, read with their checks. `null` counts as missing, as it does for
/// `transformers` wherever a field has a default that depends on others.
struct Fields(Map<String, Value>);

impl Fields {
    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn wrong(name: &str, expected: &str, found: &Value) -> Error {
        Error::format(format!("config.json: {name}: expected {expected}, found {found}"))
    }

    fn unsupported(name: &str, found: &Value, only: &str) -> Error {
        Error::unsupported(format!("config.json: {name} {found} is not supported; {only}"))
    }

    fn architecture(&self) -> Result<String> {
        const MODEL_TYPE: &str = "llama";
        const ARCHITECTURE: &str = "LlamaForCausalLM";
        const ONLY: &str = "this version trains models of the Llama family (model_type \"llama\", \
                            architectures [\"LlamaForCausalLM\"])";
        let model_type = self.get("model_type");
        let architectures = self.get("architectures");
        if let Some(found) = model_type
            && found != MODEL_TYPE
        {
            return Err(Self::unsupported("model_type", found, ONLY));
        }
        if let Some(found) = architectures
            && found.as_array().is_none_or(|list| list.len() != 1 || list[0] != ARCHITECTURE)
        {
            return Err(Self::unsupported("architectures", found, ONLY));
        }
        if model_type.is_none() && architectures.is_none() {
            return Err(Error::format(
                "config.json: neither model_type nor architectures is there: not a model's configuration",
            ));
        }
        Ok(ARCHITECTURE.to_owned())
    }

    /// Refuses what would change the computation.
    fn refuse_unsupported(&self) -> Result<()> {
        if let Some(found) = self.get("quantization_config") {
            return Err(Self::unsupported(
                "quantization_config",
                found,
                "bring the model in bf16, f16 or f32",
            ));
        }
        if let Some(found) = self.get("hidden_act").filter(|value| *value != "silu") {
            return Err(Self::unsupported("hidden_act", found, "only \"silu\" is"));
        }
        if let Some(found) = self.get("pretraining_tp").filter(|value| value.as_u64() != Some(1)) {
            return Err(Self::unsupported("pretraining_tp", found, "only 1 is"));
        }
        if let Some(found) = self.get("attention_dropout").filter(|value| value.as_f64() != Some(0.0)) {
            return Err(Self::unsupported("attention_dropout", found, "only 0 is"));
        }
        Ok(())
    }

    /// `rope_parameters` (version 5), or `rope_scaling` beside `rope_theta` (version 4).
    fn rope_theta(&self) -> Result<f64> {
        let mut theta = self.positive("rope_theta", 10000.0)?;
        // transformers prefers `rope_scaling` where a file has both.
        for name in ["rope_parameters", "rope_scaling"] {
            let Some(value) = self.get(name) else { continue };
            let Value::Object(map) = value else {
                return Err(Self::wrong(name, "an object", value));
            };
            let inner = Self(map.clone());
            for key in ["rope_type", "type"] {
                if let Some(found) = inner.get(key).filter(|value| *value != "default") {
                    return Err(Self::unsupported(&format!("{name}.{key}"), found, "only \"default\" is"));
                }
            }
            theta = inner
                .positive("rope_theta", theta)
                .map_err(|error| error.context(format!("in {name} of the model")))?;
        }
        Ok(theta)
    }

    /// A number from 1 to 2^31 − 1.
    fn size(&self, name: &str, default: usize) -> Result<usize> {
        let Some(value) = self.get(name) else { return Ok(default) };
        match value.as_u64() {
            Some(number) if (1..MAX_ELEMENTS).contains(&number) => Ok(number as usize),
            _ => Err(Self::wrong(name, "a whole number from 1 to 2^31 - 1", value)),
        }
    }

    fn positive(&self, name: &str, default: f64) -> Result<f64> {
        let Some(value) = self.get(name) else { return Ok(default) };
        match value.as_f64() {
            // As f32 too, since that is what the kernels compute with.
            Some(number) if number as f32 > 0.0 && (number as f32).is_finite() => Ok(number),
            _ => Err(Self::wrong(name, "a positive number", value)),
        }
    }

    fn bool(&self, name: &str, default: bool) -> Result<bool> {
        let Some(value) = self.get(name) else { return Ok(default) };
        value.as_bool().ok_or_else(|| Self::wrong(name, "true or false", value))
    }

    /// One token; `null` and −1 (how some old Llama files say it) mean none.
    fn token(&self, name: &str, default: Option<u32>) -> Result<Option<u32>> {
        match self.0.get(name) {
            None => Ok(default),
            Some(Value::Null) => Ok(None),
            Some(value) if value.as_i64() == Some(-1) => Ok(None),
            Some(value) => Self::id(name, value).map(Some),
        }
    }

    /// One token or a list of them.
    fn tokens(&self, name: &str, default: &[u32]) -> Result<Vec<u32>> {
        match self.0.get(name) {
            None => Ok(default.to_vec()),
            Some(Value::Array(list)) => list.iter().map(|value| Self::id(name, value)).collect(),
            Some(_) => Ok(self.token(name, None)?.into_iter().collect()),
        }
    }

    fn id(name: &str, value: &Value) -> Result<u32> {
        value
            .as_u64()
            .and_then(|id| u32::try_from(id).ok())
            .ok_or_else(|| Self::wrong(name, "a token id", value))
    }
}
