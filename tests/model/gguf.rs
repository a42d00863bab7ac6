//! Golden models as GGUF files, converted as llama.cpp converts them: the same configuration and the same bits.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use half::{bf16, f16};
use postil::checkpoint::{GgmlType, GgufFile};
use postil::config::ModelConfig;
use postil::gpu::Gpu;
use postil::model::Model;
use postil::source::MemorySource;
use safetensors::Dtype;
use serde_json::{Value as Json, json};

use super::compare::assert_same_bits;
use super::forward::logits_of;
use super::gguf_writer::{BF16, F16, F32, Gguf, Q8_0, Value};
use super::golden::{GoldenCase, Stored, load_model};

cases!(
    gqa_f32_untied,
    tied_bf16,
    tied_f16,
    untied_wide,
    tied_embed_only_f32,
    llama3_rope,
    mistral,
    qwen2,
    qwen3,
    gemma3,
    quantized
);

macro_rules! same {
    ($($case:ident),*) => {
        $(pub async fn $case(gpu: &Arc<Gpu>) {
            is_the_same_model(gpu, &GoldenCase::load(stringify!($case))).await;
        })*
    };
}

same!(
    gqa_f32_untied,
    tied_bf16,
    tied_f16,
    untied_wide,
    tied_embed_only_f32,
    llama3_rope,
    mistral,
    qwen2,
    qwen3,
    gemma3
);

async fn open(gguf: &Gguf) -> GgufFile {
    GgufFile::open(Rc::new(MemorySource::new("model.gguf", gguf.bytes()))).await.unwrap()
}

async fn is_the_same_model(gpu: &Arc<Gpu>, golden: &GoldenCase) {
    let file = open(&to_gguf(golden, &golden.stored())).await;
    let found = ModelConfig::from_json(&file.config().unwrap()).unwrap();
    assert_eq!(found, ModelConfig::from_json(expressible(golden).to_string().as_bytes()).unwrap());

    // What a GGUF file cannot say of the configuration does not touch the weights.
    let model = Model::load(gpu, golden.config.clone(), &file, &mut |_| {}).await.unwrap();
    let examples = &golden.examples()[..1];
    let stored = golden.model(gpu).await;
    let expected = logits_of(&stored, None, examples).await.concat();
    assert_same_bits(golden.name, &logits_of(&model, None, examples).await.concat(), &expected);
}

/// Q8_0 where rows are whole blocks, against a checkpoint of the decoded values.
pub async fn quantized(gpu: &Arc<Gpu>) {
    let golden = GoldenCase::load("tied_bf16");
    let is_quantized = |shape: &[usize]| shape.len() == 2 && shape[1].is_multiple_of(32);
    let mut gguf = to_gguf(&golden, &golden.stored());
    for (_, shape, kind, bytes) in &mut gguf.tensors {
        if is_quantized(shape) {
            let values: Vec<f32> =
                bytes.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect();
            (*kind, *bytes) = (Q8_0, values.chunks_exact(32).flat_map(q8_0).collect());
        }
    }
    let file = open(&gguf).await;
    let model = Model::load(gpu, golden.config.clone(), &file, &mut |_| {}).await.unwrap();
    let decoded = golden.weights_with(|tensors| {
        for (dtype, shape, bytes) in tensors.values_mut() {
            if is_quantized(shape) {
                let values: Vec<f32> =
                    bytes.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect();
                let blocks: Vec<u8> = values.chunks_exact(32).flat_map(q8_0).collect();
                let values = GgmlType::Q8_0.decode(&blocks);
                *bytes = values.into_iter().flat_map(|value| f16::from_f32(value).to_le_bytes()).collect();
                *dtype = Dtype::F16;
            }
        }
    });
    let other = load_model(gpu, &golden.config, decoded).await.unwrap();
    let examples = &golden.examples()[..1];
    let expected = logits_of(&other, None, examples).await.concat();
    assert_same_bits("quantized", &logits_of(&model, None, examples).await.concat(), &expected);
}

/// A block as `quantize_row_q8_0_ref` makes it.
fn q8_0(values: &[f32]) -> Vec<u8> {
    let d = values.iter().fold(0.0f32, |most, value| most.max(value.abs())) / 127.0;
    let quantized = values.iter().map(|value| if d == 0.0 { 0 } else { (value / d).round() as i8 as u8 });
    f16::from_f32(d).to_le_bytes().into_iter().chain(quantized).collect()
}

/// The golden configuration as far as a GGUF file can say it.
fn expressible(golden: &GoldenCase) -> Json {
    let mut config: Json = serde_json::from_slice(golden.config_json).unwrap();
    match config["model_type"].as_str().unwrap() {
        "qwen2" | "qwen3" => {
            config["use_sliding_window"] = false.into();
            config.as_object_mut().unwrap().remove("layer_types");
        }
        "gemma3_text" => config["query_pre_attn_scalar"] = config["head_dim"].clone(),
        _ => {}
    }
    config
}

/// What convert_hf_to_gguf.py does.
fn to_gguf(golden: &GoldenCase, tensors: &BTreeMap<String, Stored>) -> Gguf {
    let config: Json = serde_json::from_slice(golden.config_json).unwrap();
    let arch = match config["model_type"].as_str().unwrap() {
        "mistral" => "llama",
        "gemma3_text" => "gemma3",
        other => other,
    };
    let mut gguf = Gguf::new([("general.architecture", Value::Text(arch.into()))]);
    let mut add = |key: &str, value| gguf.metadata.push((key.replace("ARCH", arch), value));
    let whole = |value: &Json| Value::U32(value.as_u64().unwrap() as u32);
    for (key, field) in [
        ("ARCH.block_count", "num_hidden_layers"),
        ("ARCH.context_length", "max_position_embeddings"),
        ("ARCH.embedding_length", "hidden_size"),
        ("ARCH.feed_forward_length", "intermediate_size"),
        ("ARCH.attention.head_count", "num_attention_heads"),
        ("ARCH.attention.head_count_kv", "num_key_value_heads"),
        ("ARCH.attention.key_length", "head_dim"),
        ("ARCH.attention.value_length", "head_dim"),
        ("tokenizer.ggml.bos_token_id", "bos_token_id"),
        ("tokenizer.ggml.eos_token_id", "eos_token_id"),
        ("tokenizer.ggml.padding_token_id", "pad_token_id"),
    ] {
        if let Some(value) = config.get(field).filter(|value| !value.is_null()) {
            add(key, whole(value));
        }
    }
    add("ARCH.attention.layer_norm_rms_epsilon", Value::F32(config["rms_norm_eps"].as_f64().unwrap() as f32));
    if ["mistral", "gemma3_text"].contains(&config["model_type"].as_str().unwrap()) {
        add("ARCH.attention.sliding_window", whole(&config["sliding_window"]));
    }
    if let Some(kinds) = config.get("layer_types").filter(|_| arch == "gemma3") {
        let local = kinds.as_array().unwrap().iter().map(|kind| kind == "sliding_attention").collect();
        add("ARCH.attention.sliding_window_pattern", Value::Bools(local));
    }
    let rope = config["rope_parameters"].get("full_attention").unwrap_or(&config["rope_parameters"]);
    add("ARCH.rope.freq_base", Value::F32(rope["rope_theta"].as_f64().unwrap() as f32));
    let mut factors = None;
    match rope["rope_type"].as_str().unwrap() {
        "linear" => {
            add("ARCH.rope.scaling.type", Value::Text("linear".into()));
            add("ARCH.rope.scaling.factor", Value::F32(rope["factor"].as_f64().unwrap() as f32));
        }
        "llama3" => factors = Some(rope_factors(rope, config["head_dim"].as_f64().unwrap())),
        other => assert_eq!(other, "default"),
    }
    if let Some(factors) = factors {
        gguf.tensors.push(("rope_freqs.weight".into(), vec![factors.len() / 4], F32, factors));
    }
    for (name, tensor) in tensors {
        gguf.tensors.push(convert(name, tensor, arch, &config));
    }
    gguf
}

/// `Llama3Model.generate_extra_tensors`, in f32 as there.
fn rope_factors(rope: &Json, head_dim: f64) -> Vec<u8> {
    let number = |key: &str| rope[key].as_f64().unwrap() as f32;
    let (factor, low, high) = (number("factor"), number("low_freq_factor"), number("high_freq_factor"));
    let context = number("original_max_position_embeddings");
    let factors = (0..head_dim as usize / 2).map(|i| {
        let wavelength = std::f32::consts::TAU * number("rope_theta").powf(2.0 * i as f32 / head_dim as f32);
        let smooth = (context / wavelength - low) / (high - low);
        match () {
            () if wavelength < context / high => 1.0,
            () if wavelength > context / low => factor,
            () => 1.0 / ((1.0 - smooth) / factor + smooth),
        }
    });
    factors.flat_map(f32::to_le_bytes).collect()
}

fn convert(
    name: &str,
    (dtype, shape, bytes): &Stored,
    arch: &str,
    config: &Json,
) -> super::gguf_writer::Tensor {
    let tied = config["tie_word_embeddings"] == json!(true);
    let mut renamed = match name {
        "lm_head.weight" if !tied => "output.weight".to_owned(),
        "lm_head.weight" | "model.embed_tokens.weight" => "token_embd.weight".to_owned(),
        "model.norm.weight" => "output_norm.weight".to_owned(),
        _ => name.replace("model.layers.", "blk."),
    };
    let mlp_norm = if arch == "gemma3" { "post_attention_norm" } else { "ffn_norm" };
    for (theirs, ours) in [
        ("self_attn.q_norm", "attn_q_norm"),
        ("self_attn.k_norm", "attn_k_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", mlp_norm),
        ("pre_feedforward_layernorm", "ffn_norm"),
        ("post_feedforward_layernorm", "post_ffw_norm"),
    ] {
        renamed = renamed.replace(theirs, ours);
    }
    let size = dtype.bitsize() / 8;
    let mut bytes = bytes.clone();
    let mut kind = match dtype {
        Dtype::F32 => F32,
        Dtype::F16 => F16,
        _ => BF16,
    };
    if arch == "llama" && (name.contains("q_proj") || name.contains("k_proj")) {
        // reshape [heads, 2, n/2, columns], swap the middle two.
        let head_dim = config["head_dim"].as_u64().unwrap() as usize;
        let row_bytes = size * shape.iter().skip(1).product::<usize>();
        let rows = bytes.chunks_exact(row_bytes).collect::<Vec<_>>();
        let heads = rows.chunks_exact(head_dim).map(|head| {
            let halves = head.split_at(head_dim / 2);
            halves.0.iter().zip(halves.1).flat_map(|(a, b)| [*a, *b]).flatten().copied().collect::<Vec<u8>>()
        });
        bytes = heads.collect::<Vec<_>>().concat();
    }
    if shape.len() == 1 {
        // All vectors are F32, and Gemma's norms have 1 added.
        let one = if arch == "gemma3" && name.ends_with("norm.weight") { 1.0 } else { 0.0 };
        let values: Vec<f32> = match dtype {
            Dtype::F32 => bytemuck::pod_collect_to_vec(&bytes),
            Dtype::F16 => bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            _ => bytes.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        };
        bytes = values.into_iter().flat_map(|value| (value + one).to_le_bytes()).collect();
        kind = F32;
    }
    (renamed, shape.clone(), kind, bytes)
}
