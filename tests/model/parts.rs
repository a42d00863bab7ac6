//! The golden cases on a device with bindings so small that weights, activations and adapters all lie in
//! several parts, and on one with WebGPU's default limits.

use std::sync::Arc;

use postil::data::Batch;
use postil::gpu::{Allocator, Gpu, GpuOptions, PartLimits};
use postil::model::{PassBuffers, ROW_MULTIPLE};

use super::golden::GoldenCase;

each_golden!(in_parts, default_limits);

/// WebGPU's default limits, but bindings that hold as few rows of the widest tensor of a golden model (gate_up,
/// 154 columns) as the device can cut: 16 with lavapipe, 128 in a browser.
pub fn small(gpu: &Gpu) -> wgpu::Limits {
    let alignment = gpu.caps().limits.min_storage_buffer_offset_alignment;
    wgpu::Limits {
        max_storage_buffer_binding_size: 4 * 160 * u64::from(alignment / 2),
        min_storage_buffer_offset_alignment: alignment,
        ..wgpu::Limits::default()
    }
}

pub async fn open(limits: wgpu::Limits) -> Arc<Gpu> {
    Gpu::open_with(None, GpuOptions { limits: Some(limits) }).await.expect("less than the adapter offers")
}

/// Logits, gradients and training, each within the same tolerance as in one part.
async fn in_parts(gpu: &Arc<Gpu>, golden: &GoldenCase) {
    let gpu = open(small(gpu)).await;
    let PartLimits { bytes: binding, rows: cut } = gpu.part_limits();
    let model = golden.model(&gpu).await;
    let (weights, lora) = (model.weights(), golden.lora(&model));
    let examples = golden.examples();
    let rows = Batch::new(&examples.iter().collect::<Vec<_>>(), ROW_MULTIPLE).rows();
    let buffers = PassBuffers::for_training(&gpu, model.config(), &lora, rows, false).unwrap();
    let layer = buffers.layer(1);
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
    }
    assert!(layer.gate_up.part_count() > 1);
    // With the finest cuts there is hardly anything in one part.
    assert!(cut > 16 || layer.x.part_count() > 1 && weights.embed_tokens.part_count() > 1);
    super::forward::logits(&gpu, golden).await;
    super::gradients::gradients(&gpu, golden).await;
    super::training::training(&gpu, golden).await;
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
