//! GGUF files against llama.cpp's Python package and the models' own tokenizers
//! (`tests/golden/make_gguf.py` writes the fixtures).

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use half::f16;
use pollster::block_on;
use postil::base::{BaseFiles, read_model};
use postil::checkpoint::{GgmlType, GgufFile, SLICE, Slices, TensorSource};
use postil::source::{BoxFuture, ByteSource, MemorySource};
use postil::{ErrorKind, Result};
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value as Json, json};

use super::gguf_writer::{BF16, F16, F32, Gguf, Q8_0, Value};

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/host/fixtures/gguf")
}

pub fn load(name: &str) -> BaseFiles {
    block_on(read_model(&fixtures().join(format!("{name}.gguf")))).expect(name)
}

pub fn open(bytes: Vec<u8>) -> Result<GgufFile> {
    block_on(GgufFile::open(Rc::new(MemorySource::new("model.gguf", bytes))))
}

fn read(file: &dyn TensorSource, name: &str) -> Vec<u8> {
    let info = file.info(name).unwrap_or_else(|| panic!("no tensor {name}"));
    block_on(file.read(name, 0..info.bytes())).expect(name)
}

#[test]
fn blocks_are_decoded_to_the_bit() {
    let bytes = std::fs::read(fixtures().join("blocks.safetensors")).expect("a fixture");
    let golden = SafeTensors::deserialize(&bytes).expect("a good file");
    for kind in GgmlType::ALL.into_iter().filter(|kind| kind.is_quantized()) {
        let blocks = golden.tensor(&format!("{kind}.blocks")).expect("blocks");
        let values = golden.tensor(&format!("{kind}.values")).expect("values");
        let found: Vec<u32> = kind.decode(blocks.data()).iter().map(|value| value.to_bits()).collect();
        let wanted: Vec<u32> = bytemuck::pod_collect_to_vec(values.data());
        assert_eq!(found.len(), wanted.len(), "{kind}");
        let differ = found.iter().zip(&wanted).position(|(found, wanted)| found != wanted);
        assert_eq!(differ, None, "{kind}");
    }
}

/// Every way of asking for a part of a tensor gives that part of the whole.
#[test]
fn any_range_of_any_type_can_be_read() {
    let bytes = std::fs::read(fixtures().join("blocks.safetensors")).expect("a fixture");
    let golden = SafeTensors::deserialize(&bytes).expect("a good file");
    for kind in GgmlType::ALL.into_iter().filter(|kind| kind.is_quantized()) {
        let blocks = golden.tensor(&format!("{kind}.blocks")).expect("blocks").data().to_vec();
        let (elements, block_bytes) = kind.block();
        let columns = blocks.len() / block_bytes * elements / 2;
        let wanted: Vec<u8> =
            kind.decode(&blocks).iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect();
        let mut gguf = llama();
        // Two heads of one row and one of two: regrouped whole.
        gguf.tensors.push(("blk.0.ffn_up.weight".into(), vec![2, columns], kind as u32, blocks));
        let file = open(gguf.bytes()).expect("a good file");
        let name = "model.layers.0.mlp.up_proj.weight";
        assert_eq!(file.info(name).expect("a tensor").dtype, Dtype::F16);
        for (start, end) in [(0, wanted.len()), (0, 0), (1, 2), (3, 67), (63, 65), (130, wanted.len() - 1)] {
            let found = block_on(file.read(name, start as u64..end as u64)).expect("bytes");
            assert!(found == wanted[start..end], "{kind} {start}..{end}");
        }
    }
}

/// Rows 0…n of a head as the file has them are rows 0, n/2, 1, n/2 + 1, … of the checkpoint.
#[test]
fn query_and_key_rows_are_put_back() {
    let (heads, head_dim, columns) = (4, 6, 3);
    let element = |row: usize, column: usize| (100 * row + column) as f32;
    // What `LlamaModel.permute` of convert_hf_to_gguf.py does: reshape [heads, 2, n/2], swap the last two.
    let stored_rows = |heads: usize| {
        (0..heads * head_dim).map(move |stored| {
            let (head, inside) = (stored / head_dim, stored % head_dim);
            head * head_dim + inside % 2 * (head_dim / 2) + inside / 2
        })
    };
    let matrix = |rows: &mut dyn Iterator<Item = usize>| -> Vec<f32> {
        rows.flat_map(|row| (0..columns).map(move |column| element(row, column))).collect()
    };
    let le = |values: Vec<f32>| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let mut gguf = llama();
    let tensors = [("attn_q", heads), ("attn_k", 2), ("attn_v", 2)];
    for (part, heads) in tensors {
        let mut rows = stored_rows(heads);
        let stored = if part == "attn_v" { matrix(&mut (0..heads * head_dim)) } else { matrix(&mut rows) };
        gguf.tensors.push((format!("blk.0.{part}.weight"), vec![heads * head_dim, columns], F32, le(stored)));
    }
    let bias: Vec<f32> = stored_rows(heads).map(|row| row as f32).collect();
    gguf.tensors.push(("blk.0.attn_q.bias".into(), vec![heads * head_dim], F32, le(bias)));
    let file = open(gguf.bytes()).expect("a good file");
    for (name, heads) in [("q", heads), ("k", 2), ("v", 2)] {
        let name = format!("model.layers.0.self_attn.{name}_proj.weight");
        let wanted = le(matrix(&mut (0..heads * head_dim)));
        assert_eq!(read(&file, &name), wanted, "{name}");
        for (start, end) in [(0, 4), (70, 75), (4 * 17, 4 * 30), (1, wanted.len() - 1)] {
            let found = block_on(file.read(&name, start as u64..end as u64)).expect("bytes");
            assert_eq!(found, wanted[start..end], "{name} {start}..{end}");
        }
    }
    let bias: Vec<f32> = (0..heads * head_dim).map(|row| row as f32).collect();
    assert_eq!(read(&file, "model.layers.0.self_attn.q_proj.bias"), le(bias));
    assert_eq!(file.granule("model.layers.0.self_attn.q_proj.weight"), (head_dim * columns * 4) as u64);
}

/// The keys of a Llama of one layer, without tensors.
pub fn llama() -> Gguf {
    Gguf::new([
        ("general.architecture", Value::Text("llama".into())),
        ("llama.block_count", Value::U32(1)),
        ("llama.context_length", Value::U32(256)),
        ("llama.embedding_length", Value::U32(24)),
        ("llama.feed_forward_length", Value::U32(48)),
        ("llama.attention.head_count", Value::U32(4)),
        ("llama.attention.head_count_kv", Value::U32(2)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
    ])
}

pub fn with_table(mut gguf: Gguf) -> Gguf {
    gguf.tensors.push(("token_embd.weight".into(), vec![7, 24], F32, vec![0; 7 * 24 * 4]));
    gguf
}

fn config(gguf: &Gguf) -> Result<Json> {
    let config = open(gguf.bytes())?.config()?;
    Ok(serde_json::from_slice(&config).expect("JSON"))
}

#[test]
fn one_and_sixteen_bits_stay_as_they_are() {
    let mut gguf = with_table(llama());
    let halves: Vec<u8> = (0..48 * 24 * 2).map(|i| (i * 7) as u8).collect();
    gguf.tensors.push(("blk.0.ffn_up.weight".into(), vec![48, 24], F16, halves.clone()));
    gguf.tensors.push(("blk.0.ffn_gate.weight".into(), vec![48, 24], BF16, halves.clone()));
    let file = open(gguf.bytes()).expect("a good file");
    for (name, dtype) in [("up", Dtype::F16), ("gate", Dtype::BF16)] {
        let name = format!("model.layers.0.mlp.{name}_proj.weight");
        assert_eq!(file.info(&name).expect("a tensor").dtype, dtype);
        assert_eq!(read(&file, &name), halves);
    }
    assert_eq!(file.info("model.embed_tokens.weight").expect("a tensor").dtype, Dtype::F32);
}

#[test]
fn a_value_beyond_f16_is_an_error() {
    let mut gguf = llama();
    let mut block = f16::MAX.to_le_bytes().to_vec();
    block.extend([0; 32]);
    block[9] = 2;
    gguf.tensors.push(("token_embd.weight".into(), vec![1, 32], Q8_0, block));
    let file = open(gguf.bytes()).expect("a good file");
    let error = block_on(file.read("model.embed_tokens.weight", 0..64)).expect_err("131008 is no f16");
    assert!(
        error.to_string().contains("131008") && error.to_string().contains("model.embed_tokens"),
        "{error}"
    );
}

#[test]
fn configuration_of_a_llama() {
    assert_eq!(
        config(&with_table(llama())).expect("a configuration"),
        json!({
            "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 7, "hidden_size": 24,
            "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2,
            "head_dim": 6, "max_position_embeddings": 256, "rms_norm_eps": f64::from(1e-5f32),
            "rope_theta": 10000.0, "rope_scaling": null, "tie_word_embeddings": true, "bos_token_id": null,
            "eos_token_id": [], "pad_token_id": null, "hidden_act": "silu", "attention_bias": false,
            "mlp_bias": false,
        })
    );
    let mut other = with_table(llama());
    other.tensors.push(("output.weight".into(), vec![7, 24], F32, vec![0; 7 * 24 * 4]));
    other.tensors.push(("blk.0.attn_q.bias".into(), vec![24], F32, vec![0; 96]));
    other.metadata.extend([
        ("tokenizer.ggml.bos_token_id".into(), Value::U32(1)),
        ("tokenizer.ggml.eos_token_id".into(), Value::U32(2)),
        ("tokenizer.ggml.eot_token_id".into(), Value::U32(5)),
        ("llama.rope.freq_base".into(), Value::F32(5e5)),
        ("llama.rope.scaling.type".into(), Value::Text("linear".into())),
        ("llama.rope.scaling.factor".into(), Value::F32(4.0)),
    ]);
    let config = config(&other).expect("a configuration");
    assert_eq!(config["tie_word_embeddings"], false);
    assert_eq!(config["attention_bias"], true);
    assert_eq!((&config["bos_token_id"], &config["eos_token_id"]), (&json!(1), &json!([2, 5])));
    assert_eq!(config["rope_theta"], 5e5);
    assert_eq!(config["rope_scaling"], json!({ "rope_type": "linear", "factor": 4.0 }));
}

#[test]
fn unsupported_configurations_are_refused_by_name() {
    for (key, value) in [
        ("llama.expert_count", Value::U32(8)),
        ("llama.attention.value_length", Value::U32(8)),
        ("llama.rope.dimension_count", Value::U32(4)),
        ("llama.rope.scaling.type", Value::Text("yarn".into())),
        ("llama.logit_scale", Value::F32(0.5)),
    ] {
        let mut gguf = with_table(llama());
        gguf.metadata.push((key.into(), value));
        let error = config(&gguf).expect_err(key);
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.to_string().contains(key) && error.to_string().contains("model.gguf"), "{error}");
    }
}

/// The factors that convert_hf_to_gguf.py computes for `rope_type` llama3, in f32.
fn llama3_factors(theta: f32, head_dim: usize, factor: f32, high: f32, context: f32) -> Vec<u8> {
    let factors = (0..head_dim / 2).map(|i| {
        let frequency = 1.0 / theta.powf(2.0 * i as f32 / head_dim as f32);
        let wavelength = 2.0 * std::f32::consts::PI / frequency;
        if wavelength < context / high {
            1.0
        } else if wavelength > context {
            factor
        } else {
            let smooth = (context / wavelength - 1.0) / (high - 1.0);
            1.0 / ((1.0 - smooth) / factor + smooth)
        }
    });
    factors.flat_map(f32::to_le_bytes).collect()
}

#[test]
fn rope_factors_give_llama3_scaling_back() {
    let scaling = |factors: Vec<u8>| {
        let mut gguf = with_table(llama());
        for (key, value) in [("key_length", 64), ("value_length", 64)] {
            gguf.metadata.push((format!("llama.attention.{key}"), Value::U32(value)));
        }
        gguf.metadata.push(("llama.rope.freq_base".into(), Value::F32(5e5)));
        gguf.tensors.push(("rope_freqs.weight".into(), vec![factors.len() / 4], F32, factors));
        config(&gguf).map(|config| config["rope_scaling"].clone())
    };
    for (factor, high, context) in
        [(32.0, 4.0, 8192.0), (8.0, 4.0, 8192.0), (8.0, 2.5, 2048.0), (16.0, 8.0, 4096.0)]
    {
        assert_eq!(
            scaling(llama3_factors(5e5, 64, factor, high, context)).expect("a scaling"),
            json!({
                "rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": high,
                "original_max_position_embeddings": context as u64,
            })
        );
    }
    assert_eq!(
        scaling([1.0f32; 32].iter().flat_map(|f| f.to_le_bytes()).collect()).expect("none"),
        Json::Null
    );
    let linear: Vec<u8> = (0..32).flat_map(|i| (1.0 + i as f32).to_le_bytes()).collect();
    let error = scaling(linear).expect_err("no Llama 3");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("rope_freqs.weight"), "{error}");
    let error = scaling(llama3_factors(5e5, 32, 8.0, 4.0, 8192.0)).expect_err("too few");
    assert!(error.to_string().contains("16 factors"), "{error}");
    let mut nan = llama3_factors(5e5, 64, 8.0, 4.0, 8192.0);
    nan[40..44].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(scaling(nan).is_err());
}

#[test]
fn gemma_and_qwen_appear_as_hugging_face_has_them() {
    let gemma = load("gemma3");
    let config: Json = serde_json::from_slice(&gemma.text.config).expect("JSON");
    for (key, value) in [
        ("model_type", json!("gemma3_text")),
        ("head_dim", json!(16)),
        ("sliding_window", json!(16)),
        ("layer_types", json!(["sliding_attention"])),
        ("rope_local_base_freq", json!(10000.0)),
        ("query_pre_attn_scalar", json!(16)),
        ("hidden_activation", json!("gelu_pytorch_tanh")),
        ("eos_token_id", json!([1, 4])),
        ("tie_word_embeddings", json!(true)),
    ] {
        assert_eq!(config[key], value, "{key}");
    }
    let names: Vec<&str> = gemma.weights.names().collect();
    let layer = ["input_layernorm", "mlp.down_proj", "mlp.gate_proj", "mlp.up_proj"];
    let layer = layer.iter().chain(&["post_attention_layernorm", "post_feedforward_layernorm"]);
    let layer = layer.chain(&["pre_feedforward_layernorm", "self_attn.k_norm", "self_attn.k_proj"]);
    let layer =
        layer.chain(&["self_attn.o_proj", "self_attn.q_norm", "self_attn.q_proj", "self_attn.v_proj"]);
    let mut wanted: Vec<String> = layer.map(|module| format!("model.layers.0.{module}.weight")).collect();
    wanted.insert(0, "model.embed_tokens.weight".into());
    wanted.push("model.norm.weight".into());
    assert_eq!(names, wanted);
    // The file has 1 + weight: ones here.
    assert_eq!(read(&*gemma.weights, "model.norm.weight"), [0; 32 * 4]);

    let config = |name: &str| -> Json { serde_json::from_slice(&load(name).text.config).expect("JSON") };
    assert_eq!(config("qwen2-qwen2")["model_type"], "qwen2");
    assert!(load("qwen2-qwen2").weights.info("model.layers.0.self_attn.v_proj.bias").is_some());
    assert_eq!(config("qwen3-qwen2")["model_type"], "qwen3");
    assert_eq!(config("qwen3-qwen2")["attention_bias"], false);
    assert!(load("qwen3-qwen2").weights.info("model.layers.0.self_attn.k_norm.weight").is_some());
    // Not Llama's, so not permuted.
    let raw = std::fs::read(fixtures().join("qwen3-qwen2.gguf")).expect("a fixture");
    let query = read(&*load("qwen3-qwen2").weights, "model.layers.0.self_attn.q_proj.weight");
    assert!(raw.windows(query.len()).any(|window| window == query));
}

/// Ollama's files have the vision tower too, and other names for two keys.
#[test]
fn gemma_with_a_vision_tower() {
    let text = |value: &str| Value::Text(value.into());
    let mut gguf = Gguf::new([("general.architecture", text("gemma3"))]);
    let keys = llama().metadata.into_iter().skip(1);
    gguf.metadata.extend(keys.map(|(key, value)| (key.replace("llama", "gemma3"), value)));
    gguf.metadata.extend([
        ("gemma3.attention.sliding_window".into(), Value::U32(64)),
        ("gemma3.rope.global.freq_base".into(), Value::F32(1e6)),
        ("gemma3.rope.local.freq_base".into(), Value::F32(2e4)),
    ]);
    let mut gguf = with_table(gguf);
    for name in ["v.blk.0.attn_q.weight", "mm.mm_input_projection.weight"] {
        gguf.tensors.push((name.into(), vec![2, 4], F16, vec![0; 16]));
    }
    assert!(open(gguf.bytes()).expect("a good file").names().eq(["model.embed_tokens.weight"]));
    let config = config(&gguf).expect("a configuration");
    assert_eq!((&config["rope_theta"], &config["rope_local_base_freq"]), (&json!(1e6), &json!(2e4)));
    gguf.metadata[0].1 = text("llama");
    assert!(open(gguf.bytes()).err().expect("no such part").to_string().contains("mm.mm_input_projection"));
}

/// Memory that notes the longest read of it.
struct Watched(MemorySource, Cell<usize>);

impl ByteSource for Watched {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn len(&self) -> u64 {
        self.0.len()
    }

    fn read(&self, offset: u64, len: usize) -> BoxFuture<'_, Result<Vec<u8>>> {
        self.1.set(self.1.get().max(len));
        self.0.read(offset, len)
    }
}

/// Regrouped heads and blocks are read below as they are asked for above: no longer reads, nothing twice.
#[test]
fn slices_of_large_tensors_stay_slices() {
    let (rows, columns) = (4 * 96, 10_240);
    let data: Vec<u8> = (0..rows * columns).flat_map(|i| ((i * 31) as u16).to_le_bytes()).collect();
    let mut gguf = llama();
    gguf.tensors.push(("blk.0.attn_q.weight".into(), vec![rows, columns], F16, data));
    gguf.tensors.push((
        "blk.0.ffn_up.weight".into(),
        vec![rows, columns],
        Q8_0,
        vec![1; rows * columns / 32 * 34],
    ));
    let source = Rc::new(Watched(MemorySource::new("model.gguf", gguf.bytes()), Cell::new(0)));
    let file = block_on(GgufFile::open(source.clone())).expect("a good file");
    let names: Vec<String> = file.names().map(str::to_owned).collect();
    let mut slices = Slices::new(&file, &names);
    let mut found = vec![Vec::new(); names.len()];
    while let Some(slice) = block_on(slices.next()).expect("a slice") {
        assert_eq!(slice.offset % file.granule(&names[slice.tensor]), 0);
        found[slice.tensor].extend(slice.bytes);
    }
    assert!(source.1.get() as u64 <= SLICE, "{}", source.1.get());
    for (name, found) in names.iter().zip(&found) {
        assert!(found.len() as u64 > SLICE && *found == read(&file, name), "{name}");
    }
}
