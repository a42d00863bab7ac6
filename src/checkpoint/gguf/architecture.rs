//! What llama.cpp calls a model's parts, and what it does to them when it converts a Hugging Face checkpoint
//! (`convert_hf_to_gguf.py`, `gguf/tensor_mapping.py`).

use super::header::Stored;
use super::metadata::Metadata;
use super::types::GgmlType;
use crate::config::{Family, Projection, Role};
use crate::error::{Error, Result};

/// `general.architecture`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Architecture {
    /// Llama, Mistral and all whose blocks are the same.
    Llama,
    Qwen2,
    Qwen3,
    Gemma3,
}

/// What must be undone to a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    None,
    /// The rows of each head were put in another order.
    RegroupHeads {
        head_rows: usize,
    },
    /// One was added.
    MinusOne,
}

/// What llama.cpp calls the architecture of a family: also of those that only adapters are written for.
///
/// # Errors
///
/// `Unsupported` for a family that it has no name for.
pub(super) fn name_of(family: &Family) -> Result<&'static str> {
    match family.model_type {
        "llama" | "mistral" => Ok(Architecture::Llama.name()),
        "qwen2" => Ok(Architecture::Qwen2.name()),
        "qwen3" => Ok(Architecture::Qwen3.name()),
        "gemma3_text" => Ok(Architecture::Gemma3.name()),
        "smollm3" => Ok("smollm3"),
        "phi3" => Ok("phi3"),
        "gpt2" => Ok("gpt2"),
        other => Err(Error::unsupported(format!("a model of the type {other} has no GGUF architecture"))),
    }
}

/// Whether the query and key rows of an architecture's heads are in another order than Hugging Face's
/// (`LlamaModel.undo_permute`).
pub(super) fn regroups(architecture: &str) -> bool {
    matches!(architecture, "llama" | "smollm3")
}

/// What llama.cpp calls a linear module inside its layer, by what it computes.
pub(super) fn stem(role: Role) -> &'static str {
    match role {
        Role::Query => "attn_q",
        Role::Key => "attn_k",
        Role::Value => "attn_v",
        Role::QueryKeyValue => "attn_qkv",
        Role::Output => "attn_output",
        Role::Gate => "ffn_gate",
        Role::Up | Role::GateUp => "ffn_up",
        Role::Down => "ffn_down",
    }
}

/// The linear module of a family that llama.cpp calls `name`.
pub(super) fn projection(family: &Family, name: &str) -> Option<Projection> {
    family.projections.iter().copied().find(|projection| stem(projection.role()) == name)
}

/// The number of a layer from `blk.{layer}.{part}`, and the part. One spelling a layer: no `+3`, no `03`.
pub(super) fn layer_and_part(name: &str) -> Option<(usize, &str)> {
    let (layer, part) = name.strip_prefix("blk.")?.split_once('.')?;
    let number: u32 = layer.parse().ok()?;
    (number.to_string() == layer).then_some((number as usize, part))
}

/// The row of a regrouped head where Hugging Face's row `row` is: neighbours there are `head_rows / 2` apart here.
pub(super) fn regrouped_row(row: usize, head_rows: usize) -> usize {
    let half = head_rows / 2;
    2 * (row % half) + row / half
}

impl Architecture {
    const ALL: [Self; 4] = [Self::Llama, Self::Qwen2, Self::Qwen3, Self::Gemma3];

    pub(super) fn of(metadata: &Metadata) -> Result<Self> {
        let key = "general.architecture";
        let name = metadata.string(key)?.ok_or_else(|| Error::format(format!("{key} is missing")))?;
        if let Some(kind) = metadata.string("general.type")?.filter(|&kind| kind != "model") {
            return Err(Error::unsupported(format!("general.type {kind:?}; expected a whole model")));
        }
        if metadata.unsigned("split.count")?.is_some_and(|count| count > 1) {
            return Err(Error::unsupported(
                "a part of a model in several GGUF files; merge them first with llama-gguf-split --merge",
            ));
        }
        Self::ALL.into_iter().find(|known| known.name() == name).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|known| known.name()).collect();
            Error::unsupported(format!("{key} {name:?}; expected one of {}", known.join(", ")))
        })
    }

    /// The architecture's name, which its keys begin with.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Gemma3 => "gemma3",
        }
    }

    /// The family whose linear modules it has.
    fn family(self) -> Option<&'static Family> {
        Family::ALL.into_iter().find(|family| name_of(family).is_ok_and(|name| name == self.name()))
    }

    /// A key of the architecture's own.
    pub(super) fn key(self, rest: &str) -> String {
        format!("{}.{rest}", self.name())
    }

    /// A key that a model cannot do without.
    pub(super) fn required(self, metadata: &Metadata, rest: &str) -> Result<u64> {
        let key = self.key(rest);
        metadata.uniform(&key)?.ok_or_else(|| Error::format(format!("{key} is missing")))
    }

    /// Whether a tensor is no part of the decoder: Ollama keeps Gemma's vision tower in the same file.
    pub(super) fn leaves_out(self, name: &str) -> bool {
        self == Self::Gemma3 && (name.starts_with("v.") || name.starts_with("mm."))
    }

    /// A tensor's Hugging Face name and what must be undone.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a tensor that no model of this architecture has, `Format` for one of an impossible shape.
    pub(super) fn tensor(self, metadata: &Metadata, name: &str, stored: &Stored) -> Result<(String, Change)> {
        let unknown =
            || Error::unsupported(format!("not known in a model of the architecture {}", self.name()));
        let (hub_name, part) = match name {
            "token_embd.weight" => ("model.embed_tokens.weight".to_owned(), name),
            "output_norm.weight" => ("model.norm.weight".to_owned(), name),
            "output.weight" => ("lm_head.weight".to_owned(), name),
            _ => {
                let (layer, part) = layer_and_part(name).ok_or_else(unknown)?;
                let module = self.module(part).ok_or_else(unknown)?;
                (format!("model.layers.{layer}.{module}"), part)
            }
        };
        let change = match part {
            _ if self == Self::Gemma3 && part.ends_with("norm.weight") => Change::MinusOne,
            "attn_q.weight" | "attn_q.bias" if regroups(self.name()) => {
                self.regroup(metadata, "attention.head_count", stored)?
            }
            "attn_k.weight" | "attn_k.bias" if regroups(self.name()) => {
                self.regroup(metadata, self.kv_heads_key(metadata), stored)?
            }
            _ => Change::None,
        };
        if change == Change::MinusOne && stored.ggml_type != GgmlType::F32 {
            return Err(Error::unsupported(format!(
                "a norm of type {}; expected F32, as llama.cpp writes norms",
                stored.ggml_type
            )));
        }
        Ok((hub_name, change))
    }

    /// Where the number of key and value heads is; all heads have their own where it is left out.
    pub(super) fn kv_heads_key(self, metadata: &Metadata) -> &'static str {
        let key = "attention.head_count_kv";
        if metadata.has(&self.key(key)) { key } else { "attention.head_count" }
    }

    fn regroup(self, metadata: &Metadata, heads_key: &str, stored: &Stored) -> Result<Change> {
        let heads = self.required(metadata, heads_key)?;
        let rows = stored.shape[0] as u64;
        match rows
            .checked_div(heads)
            .filter(|head_rows| head_rows * heads == rows && head_rows.is_multiple_of(2))
        {
            Some(head_rows) => Ok(Change::RegroupHeads { head_rows: head_rows as usize }),
            None => Err(Error::format(format!(
                "{rows} rows; expected an even number for each of the {heads} heads that {} says",
                self.key(heads_key)
            ))),
        }
    }

    /// The name inside a layer.
    fn module(self, part: &str) -> Option<String> {
        let (stem, kind) = part.rsplit_once('.')?;
        let gemma = self == Self::Gemma3;
        let module = match stem {
            "attn_norm" => "input_layernorm",
            "post_attention_norm" if gemma => "post_attention_layernorm",
            "ffn_norm" if gemma => "pre_feedforward_layernorm",
            "post_ffw_norm" if gemma => "post_feedforward_layernorm",
            "ffn_norm" => "post_attention_layernorm",
            "attn_q_norm" if gemma || self == Self::Qwen3 => "self_attn.q_norm",
            "attn_k_norm" if gemma || self == Self::Qwen3 => "self_attn.k_norm",
            _ => projection(self.family()?, stem)?.path(),
        };
        let has_bias = module.ends_with("_proj");
        (kind == "weight" || kind == "bias" && has_bias).then(|| format!("{module}.{kind}"))
    }
}
