//! What `postil bench` counts and makes up, without a device.

use std::collections::BTreeMap;

use postil::bench::{Form, Group, MODELS, RandomWeights, StepShape, Times, WeightType, Work, known_model};
use postil::checkpoint::TensorSource;
use postil::config::{LoraConfig, ModelConfig};
use serde_json::{Value, json};

use crate::config::{model, tiny, with};

const SHAPE: StepShape = StepShape {
    batch_size: 3,
    length: 20,
    chunk: 16,
    gradient_checkpointing: false,
    half_activations: false,
    weights: WeightType::Bf16,
};

fn lora(json: &Value) -> LoraConfig {
    serde_json::from_value(json.clone()).expect("a config")
}

fn work(model: &ModelConfig, adapter: &Value, shape: &StepShape) -> Work {
    Work::of(model, &lora(adapter), shape).expect("the work of a step")
}

#[test]
fn built_in_models_can_be_read() {
    for known in &MODELS {
        let config = ModelConfig::from_json(known.config.as_bytes()).expect(known.id);
        let millions = config.total_parameters() as f64 / 1e6;
        let said = known.id.rsplit('-').next().expect("the size is last");
        let (number, unit) = said.split_at(said.len() - 1);
        let said = number.parse::<f64>().expect("a number") * if unit == "b" { 1e3 } else { 1.0 };
        // Llama's 1B has 1.24.
        assert!((0.95..1.25).contains(&(millions / said)), "{}: {millions} million", known.id);
        assert!(known_model(&known.id.to_uppercase()).is_some());
    }
    assert!(known_model("llama").is_none());
}

/// All linear modules of the tiny model (4 layers, hidden 32, 4 query and 2 key heads of 12, MLP 48, vocabulary 64).
#[test]
fn counts_the_operations_of_a_step() {
    let (tokens, targets, r) = (60, 57, 2);
    let pairs = 3 * 20 * 21 / 2;
    // The linear modules: weights, and inputs and outputs together.
    let weights: u64 = 32 * (48 + 24 + 24 + 48) + 3 * 32 * 48;
    let sides: u64 = (32 + 48) + 2 * (32 + 24) + (48 + 32) + 3 * (32 + 48);
    let attention = 2 * 2 * 48 * pairs;
    // Forward and dx, but no dx of the lowest projections; the adapter forward, and twice that backward but for A's
    // part of the dx that nobody needs.
    let lowest = 32 * (48 + 24 + 24);
    let linear = 2 * tokens * (2 * 4 * weights - lowest);
    let adapter = 2 * tokens * r * (3 * 4 * sides - 3 * 32);
    let head = 2 * 2 * targets * 32 * 64;
    let attention = 4 * (attention + attention / 2 * 5);
    let adapter_config = json!({ "r": r });
    let whole = work(&model(&tiny()), &adapter_config, &SHAPE);
    assert_eq!(whole.flops(), linear + adapter + head + attention);

    // What is computed again is no more work that is needed, but takes time and bytes.
    let again = StepShape { gradient_checkpointing: true, ..SHAPE };
    let again = work(&model(&tiny()), &adapter_config, &again);
    assert_eq!(again.flops(), whole.flops());
    assert!(again.bytes() > whole.bytes());
    let products = |work: &Work| -> u64 {
        work.items.iter().filter(|item| item.product.is_some()).map(|item| item.count * item.flops).sum()
    };
    // Three layers without their last projection.
    let recomputed = 2 * tokens * (3 * (weights - 32 * 48) + 3 * r * (sides - 32));
    assert_eq!(products(&again) - products(&whole), recomputed);
}

#[test]
fn counts_only_what_is_needed() {
    let adapter = json!({ "r": 2, "target_modules": ["o_proj"], "layers_to_transform": [2] });
    let work = work(&model(&tiny()), &adapter, &SHAPE);
    let count =
        |name: &str| work.items.iter().filter(|item| item.name == name).map(|item| item.count).sum::<u64>();
    for (name, times) in [
        ("q_proj forward", 4),
        ("o_proj forward", 4),
        ("o_proj xa", 1),
        ("o_proj dA", 1),
        ("o_proj dB", 1),
        // Layers 2 and 3, down to the adapted module.
        ("down_proj dx", 2),
        ("gate_proj dx", 2),
        ("o_proj dx", 1),
        ("q_proj dx", 1),
        ("attention", 4),
        ("attention backward", 1),
        // The chunks of 57 targets: three of 16, one of 9.
        ("lm_head forward", 4),
        ("lm_head dx", 4),
    ] {
        assert_eq!(count(name), times, "{name}");
    }
    let forms: BTreeMap<_, _> = work.items.iter().filter_map(|i| Some((i.product?.form, i.group))).collect();
    assert_eq!(forms, [Form::Nt, Form::Nn, Form::Tn].map(|form| (form, Group::Matmul)).into());
}

#[test]
fn windows_shorten_the_attention() {
    let gemma = ModelConfig::from_json(known_model("gemma-3-1b").expect("it is built in").config.as_bytes());
    let shape = StepShape { batch_size: 1, length: 600, ..SHAPE };
    let work = work(&gemma.expect("a config"), &json!({ "r": 2 }), &shape);
    let flops = |name: &str| work.items.iter().find(|item| item.name == name).expect("it is there").flops;
    let of_pairs = 2 * 2 * 4 * 256;
    assert_eq!(flops("attention"), of_pairs * 600 * 601 / 2);
    // 512 tokens see 1 to 512 keys, the other 88 see 512.
    assert_eq!(flops("attention, window 512"), of_pairs * (512 * 513 / 2 + 88 * 512));
}

/// A kernel without a group would leave its time unexplained.
#[test]
fn every_kernel_has_a_group() {
    let rest =
        ["add_rows", "copy", "copy_columns", "gather", "sample", "sample_choose", "scatter", "transpose"];
    for shader in postil::kernels::all_shaders() {
        let is_rest = rest.contains(&shader.kernel);
        assert_eq!(Group::of(&shader.label()) == Group::Other, is_rest, "{}", shader.kernel);
    }
    assert_eq!(Group::of("attention/64"), Group::Attention);
    assert_eq!(Group::of("attention_dkv/64"), Group::AttentionBackward);
    assert_eq!(Group::of("rms_norm_backward"), Group::Norm);
}

#[test]
fn random_weights_are_the_same_however_they_are_cut() {
    let config = model(&with(&tiny(), &json!({ "vocab_size": 70_000 })));
    for (stored, size) in [(WeightType::Bf16, 2), (WeightType::F16, 2), (WeightType::F32, 4)] {
        let weights = RandomWeights::new("random", &config, stored);
        let read = |name: &str, range| pollster::block_on(weights.read(name, range)).expect("bytes");
        // Longer than the numbers that repeat.
        let (name, bytes) = ("model.embed_tokens.weight", 70_000 * 32 * size);
        assert_eq!(weights.info(name).expect("the table").bytes(), bytes);
        let whole = read(name, 0..bytes);
        let parts: Vec<u8> =
            [0, 10, 11, bytes / 2 + 2, bytes].windows(2).flat_map(|cut| read(name, cut[0]..cut[1])).collect();
        assert!(whole == parts);
        assert!(pollster::block_on(weights.read(name, 0..bytes + 1)).is_err());

        let number = |bytes: &[u8]| match stored {
            WeightType::Bf16 => half::bf16::from_le_bytes([bytes[0], bytes[1]]).to_f64(),
            WeightType::F16 => half::f16::from_le_bytes([bytes[0], bytes[1]]).to_f64(),
            WeightType::F32 => f64::from(f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])),
        };
        let numbers = |bytes: &[u8]| bytes.chunks_exact(size as usize).map(number).collect::<Vec<_>>();
        let values = numbers(&whole);
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt();
        // A million numbers: their mean and deviation are known to a few in 10⁵ and in 10³.
        assert!(mean.abs() < 1e-4 && (deviation - 0.02).abs() < 1e-4, "{mean} ± {deviation}");
        assert!(numbers(&read("model.norm.weight", 0..32 * size)).iter().all(|&value| value == 1.0));
        assert!(
            numbers(&read("model.layers.1.self_attn.q_proj.bias", 0..48 * size)).iter().any(|&v| v != 0.0)
        );
    }
}

#[test]
fn quantiles() {
    let times =
        Times::of_seconds(vec![0.011, 0.001, 0.003, 0.005, 0.002, 0.004, 0.006, 0.007, 0.008, 0.009, 0.010]);
    for (found, expected) in [(times.median, 6.0), (times.p10, 2.0), (times.p90, 10.0), (times.mean, 6.0)] {
        assert!((found - expected).abs() < 1e-9, "{times:?}");
    }
    assert_eq!(Times::of_seconds(vec![0.5]).p90, 500.0);
}

/// What the page suggests: the numbers beside each configuration are those that it gives.
#[test]
fn suggested_models_are_what_is_said_of_them() {
    let list = include_bytes!("../../www/src/suggestions.json");
    let list: Vec<Value> = serde_json::from_slice(list).expect("a list");
    assert!(list.len() > 10);
    for suggestion in list {
        let name = suggestion["name"].as_str().expect("a name");
        let json = suggestion["config"].to_string();
        let model = ModelConfig::from_json(json.as_bytes()).expect(name);
        assert_eq!(Some(model.total_parameters()), suggestion["parameters"].as_u64(), "{name}");
        let weights = WeightType::of_config(json.as_bytes()).expect(name);
        // Some store a tied vocabulary twice; a file has a header, and GPT-2's its masks.
        let (needed, stored) = (
            model.total_parameters() * weights.dtype().size() as u64,
            suggestion["bytes"].as_u64().expect("bytes"),
        );
        assert!(needed <= stored && stored < needed * 13 / 10, "{name}: {needed} and {stored}");
    }
}
