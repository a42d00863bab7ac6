//! `postil export` and `postil merge`.

use std::fs;
use std::path::{Path, PathBuf};

use postil::checkpoint::{Adapter, AdapterModule};
use postil::config::{LoraConfig, ModelConfig};
use serde_json::Value;

use super::common::*;

/// An adapter of the built-in model that changes what it says, as training writes it.
fn write_adapter(dir: &Path) -> PathBuf {
    let config = fs::read(demo_folder().join("config.json")).expect("the demo's file");
    let model = ModelConfig::from_json(&config).expect("a good config.json");
    let config = LoraConfig {
        r: 4,
        lora_alpha: 8.0,
        base_model_name_or_path: Some("postil-demo".to_owned()),
        ..LoraConfig::default()
    };
    // Any numbers that are spread around 0.
    let values = |len: usize, seed: usize| -> Vec<f32> {
        (0..len).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 1009.0 - 0.5).collect()
    };
    let modules = config.resolve(&model).expect("a good configuration").into_iter().enumerate();
    let modules = modules.map(|(i, module)| AdapterModule {
        id: module.id,
        r: module.r,
        in_features: module.in_features,
        out_features: module.out_features,
        a: values(module.r * module.in_features, 2 * i).into_iter().map(|value| 0.2 * value).collect(),
        b: values(module.r * module.out_features, 2 * i + 1).into_iter().map(|value| 0.2 * value).collect(),
    });
    let adapter = Adapter { modules: modules.collect(), config };
    let path = dir.join("adapter");
    adapter.save(&path).expect("written");
    path
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a folder");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

#[test]
fn adapters_are_written_for_other_tools() {
    let dir = folder();
    let adapter = arg(&write_adapter(dir.path()));
    let export = |format: &str, out: &str, more: &[&str]| -> Value {
        let out = arg(&dir.path().join(out));
        let mut args = vec!["export", "--adapter", &adapter, "--format", format, "--out", &out, "--json"];
        args.extend(more);
        postil(&args).json()
    };
    // Four layers of seven modules.
    assert_eq!(export("gguf", "adapter.gguf", &[])["modules"], 28);
    let whole = export("gguf", "named.gguf", &["--model", "demo"])["bytes"].as_u64().expect("a size");
    let half = export("gguf", "half.gguf", &["--outtype", "f16"])["bytes"].as_u64().expect("a size");
    assert!(half < whole * 6 / 10, "{half} of {whole}");
    let read = |name: &str| fs::read(dir.path().join(name)).expect("a file");
    assert!(read("adapter.gguf") == read("named.gguf") && read("adapter.gguf").starts_with(b"GGUF"));

    export("mlx", "mlx", &[]);
    assert_eq!(names(&dir.path().join("mlx")), ["adapter_config.json", "adapters.safetensors"]);
    let config: Value = serde_json::from_slice(&read("mlx/adapter_config.json")).expect("JSON");
    assert_eq!((&config["num_layers"], &config["lora_parameters"]["scale"]), (&4.into(), &2.0.into()));

    export("peft", "peft", &[]);
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        assert!(read(&format!("peft/{name}")) == read(&format!("adapter/{name}")), "{name}");
    }
}

#[test]
fn a_merged_model_is_the_model_with_its_adapter() {
    let dir = folder();
    let adapter = arg(&write_adapter(dir.path()));
    let out = arg(&dir.path().join("merged"));
    let summary =
        postil(&["merge", "--adapter", &adapter, "--out", &out, "--check", "The ", "--json"]).json();
    assert_eq!(summary["modules"], 28);
    // Two roundings to bf16 never give the same bits, and the adapter does far more than they do.
    let check = |name: &str| summary["check"][name].as_f64().expect(name);
    let (difference, allowed, effect) = (check("max_difference"), check("allowed"), check("effect"));
    assert!(0.0 < difference && difference <= allowed && 3.0 * allowed < effect, "{}", summary["check"]);
    let all = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
    assert_eq!(names(Path::new(&out)), all);
    let data = arg(&write_data(dir.path()));
    let eval = |args: &[&str]| {
        let report =
            postil(&[&["eval", "--data", &data, "--batch-size", "16", "--json"], args].concat()).json();
        report["loss"].as_f64().expect("a loss")
    };
    let (base, adapted) = (eval(&[]), eval(&["--adapter", &adapter]));
    let merged = eval(&["--model", &out]);
    assert!((base - adapted).abs() > 0.05 * base, "the adapter does something: {base} and {adapted}");
    // The built-in weights are bf16, and so are the merged ones: each is rounded by up to 2⁻⁹ of itself.
    assert!((merged - adapted).abs() < 5e-3 * adapted, "{merged} and {adapted}");

    // In parts it is the same model; the copy's other files come along.
    let copy = copy_of_demo(dir.path());
    fs::write(copy.join("special_tokens_map.json"), "{}").expect("writable");
    fs::write(copy.join("README.md"), "not part of a model").expect("writable");
    let parts = arg(&dir.path().join("parts"));
    let copy = arg(&copy);
    let args = ["merge", "--model", &copy, "--adapter", &adapter, "--out", &parts, "--max-shard-size", "1MB"];
    assert!(postil(&args).expect_ok().stdout.contains("files of weights"));
    let found = names(Path::new(&parts));
    assert!(found.iter().any(|name| name == "model.safetensors.index.json"), "{found:?}");
    assert!(found.iter().any(|name| name == "special_tokens_map.json"), "{found:?}");
    assert!(!found.iter().any(|name| name == "README.md" || name == "model.safetensors"), "{found:?}");
    assert_eq!(eval(&["--model", &parts]), merged);
}

#[test]
fn what_cannot_be_written_is_said() {
    let dir = folder();
    let path = write_adapter(dir.path());
    let adapter = arg(&path);
    let at = |name: &str| arg(&dir.path().join(name));
    let before = names(dir.path());

    for format in ["gguf", "mlx", "peft"] {
        let args = ["export", "--adapter", &adapter, "--format", format, "--out", &adapter];
        postil(&args).expect_error(&["is there already", &adapter]);
    }
    postil(&["merge", "--adapter", &adapter, "--out", &adapter]).expect_error(&["is there already"]);
    postil(&["merge", "--adapter", &at("none"), "--out", &at("x")]).expect_error(&["adapter_config.json"]);
    let args = ["export", "--adapter", &adapter, "--format", "mlx", "--outtype", "f16", "--out", &at("x")];
    postil(&args).expect_error(&["--outtype", "gguf"]);
    let args = ["merge", "--adapter", &adapter, "--out", &at("x"), "--max-shard-size", "0"];
    postil(&args).expect_error(&["--max-shard-size"]);
    let gguf = arg(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/host/fixtures/gguf/llama-gpt-2.gguf"));
    postil(&["merge", "--model", &gguf, "--adapter", &adapter, "--out", &at("x")])
        .expect_error(&["GGUF", "convert"]);
    let other = arg(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/qwen2"));
    postil(&["export", "--model", &other, "--adapter", &adapter, "--format", "gguf", "--out", &at("x")])
        .expect_error(&["does not fit the model"]);

    // A base that is not said, or is not there.
    let config = path.join("adapter_config.json");
    let text = fs::read_to_string(&config).expect("the configuration");
    for (name, part) in [("null", "name it with --model"), ("\"/no/such/model\"", "/no/such/model")] {
        fs::write(&config, text.replace("\"postil-demo\"", name)).expect("writable");
        postil(&["merge", "--adapter", &adapter, "--out", &at("x")]).expect_error(&[part, "--model"]);
    }
    fs::write(&config, text).expect("writable");

    // Half a model is never left.
    let copy = copy_of_demo(dir.path());
    let weights = copy.join("model.safetensors");
    let bytes = fs::read(&weights).expect("the weights");
    fs::write(&weights, &bytes[..bytes.len() - 8]).expect("writable");
    postil(&["merge", "--model", &arg(&copy), "--adapter", &adapter, "--out", &at("x")])
        .expect_error(&["model.safetensors"]);
    fs::remove_dir_all(&copy).expect("ours");
    assert_eq!(names(dir.path()), before);
}
