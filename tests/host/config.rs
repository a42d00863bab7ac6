//! `config.json` in, and what is refused.

use postil::ErrorKind;
use postil::config::{ModelConfig, ModuleId, Projection};
use serde_json::{Value, json};

/// HuggingFaceTB/SmolLM2-135M, with the keys its file has beside the known ones.
pub fn smollm2_135m() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
        "bos_token_id": 0, "eos_token_id": 0, "hidden_act": "silu", "hidden_size": 576,
        "initializer_range": 0.041666666666666664, "intermediate_size": 1536, "is_llama_config": true,
        "max_position_embeddings": 8192, "model_type": "llama", "num_attention_heads": 9,
        "num_hidden_layers": 30, "num_key_value_heads": 3, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
        "rope_interleaved": false, "rope_scaling": null, "rope_theta": 100000, "tie_word_embeddings": true,
        "torch_dtype": "bfloat16", "use_cache": true, "vocab_size": 49152,
    })
}

/// A small model with every optional tensor, whose numbers `reference_numbers` in `lora.rs` uses.
pub fn tiny() -> Value {
    json!({
        "model_type": "llama", "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 12,
        "attention_bias": true, "mlp_bias": true,
    })
}

pub fn model(json: &Value) -> ModelConfig {
    ModelConfig::from_json(json.to_string().as_bytes()).expect("a good config.json")
}

/// `base` with `changes` merged in.
pub fn with(base: &Value, changes: &Value) -> Value {
    let mut merged = base.clone();
    for (key, value) in changes.as_object().expect("an object") {
        merged[key] = value.clone();
    }
    merged
}

#[test]
fn reads_smollm2() {
    let config = model(&smollm2_135m());
    assert_eq!(config.head_dim, 64);
    assert_eq!(config.rope_parameters[0].rope_theta, 100000.0);
    assert_eq!(config.norm_eps, 1e-5);
    assert!(config.tie_word_embeddings);
    assert_eq!(
        (config.bos_token_id, config.eos_token_id.as_slice(), config.pad_token_id),
        (Some(0), &[0][..], None)
    );
    assert_eq!(config.family.architecture, "LlamaForCausalLM");
    assert_eq!(config.projection_shape(Projection::KProj), (192, 576));
    assert_eq!(config.projection_shape(Projection::DownProj), (576, 1536));
    // sum(p.numel()) of transformers' LlamaForCausalLM.
    assert_eq!(config.total_parameters(), 134_515_008);
}

#[test]
fn counts_untied_tables_and_biases() {
    // sum(p.numel()) of transformers' LlamaForCausalLM.
    assert_eq!(model(&tiny()).total_parameters(), 42272);
}

#[test]
fn missing_keys_have_the_defaults_of_transformers() {
    let config = model(&json!({ "model_type": "llama" }));
    assert_eq!(config.vocab_size, 32000);
    assert_eq!(config.hidden_size, 4096);
    assert_eq!(config.intermediate_size, 11008);
    assert_eq!(
        (config.num_hidden_layers, config.num_attention_heads, config.num_key_value_heads),
        (32, 32, 32)
    );
    assert_eq!((config.head_dim, config.max_position_embeddings), (128, 2048));
    assert_eq!((config.norm_eps, config.rope_parameters[0].rope_theta), (1e-6, 10000.0));
    assert_eq!((config.tie_word_embeddings, config.attention_bias, config.mlp_bias), (false, false, false));
    assert_eq!((config.bos_token_id, config.eos_token_id, config.pad_token_id), (Some(1), vec![2], None));
}

#[test]
fn reads_the_file_of_transformers_5() {
    let config =
        ModelConfig::from_json(include_bytes!("peft_adapter/config.json")).expect("a good config.json");
    assert_eq!((config.hidden_size, config.num_key_value_heads, config.head_dim), (8, 1, 4));
    assert_eq!(config.rope_parameters[0].rope_theta, 10000.0);
}

#[test]
fn rope_parameters_of_both_versions() {
    let theta = |changes: Value| model(&with(&tiny(), &changes)).rope_parameters[0].rope_theta;
    assert_eq!(theta(json!({ "rope_parameters": { "rope_theta": 5e5, "rope_type": "default" } })), 5e5);
    assert_eq!(theta(json!({ "rope_theta": 2e4, "rope_scaling": null })), 2e4);
    assert_eq!(theta(json!({ "rope_theta": 2e4, "rope_scaling": { "type": "default" } })), 2e4);
    assert_eq!(theta(json!({ "rope_theta": 2e4, "rope_parameters": { "rope_theta": 3e4 } })), 3e4);
}

#[test]
fn several_and_no_end_tokens() {
    let eos = |value: Value| model(&with(&tiny(), &json!({ "eos_token_id": value }))).eos_token_id;
    assert_eq!(eos(json!([5, 7])), [5, 7]);
    assert_eq!(eos(json!(5)), [5]);
    assert!(eos(Value::Null).is_empty());
    assert_eq!(model(&with(&tiny(), &json!({ "pad_token_id": -1 }))).pad_token_id, None);
}

#[test]
fn refuses_by_field() {
    use ErrorKind::{Format, Unsupported};
    let cases = [
        (json!({ "model_type": "qwen2_moe" }), Unsupported, "model_type \"qwen2_moe\""),
        (
            json!({ "architectures": ["LlamaForSequenceClassification"] }),
            Unsupported,
            "LlamaForSequenceClassification",
        ),
        (json!({ "hidden_act": "gelu" }), Unsupported, "hidden_act \"gelu\""),
        (json!({ "pretraining_tp": 2 }), Unsupported, "pretraining_tp 2"),
        (json!({ "attention_dropout": 0.1 }), Unsupported, "attention_dropout 0.1"),
        (json!({ "quantization_config": { "load_in_4bit": true } }), Unsupported, "quantization_config"),
        (
            json!({ "rope_parameters": { "rope_type": "yarn" } }),
            Unsupported,
            "rope_parameters.rope_type \"yarn\"",
        ),
        (json!({ "rope_parameters": { "rope_theta": 0 } }), Format, "rope_theta"),
        (json!({ "rope_scaling": 3 }), Format, "rope_scaling"),
        (json!({ "head_dim": 258 }), Unsupported, "hold at most 256"),
        (json!({ "head_dim": 13 }), Unsupported, "head_dim 13 is odd"),
        (json!({ "head_dim": null, "hidden_size": 33 }), Format, "hidden_size 33"),
        (json!({ "num_key_value_heads": 3 }), Format, "num_key_value_heads 3"),
        (json!({ "num_key_value_heads": 0 }), Format, "num_key_value_heads"),
        (json!({ "num_attention_heads": 0 }), Format, "num_attention_heads"),
        (json!({ "vocab_size": 0 }), Format, "vocab_size"),
        (json!({ "vocab_size": -5 }), Format, "vocab_size"),
        (json!({ "vocab_size": 64.5 }), Format, "vocab_size"),
        (json!({ "vocab_size": "64" }), Format, "vocab_size"),
        (json!({ "vocab_size": 2147483647u32, "hidden_size": 2147483640u32 }), Unsupported, "embed_tokens"),
        (json!({ "intermediate_size": 2147483647u32 }), Unsupported, "gate_proj"),
        (json!({ "num_attention_heads": 2000000000u32, "num_key_value_heads": 1 }), Unsupported, "q_proj"),
        (json!({ "hidden_size": u64::MAX }), Format, "hidden_size"),
        (json!({ "num_hidden_layers": 2000000000u32 }), Unsupported, "num_hidden_layers"),
        (json!({ "rms_norm_eps": 0.0 }), Format, "rms_norm_eps"),
        (json!({ "rms_norm_eps": 1e-60 }), Format, "rms_norm_eps"),
        (json!({ "rope_theta": -1.0 }), Format, "rope_theta"),
        (json!({ "tie_word_embeddings": 1 }), Format, "tie_word_embeddings"),
        (json!({ "eos_token_id": 64 }), Format, "eos_token_id 64"),
        (json!({ "eos_token_id": [3, -1] }), Format, "eos_token_id"),
        (json!({ "bos_token_id": 5000000000u64 }), Format, "bos_token_id"),
    ];
    for (changes, kind, text) in cases {
        let json = with(&tiny(), &changes).to_string();
        let error = ModelConfig::from_json(json.as_bytes()).expect_err(&json);
        assert_eq!(error.kind(), kind, "{changes}: {error}");
        assert!(error.to_string().contains(text), "{changes}: {error}");
    }
    for text in ["", "[]", "{}", "{\"model_type\":", "\u{0}"] {
        let error = ModelConfig::from_json(text.as_bytes()).expect_err(text);
        assert_eq!(error.kind(), Format, "{text}: {error}");
    }
}

#[test]
fn names_of_modules() {
    let id = ModuleId { layer: 3, projection: Projection::QProj };
    assert_eq!(id.name(), "model.layers.3.self_attn.q_proj");
    for projection in Projection::ALL {
        let id = ModuleId { layer: 12, projection };
        assert_eq!(ModuleId::from_name(&id.name()), Some(id));
    }
    for name in [
        "model.layers.03.mlp.up_proj",
        "model.layers.+3.mlp.up_proj",
        "model.layers.3.up_proj",
        "layers.3.mlp.up_proj",
        "lm_head",
        "transformer.h.3.mlp.up_proj",
        "model.layers.3.mlp.c_fc",
        "transformer.h.3.c_fc",
        "model.layers.3.attn.mlp.up_proj",
    ] {
        assert_eq!(ModuleId::from_name(name), None, "{name}");
    }
    let modules = model(&tiny()).linear_modules();
    assert_eq!(modules.len(), 28);
    assert!(modules.is_sorted());
}
