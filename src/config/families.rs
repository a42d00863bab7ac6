//! The model families, each as what differs from the one that it is nearest to. Defaults are those of
//! `transformers`' configuration classes.

use super::Projection;
use super::family::{Bias, Defaults, Family, NormKind, NormRole, Positions, ScoreScale, Windows};

pub(super) const LLAMA: Family = Family {
    model_type: "llama",
    architecture: "LlamaForCausalLM",
    prefix: "model.",
    embed_tokens: "embed_tokens",
    norm: "norm",
    projections: &[
        Projection::QProj,
        Projection::KProj,
        Projection::VProj,
        Projection::OProj,
        Projection::GateProj,
        Projection::UpProj,
        Projection::DownProj,
    ],
    norms: &[(NormRole::AttentionInput, "input_layernorm"), (NormRole::MlpInput, "post_attention_layernorm")],
    norm_kind: NormKind::Rms,
    other_modules: (
        &["lm_head", "model", "model.embed_tokens", "model.layers", "model.norm", "model.rotary_emb"],
        &["", ".self_attn", ".mlp", ".mlp.act_fn"],
    ),
    defaults: Defaults {
        vocab_size: 32_000,
        hidden_size: 4096,
        intermediate_size: Some(11_008),
        num_hidden_layers: 32,
        num_attention_heads: 32,
        num_key_value_heads: None,
        head_dim: None,
        max_position_embeddings: 2048,
        norm_eps: 1e-6,
        tie_word_embeddings: false,
        bos_token_id: Some(1),
        eos_token_id: Some(2),
        pad_token_id: None,
    },
    aliases: &[],
    norm_eps: "rms_norm_eps",
    hidden_act: "hidden_act",
    default_act: "silu",
    attention_bias: Bias::Field,
    mlp_bias: Bias::Field,
    positions: Positions::Rotary { rope_theta: 10_000.0 },
    partial_rotary: false,
    windows: Windows::None,
    score_scale: ScoreScale::HeadDim,
    scaled_embeddings: false,
    has_pretraining_tp: true,
    ignored_dropout: &[],
};

pub(super) const QWEN2: Family = Family {
    model_type: "qwen2",
    architecture: "Qwen2ForCausalLM",
    defaults: Defaults {
        vocab_size: 151_936,
        intermediate_size: Some(22_016),
        num_key_value_heads: Some(32),
        max_position_embeddings: 32_768,
        bos_token_id: None,
        eos_token_id: None,
        ..LLAMA.defaults
    },
    attention_bias: Bias::QueryKeyValue,
    mlp_bias: Bias::Never,
    windows: Windows::FromLayer,
    has_pretraining_tp: false,
    ..LLAMA
};

pub(super) const QWEN3: Family = Family {
    model_type: "qwen3",
    architecture: "Qwen3ForCausalLM",
    norms: &[
        (NormRole::AttentionInput, "input_layernorm"),
        (NormRole::Query, "self_attn.q_norm"),
        (NormRole::Key, "self_attn.k_norm"),
        (NormRole::MlpInput, "post_attention_layernorm"),
    ],
    defaults: Defaults { head_dim: Some(128), ..QWEN2.defaults },
    attention_bias: Bias::Field,
    ..QWEN2
};

pub(super) const MISTRAL: Family = Family {
    model_type: "mistral",
    architecture: "MistralForCausalLM",
    defaults: Defaults {
        intermediate_size: Some(14_336),
        num_key_value_heads: Some(8),
        max_position_embeddings: 131_072,
        ..LLAMA.defaults
    },
    attention_bias: Bias::Never,
    mlp_bias: Bias::Never,
    windows: Windows::All(Some(4096)),
    has_pretraining_tp: false,
    ..LLAMA
};

pub(super) const SMOLLM3: Family = Family {
    model_type: "smollm3",
    architecture: "SmolLM3ForCausalLM",
    defaults: Defaults {
        vocab_size: 128_256,
        hidden_size: 2048,
        num_hidden_layers: 36,
        num_attention_heads: 16,
        num_key_value_heads: Some(4),
        max_position_embeddings: 32_768,
        tie_word_embeddings: true,
        bos_token_id: Some(128_000),
        eos_token_id: Some(128_001),
        pad_token_id: Some(128_004),
        ..LLAMA.defaults
    },
    positions: Positions::Rotary { rope_theta: 2_000_000.0 },
    windows: Windows::WithoutRope,
    has_pretraining_tp: false,
    ..LLAMA
};

pub(super) const GEMMA3: Family = Family {
    model_type: "gemma3_text",
    architecture: "Gemma3ForCausalLM",
    norms: &[
        (NormRole::AttentionInput, "input_layernorm"),
        (NormRole::Query, "self_attn.q_norm"),
        (NormRole::Key, "self_attn.k_norm"),
        (NormRole::AttentionOutput, "post_attention_layernorm"),
        (NormRole::MlpInput, "pre_feedforward_layernorm"),
        (NormRole::MlpOutput, "post_feedforward_layernorm"),
    ],
    norm_kind: NormKind::RmsOnePlus,
    defaults: Defaults {
        vocab_size: 262_208,
        hidden_size: 2304,
        intermediate_size: Some(9216),
        num_hidden_layers: 26,
        num_attention_heads: 8,
        num_key_value_heads: Some(4),
        head_dim: Some(256),
        max_position_embeddings: 131_072,
        tie_word_embeddings: true,
        bos_token_id: Some(2),
        eos_token_id: Some(1),
        pad_token_id: Some(0),
        ..LLAMA.defaults
    },
    hidden_act: "hidden_activation",
    default_act: "gelu_pytorch_tanh",
    mlp_bias: Bias::Never,
    positions: Positions::RotaryByLayerType { rope_theta: 1_000_000.0, rope_local_base_freq: 10_000.0 },
    windows: Windows::Pattern,
    score_scale: ScoreScale::QueryPreAttnScalar,
    scaled_embeddings: true,
    has_pretraining_tp: false,
    ..LLAMA
};

pub(super) const PHI3: Family = Family {
    model_type: "phi3",
    architecture: "Phi3ForCausalLM",
    projections: &[Projection::QkvProj, Projection::OProj, Projection::GateUpProj, Projection::DownProj],
    other_modules: (
        LLAMA.other_modules.0,
        &["", ".self_attn", ".mlp", ".mlp.activation_fn", ".resid_attn_dropout", ".resid_mlp_dropout"],
    ),
    defaults: Defaults {
        vocab_size: 32_064,
        hidden_size: 3072,
        intermediate_size: Some(8192),
        max_position_embeddings: 4096,
        norm_eps: 1e-5,
        eos_token_id: Some(32_000),
        pad_token_id: Some(32_000),
        ..LLAMA.defaults
    },
    attention_bias: Bias::Never,
    mlp_bias: Bias::Never,
    partial_rotary: true,
    windows: Windows::All(None),
    has_pretraining_tp: false,
    ..LLAMA
};

pub(super) const GPT2: Family = Family {
    model_type: "gpt2",
    architecture: "GPT2LMHeadModel",
    prefix: "transformer.",
    embed_tokens: "wte",
    norm: "ln_f",
    projections: &[Projection::CAttn, Projection::AttnCProj, Projection::CFc, Projection::MlpCProj],
    norms: &[(NormRole::AttentionInput, "ln_1"), (NormRole::MlpInput, "ln_2")],
    norm_kind: NormKind::LayerNorm,
    other_modules: (
        &[
            "lm_head",
            "transformer",
            "transformer.wte",
            "transformer.wpe",
            "transformer.drop",
            "transformer.h",
            "transformer.ln_f",
        ],
        &["", ".attn", ".attn.attn_dropout", ".attn.resid_dropout", ".mlp", ".mlp.act", ".mlp.dropout"],
    ),
    defaults: Defaults {
        vocab_size: 50_257,
        hidden_size: 768,
        intermediate_size: None,
        num_hidden_layers: 12,
        num_attention_heads: 12,
        num_key_value_heads: None,
        head_dim: None,
        max_position_embeddings: 1024,
        norm_eps: 1e-5,
        tie_word_embeddings: true,
        bos_token_id: Some(50_256),
        eos_token_id: Some(50_256),
        pad_token_id: None,
    },
    aliases: &[
        ("n_embd", "hidden_size"),
        ("n_inner", "intermediate_size"),
        ("n_layer", "num_hidden_layers"),
        ("n_head", "num_attention_heads"),
        ("n_positions", "max_position_embeddings"),
    ],
    norm_eps: "layer_norm_epsilon",
    hidden_act: "activation_function",
    default_act: "gelu_new",
    attention_bias: Bias::Always,
    mlp_bias: Bias::Always,
    positions: Positions::Learned("wpe"),
    score_scale: ScoreScale::ScaleAttnWeights,
    has_pretraining_tp: false,
    ignored_dropout: &["attn_pdrop", "embd_pdrop", "resid_pdrop"],
    ..LLAMA
};
