//! Adapters written for other tools: GGUF files against llama.cpp's Python package
//! (`tests/golden/make_exports.py` writes the fixtures), mlx-lm folders against what mlx-lm computes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use pollster::block_on;
use postil::checkpoint::{Adapter, AdapterFiles, AdapterModule, Outtype};
use postil::config::{LoraConfig, ModelConfig, ModuleId};
use postil::source::MemorySource;
use postil::{ErrorKind, Result};
use safetensors::SafeTensors;
use serde_json::Value as Json;

use super::gguf_writer::{F32, Gguf, Value};

const CASES: [&str; 13] = [
    "gqa_f32_untied",
    "tied_bf16",
    "tied_f16",
    "untied_wide",
    "tied_embed_only_f32",
    "llama3_rope",
    "qwen2",
    "qwen3",
    "mistral",
    "smollm3",
    "gemma3",
    "phi3",
    "gpt2",
];

fn golden(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(case)
}

pub fn load(case: &str) -> (Adapter, ModelConfig) {
    let config = std::fs::read(golden(case).join("config.json")).expect("a golden file");
    let adapter = Adapter::load(&golden(case).join("adapter")).expect("a golden adapter");
    (adapter, ModelConfig::from_json(&config).expect("a good config.json"))
}

fn read(bytes: Vec<u8>, model: &ModelConfig) -> Result<Adapter> {
    block_on(Adapter::from_gguf(&MemorySource::new("adapter.gguf", bytes), model))
}

/// scale·B·A of a module, `[out_features, in_features]`, in f64.
fn product(module: &AdapterModule, scale: f64) -> Vec<f64> {
    let AdapterModule { r, in_features, out_features, ref a, ref b, .. } = *module;
    let element = |row: usize, column: usize| {
        let terms = (0..r).map(|k| f64::from(b[row * r + k]) * f64::from(a[k * in_features + column]));
        scale * terms.sum::<f64>()
    };
    (0..out_features).flat_map(|row| (0..in_features).map(move |column| element(row, column))).collect()
}

/// The products of all modules of an adapter.
fn products(adapter: &Adapter, model: &ModelConfig) -> Vec<(ModuleId, Vec<f64>)> {
    let resolved = adapter.config.resolve(model).expect("a good configuration");
    let scale = |id: ModuleId| resolved.iter().find(|m| m.id == id).expect("a module").alpha;
    let modules = adapter.modules.iter();
    modules.map(|m| (m.id, product(m, scale(m.id) / m.r as f64))).collect()
}

#[track_caller]
fn assert_close(case: &str, found: &[f64], wanted: &[f64], tolerance: f64) {
    assert_eq!(found.len(), wanted.len(), "{case}");
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let distance = norm(&mut found.iter().zip(wanted).map(|(found, wanted)| found - wanted));
    let size = norm(&mut wanted.iter().copied());
    assert!(distance <= tolerance * size, "{case}: {distance:e} of {size:e}");
}

#[test]
fn gguf_files_are_those_of_llama_cpp() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/host/fixtures/exports");
    let mut cases = 0;
    for entry in std::fs::read_dir(fixtures).expect("the fixtures") {
        let path = entry.expect("an entry").path();
        let case = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
        let (adapter, model) = load(&case);
        let found = adapter.to_gguf(&model, Outtype::F32).expect("a file");
        assert!(found == std::fs::read(&path).expect("a fixture"), "{case}");
        cases += 1;
    }
    assert_eq!(cases, 6);
}

#[test]
fn gguf_files_are_read_back() {
    for case in CASES {
        let (adapter, model) = load(case);
        let again = read(adapter.to_gguf(&model, Outtype::F32).expect("a file"), &model).expect(case);
        let halves = read(adapter.to_gguf(&model, Outtype::F16).expect("a file"), &model).expect(case);
        let products = products(&adapter, &model);
        for (other, tolerance) in [(&again, 1e-7), (&halves, 2e-3)] {
            let found = self::products(other, &model);
            assert_eq!(found.len(), products.len(), "{case}");
            for ((found_id, found), (id, wanted)) in found.iter().zip(&products) {
                assert_eq!(found_id, id, "{case}");
                // Of f32 only the factors of `alpha_pattern` are rounded; of f16 both matrices (2⁻¹¹ a value).
                assert_close(&format!("{case} {id}"), found, wanted, tolerance);
            }
        }
        if adapter.config.alpha_pattern.is_empty() {
            assert!(again.modules == adapter.modules, "{case}");
        }
    }
}

#[test]
fn scales_that_no_format_knows_go_into_b() {
    let (mut adapter, model) = load("gqa_f32_untied");
    adapter.config.use_rslora = true;
    let key = "layers.1.self_attn.k_proj".to_owned();
    adapter.config.alpha_pattern = [(key, 3.0), ("layers.0.self_attn.q_proj".to_owned(), 0.0)].into();
    let wanted = products(&adapter, &model);
    let again = read(adapter.to_gguf(&model, Outtype::F32).expect("a file"), &model).expect("an adapter");
    for ((id, wanted), (_, found)) in wanted.iter().zip(products(&again, &model)) {
        assert_close(&id.name(), &found, wanted, 1e-6);
    }
    // llama.cpp takes an alpha of 0 for a scale of 1.
    adapter.config.lora_alpha = 0.0;
    adapter.config.alpha_pattern.clear();
    let again = read(adapter.to_gguf(&model, Outtype::F32).expect("a file"), &model).expect("an adapter");
    assert!(again.modules.iter().all(|module| module.b.iter().all(|&value| value == 0.0)));
}

#[test]
fn halves_that_are_too_large_are_refused() {
    let (mut adapter, model) = load("gqa_f32_untied");
    adapter.modules[0].a[3] = 70_000.0;
    let error = adapter.to_gguf(&model, Outtype::F16).expect_err("no f16");
    assert_eq!(error.kind(), ErrorKind::NotFinite);
    assert!(error.to_string().contains("write F32"), "{error}");
    adapter.to_gguf(&model, Outtype::F32).expect("an f32");
    adapter.modules[0].a[3] = f32::NAN;
    assert_eq!(adapter.to_gguf(&model, Outtype::F32).expect_err("no number").kind(), ErrorKind::NotFinite);
    assert_eq!(adapter.to_mlx(&model).expect_err("no number").kind(), ErrorKind::NotFinite);
    let (other, _) = load("qwen2");
    assert_eq!(
        other.to_gguf(&load("phi3").1, Outtype::F32).expect_err("another model").kind(),
        ErrorKind::Config
    );
}

/// One module of the golden adapter's first layer: rank 2.
fn small() -> Gguf {
    let text = |text: &str| Value::Text(text.to_owned());
    let mut gguf = Gguf::new([
        ("general.architecture", text("llama")),
        ("general.type", text("adapter")),
        ("adapter.type", text("lora")),
        ("adapter.lora.alpha", Value::F32(4.0)),
    ]);
    // hidden_size 40, key and value heads 2 of 10.
    let zeros = |shape: [usize; 2]| vec![0u8; 4 * shape[0] * shape[1]];
    for (half, shape) in [("lora_a", [2, 40]), ("lora_b", [20, 2])] {
        gguf.tensors.push((format!("blk.0.attn_v.weight.{half}"), shape.to_vec(), F32, zeros(shape)));
    }
    gguf
}

#[test]
fn hostile_gguf_adapters_are_refused() {
    let model = load("gqa_f32_untied").1;
    read(small().bytes(), &model).expect("a good adapter");
    let refused = |change: &dyn Fn(&mut Gguf), part: &str| {
        let mut gguf = small();
        change(&mut gguf);
        let error = read(gguf.bytes(), &model).expect_err(part);
        assert!(error.to_string().contains(part), "{part:?} is not in: {error}");
    };
    let text = |text: &str| Value::Text(text.to_owned());
    refused(&|gguf| gguf.metadata[0].1 = text("qwen2"), "expected llama");
    refused(&|gguf| gguf.metadata[1].1 = text("model"), "expected adapter");
    refused(&|gguf| gguf.metadata[2].1 = text("dora"), "expected lora");
    refused(&|gguf| drop(gguf.metadata.pop()), "adapter.lora.alpha");
    refused(&|gguf| gguf.metadata[3].1 = Value::F32(f32::NAN), "adapter.lora.alpha");
    refused(&|gguf| gguf.metadata[3].1 = Value::F32(0.0), "adapter.lora.alpha");
    refused(&|gguf| drop(gguf.tensors.pop()), "lora_b is missing");
    refused(&|gguf| gguf.tensors.clear(), "r is 0");
    refused(&|gguf| gguf.tensors[0].0 = "blk.0.attn_qkv.weight.lora_a".to_owned(), "attn_qkv");
    refused(&|gguf| gguf.tensors[0].0 = "blk.7.attn_v.weight.lora_a".to_owned(), "blk.7");
    refused(&|gguf| gguf.tensors[0].0 = "blk.00.attn_v.weight.lora_a".to_owned(), "blk.00");
    refused(&|gguf| gguf.tensors[1].1 = vec![2, 20], "expected [20, 2]");
    refused(&|gguf| gguf.tensors[0].1 = vec![80], "expected [80, 40]");
    let empty = |gguf: &mut Gguf, tensor: usize, shape: [usize; 2]| {
        gguf.tensors[tensor].1 = shape.to_vec();
        gguf.tensors[tensor].3.clear();
    };
    let no_rank = |gguf: &mut Gguf| {
        empty(gguf, 0, [0, 40]);
        empty(gguf, 1, [20, 0]);
    };
    refused(&no_rank, "rank 0");
    refused(&|gguf| gguf.tensors[0].3[..4].copy_from_slice(&f32::INFINITY.to_le_bytes()), "inf");
    assert!(read(small().bytes()[..200].to_vec(), &model).is_err());
}

/// `scale·lora_a·lora_b` of a module in an mlx-lm folder, transposed: `[out_features, in_features]`.
fn mlx_product(files: &AdapterFiles, name: &str, [in_features, out_features]: [usize; 2]) -> Vec<f64> {
    let config: Json = serde_json::from_slice(&files.config).expect("JSON");
    let parameters = &config["lora_parameters"];
    let rank = parameters["rank"].as_u64().expect("a rank") as usize;
    let tensors = SafeTensors::deserialize(&files.model).expect("a good file");
    let half = |half: &str, shape: [usize; 2]| -> Vec<f32> {
        let tensor = tensors.tensor(&format!("{name}.{half}")).expect(name);
        assert_eq!(tensor.shape(), shape, "{name}.{half}");
        bytemuck::pod_collect_to_vec(tensor.data())
    };
    let (a, b) = (half("lora_a", [in_features, rank]), half("lora_b", [rank, out_features]));
    let scale = parameters["scale"].as_f64().expect("a scale");
    let element = |row: usize, column: usize| {
        let terms = (0..rank).map(|k| f64::from(a[column * rank + k]) * f64::from(b[k * out_features + row]));
        scale * terms.sum::<f64>()
    };
    (0..out_features).flat_map(|row| (0..in_features).map(move |column| element(row, column))).collect()
}

#[test]
fn mlx_folders_compute_the_same() {
    for case in CASES {
        let (mut adapter, model) = load(case);
        adapter.config.use_rslora = case == "qwen3";
        let files = adapter.to_mlx(&model).expect(case);
        let config: Json = serde_json::from_slice(&files.config).expect("JSON");
        assert_eq!(config["fine_tune_type"], "lora");
        let layers = config["num_layers"].as_u64().expect("a number") as usize;
        let keys: BTreeSet<&str> = config["lora_parameters"]["keys"]
            .as_array()
            .expect("keys")
            .iter()
            .flat_map(Json::as_str)
            .collect();
        let stored = SafeTensors::deserialize(&files.model).expect("a good file");
        assert_eq!(stored.len(), 2 * adapter.modules.len(), "{case}");
        let again = Adapter::from_mlx(&files, &model).expect(case);
        let wanted = products(&adapter, &model);
        for ((id, wanted), (again_id, again)) in wanted.iter().zip(products(&again, &model)) {
            assert_eq!(*id, again_id, "{case}");
            assert_close(&id.name(), &again, wanted, 2e-7);
        }
        for (module, (id, wanted)) in adapter.modules.iter().zip(&wanted) {
            assert!(
                id.layer + layers >= model.num_hidden_layers,
                "{case}: {id} is before the adapted layers"
            );
            assert!(keys.contains(id.projection.path()), "{case}: {id}");
            let list = if case == "gpt2" { "h" } else { "layers" };
            let name = format!("model.{list}.{}.{}", id.layer, id.projection.path());
            let found = mlx_product(&files, &name, [module.in_features, module.out_features]);
            // The scale is rounded to f32, and `lora_b` where it holds another one.
            assert_close(&name, &found, wanted, 2e-7);
        }
    }
}

#[test]
fn mlx_counts_layers_from_the_last() {
    let (mut adapter, model) = load("gqa_f32_untied");
    adapter.modules.retain(|module| module.id.layer == 1);
    adapter.config.layers_to_transform = Some(vec![1]);
    let files = adapter.to_mlx(&model).expect("files");
    let config: Json = serde_json::from_slice(&files.config).expect("JSON");
    assert_eq!(config["num_layers"], 1);
    assert_eq!(config["model"], "tests/golden/gqa_f32_untied");
}

#[test]
fn hostile_mlx_adapters_are_refused() {
    let (adapter, model) = load("gqa_f32_untied");
    let good = adapter.to_mlx(&model).expect("files");
    let refused = |config: &[u8], weights: &[u8], part: &str| {
        let files = AdapterFiles { config: config.to_vec(), model: weights.to_vec() };
        let error = Adapter::from_mlx(&files, &model).expect_err(part);
        assert!(error.to_string().contains(part), "{part:?} is not in: {error}");
    };
    let change = |from: &str, to: &str| {
        let text = String::from_utf8(good.config.clone()).expect("UTF-8");
        assert!(text.contains(from), "{from:?} is not in {text}");
        text.replace(from, to).into_bytes()
    };
    refused(b"[", &good.model, "no adapter of mlx-lm");
    refused(&change("\"scale\"", "\"alpha\""), &good.model, "scale");
    refused(&change("\"lora\"", "\"dora\""), &good.model, "fine_tune_type is dora");
    refused(&change("\"rank\": 4", "\"rank\": 5"), &good.model, "expected [40, 5]");
    refused(&change("\"rank\": 4", "\"rank\": -1"), &good.model, "no adapter of mlx-lm");
    refused(&change("\"scale\": 2.0", "\"scale\": -2.0"), &good.model, "lora_alpha");
    refused(&good.config, &good.model[..good.model.len() - 4], "truncated");
    // The PEFT adapter's tensors have other names.
    refused(&good.config, &adapter.to_files().expect("files").model, "0 of them belong");
}

/// What is read from a GGUF file means its modules and no others, whatever the names in them.
#[test]
fn configurations_of_gguf_adapters_are_exact() {
    let (adapter, model) = load("untied_wide");
    let again = read(adapter.to_gguf(&model, Outtype::F32).expect("a file"), &model).expect("an adapter");
    let ids = |config: &LoraConfig| -> Vec<(ModuleId, usize)> {
        config.resolve(&model).expect("a good configuration").iter().map(|m| (m.id, m.r)).collect()
    };
    assert_eq!(ids(&again.config), ids(&adapter.config));
}
