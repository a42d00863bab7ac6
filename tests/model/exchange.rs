//! Leaves trained adapters and their logits in `target/tmp/peft`, for `tests/peft/run.sh` to load in PEFT.

use std::path::Path;
use std::sync::Arc;

use postil::checkpoint::Adapter;
use postil::gpu::Gpu;
use postil::model::Lora;
use postil::train::Trainer;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::forward::logits_of;
use super::golden::GoldenCase;
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
    let sequences: Vec<_> = examples.iter().map(|example| &example.input_ids).collect();
    let json = serde_json::json!({ "sequences": sequences });
    std::fs::write(folder.join("sequences.json"), json.to_string()).unwrap();
}
