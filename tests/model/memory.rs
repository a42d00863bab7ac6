//! The memory plan against what is really allocated.

use std::sync::Arc;

use postil::data::Batch;
use postil::gpu::{Gpu, MemoryBudget, MemoryUse};
use postil::model::ROW_MULTIPLE;
use postil::train::{MemoryPlan, Session, SessionOptions};

use super::golden::GoldenCase;
use super::parts::{open, small};

each_golden!(as_planned, budgets);

/// With and without checkpointing, in one part and in several, for rows of two sizes.
async fn as_planned(shared: &Arc<Gpu>, golden: &GoldenCase) {
    let examples = golden.examples();
    let all: Vec<_> = examples.iter().collect();
    let positions = golden.config.max_position_embeddings.min(100);
    for (rows, gradient_checkpointing, limits) in [
        (Batch::new(&all, ROW_MULTIPLE).rows(), false, wgpu::Limits::default()),
        (Batch::new(&all, ROW_MULTIPLE).rows(), true, small(shared, &golden.config)),
        (640, true, wgpu::Limits::default()),
    ] {
        // A device of its own: others allocate on the shared one.
        let gpu = open(limits).await;
        let model = golden.model(&gpu).await;
        assert_eq!(gpu.allocated_bytes(), model.weight_bytes(), "weights");
        let options = SessionOptions { rows, positions, dropout: false, gradient_checkpointing };
        let lora_config = &golden.adapter.config;
        let plan =
            MemoryPlan::new(&gpu, model.config(), lora_config, model.weight_bytes(), &options).unwrap();
        assert_eq!(gpu.allocated_bytes(), model.weight_bytes(), "a plan takes no memory");
        let _session = Session::new(&model, golden.lora(&model), &options).unwrap();
        assert_eq!(gpu.allocated_bytes(), plan.total, "{plan:?} of {options:?}");
        let of = |purpose| plan.items.iter().find(|item| item.purpose == purpose).unwrap().bytes;
        assert_eq!(of(MemoryUse::Gradients), of(MemoryUse::Adapter));
        assert_eq!(of(MemoryUse::Moments), 2 * of(MemoryUse::Adapter));
        let without = SessionOptions { gradient_checkpointing: false, ..options };
        let kept = MemoryPlan::new(&gpu, model.config(), lora_config, 0, &without).unwrap();
        assert_eq!(kept.total > plan.total - model.weight_bytes(), gradient_checkpointing);
    }
}

/// A given budget stays; a default is raised to what the device grants, but not a software driver's.
pub async fn budgets(gpu: &Arc<Gpu>) {
    let mut given = MemoryBudget::given(1000);
    given.raise(gpu, 2000, 0).await;
    assert_eq!(given.bytes, 1000);
    let (default, mut budget) = (MemoryBudget::default_for(gpu), MemoryBudget::default_for(gpu));
    assert!(default.bytes >= 2 << 30);
    budget.raise(gpu, default.bytes, 0).await;
    assert_eq!(budget, default);
    // 1 MiB more than the default, all of it but 1 MiB taken: the probe is small.
    budget.raise(gpu, default.bytes + (1 << 20), default.bytes).await;
    let software = gpu.caps().adapter.device_type == "Cpu";
    assert_eq!(budget.bytes > default.bytes, !software, "{budget:?}");
    // More than there is.
    budget.raise(gpu, 1 << 50, 0).await;
    assert!(budget.bytes < 1 << 50, "{budget:?}");
    gpu.check().unwrap();
}
