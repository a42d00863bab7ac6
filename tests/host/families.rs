//! The families' configurations as their published models have them, and what is refused of each. Numbers are
//! of transformers 5.23 and PEFT 0.21.2.

use postil::config::{
    Activation, LoraConfig, ModelConfig, ModuleId, Projection, RopeScaling, TensorKind, TrainConfig,
    parameter_report,
};
use postil::data::{Columns, DataFormat, Dataset};
use postil::gpu::MemoryBudget;
use postil::train::{Job, MemoryOptions, Records, Start};
use postil::{ErrorKind, demo};
use serde_json::{Value, json};

use crate::config::{model, with};

/// The file of a published model.
macro_rules! published {
    ($($name:ident: $file:literal),* $(,)?) => {
        $(fn $name() -> Value {
            serde_json::from_str(include_str!(concat!($file, ".json"))).expect("JSON")
        })*
    };
}

published! {
    llama32_1b: "../../src/bench/models/Llama-3.2-1B",
    qwen25_05b: "../../src/bench/models/Qwen2.5-0.5B",
    qwen3_17b: "../../src/bench/models/Qwen3-1.7B",
    mistral_7b: "configs/Mistral-7B-v0.1",
    smollm3_3b: "configs/SmolLM3-3B",
    gemma3_1b: "../../src/bench/models/Gemma-3-1B",
    phi3_mini: "configs/Phi-3-mini-4k-instruct",
    gpt2: "configs/gpt2",
}

/// `get_nb_trainable_parameters()` with r 16 on all linear modules.
#[test]
fn counts_what_peft_counts() {
    let lora: LoraConfig = serde_json::from_value(json!({ "r": 16 })).expect("a config");
    for (json, trainable, total) in [
        (llama32_1b(), 11_272_192, 1_247_086_592),
        (qwen25_05b(), 8_798_208, 502_830_976),
        (qwen3_17b(), 17_432_576, 1_738_007_552),
        (mistral_7b(), 41_943_040, 7_283_675_136),
        (smollm3_3b(), 30_228_480, 3_105_327_104),
        (gemma3_1b(), 13_045_760, 1_012_931_712),
        (phi3_mini(), 25_165_824, 3_846_245_376),
        (gpt2(), 2_359_296, 126_799_104),
    ] {
        let report = parameter_report(&lora, &model(&json)).expect("a report");
        assert_eq!((report.trainable, report.total), (trainable, total), "{}", json["model_type"]);
    }
    let report = parameter_report(&lora, &model(&gpt2())).expect("a report");
    let names: Vec<_> = report.modules.iter().map(|row| row.projection).collect();
    assert_eq!(names, ["c_attn", "attn.c_proj", "c_fc", "mlp.c_proj"]);
}

#[test]
fn reads_what_each_family_is() {
    let llama = model(&llama32_1b());
    let [rope] = &llama.rope_parameters[..] else { panic!("one kind of rotary positions") };
    assert_eq!((rope.rope_theta, rope.rotary_dim), (5e5, 64));
    assert_eq!(
        rope.scaling,
        RopeScaling::Llama3 {
            factor: 32.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192.0
        }
    );

    let qwen2 = model(&qwen25_05b());
    assert_eq!((qwen2.attention_bias, qwen2.output_bias, qwen2.mlp_bias), (true, false, false));
    assert_eq!((qwen2.sliding_window, qwen2.head_dim), (None, 64));
    assert!(qwen2.has_bias(Projection::KProj) && !qwen2.has_bias(Projection::OProj));

    let qwen3 = model(&qwen3_17b());
    assert_eq!((qwen3.head_dim, qwen3.attention_bias), (128, false));
    let tensors = qwen3.tensors();
    let k_norm = tensors.iter().find(|tensor| tensor.name == "model.layers.27.self_attn.k_norm.weight");
    assert_eq!(k_norm.expect("a norm on keys").shape, [128]);

    let mistral = model(&mistral_7b());
    assert_eq!(mistral.sliding_window, Some(4096));
    assert!(mistral.layers.iter().all(|layer| layer.is_sliding && layer.rope == Some(0)));

    let smollm3 = model(&smollm3_3b());
    let without: Vec<_> = (0..36).filter(|&layer| smollm3.layers[layer].rope.is_none()).collect();
    assert_eq!(without, [3, 7, 11, 15, 19, 23, 27, 31, 35]);
    assert_eq!((smollm3.sliding_window, smollm3.tie_word_embeddings), (None, true));

    let gemma3 = model(&gemma3_1b());
    let global: Vec<_> = (0..26).filter(|&layer| !gemma3.layers[layer].is_sliding).collect();
    assert_eq!(global, [5, 11, 17, 23]);
    assert_eq!((gemma3.layers[5].rope, gemma3.layers[6].rope), (Some(0), Some(1)));
    assert_eq!([0, 1].map(|i| gemma3.rope_parameters[i].rope_theta), [1e6, 1e4]);
    assert_eq!((gemma3.sliding_window, gemma3.score_scale), (Some(512), 1.0 / 16.0));
    assert_eq!((gemma3.embedding_scale, gemma3.hidden_act), (1152f32.sqrt(), Activation::GeluTanh));

    let phi3 = model(&phi3_mini());
    assert_eq!((phi3.sliding_window, phi3.rope_parameters[0].rotary_dim), (Some(2047), 96));
    assert_eq!(phi3.projection_shape(Projection::QkvProj), (9216, 3072));
    assert_eq!(phi3.projection_shape(Projection::GateUpProj), (16_384, 3072));

    let gpt2 = model(&gpt2());
    assert_eq!((gpt2.hidden_size, gpt2.intermediate_size, gpt2.num_key_value_heads), (768, 3072, 12));
    assert_eq!((gpt2.max_position_embeddings, gpt2.norm_eps), (1024, 1e-5));
    let c_fc = gpt2.linear_tensor(ModuleId { layer: 11, projection: Projection::CFc });
    assert_eq!((c_fc.name.as_str(), c_fc.kind), ("transformer.h.11.mlp.c_fc.weight", TensorKind::Conv1d));
    assert_eq!(c_fc.shape, [768, 3072]);
}

/// What transformers' configuration classes have for a file with nothing but `model_type`.
#[test]
fn missing_keys_have_the_defaults_of_transformers() {
    for (name, sizes, tokens) in [
        ("qwen2", [151_936, 4096, 22_016, 32, 32, 32, 128, 32_768], (None, None, None)),
        ("qwen3", [151_936, 4096, 22_016, 32, 32, 32, 128, 32_768], (None, None, None)),
        ("mistral", [32_000, 4096, 14_336, 32, 32, 8, 128, 131_072], (Some(1), Some(2), None)),
        (
            "smollm3",
            [128_256, 2048, 11_008, 36, 16, 4, 128, 32_768],
            (Some(128_000), Some(128_001), Some(128_004)),
        ),
        ("gemma3_text", [262_208, 2304, 9216, 26, 8, 4, 256, 131_072], (Some(2), Some(1), Some(0))),
        ("phi3", [32_064, 3072, 8192, 32, 32, 32, 96, 4096], (Some(1), Some(32_000), Some(32_000))),
        ("gpt2", [50_257, 768, 3072, 12, 12, 12, 64, 1024], (Some(50_256), Some(50_256), None)),
    ] {
        let config = model(&json!({ "model_type": name }));
        let found = [
            config.vocab_size,
            config.hidden_size,
            config.intermediate_size,
            config.num_hidden_layers,
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
            config.max_position_embeddings,
        ];
        assert_eq!(found, sizes, "{name}");
        assert_eq!(
            (config.bos_token_id, config.eos_token_id.first().copied(), config.pad_token_id),
            tokens,
            "{name}"
        );
        assert_eq!(config.tie_word_embeddings, ["smollm3", "gemma3_text", "gpt2"].contains(&name), "{name}");
        let window = match name {
            "mistral" | "gemma3_text" => Some(4096),
            _ => None,
        };
        assert_eq!(config.sliding_window, window, "{name}");
    }
    let theta = |name: &str| model(&json!({ "model_type": name })).rope_parameters[0].rope_theta;
    assert_eq!(["qwen3", "smollm3", "gemma3_text"].map(theta), [1e4, 2e6, 1e6]);
}

/// `ROPE_INIT_FUNCTIONS["llama3"]` of transformers, in f32.
#[test]
fn llama3_frequencies_are_those_of_transformers() {
    let frequencies = model(&llama32_1b()).rope_parameters[0].frequencies();
    assert_eq!(frequencies.len(), 32);
    for (i, expected) in [
        (0, 1.0),
        (13, 0.00483942124992609),
        (15, 0.0012905480107292533),
        (16, 0.000429556705057621),
        (17, 9.708286233944818e-05),
        (18, 1.9461638657958247e-05),
        (31, 9.418306490260875e-08),
    ] {
        assert!((frequencies[i] / expected - 1.0).abs() < 1e-6, "{i}: {}", frequencies[i]);
    }
}

#[test]
fn layers_follow_every_spelling() {
    let sliding = |json: &Value, changes: Value| -> Vec<usize> {
        let config = model(&with(json, &changes));
        (0..config.num_hidden_layers).filter(|&layer| config.layers[layer].is_sliding).collect()
    };
    let three = json!({ "num_hidden_layers": 3 });
    let types = ["sliding_attention", "full_attention", "sliding_attention"];
    let (qwen, gemma) = (with(&qwen25_05b(), &three), with(&gemma3_1b(), &three));
    assert_eq!(sliding(&qwen, json!({ "use_sliding_window": true, "max_window_layers": 1 })), [1, 2]);
    assert_eq!(sliding(&qwen, json!({ "use_sliding_window": true, "max_window_layers": 0 })), [0, 1, 2]);
    assert_eq!(sliding(&qwen, json!({ "use_sliding_window": true, "layer_types": types })), [0, 2]);
    assert_eq!(sliding(&gemma, json!({ "sliding_window_pattern": 2 })), [0, 2]);
    assert_eq!(sliding(&gemma, json!({ "sliding_window_pattern": 1 })), [0; 0]);
    assert_eq!(sliding(&gemma, json!({ "layer_types": types })), [0, 2]);
    assert_eq!(sliding(&mistral_7b(), json!({ "sliding_window": null })), [0; 0]);
    let layers = json!({ "num_hidden_layers": 3, "no_rope_layers": [1, 0, 1], "layer_types": null,
        "use_sliding_window": true, "sliding_window": 7 });
    assert_eq!(sliding(&smollm3_3b(), layers), [1]);
    let config = model(&with(
        &smollm3_3b(),
        &json!({ "num_hidden_layers": 4, "no_rope_layers": null, "layer_types": null,
            "no_rope_layer_interval": 2 }),
    ));
    assert_eq!(
        config.layers.iter().map(|layer| layer.rope.is_some()).collect::<Vec<_>>(),
        [true, false, true, false]
    );
}

#[test]
fn rotary_positions_of_both_versions() {
    let rope = |json: &Value, changes: Value| model(&with(json, &changes)).rope_parameters;
    let linear = json!({ "rope_type": "linear", "factor": 8.0 });
    // Gemma's v4 files scale the global layers alone.
    let v4 = rope(&gemma3_1b(), json!({ "rope_scaling": linear }));
    let v5 = rope(
        &gemma3_1b(),
        json!({ "rope_theta": null, "rope_local_base_freq": null, "rope_scaling": null, "rope_parameters": {
            "full_attention": { "rope_type": "linear", "factor": 8.0, "rope_theta": 1e6 },
            "sliding_attention": { "rope_type": "default", "rope_theta": 1e4 } } }),
    );
    assert_eq!(v4, v5);
    assert_eq!(
        (&v4[0].scaling, &v4[1].scaling),
        (&RopeScaling::Linear { factor: 8.0 }, &RopeScaling::Default)
    );
    assert_eq!(v4[0].frequencies()[0], 1.0 / 8.0);

    let scaled = rope(&mistral_7b(), json!({ "rope_scaling": { "type": "linear", "factor": 2.5 } }));
    assert_eq!(scaled[0].scaling, RopeScaling::Linear { factor: 2.5 });
    let inner = json!({ "rope_parameters": { "rope_type": "default", "partial_rotary_factor": 0.75 } });
    assert_eq!(rope(&phi3_mini(), inner)[0].rotary_dim, 72);
    assert_eq!(rope(&phi3_mini(), json!({ "partial_rotary_factor": 0.5 }))[0].rotary_dim, 48);
    // transformers takes the file's own field before the one inside.
    let mut llama = with(&llama32_1b(), &json!({ "original_max_position_embeddings": 4096 }));
    let context = |json: &Value| match rope(json, json!({}))[0].scaling {
        RopeScaling::Llama3 { original_max_position_embeddings, .. } => original_max_position_embeddings,
        _ => 0.0,
    };
    assert_eq!(context(&llama), 4096.0);
    llama["original_max_position_embeddings"] = Value::Null;
    llama["rope_scaling"]["original_max_position_embeddings"] = Value::Null;
    assert_eq!(context(&llama), 131_072.0);
}

#[test]
fn refuses_by_field() {
    use ErrorKind::{Format, Unsupported};
    let sliding = ["sliding_attention"; 3];
    let cases = [
        (llama32_1b(), json!({ "architectures": ["Qwen2ForCausalLM"] }), Format, "do not belong together"),
        (
            llama32_1b(),
            json!({ "rope_scaling": { "rope_type": "yarn", "factor": 4.0 } }),
            Unsupported,
            "rope_scaling.rope_type \"yarn\"",
        ),
        (
            llama32_1b(),
            json!({ "rope_scaling": { "rope_type": "dynamic" } }),
            Unsupported,
            "rope_type \"dynamic\"",
        ),
        (
            llama32_1b(),
            json!({ "rope_scaling": { "rope_type": "llama3", "factor": 8.0 } }),
            Format,
            "rope_scaling.low_freq_factor is missing",
        ),
        (
            llama32_1b(),
            json!({ "rope_scaling": { "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4, "high_freq_factor": 4 } }),
            Format,
            "high_freq_factor 4",
        ),
        (
            llama32_1b(),
            json!({ "rope_scaling": { "rope_type": "linear" } }),
            Format,
            "rope_scaling.factor is missing",
        ),
        (llama32_1b(), json!({ "rope_scaling": { "full_attention": {} } }), Unsupported, "full_attention"),
        (llama32_1b(), json!({ "partial_rotary_factor": 0.5 }), Unsupported, "partial_rotary_factor 0.5"),
        (llama32_1b(), json!({ "num_hidden_layers": 3, "layer_types": sliding }), Unsupported, "layer_types"),
        (
            qwen25_05b(),
            json!({ "num_hidden_layers": 3, "layer_types": sliding }),
            Format,
            "use_sliding_window",
        ),
        (
            qwen25_05b(),
            json!({ "num_hidden_layers": 3, "layer_types": ["full_attention"] }),
            Format,
            "a list of 3",
        ),
        (
            qwen25_05b(),
            json!({ "num_hidden_layers": 1, "layer_types": ["chunked_attention"] }),
            Unsupported,
            "layer_types \"chunked_attention\"",
        ),
        (
            qwen25_05b(),
            json!({ "max_window_layers": -1, "use_sliding_window": true }),
            Format,
            "max_window_layers",
        ),
        (qwen25_05b(), json!({ "hidden_act": "relu" }), Unsupported, "hidden_act \"relu\""),
        (
            qwen3_17b(),
            json!({ "quantization_config": { "quant_method": "fp8" } }),
            Unsupported,
            "quantization_config",
        ),
        (mistral_7b(), json!({ "sliding_window": 0 }), Format, "sliding_window"),
        (smollm3_3b(), json!({ "no_rope_layers": [1] }), Format, "no_rope_layers"),
        (
            smollm3_3b(),
            json!({ "num_hidden_layers": 1, "layer_types": null, "no_rope_layers": [2] }),
            Format,
            "0 or 1",
        ),
        (
            smollm3_3b(),
            json!({ "num_hidden_layers": 3, "layer_types": sliding, "no_rope_layers": null, "sliding_window": 8 }),
            Format,
            "use_sliding_window",
        ),
        (gemma3_1b(), json!({ "attn_logit_softcapping": 50.0 }), Unsupported, "attn_logit_softcapping 50"),
        (gemma3_1b(), json!({ "final_logit_softcapping": 30.0 }), Unsupported, "final_logit_softcapping 30"),
        (
            gemma3_1b(),
            json!({ "use_bidirectional_attention": true }),
            Unsupported,
            "use_bidirectional_attention",
        ),
        (gemma3_1b(), json!({ "sliding_window": null }), Format, "sliding_window"),
        (gemma3_1b(), json!({ "query_pre_attn_scalar": 0 }), Format, "query_pre_attn_scalar"),
        (gemma3_1b(), json!({ "hidden_activation": "gelu" }), Unsupported, "hidden_activation \"gelu\""),
        (gemma3_1b(), json!({ "rope_parameters": { "rope_theta": 1e4 } }), Format, "full_attention"),
        (gemma3_1b(), json!({ "model_type": "gemma3" }), Unsupported, "model_type \"gemma3\""),
        (
            phi3_mini(),
            json!({ "rope_scaling": { "type": "longrope", "short_factor": [1.0], "long_factor": [1.0] } }),
            Unsupported,
            "rope_scaling.type \"longrope\"",
        ),
        (phi3_mini(), json!({ "rope_scaling": { "type": "su" } }), Unsupported, "rope_scaling.type \"su\""),
        (phi3_mini(), json!({ "partial_rotary_factor": 0.33 }), Unsupported, "partial_rotary_factor 0.33"),
        (phi3_mini(), json!({ "partial_rotary_factor": 1.5 }), Unsupported, "partial_rotary_factor 1.5"),
        (phi3_mini(), json!({ "resid_pdrop": 0.1 }), Unsupported, "resid_pdrop 0.1"),
        (phi3_mini(), json!({ "embd_pdrop": 0.1 }), Unsupported, "embd_pdrop 0.1"),
        (
            gpt2(),
            json!({ "scale_attn_by_inverse_layer_idx": true }),
            Unsupported,
            "scale_attn_by_inverse_layer_idx true",
        ),
        (gpt2(), json!({ "reorder_and_upcast_attn": true }), Unsupported, "reorder_and_upcast_attn true"),
        (gpt2(), json!({ "add_cross_attention": true }), Unsupported, "add_cross_attention true"),
        (gpt2(), json!({ "activation_function": "relu" }), Unsupported, "activation_function \"relu\""),
        (gpt2(), json!({ "activation_function": "silu" }), Unsupported, "activation_function \"silu\""),
        (gpt2(), json!({ "n_embd": "768" }), Format, "n_embd"),
        (gpt2(), json!({ "n_layer": 0 }), Format, "n_layer"),
        (gpt2(), json!({ "attn_pdrop": 1.5 }), Format, "attn_pdrop"),
        (gpt2(), json!({ "n_positions": 2147483647u32 }), Unsupported, "wpe"),
    ];
    for (json, changes, kind, text) in cases {
        let error = ModelConfig::from_json(with(&json, &changes).to_string().as_bytes()).expect_err(text);
        assert_eq!(error.kind(), kind, "{changes}: {error}");
        assert!(error.to_string().contains(text), "{changes}: {error}");
    }
    assert_eq!(model(&with(&gpt2(), &json!({ "scale_attn_weights": false }))).score_scale, 1.0);
    // The other families' files carry it without a meaning.
    assert_eq!(model(&with(&smollm3_3b(), &json!({ "pretraining_tp": 2 }))).num_hidden_layers, 36);
}

/// Every published GPT-2 file names dropout: it runs, and what is left out is said.
#[test]
fn the_dropout_that_is_left_out_is_named() {
    let of = |changes: Value| model(&with(&gpt2(), &changes));
    let expected = [("attn_pdrop", 0.1), ("embd_pdrop", 0.1), ("resid_pdrop", 0.1)];
    assert_eq!(of(json!({})).ignored_dropout, expected);
    assert_eq!(of(json!({ "attn_pdrop": null, "embd_pdrop": null })).ignored_dropout, expected);
    let some = of(json!({ "attn_pdrop": 0.0, "embd_pdrop": 0, "resid_pdrop": 0.25 }));
    let [warning] = &some.warnings()[..] else { panic!("one warning") };
    assert!(warning.contains("(resid_pdrop 0.25)"), "{warning}");
    let none = of(json!({ "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0 }));
    assert!(none.warnings().is_empty() && model(&phi3_mini()).warnings().is_empty());

    // Whoever trains is told, once.
    let (_, tokenizer) = demo::text_files().read().expect("the files");
    let told = |model: &ModelConfig| {
        let row = br#"{"prompt": "a", "completion": " b"}"#.as_slice();
        let data = Dataset::from_bytes(row, "row.jsonl", DataFormat::default(), Columns::default());
        let lora = serde_json::from_value(json!({ "r": 1 })).expect("a config");
        let job = Job {
            start: Start::New(lora),
            train: TrainConfig::default(),
            data: Records::new(data.expect("a row")),
            evaluation: None,
            eval_split: None,
            memory: MemoryOptions { budget: MemoryBudget::given(1 << 30), auto: false },
        };
        let job = job.tokenize(model, &tokenizer).expect("a job");
        job.warnings().iter().filter(|warning| warning.contains("own dropout")).count()
    };
    assert_eq!((told(&some), told(&none)), (1, 0));
}
