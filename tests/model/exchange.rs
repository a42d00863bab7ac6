//! Leaves trained adapters, what they are for other tools, merged models and the logits of all of them in
//! `target/tmp/peft`, for `tests/peft/run.sh` to load in PEFT and transformers.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use postil::checkpoint::{Adapter, MODEL_FILE, Merge, Outtype, SafetensorsFile, Sharding};
use postil::gpu::Gpu;
use postil::model::Lora;
use postil::sink::MemorySink;
use postil::source::MemorySource;
use postil::train::Trainer;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::compare::assert_close;
use super::forward::logits_of;
use super::golden::{GoldenCase, load_model};
use super::training::run;

each_golden!(written_adapter);

/// A trained adapter goes through its files, and what is read again gives the logits that are left for PEFT.
async fn written_adapter(gpu: &Arc<Gpu>, golden: &GoldenCase) {
    let model = golden.model(gpu).await;
    let examples = golden.examples();
    let (lora, config) = (golden.lora(&model), golden.train_config());
    let mut trainer = Trainer::new(&model, lora, config, golden.training_data()).unwrap();
    run(&mut trainer).await;
    let trained = trainer.adapter().await.unwrap();

    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("peft").join(golden.name);
    let adapter_dir = folder.join("adapter");
    std::fs::create_dir_all(&adapter_dir).unwrap();
    trained.save(&adapter_dir).unwrap();
    let read = Adapter::load(&adapter_dir).unwrap();
    assert!(read.modules == trained.modules, "what is read is what was written");
    let lora = Lora::from_adapter(gpu, &read, model.config()).unwrap();

    let vocab_size = model.config().vocab_size;
    let mut tensors = Vec::new();
    for (i, example) in examples.iter().enumerate() {
        let logits = logits_of(&model, Some(&lora), std::slice::from_ref(example)).await.remove(0);
        let bytes: Vec<u8> = logits.iter().flat_map(|x| x.to_le_bytes()).collect();
        tensors.push((format!("logits.{i}"), [example.input_ids.len(), vocab_size], bytes));
    }
    let views = tensors.iter().map(|(name, shape, bytes)| {
        (name.as_str(), TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap())
    });
    std::fs::write(folder.join("logits.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    export(gpu, golden, &read, &folder).await;
    let sequences: Vec<_> = examples.iter().map(|example| &example.input_ids).collect();
    let json = serde_json::json!({ "sequences": sequences });
    std::fs::write(folder.join("sequences.json"), json.to_string()).unwrap();
}

/// The adapter for llama.cpp and mlx-lm, and merged; the merged model's logits are those with the adapter.
async fn export(gpu: &Arc<Gpu>, golden: &GoldenCase, adapter: &Adapter, folder: &Path) {
    let config = &golden.config;
    std::fs::write(folder.join("adapter.gguf"), adapter.to_gguf(config, Outtype::F32).unwrap()).unwrap();
    let mlx = adapter.to_mlx(config).unwrap();
    std::fs::create_dir_all(folder.join("mlx")).unwrap();
    std::fs::write(folder.join("mlx/adapter_config.json"), mlx.config).unwrap();
    std::fs::write(folder.join("mlx/adapters.safetensors"), mlx.model).unwrap();

    let base = MemorySource::new(MODEL_FILE, golden.weights_with(|_| {}));
    let base = SafetensorsFile::open(Rc::new(base)).await.unwrap();
    let merge = Merge::new(&base, adapter, config, Sharding::AsBase).unwrap();
    let mut sink = MemorySink::new(MODEL_FILE);
    merge.write(0, &mut sink, &mut |_| {}).await.unwrap();
    let merged = sink.into_bytes();
    std::fs::create_dir_all(folder.join("merged")).unwrap();
    std::fs::write(folder.join("merged/model.safetensors"), &merged).unwrap();
    std::fs::write(folder.join("merged/config.json"), golden.config_json).unwrap();

    let model = golden.model(gpu).await;
    let lora = Lora::from_adapter(gpu, adapter, config).unwrap();
    let examples = golden.examples();
    let wanted = logits_of(&model, Some(&lora), &examples).await;
    let merged = load_model(gpu, config, merged).await.unwrap();
    // f32 weights: the order of additions. 16 bits: each merged weight is rounded, by up to 2⁻¹² of itself on average
    // for f16 and 2⁻⁹ for bf16; the sums and the layers after each other keep that relative to the logits.
    let stored = golden.stored();
    let tolerance = match stored.values().map(|(dtype, ..)| dtype).min() {
        Some(Dtype::BF16) => 2e-2,
        Some(Dtype::F16) => 2e-3,
        _ => 3e-6,
    };
    for (wanted, found) in wanted.iter().zip(logits_of(&merged, None, &examples).await) {
        let wanted: Vec<f64> = wanted.iter().map(|&value| f64::from(value)).collect();
        assert_close("merged logits", &found, &wanted, config.vocab_size, tolerance);
    }
}
