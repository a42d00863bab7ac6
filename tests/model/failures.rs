//! Runs that cannot go on say so, and change nothing.

use std::sync::Arc;

use postil::ErrorKind;
use postil::config::TrainConfig;
use postil::gpu::{Gpu, GpuOptions};
use postil::model::WeightBytes;
use postil::train::{Session, SessionOptions, Trainer};

use super::golden::{GoldenCase, load_model};

cases!(not_finite, out_of_memory, lost_device);

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

/// Rows that the device cannot hold in one binding: refused by the plan, before any memory is taken.
pub async fn out_of_memory(_: &Arc<Gpu>) {
    let golden = GoldenCase::load("gqa_f32_untied");
    // 128 rows are the least that is cut, and those of `x` take 20 KiB.
    let limits = wgpu::Limits { max_storage_buffer_binding_size: 16 << 10, ..wgpu::Limits::default() };
    let gpu = Gpu::open_with(None, GpuOptions { limits: Some(limits), ..Default::default() }).await.unwrap();
    let options = SessionOptions {
        rows: 1024,
        positions: 100,
        dropout: false,
        gradient_checkpointing: false,
        ..Default::default()
    };
    let weights = WeightBytes::default();
    let error = Session::plan(&gpu, &golden.config, &golden.adapter.config, weights, &options)
        .expect_err("more than the device allows");
    assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{error}");
    let message = error.to_string();
    for part in ["[1024, 40]", "20.0 KiB in one buffer", "16.0 KiB", gpu.caps().adapter.name.as_str()] {
        assert!(message.contains(part), "\"{part}\" is not in: {message}");
    }
    assert_eq!(gpu.allocated_bytes(), 0);
    gpu.check().expect("the device goes on");
}

/// A device that is lost in a run: every call says so, and none panics.
pub async fn lost_device(_: &Arc<Gpu>) {
    let gpu = Gpu::open(None).await.unwrap();
    let golden = GoldenCase::load("gqa_f32_untied");
    let model = golden.model(&gpu).await;
    let data = golden.training_data();
    let mut trainer = Trainer::new(&model, golden.lora(&model), golden.train_config(), data).unwrap();
    trainer.step().await.unwrap();
    gpu.destroy();
    for _ in 0..2 {
        let error = trainer.step().await.expect_err("the device is gone");
        assert_eq!(error.kind(), ErrorKind::Device, "{error}");
    }
    assert_eq!(gpu.check().expect_err("it stays so").kind(), ErrorKind::Device);
    assert!(trainer.adapter().await.is_err());
    assert!(gpu.tensor("late", &[64], postil::gpu::Dtype::F32).is_err());
}
