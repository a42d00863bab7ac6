//! Runs that cannot go on say so, and change nothing.

use std::sync::Arc;

use postil::ErrorKind;
use postil::config::{LoraConfig, ModelConfig, TrainConfig};
use postil::gpu::Gpu;
use postil::model::Lora;
use postil::train::Trainer;

use super::golden::{GoldenCase, load_model};

cases!(not_finite, out_of_memory);

/// An infinite weight in the base: the step is reported, and the adapter is the one before it.
pub async fn not_finite(gpu: &Arc<Gpu>) {
    let golden = GoldenCase::load("gqa_f32_untied");
    let weights = golden.weights_with(|tensors| {
        let (_, _, bytes) = tensors.get_mut("model.layers.1.mlp.down_proj.weight").unwrap();
        bytes[..4].copy_from_slice(&f32::INFINITY.to_le_bytes());
    });
    let model = load_model(gpu, &golden.config, weights).await.unwrap();
    let data = golden.training_data();
    // No warm-up: a first step at learning rate 0 would leave the adapter as it is anyway.
    let config = TrainConfig { warmup_steps: Some(0), ..golden.train_config() };
    let mut trainer = Trainer::new(&model, golden.lora(&model), config, data).unwrap();
    let error = trainer.step().await.expect_err("the loss is not finite");
    assert_eq!(error.kind(), ErrorKind::NotFinite, "{error}");
    assert!(error.to_string().contains("step 1"), "{error}");
    assert!(trainer.adapter().await.unwrap().modules == golden.adapter.modules, "the step was applied");
}

/// An adapter of some 11 GiB, which no device takes as one buffer: refused before any memory is taken.
pub async fn out_of_memory(gpu: &Arc<Gpu>) {
    let model = ModelConfig::from_json(
        br#"{"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 9,
             "num_attention_heads": 32, "vocab_size": 32000}"#,
    )
    .unwrap();
    let config = LoraConfig { r: 4096, ..LoraConfig::default() };
    let before = gpu.allocated_bytes();
    let error = Lora::new(gpu, &config, &model, 0).err().expect("more than any device allows");
    assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{error}");
    let message = error.to_string();
    for part in ["adapter", "10.7 GiB", gpu.caps().adapter.name.as_str()] {
        assert!(message.contains(part), "\"{part}\" is not in: {message}");
    }
    gpu.check().expect("the device goes on");
    assert!(gpu.allocated_bytes() - before < 1 << 30, "memory was taken");
}
