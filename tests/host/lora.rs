//! Which modules get adapters, ranks, scales and counts, against numbers made by PEFT 0.21.2.

use std::fmt::Write as _;

use postil::ErrorKind;
use postil::config::{InitLoraWeights, LoraConfig, TargetModules, parameter_report};
use serde_json::{Value, json};

use crate::config::{model, smollm2_135m, tiny, with};

fn lora(json: Value) -> postil::Result<LoraConfig> {
    LoraConfig::from_json(with(&json!({ "peft_type": "LORA" }), &json).to_string().as_bytes())
}

/// `layer.projection:rank:scale` of every adapted module of the tiny model, r 4 and alpha 6.
fn resolved(json: Value) -> postil::Result<String> {
    let config = lora(with(&json!({ "r": 4, "lora_alpha": 6 }), &json))?;
    let mut text = String::new();
    for module in config.resolve(&model(&tiny()))? {
        let id = module.id;
        write!(text, "{}.{}:{}:{} ", id.layer, id.projection.name(), module.r, module.scale)
            .expect("a string");
    }
    Ok(text.trim_end().to_owned())
}

/// Lists that `get_peft_model` made of the same values (module.r and module.scaling of its layers).
#[test]
fn matches_what_peft_matches() {
    let q = "0.q_proj:4:1.5 1.q_proj:4:1.5 2.q_proj:4:1.5 3.q_proj:4:1.5";
    let cases = [
        (json!({ "target_modules": ["q_proj"] }), q),
        (json!({ "target_modules": ["self_attn.q_proj"] }), q),
        (
            json!({ "target_modules": ["q_proj", "v_proj"] }),
            "0.q_proj:4:1.5 0.v_proj:4:1.5 1.q_proj:4:1.5 1.v_proj:4:1.5 2.q_proj:4:1.5 2.v_proj:4:1.5 3.q_proj:4:1.5 3.v_proj:4:1.5",
        ),
        (
            json!({ "target_modules": ["model.layers.1.mlp.up_proj", "layers.2.mlp.down_proj"] }),
            "1.up_proj:4:1.5 2.down_proj:4:1.5",
        ),
        (
            json!({ "target_modules": ".*\\.(q|v)_proj" }),
            "0.q_proj:4:1.5 0.v_proj:4:1.5 1.q_proj:4:1.5 1.v_proj:4:1.5 2.q_proj:4:1.5 2.v_proj:4:1.5 3.q_proj:4:1.5 3.v_proj:4:1.5",
        ),
        (
            json!({ "target_modules": ".*layers\\.[02]\\.(?!self_attn).*_proj" }),
            "0.gate_proj:4:1.5 0.up_proj:4:1.5 0.down_proj:4:1.5 2.gate_proj:4:1.5 2.up_proj:4:1.5 2.down_proj:4:1.5",
        ),
        (
            json!({ "target_modules": "model\\.layers\\.1\\..*_proj|model\\.layers\\.3\\.self_attn\\.k_proj" }),
            "1.q_proj:4:1.5 1.k_proj:4:1.5 1.v_proj:4:1.5 1.o_proj:4:1.5 1.gate_proj:4:1.5 1.up_proj:4:1.5 1.down_proj:4:1.5 3.k_proj:4:1.5",
        ),
        (
            json!({ "target_modules": "ALL-Linear", "exclude_modules": ["self_attn.q_proj", "mlp.down_proj", "model.layers.0.self_attn.k_proj"] }),
            "0.v_proj:4:1.5 0.o_proj:4:1.5 0.gate_proj:4:1.5 0.up_proj:4:1.5 1.k_proj:4:1.5 1.v_proj:4:1.5 1.o_proj:4:1.5 1.gate_proj:4:1.5 1.up_proj:4:1.5 2.k_proj:4:1.5 2.v_proj:4:1.5 2.o_proj:4:1.5 2.gate_proj:4:1.5 2.up_proj:4:1.5 3.k_proj:4:1.5 3.v_proj:4:1.5 3.o_proj:4:1.5 3.gate_proj:4:1.5 3.up_proj:4:1.5",
        ),
        (
            json!({ "target_modules": "all-linear", "exclude_modules": ".*layers\\.[0-2]\\..*" }),
            "3.q_proj:4:1.5 3.k_proj:4:1.5 3.v_proj:4:1.5 3.o_proj:4:1.5 3.gate_proj:4:1.5 3.up_proj:4:1.5 3.down_proj:4:1.5",
        ),
        (
            json!({ "target_modules": ["q_proj"], "layers_to_transform": [1, 3] }),
            "1.q_proj:4:1.5 3.q_proj:4:1.5",
        ),
        (
            json!({ "target_modules": ["q_proj", "model.layers.0.self_attn.v_proj"], "layers_to_transform": 2 }),
            "0.v_proj:4:1.5 2.q_proj:4:1.5",
        ),
        (json!({ "target_modules": ["q_proj"], "layers_to_transform": [] }), q),
        (
            json!({ "target_modules": ["q_proj"], "layers_to_transform": [1], "layers_pattern": "layers" }),
            "1.q_proj:4:1.5",
        ),
        (
            json!({ "target_modules": ["q_proj"], "layers_to_transform": [1], "layers_pattern": ["h", "lay.*"] }),
            "1.q_proj:4:1.5",
        ),
        (
            json!({ "target_modules": ["q_proj", "k_proj"], "rank_pattern": { "q_proj": 2, "^model.layers.3.self_attn.k_proj": 8 },
                "alpha_pattern": { "layers.0.self_attn.q_proj": 16 } }),
            "0.q_proj:2:8 0.k_proj:4:1.5 1.q_proj:2:3 1.k_proj:4:1.5 2.q_proj:2:3 2.k_proj:4:1.5 3.q_proj:2:3 3.k_proj:8:0.75",
        ),
        (
            json!({ "target_modules": ["q_proj", "k_proj"], "rank_pattern": { "layers\\.(1|2)\\.self_attn\\.(q|k)_proj": 3, "q_proj": 2 }, "use_rslora": true }),
            "0.q_proj:2:4.2426405 0.k_proj:4:3 1.q_proj:3:3.4641016 1.k_proj:3:3.4641016 2.q_proj:3:3.4641016 2.k_proj:3:3.4641016 3.q_proj:2:4.2426405 3.k_proj:4:3",
        ),
    ];
    for (json, expected) in cases {
        assert_eq!(resolved(json.clone()).expect("modules"), expected, "{json}");
    }
    // A key that means nothing is an error here, silence in PEFT: `proj` does not follow a dot.
    let error = resolved(json!({ "target_modules": ["q_proj"], "rank_pattern": { "proj": 2 } }))
        .expect_err("no module");
    assert!(error.to_string().contains("\"proj\""), "{error}");
    let seven = resolved(json!({ "target_modules": ["q_proj"], "rank_pattern": { "self_attn.q_pro.": 7 } }));
    assert_eq!(seven.expect("modules").matches(":7:0.85714287").count(), 4);
}

#[test]
fn targets_that_cannot_be() {
    use ErrorKind::{Config, Unsupported};
    let cases = [
        // PEFT fails for these too.
        (json!({ "target_modules": ["attn.q_proj"] }), Config, "\"attn.q_proj\" is no linear module"),
        (json!({ "target_modules": "q_proj" }), Config, "no module is left"),
        (json!({ "target_modules": ".*" }), Unsupported, "lm_head"),
        (json!({ "target_modules": ".*layers.*" }), Config, "model.layers, which is no linear module"),
        (json!({ "target_modules": ".*\\.0\\.self_attn\\.q" }), Config, "no module is left"),
        (json!({ "target_modules": ["mlp"] }), Config, "mlp"),
        (json!({ "target_modules": ["1"] }), Config, "model.layers.1"),
        (json!({ "target_modules": "all-linear", "exclude_modules": ".*" }), Config, "no module is left"),
        (
            json!({ "target_modules": "all-linear", "layers_to_transform": [1] }),
            Config,
            "layers_to_transform",
        ),
        (json!({ "target_modules": ".*q_proj", "layers_pattern": "layers" }), Config, "layers_pattern"),
        (json!({ "target_modules": ["q_proj"], "layers_pattern": ["layers"] }), Config, "layers_pattern"),
        (
            json!({ "target_modules": ["q_proj"], "layers_to_transform": [1], "layers_pattern": ["h"] }),
            Config,
            "no module is left",
        ),
        (json!({ "target_modules": "(" }), Config, "not a regular expression"),
        (json!({ "target_modules": ["q_proj"], "rank_pattern": { "(": 1 } }), Config, "rank_pattern"),
        // Here PEFT does less, or what the engine does not.
        (json!({ "target_modules": ["q_proj", "nonsense"] }), Config, "q_proj, k_proj, v_proj"),
        (
            json!({ "target_modules": ["q_proj"], "alpha_pattern": { "q_pro": 3 } }),
            Config,
            "alpha_pattern: \"q_pro\" matches no",
        ),
        (json!({ "target_modules": ["q_proj"], "layers_to_transform": [4] }), Config, "layer 4"),
        (json!({ "target_modules": ["lm_head"] }), Unsupported, "lm_head"),
        (json!({ "target_modules": ".*(lm_head|q_proj)" }), Unsupported, "lm_head"),
        (json!({ "target_modules": ["q_proj", "embed_tokens"] }), Unsupported, "model.embed_tokens"),
        (json!({ "target_modules": [] }), Config, "target_modules is empty"),
        // Exponentially many ways to match: stopped, not hung.
        (json!({ "target_modules": "(?=(a|.|.)*)(\\1?.|.)*(?<!x)!" }), Config, "cannot be matched"),
    ];
    for (json, kind, text) in cases {
        let error = resolved(json.clone()).expect_err(&json.to_string());
        assert_eq!(error.kind(), kind, "{json}: {error}");
        assert!(error.to_string().contains(text), "{json}: {error}");
    }
}

/// `get_nb_trainable_parameters()` of PEFT.
#[test]
fn counts_what_peft_counts() {
    let smol = model(&smollm2_135m());
    let count = |json: Value, model| {
        let report = parameter_report(&lora(json).expect("a config"), model).expect("a report");
        let sum: u64 = report.modules.iter().map(|module| module.parameters).sum();
        assert_eq!(sum, report.trainable);
        assert_eq!(report.percent, 100.0 * report.trainable as f64 / report.total as f64);
        (report.trainable, report.total)
    };
    assert_eq!(count(json!({ "r": 16, "target_modules": "all-linear" }), &smol), (4_884_480, 139_399_488));
    assert_eq!(
        count(json!({ "r": 8, "target_modules": ["q_proj", "v_proj"] }), &smol),
        (460_800, 134_975_808)
    );
    // PEFT's defaults are r 8 and, for the Llama family, the same two modules.
    assert_eq!(count(json!({}), &smol), (460_800, 134_975_808));
    let pattern = json!({ "r": 16, "target_modules": "all-linear", "exclude_modules": ["down_proj"],
        "rank_pattern": { "v_proj": 4, "model.layers.0.self_attn.q_proj": 2 } });
    assert_eq!(count(pattern.clone(), &smol), (3_578_112, 138_093_120));
    assert_eq!(count(json!({ "r": 4, "target_modules": "all-linear" }), &model(&tiny())), (8192, 50464));

    let report = parameter_report(&lora(pattern).expect("a config"), &smol).expect("a report");
    let rows: Vec<_> = report.modules.iter().map(|row| (row.projection, row.r, row.count)).collect();
    assert_eq!(rows[..3], [("q_proj", 2, 1), ("q_proj", 16, 29), ("k_proj", 16, 30)]);
}

#[test]
fn refuses_by_field() {
    use ErrorKind::{Config, Unsupported};
    let cases = [
        (json!({ "peft_type": "LOHA" }), Unsupported, "peft_type \"LOHA\""),
        (json!({ "task_type": "SEQ_CLS" }), Unsupported, "task_type"),
        (json!({ "use_dora": true }), Unsupported, "use_dora true"),
        (json!({ "bias": "all" }), Unsupported, "bias \"all\""),
        (json!({ "fan_in_fan_out": 1 }), Config, "fan_in_fan_out"),
        (json!({ "lora_bias": true }), Unsupported, "lora_bias"),
        (json!({ "modules_to_save": ["lm_head"] }), Unsupported, "modules_to_save"),
        (json!({ "init_lora_weights": "pissa" }), Unsupported, "init_lora_weights \"pissa\""),
        (json!({ "init_lora_weights": false }), Unsupported, "init_lora_weights false"),
        (json!({ "layer_replication": [[0, 2]] }), Unsupported, "layer_replication"),
        (json!({ "trainable_token_indices": [1] }), Unsupported, "trainable_token_indices"),
        (json!({ "use_qalora": true }), Unsupported, "use_qalora"),
        (json!({ "some_new_variant": { "a": 1 } }), Unsupported, "some_new_variant"),
        (json!({ "r": 0 }), Config, "r is 0"),
        (json!({ "r": -1 }), Config, "r: cannot use -1"),
        (json!({ "r": 4097 }), Config, "r is 4097"),
        (json!({ "r": 2.5 }), Config, "r: cannot use 2.5"),
        (json!({ "rank_pattern": { "q_proj": 0 } }), Config, "rank_pattern \"q_proj\" is 0"),
        (json!({ "rank_pattern": { "q_proj": 5000 } }), Config, "5000"),
        (json!({ "lora_alpha": -1 }), Config, "lora_alpha is -1"),
        (json!({ "lora_alpha": 1e300 }), Config, "lora_alpha"),
        (json!({ "alpha_pattern": { "q_proj": -2.0 } }), Config, "alpha_pattern"),
        (json!({ "lora_dropout": 1.0 }), Config, "lora_dropout is 1"),
        (json!({ "lora_dropout": -0.1 }), Config, "lora_dropout"),
        (json!({ "target_modules": 3 }), Config, "target_modules: cannot use 3"),
        (json!({ "layers_to_transform": [-1] }), Config, "layers_to_transform"),
    ];
    for (json, kind, text) in cases {
        let error = lora(json.clone()).expect_err(&json.to_string());
        assert_eq!(error.kind(), kind, "{json}: {error}");
        assert!(error.to_string().contains(text), "{json}: {error}");
    }
    for text in ["", "[]", "{}", "{\"r\": 8}"] {
        let error = LoraConfig::from_json(text.as_bytes()).expect_err(text);
        assert_eq!(error.kind(), ErrorKind::Format, "{text}: {error}");
    }
    let alpha = LoraConfig { lora_alpha: f64::NAN, ..LoraConfig::default() };
    assert_eq!(alpha.resolve(&model(&tiny())).expect_err("NaN").kind(), Config);
    let dropout = LoraConfig { lora_dropout: f64::NAN, ..LoraConfig::default() };
    assert_eq!(dropout.validate().expect_err("NaN").kind(), Config);
}

#[test]
fn drops_what_changes_nothing() {
    let config = lora(json!({
        "auto_mapping": { "base_model_class": "LlamaForCausalLM" }, "loftq_config": {}, "megatron_core": "megatron.core",
        "qalora_group_size": 16, "peft_version": "0.99", "inference_mode": true, "from_the_future": null,
        "also_new": false, "newer": [], "use_dora": null, "r": 3,
    }));
    assert_eq!(config.expect("a config").r, 3);
}

#[test]
fn writes_what_it_reads() {
    let text = |config: &LoraConfig| String::from_utf8(config.to_json().expect("JSON")).expect("UTF-8");
    let config = lora(json!({
        "r": 4, "lora_alpha": 6.0, "lora_dropout": 0.25, "target_modules": ["v_proj", "q_proj"], "exclude_modules": ".*0.*",
        "rank_pattern": { "v_proj": 2, "q_proj": 3 }, "alpha_pattern": { "v_proj": 8.5, "q_proj": 7 }, "layers_to_transform": 1,
        "layers_pattern": "layers", "use_rslora": true, "init_lora_weights": "gaussian",
        "base_model_name_or_path": "a/b", "revision": "main",
    }))
    .expect("a config");
    assert_eq!(config.init_lora_weights, InitLoraWeights::Gaussian);
    let written = text(&config);
    assert_eq!(LoraConfig::from_json(written.as_bytes()).expect("a config"), config);
    assert!(written.contains("\n  \"lora_alpha\": 6,\n"), "{written}");
    assert!(written.contains("\n    \"q_proj\": 7,\n    \"v_proj\": 8.5\n"), "{written}");
    let value: Value = serde_json::from_str(&written).expect("JSON");
    let keys: Vec<_> = value.as_object().expect("an object").keys().cloned().collect();
    assert!(keys.is_sorted(), "{keys:?}");

    // Nothing that is not set, so that older readers have nothing to warn about.
    let default = text(&LoraConfig::default());
    assert!(
        !default.contains("rslora") && !default.contains("pattern") && !default.contains("exclude"),
        "{default}"
    );
    assert_eq!(LoraConfig::from_json(default.as_bytes()).expect("a config"), LoraConfig::default());
    // A form's JSON: what is missing has Postil's defaults, not PEFT's.
    let form: LoraConfig = serde_json::from_str("{\"r\": 4}").expect("a config");
    assert_eq!(form, LoraConfig { r: 4, ..LoraConfig::default() });
}

#[test]
fn parses_the_command_line() {
    let list = |names: &[&str]| TargetModules::List(names.iter().map(|&name| name.to_owned()).collect());
    let parse = |text| TargetModules::parse(text).expect("targets");
    assert_eq!(parse("all-linear"), TargetModules::AllLinear);
    assert_eq!(parse(" All-Linear "), TargetModules::AllLinear);
    assert_eq!(parse("q_proj"), list(&["q_proj"]));
    assert_eq!(parse("q_proj, self_attn.v_proj,q_proj"), list(&["q_proj", "self_attn.v_proj"]));
    assert_eq!(parse(r".*\.(q|v)_proj"), TargetModules::Regex(r".*\.(q|v)_proj".to_owned()));
    for text in ["", "q_proj,", ",", "(q_proj"] {
        assert_eq!(TargetModules::parse(text).expect_err(text).kind(), ErrorKind::Config, "{text}");
    }
}

#[test]
fn warns_of_ranks_that_save_nothing() {
    let warnings = |json: Value| lora(json).expect("a config").warnings(&model(&tiny()));
    // k_proj is 24 x 32, q_proj 48 x 32.
    assert!(warnings(json!({ "r": 23, "target_modules": ["k_proj"] })).is_empty());
    let found = warnings(json!({ "r": 24, "target_modules": ["k_proj", "q_proj"] }));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("rank 24") && found[0].contains("k_proj (24 x 32)") && found[0].contains("1344"),
        "{found:?}"
    );
    assert!(warnings(json!({ "lora_alpha": 0 }))[0].contains("lora_alpha is 0"));
    let found = warnings(json!({ "target_modules": ["q_proj"], "exclude_modules": ["nothing"] }));
    assert!(found[0].contains("exclude_modules"), "{found:?}");
}
