//! Which modules of each family get adapters, against numbers made by PEFT 0.21.2.

use std::fmt::Write as _;

use postil::ErrorKind;
use postil::checkpoint::Adapter;
use postil::config::{LoraConfig, ModelConfig, ModuleId, TargetModules, parameter_report};
use serde_json::{Value, json};

use crate::config::{model, with};

/// A small model of a family.
fn small(model_type: &str) -> ModelConfig {
    model(&json!({
        "model_type": model_type, "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": if model_type == "gpt2" { 4 } else { 2 },
        "head_dim": if ["gemma3_text", "qwen3"].contains(&model_type) { 12 } else { 8 },
        "max_position_embeddings": 32,
    }))
}

/// Lists that `get_peft_model` made of the same values (module.r and module.scaling of its layers).
#[test]
fn matches_what_peft_matches() {
    let cases = [
        (
            "phi3",
            json!({"target_modules": "all-linear"}),
            2944,
            "0.self_attn.qkv_proj:4:1.5 0.self_attn.o_proj:4:1.5 0.mlp.gate_up_proj:4:1.5 0.mlp.down_proj:4:1.5 1.self_attn.qkv_proj:4:1.5 1.self_attn.o_proj:4:1.5 1.mlp.gate_up_proj:4:1.5 1.mlp.down_proj:4:1.5",
        ),
        (
            "phi3",
            json!({"target_modules": ["qkv_proj", "mlp.gate_up_proj"]}),
            1792,
            "0.self_attn.qkv_proj:4:1.5 0.mlp.gate_up_proj:4:1.5 1.self_attn.qkv_proj:4:1.5 1.mlp.gate_up_proj:4:1.5",
        ),
        (
            "phi3",
            json!({"target_modules": ".*\\.1\\.mlp\\..*_proj"}),
            832,
            "1.mlp.gate_up_proj:4:1.5 1.mlp.down_proj:4:1.5",
        ),
        (
            "phi3",
            json!({"target_modules": "all-linear", "exclude_modules": ["o_proj"], "rank_pattern": {"qkv_proj": 2}, "alpha_pattern": {"layers.0.mlp.down_proj": 8}}),
            2048,
            "0.self_attn.qkv_proj:2:3 0.mlp.gate_up_proj:4:1.5 0.mlp.down_proj:4:2 1.self_attn.qkv_proj:2:3 1.mlp.gate_up_proj:4:1.5 1.mlp.down_proj:4:1.5",
        ),
        (
            "phi3",
            json!({"target_modules": ["o_proj"], "layers_to_transform": [1]}),
            256,
            "1.self_attn.o_proj:4:1.5",
        ),
        (
            "gpt2",
            json!({"target_modules": "all-linear"}),
            2816,
            "0.attn.c_attn:4:1.5 0.attn.c_proj:4:1.5 0.mlp.c_fc:4:1.5 0.mlp.c_proj:4:1.5 1.attn.c_attn:4:1.5 1.attn.c_proj:4:1.5 1.mlp.c_fc:4:1.5 1.mlp.c_proj:4:1.5",
        ),
        ("gpt2", json!({"target_modules": ["c_attn"]}), 1024, "0.attn.c_attn:4:1.5 1.attn.c_attn:4:1.5"),
        (
            "gpt2",
            json!({"target_modules": ["c_proj"]}),
            1152,
            "0.attn.c_proj:4:1.5 0.mlp.c_proj:4:1.5 1.attn.c_proj:4:1.5 1.mlp.c_proj:4:1.5",
        ),
        (
            "gpt2",
            json!({"target_modules": ["attn.c_proj", "transformer.h.1.mlp.c_fc"]}),
            832,
            "0.attn.c_proj:4:1.5 1.attn.c_proj:4:1.5 1.mlp.c_fc:4:1.5",
        ),
        (
            "gpt2",
            json!({"target_modules": ["mlp.c_proj", "c_attn"], "layers_to_transform": 1, "layers_pattern": "h"}),
            832,
            "1.attn.c_attn:4:1.5 1.mlp.c_proj:4:1.5",
        ),
        (
            "gpt2",
            json!({"target_modules": "transformer\\.h\\.0\\..*(c_attn|c_fc)", "rank_pattern": {"c_fc": 3}}),
            752,
            "0.attn.c_attn:4:1.5 0.mlp.c_fc:3:2",
        ),
        (
            "gpt2",
            json!({"target_modules": "all-linear", "exclude_modules": ".*mlp.*", "use_rslora": true, "rank_pattern": {"attn.c_proj": 9}}),
            2176,
            "0.attn.c_attn:4:3 0.attn.c_proj:9:2 1.attn.c_attn:4:3 1.attn.c_proj:9:2",
        ),
        (
            "gemma3_text",
            json!({"target_modules": ".*self_attn\\.[qkv]_proj"}),
            1536,
            "0.self_attn.q_proj:4:1.5 0.self_attn.k_proj:4:1.5 0.self_attn.v_proj:4:1.5 1.self_attn.q_proj:4:1.5 1.self_attn.k_proj:4:1.5 1.self_attn.v_proj:4:1.5",
        ),
        (
            "qwen3",
            json!({"target_modules": ["k_proj"], "layers_to_transform": [0]}),
            224,
            "0.self_attn.k_proj:4:1.5",
        ),
    ];
    for (family, json, trainable, expected) in cases {
        let model = small(family);
        let json = with(&json!({ "peft_type": "LORA", "r": 4, "lora_alpha": 6 }), &json);
        let lora = LoraConfig::from_json(json.to_string().as_bytes()).expect("a config");
        let mut text = String::new();
        for module in lora.resolve(&model).expect("modules") {
            let ModuleId { layer, projection } = module.id;
            write!(text, "{layer}.{}:{}:{} ", projection.path(), module.r, module.scale).expect("a string");
        }
        assert_eq!(text.trim_end(), expected, "{family} {json}");
        assert_eq!(
            parameter_report(&lora, &model).expect("a report").trainable,
            trainable,
            "{family} {json}"
        );
    }
}

#[test]
fn targets_that_cannot_be() {
    use ErrorKind::{Config, Unsupported};
    for (family, targets, kind, text) in [
        ("phi3", json!(["q_proj"]), Config, "its modules are qkv_proj, o_proj, gate_up_proj, down_proj"),
        ("gpt2", json!(["o_proj"]), Config, "its modules are c_attn, c_proj, c_fc"),
        ("llama", json!(["c_attn"]), Config, "its modules are q_proj, k_proj"),
        ("gpt2", json!(["wte"]), Unsupported, "transformer.wte"),
        ("gpt2", json!(["wpe"]), Unsupported, "transformer.wpe"),
        ("gpt2", json!(["lm_head"]), Unsupported, "lm_head"),
        ("gpt2", json!(".*"), Unsupported, "lm_head"),
        ("gpt2", json!(".*ln_1|.*c_fc"), Config, "transformer.h.0.ln_1, which is no linear module"),
        ("phi3", json!(".*mlp.*"), Config, "model.layers.0.mlp, which is no linear module"),
        ("phi3", json!(["resid_mlp_dropout"]), Config, "resid_mlp_dropout, which is no linear module"),
        ("gemma3_text", json!(["q_norm"]), Config, "self_attn.q_norm, which is no linear module"),
        ("gemma3_text", json!(["pre_feedforward_layernorm"]), Config, "which is no linear module"),
    ] {
        let json = json!({ "peft_type": "LORA", "target_modules": targets });
        let lora = LoraConfig::from_json(json.to_string().as_bytes()).expect("a config");
        let error = lora.resolve(&small(family)).expect_err(text);
        assert_eq!(error.kind(), kind, "{family} {json}: {error}");
        assert!(error.to_string().contains(text), "{family} {json}: {error}");
    }
}

/// What the page shows as choices.
#[test]
fn lists_the_modules_of_each_family() {
    let seven = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
    for family in ["llama", "qwen2", "qwen3", "mistral", "smollm3", "gemma3_text"] {
        assert_eq!(small(family).family.module_names(), seven, "{family}");
    }
    assert_eq!(small("phi3").family.module_names(), ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]);
    assert_eq!(small("gpt2").family.module_names(), ["c_attn", "c_proj", "c_fc"]);
}

/// What PEFT wrote for all linear modules is read, and written again with what the family needs.
#[test]
fn writes_what_peft_wrote() {
    macro_rules! adapter {
        ($case:literal) => {
            [
                &include_bytes!(concat!("../golden/", $case, "/adapter/adapter_config.json"))[..],
                &include_bytes!(concat!("../golden/", $case, "/adapter/adapter_model.safetensors"))[..],
            ]
        };
    }
    for ([config, weights], fan_in_fan_out, names) in [
        (adapter!("gpt2"), true, &["c_attn", "c_proj", "c_fc"][..]),
        (adapter!("phi3"), false, &["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]),
    ] {
        let mut adapter = Adapter::from_files(config, weights).expect("PEFT's adapter");
        assert_eq!(adapter.config.fan_in_fan_out, fan_in_fan_out);
        adapter.config.target_modules = TargetModules::AllLinear;
        adapter.config.fan_in_fan_out = false;
        let files = adapter.to_files().expect("files");
        assert_eq!(files.model, weights);
        let written: Value = serde_json::from_slice(&files.config).expect("JSON");
        assert_eq!(written["fan_in_fan_out"], fan_in_fan_out);
        assert_eq!(written["target_modules"], json!(names));
    }
}
