//! The golden cases on a device with bindings so small that weights, activations and adapters all lie in
//! several parts, and on one with WebGPU's default limits.

use std::sync::Arc;

use postil::config::ModelConfig;
use postil::data::Batch;
use postil::gpu::{Allocator, Gpu, GpuOptions, PartLimits};
use postil::model::{Keep, PassBuffers, ROW_MULTIPLE};

use super::golden::GoldenCase;

each_kind!(in_parts, default_limits);

/// WebGPU's default limits, but bindings that hold as few rows of the model's widest tensor as the device can
/// cut: 16 with lavapipe, 128 in a browser.
pub fn small(gpu: &Gpu, model: &ModelConfig) -> wgpu::Limits {
    let heads = model.num_attention_heads + 2 * model.num_key_value_heads;
    let widest = model.vocab_size.max(2 * model.intermediate_size).max(heads * model.head_dim);
    let alignment = gpu.caps().limits.min_storage_buffer_offset_alignment;
    wgpu::Limits {
        max_storage_buffer_binding_size: 4 * widest as u64 * u64::from(alignment / 2),
        min_storage_buffer_offset_alignment: alignment,
        ..wgpu::Limits::default()
    }
}

pub async fn open(limits: wgpu::Limits) -> Arc<Gpu> {
    Gpu::open_with(None, GpuOptions { limits: Some(limits), ..Default::default() })
        .await
        .expect("less than the adapter offers")
}

/// Logits and gradients, and of some training and generated tokens, each within the same tolerance as in one part.
async fn in_parts(gpu: &Arc<Gpu>, golden: &GoldenCase) {
    let gpu = open(small(gpu, &golden.config)).await;
    let PartLimits { bytes: binding, rows: cut } = gpu.part_limits();
    let model = golden.model(&gpu).await;
    let (weights, lora) = (model.weights(), golden.lora(&model));
    let examples = golden.examples();
    let rows = Batch::new(&examples.iter().collect::<Vec<_>>(), ROW_MULTIPLE).rows();
    let buffers = PassBuffers::for_training(&gpu, model.config(), &lora, rows, Keep::All).unwrap();
    let layer = buffers.layer(1);
    let mut cut_up = 0;
    for (name, tensor) in [
        ("embed_tokens", &weights.embed_tokens),
        ("adapter", lora.values()),
        ("x", &layer.x),
        ("q", &layer.q),
        ("kv", &layer.kv),
        ("gate_up", &layer.gate_up),
        ("activated", &layer.activated),
    ] {
        let parts = tensor.part_count();
        assert!(parts > 1 || tensor.bytes() <= binding, "{name} {:?} in {parts} parts", tensor.shape());
        cut_up += usize::from(parts > 1);
    }
    // With the finest cuts little is in one part; with WebGPU's, of so small a model much is.
    assert!(cut_up >= if cut == 16 { 5 } else { 0 }, "{cut_up} tensors in several parts");
    super::forward::logits(&gpu, golden).await;
    super::gradients::gradients(&gpu, golden).await;
    if ["gqa_f32_untied", "tied_f16", "gemma3", "gpt2"].contains(&golden.name) {
        super::training::training(&gpu, golden).await;
    }
    // Separate, fused and transposed weights, with biases, norms of heads and activations of every kind.
    if ["gqa_f32_untied", "qwen2", "phi3", "gemma3", "gpt2"].contains(&golden.name) {
        super::generation::generation(&gpu, golden).await;
    }
}

/// The limits that every WebGPU device has.
pub async fn default_limits(_: &Arc<Gpu>) {
    let gpu = open(wgpu::Limits::default()).await;
    for name in ["gqa_f32_untied", "tied_bf16"] {
        let golden = GoldenCase::load(name);
        super::gradients::gradients(&gpu, &golden).await;
        super::training::training(&gpu, &golden).await;
    }
}
