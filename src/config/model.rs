//! A model's `config.json`.

use serde_json::Value;

use super::family::{Bias, Family, ScoreScale};
use super::fields::{Fields, MAX_ELEMENTS};
use super::layers::{self, LayerConfig};
use super::rope::{self, RopeParameters};
use crate::error::{Error, Result};

/// More layers than any model has; bounds what a hostile file can make us list.
const MAX_LAYERS: usize = 4096;
/// The attention kernels keep one head's row in workgroup memory.
const MAX_HEAD_DIM: usize = 256;

/// The decoder that a `config.json` describes, with its names.
///
/// Missing keys have the defaults of `transformers`' configuration class of the family. Dropout inside
/// the frozen model is not computed: a file that asks for it is refused, but for GPT-2's, where
/// [`ModelConfig::warnings`] says so.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// The names and parts of the model.
    pub family: &'static Family,
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
    /// Width of one head; even with rotary positions, at most 256.
    pub head_dim: usize,
    /// Positions that the model was made for.
    pub max_position_embeddings: usize,
    /// The ε of every norm: `rms_norm_eps`, or GPT-2's `layer_norm_epsilon`.
    pub norm_eps: f32,
    /// What the MLP's gate goes through, or without a gate its inner values.
    pub hidden_act: Activation,
    /// What scores are multiplied by before the softmax.
    pub score_scale: f32,
    /// What rows of the embedding table are multiplied by. In f32, as `transformers` computes it for a
    /// model in f32; in bf16 it rounds the factor too.
    pub embedding_scale: f32,
    /// The rotary positions that layers choose from.
    pub rope_parameters: Vec<RopeParameters>,
    /// Tokens that a token of a sliding layer sees, itself included.
    pub sliding_window: Option<usize>,
    /// What differs from layer to layer.
    pub layers: Vec<LayerConfig>,
    /// Whether the vocabulary projection is the embedding table.
    pub tie_word_embeddings: bool,
    /// Whether the projections to queries, keys and values have a bias.
    pub attention_bias: bool,
    /// Whether the attention's output projection has a bias.
    pub output_bias: bool,
    /// Whether the MLP's linear modules have a bias.
    pub mlp_bias: bool,
    /// Token that starts a text.
    pub bos_token_id: Option<u32>,
    /// Tokens that end a text; may be empty.
    pub eos_token_id: Vec<u32>,
    /// Token that fills up a batch.
    pub pad_token_id: Option<u32>,
    /// Dropout inside the frozen model that the file asks for and that is not applied: field and probability.
    /// transformers applies it whenever the model is in training mode, so with PEFT too, and never in evaluation.
    pub ignored_dropout: Vec<(&'static str, f64)>,
}

/// An activation function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `silu`, x·sigmoid(x).
    Silu,
    /// `gelu_pytorch_tanh` and `gelu_new`: Gauss's error function by tanh (Hendrycks & Gimpel,
    /// arXiv:1606.08415).
    GeluTanh,
}

impl ModelConfig {
    /// Reads a `config.json` as `transformers` 4 or 5 writes it.
    ///
    /// # Errors
    ///
    /// `Format` for text that is not such a file or holds impossible numbers; `Unsupported`, with the
    /// field and its value, for a model that this version does not compute.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        let mut fields = Fields::from_json(json)?;
        let family = family(&fields)?;
        fields.rename(family.aliases);
        refuse_unsupported(&fields, family)?;

        let defaults = &family.defaults;
        let vocab_size = fields.size("vocab_size", defaults.vocab_size)?;
        let hidden_size = fields.size("hidden_size", defaults.hidden_size)?;
        let num_attention_heads = fields.size("num_attention_heads", defaults.num_attention_heads)?;
        let head_dim = head_dim(&fields, family, hidden_size, num_attention_heads)?;
        let default_kv_heads = match defaults.num_key_value_heads {
            Some(heads) if !fields.is_null("num_key_value_heads") => heads,
            _ => num_attention_heads,
        };
        let default_width = match defaults.intermediate_size {
            Some(width) => width,
            None => hidden_size.checked_mul(4).ok_or_else(|| {
                Error::format(format!("config.json: hidden_size {hidden_size} is too large"))
            })?,
        };
        let num_hidden_layers = fields.size("num_hidden_layers", defaults.num_hidden_layers)?;
        if num_hidden_layers > MAX_LAYERS {
            return Err(Error::unsupported(format!(
                "config.json: num_hidden_layers {num_hidden_layers}: at most {MAX_LAYERS}"
            )));
        }
        let max_position_embeddings =
            fields.size("max_position_embeddings", defaults.max_position_embeddings)?;
        let (layers, sliding_window) = layers::read(&fields, family, num_hidden_layers)?;
        let bias = |bias: Bias, field: &str| match bias {
            Bias::Never => Ok(false),
            Bias::Always | Bias::QueryKeyValue => Ok(true),
            Bias::Field => fields.bool(field, false),
        };
        let attention_bias = bias(family.attention_bias, "attention_bias")?;
        // A default is for the family's own vocabulary.
        let token = |id: Option<u32>| id.filter(|&id| (id as usize) < vocab_size);
        let config = Self {
            family,
            vocab_size,
            hidden_size,
            intermediate_size: fields.size("intermediate_size", default_width)?,
            num_hidden_layers,
            num_attention_heads,
            num_key_value_heads: fields.size("num_key_value_heads", default_kv_heads)?,
            head_dim,
            max_position_embeddings,
            norm_eps: fields.positive(family.norm_eps, defaults.norm_eps)? as f32,
            hidden_act: activation(&fields, family)?,
            score_scale: score_scale(&fields, family, head_dim)?,
            embedding_scale: if family.scaled_embeddings { (hidden_size as f64).sqrt() as f32 } else { 1.0 },
            rope_parameters: rope::read(&fields, family, head_dim, max_position_embeddings)?,
            sliding_window,
            layers,
            tie_word_embeddings: fields.bool("tie_word_embeddings", defaults.tie_word_embeddings)?,
            attention_bias,
            output_bias: attention_bias && family.attention_bias != Bias::QueryKeyValue,
            mlp_bias: bias(family.mlp_bias, "mlp_bias")?,
            bos_token_id: fields.token("bos_token_id", token(defaults.bos_token_id))?,
            eos_token_id: fields.tokens("eos_token_id", token(defaults.eos_token_id))?,
            pad_token_id: fields.token("pad_token_id", token(defaults.pad_token_id))?,
            ignored_dropout: ignored_dropout(&fields, family)?,
        };
        config.validate()?;
        Ok(config)
    }

    /// What a training run does otherwise than the file asks, a sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let named: Vec<_> = self.ignored_dropout.iter().map(|(name, p)| format!("{name} {p}")).collect();
        if named.is_empty() {
            return Vec::new();
        }
        vec![format!(
            "the base model's own dropout ({}) is not applied in training, as transformers and PEFT would; \
             lora_dropout is",
            named.join(", ")
        )]
    }

    /// Checks what relates several fields to each other or to the kernels' limits.
    fn validate(&self) -> Result<()> {
        let (heads, kv_heads, head_dim) = (self.num_attention_heads, self.num_key_value_heads, self.head_dim);
        if !heads.is_multiple_of(kv_heads) {
            return Err(Error::format(format!(
                "config.json: num_attention_heads {heads} is not a multiple of num_key_value_heads {kv_heads}"
            )));
        }
        if !self.rope_parameters.is_empty() && !head_dim.is_multiple_of(2) {
            return Err(Error::unsupported(format!(
                "config.json: head_dim {head_dim} is odd; rotary position embeddings turn pairs"
            )));
        }
        if head_dim > MAX_HEAD_DIM {
            return Err(Error::unsupported(format!(
                "config.json: head_dim {head_dim}: the attention kernels hold at most {MAX_HEAD_DIM}"
            )));
        }
        let matrix = |name: &str, rows: u64, columns: u64| match rows.checked_mul(columns) {
            Some(elements) if elements <= MAX_ELEMENTS => Ok(()),
            _ => Err(Error::unsupported(format!(
                "config.json: {name} would be a matrix of {rows} x {columns}; the kernels address at most \
                 2^31 elements"
            ))),
        };
        let (hidden, head_dim) = (self.hidden_size as u64, head_dim as u64);
        matrix(self.family.embed_tokens, self.vocab_size as u64, hidden)?;
        if let Some(name) = self.family.learned_positions() {
            matrix(name, self.max_position_embeddings as u64, hidden)?;
        }
        // In u64 and before `projection_shape` multiplies: usize has 32 bits in a browser.
        let (query, key_value) = (heads as u64 * head_dim, kv_heads as u64 * head_dim);
        let width = self.intermediate_size as u64;
        for projection in self.family.projections {
            use super::Role;
            let columns = match projection.role() {
                Role::Query | Role::Output => query,
                Role::Key | Role::Value => key_value,
                Role::QueryKeyValue => query + 2 * key_value,
                Role::Gate | Role::Up | Role::Down => width,
                Role::GateUp => 2 * width,
            };
            matrix(projection.name(), columns, hidden)?;
        }

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
}

/// The family that `model_type` and `architectures` name; one of the two may be missing.
fn family(fields: &Fields) -> Result<&'static Family> {
    let one_of = |name: fn(&Family) -> &'static str| {
        format!("only {} are", Family::ALL.map(|family| format!("\"{}\"", name(family))).join(", "))
    };
    let architecture = |found: &Value| match found.as_array().map(Vec::as_slice) {
        Some([Value::String(name)]) => Some(name.clone()),
        _ => None,
    };
    let by_type = fields.get("model_type").map(|found| {
        let family = Family::ALL.into_iter().find(|family| found == family.model_type);
        family.ok_or_else(|| fields.unsupported("model_type", found, &one_of(|family| family.model_type)))
    });
    let by_class = fields.get("architectures").map(|found| {
        let name = architecture(found);
        let family = Family::ALL.into_iter().find(|family| name.as_deref() == Some(family.architecture));
        family
            .ok_or_else(|| fields.unsupported("architectures", found, &one_of(|family| family.architecture)))
    });
    match (by_type.transpose()?, by_class.transpose()?) {
        (Some(by_type), Some(by_class)) if by_type != by_class => Err(Error::format(format!(
            "config.json: model_type \"{}\" and architectures [\"{}\"] do not belong together",
            by_type.model_type, by_class.architecture
        ))),
        (Some(family), _) | (None, Some(family)) => Ok(family),
        (None, None) => Err(Error::format(
            "config.json: neither model_type nor architectures is there: not a model's configuration",
        )),
    }
}

/// Refuses what would change the computation.
fn refuse_unsupported(fields: &Fields, family: &Family) -> Result<()> {
    const BASE: &str = "bring the model in bf16, f16 or f32";
    for (name, only) in [
        ("quantization_config", BASE),
        ("attn_logit_softcapping", "only null is"),
        ("final_logit_softcapping", "only null is"),
    ] {
        if let Some(found) = fields.get(name) {
            return Err(fields.unsupported(name, found, only));
        }
    }
    for name in [
        "add_cross_attention",
        "reorder_and_upcast_attn",
        "scale_attn_by_inverse_layer_idx",
        "use_bidirectional_attention",
    ] {
        if let Some(found) = fields.get(name).filter(|value| value.as_bool() != Some(false)) {
            return Err(fields.unsupported(name, found, "only false is"));
        }
    }
    let pretraining_tp = fields.get("pretraining_tp").filter(|_| family.has_pretraining_tp);
    if let Some(found) = pretraining_tp.filter(|value| value.as_u64() != Some(1)) {
        return Err(fields.unsupported("pretraining_tp", found, "only 1 is"));
    }
    for name in ["attention_dropout", "embd_pdrop", "resid_pdrop"] {
        let found = fields.get(name).filter(|value| value.as_f64() != Some(0.0));
        if let Some(found) = found.filter(|_| family.ignored_dropout.is_empty()) {
            return Err(fields.unsupported(name, found, "only 0 is"));
        }
    }
    Ok(())
}

/// The dropout that is left out, where it is any; the default is that of `GPT2Config`.
fn ignored_dropout(fields: &Fields, family: &Family) -> Result<Vec<(&'static str, f64)>> {
    let mut found = Vec::new();
    for &name in family.ignored_dropout {
        let p = match fields.get(name) {
            None => 0.1,
            Some(value) => (value.as_f64().filter(|p| (0.0..=1.0).contains(p)))
                .ok_or_else(|| fields.wrong(name, "a probability", value))?,
        };
        if p > 0.0 {
            found.push((name, p));
        }
    }
    Ok(found)
}

fn head_dim(fields: &Fields, family: &Family, hidden_size: usize, heads: usize) -> Result<usize> {
    match (fields.get("head_dim"), family.defaults.head_dim) {
        (Some(_), _) => fields.size("head_dim", 0),
        (None, Some(head_dim)) => Ok(head_dim),
        (None, None) if hidden_size.is_multiple_of(heads) => Ok(hidden_size / heads),
        (None, None) => Err(Error::format(format!(
            "config.json: hidden_size {hidden_size} is not a multiple of num_attention_heads {heads}, and there \
             is no head_dim"
        ))),
    }
}

fn activation(fields: &Fields, family: &Family) -> Result<Activation> {
    let default = Value::from(family.default_act);
    let found = fields.get(family.hidden_act).unwrap_or(&default);
    match found.as_str() {
        Some("silu" | "swish") if family.is_gated() => Ok(Activation::Silu),
        Some("gelu_pytorch_tanh" | "gelu_new") => Ok(Activation::GeluTanh),
        _ if family.is_gated() => {
            let only = "only \"silu\", \"gelu_pytorch_tanh\" and \"gelu_new\" are";
            Err(fields.unsupported(family.hidden_act, found, only))
        }
        _ => {
            let only = "only \"gelu_pytorch_tanh\" and \"gelu_new\" are";
            Err(fields.unsupported(family.hidden_act, found, only))
        }
    }
}

fn score_scale(fields: &Fields, family: &Family, head_dim: usize) -> Result<f32> {
    let divisor = match family.score_scale {
        ScoreScale::HeadDim => head_dim as f64,
        ScoreScale::QueryPreAttnScalar => fields.positive("query_pre_attn_scalar", 256.0)?,
        ScoreScale::ScaleAttnWeights if fields.bool("scale_attn_weights", true)? => head_dim as f64,
        ScoreScale::ScaleAttnWeights => 1.0,
    };
    Ok((1.0 / divisor.sqrt()) as f32)
}
