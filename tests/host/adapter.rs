//! PEFT adapters in and out.

use std::borrow::Cow;
use std::collections::BTreeMap;

use half::{bf16, f16};
use postil::ErrorKind;
use postil::checkpoint::{Adapter, AdapterModule, write_safetensors};
use postil::config::{LoraConfig, ModelConfig, ModuleId, Projection, TargetModules};
use safetensors::{Dtype, SafeTensors};

/// Written by PEFT 0.21.2: two layers, r 2 on q_proj and 1 on v_proj; the i-th of the tensors sorted by
/// name holds i, i + 1/8, i + 2/8 …
const CONFIG: &[u8] = include_bytes!("peft_adapter/adapter_config.json");
const MODEL: &[u8] = include_bytes!("peft_adapter/adapter_model.safetensors");

fn model() -> ModelConfig {
    ModelConfig::from_json(include_bytes!("peft_adapter/config.json")).expect("a good config.json")
}

fn ramp(start: usize, len: usize) -> Vec<f32> {
    (0..len).map(|index| start as f32 + index as f32 / 8.0).collect()
}

fn expected_modules() -> Vec<AdapterModule> {
    let module = |layer, projection, r, out_features, start| AdapterModule {
        id: ModuleId { layer, projection },
        r,
        in_features: 8,
        out_features,
        a: ramp(start, r * 8),
        b: ramp(start + 1, out_features * r),
    };
    vec![
        module(0, Projection::QProj, 2, 8, 0),
        module(0, Projection::VProj, 1, 4, 2),
        module(1, Projection::QProj, 2, 8, 4),
        module(1, Projection::VProj, 1, 4, 6),
    ]
}

#[test]
fn reads_what_peft_wrote() {
    let adapter = Adapter::from_files(CONFIG, MODEL).expect("PEFT's adapter");
    assert_eq!(adapter.modules, expected_modules());
    assert_eq!((adapter.config.r, adapter.config.lora_alpha), (2, 4.0));
    adapter.check(&model()).expect("its model");
}

#[test]
fn writes_the_bytes_that_peft_wrote() {
    let adapter = Adapter::from_files(CONFIG, MODEL).expect("PEFT's adapter");
    let files = adapter.to_files().expect("files");
    assert_eq!(files.model, MODEL);
    let again = Adapter::from_files(&files.config, &files.model).expect("our own adapter");
    assert_eq!(again, adapter);
}

#[test]
fn writes_all_linear_as_names() {
    let config = LoraConfig { target_modules: TargetModules::AllLinear, r: 2, ..LoraConfig::default() };
    let modules = config.resolve(&model()).expect("modules");
    let modules = modules.iter().map(|module| AdapterModule {
        id: module.id,
        r: 2,
        in_features: module.in_features,
        out_features: module.out_features,
        a: vec![0.5; 2 * module.in_features],
        b: vec![0.25; 2 * module.out_features],
    });
    let adapter = Adapter { config, modules: modules.collect() };
    adapter.check(&model()).expect("its model");
    let files = adapter.to_files().expect("files");
    let again = Adapter::from_files(&files.config, &files.model).expect("our own adapter");
    assert_eq!(
        again.config.target_modules,
        TargetModules::List(
            ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
                .map(str::to_owned)
                .to_vec()
        )
    );
    assert_eq!(again.modules, adapter.modules);
    again.check(&model()).expect("its model");
}

type Tensor<'a> = (&'a str, Dtype, Vec<usize>, Cow<'a, [u8]>);

/// PEFT's file with a change made to its tensors.
fn changed(change: impl FnOnce(&mut Vec<Tensor<'_>>)) -> Vec<u8> {
    let file = SafeTensors::deserialize(MODEL).expect("PEFT's file");
    let mut names: Vec<&str> = file.names();
    names.sort_unstable();
    let mut tensors: Vec<Tensor<'_>> = names
        .into_iter()
        .map(|name| {
            let view = file.tensor(name).expect("a tensor");
            (name, view.dtype(), view.shape().to_vec(), Cow::Owned(view.data().to_vec()))
        })
        .collect();
    change(&mut tensors);
    write_safetensors(&tensors, &BTreeMap::new()).expect("a file")
}

fn f32s(bytes: &[u8]) -> impl Iterator<Item = f32> + '_ {
    bytes.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes))
}

#[test]
fn widens_half_precision_exactly() {
    let model = changed(|tensors| {
        for (index, (_, dtype, _, data)) in tensors.iter_mut().enumerate() {
            // Every value of PEFT's file is a multiple of 1/8 below 16: exact in both.
            (*dtype, *data) = if index % 2 == 0 {
                (Dtype::F16, f32s(data).flat_map(|value| f16::from_f32(value).to_le_bytes()).collect())
            } else {
                (Dtype::BF16, f32s(data).flat_map(|value| bf16::from_f32(value).to_le_bytes()).collect())
            };
        }
    });
    assert_eq!(Adapter::from_files(CONFIG, &model).expect("an adapter").modules, expected_modules());
}

#[test]
fn refuses_by_tensor() {
    const Q: &str = "base_model.model.model.layers.0.self_attn.q_proj";
    let refused = |model: Vec<u8>, kind: ErrorKind, texts: &[&str]| {
        let error = Adapter::from_files(CONFIG, &model).expect_err(texts[0]);
        assert_eq!(error.kind(), kind, "{error}");
        for text in texts {
            assert!(error.to_string().contains(text), "{text:?} is not in: {error}");
        }
    };
    use ErrorKind::{Format, Unsupported};
    refused(changed(|t| drop(t.remove(0))), Format, &["q_proj.lora_A.weight is missing"]);
    refused(changed(|t| drop(t.remove(1))), Format, &["q_proj.lora_B.weight is missing"]);
    refused(changed(|t| t.clear()), Format, &["no tensor"]);
    for name in [
        "lm_head.weight",
        "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector",
        "base_model.model.model.layers.0.mlp.q_proj.lora_A.weight",
        "base_model.model.model.layers.x.mlp.up_proj.lora_A.weight",
        "model.layers.0.self_attn.q_proj.lora_A.weight",
    ] {
        refused(changed(|t| t[0].0 = name), Format, &[name]);
    }
    // Both halves agree on rank 4, the configuration says 2.
    refused(
        changed(|t| {
            t[0].2 = vec![4, 4];
            t[1].2 = vec![4, 4];
        }),
        Format,
        &["rank 2", "[4, 4]"],
    );
    refused(changed(|t| t[1].2 = vec![4, 4]), Format, &["rank 2", "[4, 4]"]);
    refused(changed(|t| t[0].2 = vec![16]), Format, &["[16]"]);
    refused(
        changed(|t| {
            t[0].2 = vec![2, 0];
            t[0].3 = Cow::Borrowed(&[]);
        }),
        Format,
        &["[2, 0]"],
    );
    refused(changed(|t| t[0].1 = Dtype::I32), Unsupported, &[Q, "I32"]);
    for bad in [f32::NAN, f32::INFINITY] {
        refused(
            changed(|t| t[0].3.to_mut()[8..12].copy_from_slice(&bad.to_le_bytes())),
            Format,
            &[Q, "element 2"],
        );
    }
    refused(MODEL[..MODEL.len() - 1].to_vec(), Format, &["adapter_model.safetensors", "truncated"]);
    refused(Vec::new(), Format, &["adapter_model.safetensors"]);
    assert_eq!(Adapter::from_files(b"{}", MODEL).expect_err("no configuration").kind(), Format);
}

#[test]
fn checks_against_the_model() {
    let adapter = Adapter::from_files(CONFIG, MODEL).expect("PEFT's adapter");
    let refused = |adapter: &Adapter, model: &ModelConfig, text: &str| {
        let error = adapter.check(model).expect_err(text);
        assert_eq!(error.kind(), ErrorKind::Format, "{error}");
        assert!(error.to_string().contains(text), "{error}");
    };
    let with = |change: fn(&mut ModelConfig)| {
        let mut config = model();
        change(&mut config);
        config
    };
    refused(&adapter, &with(|config| config.num_hidden_layers = 1), "model.layers.1.self_attn.q_proj");
    refused(
        &adapter,
        &with(|config| config.num_hidden_layers = 3),
        "model.layers.2.self_attn.q_proj has no matrices",
    );
    refused(&adapter, &with(|config| config.hidden_size = 16), "expected rank 2, 16 inputs");
    let mut missing = adapter.clone();
    missing.modules.remove(1);
    refused(&missing, &model(), "model.layers.0.self_attn.v_proj has no matrices");
    let mut twice = adapter.clone();
    twice.modules.push(twice.modules[0].clone());
    refused(&twice, &model(), "twice");
    let mut other = adapter.clone();
    other.config.target_modules = TargetModules::List(vec!["q_proj".to_owned()]);
    other.config.rank_pattern.clear();
    refused(&other, &model(), "v_proj");
}

#[test]
fn writes_no_broken_adapter() {
    let mut adapter = Adapter::from_files(CONFIG, MODEL).expect("PEFT's adapter");
    adapter.modules[0].b[3] = f32::NAN;
    let error = adapter.to_files().expect_err("NaN");
    assert_eq!(error.kind(), ErrorKind::NotFinite);
    assert!(error.to_string().contains("q_proj.lora_B"), "{error}");
    adapter.modules[0].b.pop();
    assert_eq!(adapter.to_files().expect_err("a short matrix").kind(), ErrorKind::Format);
}

#[test]
fn directories() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("runs").join("adapter");
    let mut adapter = Adapter::from_files(CONFIG, MODEL).expect("PEFT's adapter");
    adapter.save(&path).expect("saved");
    assert_eq!(Adapter::load(&path).expect("loaded"), adapter);
    adapter.modules[0].a[0] = 42.0;
    adapter.save(&path).expect("replaced");
    assert_eq!(Adapter::load(&path).expect("loaded"), adapter);

    std::fs::remove_file(path.join("adapter_model.safetensors")).expect("removed");
    let error = Adapter::load(&path).expect_err("a file is missing");
    assert_eq!(error.kind(), ErrorKind::Io);
    for text in ["adapter_config.json", "adapter_model.safetensors", path.to_str().expect("UTF-8")] {
        assert!(error.to_string().contains(text), "{error}");
    }
}
