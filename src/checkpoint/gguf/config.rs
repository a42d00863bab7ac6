//! The `config.json` that a GGUF file's metadata stands for.

use serde_json::{Map, Value, json};

use super::GgufFile;
use super::architecture::Architecture;
use super::metadata::Metadata;
use super::rope;
use crate::error::{Error, Result};

/// What the configuration is of: one architecture's keys.
struct Keys<'a> {
    metadata: &'a Metadata,
    architecture: Architecture,
}

impl Keys<'_> {
    fn required(&self, rest: &str) -> Result<u64> {
        self.architecture.required(self.metadata, rest)
    }

    fn optional(&self, rest: &str) -> Result<Option<u64>> {
        self.metadata.uniform(&self.architecture.key(rest))
    }

    fn float(&self, rest: &str) -> Result<Option<f64>> {
        self.metadata.float(&self.architecture.key(rest))
    }

    /// The first of some keys that is there: programs that write GGUF files differ.
    fn either(&self, keys: [&str; 2]) -> Result<Option<f64>> {
        Ok(self.float(keys[0])?.or(self.float(keys[1])?))
    }

    /// The width of a head. Key and value heads must have the same.
    fn head_dim(&self) -> Result<u64> {
        let heads = self.required("attention.head_count")?;
        let head_dim = match self.optional("attention.key_length")? {
            Some(width) => width,
            None => self.required("embedding_length")?.checked_div(heads).unwrap_or(0),
        };
        for rest in ["attention.value_length", "rope.dimension_count"] {
            if let Some(found) = self.optional(rest)?.filter(|&found| found != head_dim) {
                return Err(Error::unsupported(format!(
                    "{} {found}: only heads of one width ({head_dim} here), rotated whole, are supported",
                    self.architecture.key(rest)
                )));
            }
        }
        Ok(head_dim)
    }

    /// Refuses what would change the computation and has no place below.
    fn refuse(&self) -> Result<()> {
        for (rest, meaning) in [
            ("expert_count", "a mixture of experts"),
            ("attention.clamp_kqv", "clamped projections"),
            ("attention.max_alibi_bias", "ALiBi positions"),
            ("attn_logit_softcapping", "soft-capped attention"),
            ("final_logit_softcapping", "soft-capped logits"),
            ("logit_scale", "scaled logits"),
            ("embedding_scale", "scaled embeddings"),
            ("residual_scale", "scaled residuals"),
            ("attention.scale", "another scale of attention"),
        ] {
            if self.float(rest)?.is_some_and(|value| value != 0.0) {
                let key = self.architecture.key(rest);
                return Err(Error::unsupported(format!("{key}: {meaning} cannot be computed")));
            }
        }
        Ok(())
    }

    /// `rope_scaling`, from keys or from the factors of the file.
    fn rope_scaling(&self, factors: Option<&[f32]>, rope_theta: f64, head_dim: u64) -> Result<Value> {
        let key = self.architecture.key("rope.scaling.type");
        let kind = self.metadata.string(&key)?.filter(|&kind| kind != "none");
        // Files before `rope.scaling.*` have one factor, always linear.
        let linear = self.float("rope.scale_linear")?.filter(|&factor| factor != 1.0 && factor != 0.0);
        match (kind, linear, factors) {
            (None, None, None) => Ok(Value::Null),
            (None, None, Some(factors)) => rope::scaling(factors, rope_theta, head_dim as usize),
            (Some("linear"), _, None) => {
                let factor = self.float("rope.scaling.factor")?;
                let missing =
                    || Error::format(format!("{} is missing", self.architecture.key("rope.scaling.factor")));
                Ok(json!({ "rope_type": "linear", "factor": factor.ok_or_else(missing)? }))
            }
            (None, Some(factor), None) => Ok(json!({ "rope_type": "linear", "factor": factor })),
            (Some(kind), _, None) => {
                Err(Error::unsupported(format!("{key} {kind:?}; expected \"none\" or \"linear\"")))
            }
            (_, _, Some(_)) => Err(Error::unsupported(format!("{} together with {key}", rope::TENSOR))),
        }
    }

    fn gemma3(&self, config: &mut Map<String, Value>, layers: u64, head_dim: u64) -> Result<()> {
        // What no key says is the same in all of Gemma 3 (`src/models/gemma3*.cpp` of llama.cpp).
        const PATTERN: u64 = 6;
        const LOCAL_THETA: f64 = 10_000.0;
        const LAYERS_OF_27B: u64 = 62;
        let key = self.architecture.key("attention.sliding_window_pattern");
        let is_local: Vec<bool> = match self.metadata.bools(&key) {
            Ok(Some(list)) if list.len() as u64 == layers => list,
            Ok(Some(list)) => {
                return Err(Error::format(format!("{key} has {} entries for {layers} layers", list.len())));
            }
            _ => {
                let pattern = self.metadata.unsigned(&key)?.unwrap_or(PATTERN).max(1);
                (1..=layers).map(|layer| !layer.is_multiple_of(pattern)).collect()
            }
        };
        let kind = |&local: &bool| if local { "sliding_attention" } else { "full_attention" };
        config.insert("layer_types".to_owned(), is_local.iter().map(kind).collect());
        config.insert("sliding_window".to_owned(), self.required("attention.sliding_window")?.into());
        let local_theta = self.either(["rope.freq_base_swa", "rope.local.freq_base"])?.unwrap_or(LOCAL_THETA);
        config.insert("rope_local_base_freq".to_owned(), local_theta.into());
        config.insert("hidden_activation".to_owned(), "gelu_pytorch_tanh".into());
        // Only the largest does not scale by its heads' width.
        let scalar = if layers == LAYERS_OF_27B {
            self.required("embedding_length")? / self.required("attention.head_count")?.max(1)
        } else {
            head_dim
        };
        config.insert("query_pre_attn_scalar".to_owned(), scalar.into());
        Ok(())
    }
}

pub(super) fn synthesize(file: &GgufFile) -> Result<Map<String, Value>> {
    let (metadata, architecture) = (&file.metadata, file.architecture);
    let keys = Keys { metadata, architecture };
    keys.refuse()?;
    let head_dim = keys.head_dim()?;
    // Layers are listed below, so a number that no model has is refused first.
    const MAX_LAYERS: u64 = 4096;
    let layers = keys.required("block_count")?;
    if layers > MAX_LAYERS {
        return Err(Error::format(format!(
            "{} {layers}: at most {MAX_LAYERS}",
            architecture.key("block_count")
        )));
    }
    let rope_theta = keys.either(["rope.freq_base", "rope.global.freq_base"])?.unwrap_or(10_000.0);
    let rope_scaling = keys.rope_scaling(file.rope_freqs.as_deref(), rope_theta, head_dim)?;
    let eps = keys.float("attention.layer_norm_rms_epsilon")?.ok_or_else(|| {
        Error::format(format!("{} is missing", architecture.key("attention.layer_norm_rms_epsilon")))
    })?;
    let table = file.tensors.get("model.embed_tokens.weight");
    let table = table.ok_or_else(|| Error::format("the tensor token_embd.weight is missing"))?;

    let sliding_window = keys.optional("attention.sliding_window")?.filter(|&window| window > 0);
    let (model_type, class) = match architecture {
        Architecture::Llama if sliding_window.is_some() => ("mistral", "MistralForCausalLM"),
        Architecture::Llama => ("llama", "LlamaForCausalLM"),
        Architecture::Qwen2 => ("qwen2", "Qwen2ForCausalLM"),
        Architecture::Qwen3 => ("qwen3", "Qwen3ForCausalLM"),
        Architecture::Gemma3 => ("gemma3_text", "Gemma3ForCausalLM"),
    };
    let token = |name: &str| metadata.unsigned(&format!("tokenizer.ggml.{name}_token_id"));
    let mut eos: Vec<u64> = token("eos")?.into_iter().chain(token("eot")?).chain(token("eom")?).collect();
    eos.dedup();
    let mut config = Map::new();
    for (key, value) in [
        ("model_type", json!(model_type)),
        ("architectures", json!([class])),
        ("vocab_size", json!(table.info.shape[0])),
        ("hidden_size", json!(keys.required("embedding_length")?)),
        ("intermediate_size", json!(keys.required("feed_forward_length")?)),
        ("num_hidden_layers", json!(layers)),
        ("num_attention_heads", json!(keys.required("attention.head_count")?)),
        ("num_key_value_heads", json!(keys.required(architecture.kv_heads_key(metadata))?)),
        ("head_dim", json!(head_dim)),
        ("max_position_embeddings", json!(keys.required("context_length")?)),
        ("rms_norm_eps", json!(eps)),
        ("rope_theta", json!(rope_theta)),
        ("rope_scaling", rope_scaling),
        ("tie_word_embeddings", json!(!file.tensors.contains_key("lm_head.weight"))),
        ("bos_token_id", json!(token("bos")?)),
        ("eos_token_id", json!(eos)),
        ("pad_token_id", json!(token("padding")?)),
    ] {
        config.insert(key.to_owned(), value);
    }
    let has_bias = |module: &str| file.tensors.contains_key(&format!("model.layers.0.{module}.bias"));
    match architecture {
        Architecture::Llama => {
            config.insert("hidden_act".to_owned(), "silu".into());
            config.insert("attention_bias".to_owned(), has_bias("self_attn.q_proj").into());
            config.insert("mlp_bias".to_owned(), has_bias("mlp.down_proj").into());
            if let Some(window) = sliding_window {
                config.insert("sliding_window".to_owned(), window.into());
            }
        }
        // Qwen2's q, k and v always have one, Qwen3's none.
        Architecture::Qwen2 => drop(config.insert("hidden_act".to_owned(), "silu".into())),
        Architecture::Qwen3 => {
            config.insert("hidden_act".to_owned(), "silu".into());
            config.insert("attention_bias".to_owned(), has_bias("self_attn.q_proj").into());
        }
        Architecture::Gemma3 => {
            config.insert("attention_bias".to_owned(), has_bias("self_attn.q_proj").into());
            keys.gemma3(&mut config, layers, head_dim)?;
        }
    }
    Ok(config)
}
