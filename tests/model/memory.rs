//! The memory plan against what is really allocated.

use std::sync::Arc;

use postil::config::Precision;
use postil::data::{Batch, Examples, Rows};
use postil::generate::Decoder;
use postil::gpu::{Gpu, MemoryBudget, MemoryUse};
use postil::memory::MemoryPlan;
use postil::model::{ROW_MULTIPLE, WeightBytes};
use postil::train::{Evaluator, Session, SessionOptions};

use super::golden::GoldenCase;
use super::parts::{open, small};

each_golden!(as_planned, budgets);

/// With and without checkpointing, with activations of 16 bits, in one part and in several, for rows of two sizes.
async fn as_planned(shared: &Arc<Gpu>, golden: &GoldenCase) {
    let examples = golden.examples();
    let all: Vec<_> = examples.iter().collect();
    let positions = golden.config.max_position_embeddings.min(100);
    let few = Batch::new(&all, ROW_MULTIPLE).rows();
    for (rows, [gradient_checkpointing, half_activations], limits) in [
        (few, [false, false], wgpu::Limits::default()),
        (few, [true, false], small(shared, &golden.config)),
        (few, [false, true], small(shared, &golden.config)),
        (640, [true, true], wgpu::Limits::default()),
    ] {
        // A device of its own: others allocate on the shared one.
        let gpu = open(limits).await;
        let weights = golden.planned_weights(&gpu).await;
        assert_eq!(gpu.peak_allocated_bytes(), 0, "a plan takes no memory");
        let model = golden.model(&gpu).await;
        assert_eq!(gpu.allocated_bytes(), weights.kept, "weights");
        // What is transposed is there twice for a while.
        assert_eq!(gpu.peak_allocated_bytes(), weights.peak(), "loading");
        assert_eq!(weights.loading > 0, golden.name.starts_with("gpt2"));
        assert_eq!(model.weight_bytes(), WeightBytes { kept: weights.kept, loading: 0 });
        let weights = model.weight_bytes();
        let options = SessionOptions {
            rows,
            positions,
            gradient_checkpointing,
            half_activations,
            ..Default::default()
        };
        let lora_config = &golden.adapter.config;
        let plan = Session::plan(&gpu, model.config(), lora_config, weights, &options).unwrap();
        let _session = Session::new(&model, golden.lora(&model), &options).unwrap();
        assert_eq!(gpu.allocated_bytes(), plan.total, "{plan:?} of {options:?}");
        assert_eq!(plan.peak, plan.total);
        let of = |purpose| plan.items.iter().find(|item| item.purpose == purpose).unwrap().bytes;
        assert_eq!(of(MemoryUse::Gradients), of(MemoryUse::Adapter));
        assert_eq!(of(MemoryUse::Moments), 2 * of(MemoryUse::Adapter));
        let without = SessionOptions { gradient_checkpointing: false, half_activations: false, ..options };
        let kept = Session::plan(&gpu, model.config(), lora_config, weights, &without).unwrap();
        // Halves take less only of more layers than these have, and in other sizes: `halves::as_planned`.
        assert!(kept.total > plan.total || !gradient_checkpointing);
    }
    inference(golden).await;
}

/// What a decoder and an evaluator take, with and without an adapter.
async fn inference(golden: &GoldenCase) {
    let gpu = open(wgpu::Limits::default()).await;
    let model = golden.model(&gpu).await;
    let (config, weights) = (model.config(), model.weight_bytes());
    let allocated = |plan: MemoryPlan| assert_eq!(gpu.allocated_bytes(), plan.total, "{plan:?}");
    let capacity = config.max_position_embeddings.min(70);
    let rows = Rows::single(Examples::new(golden.examples()).unwrap());
    let arithmetic = gpu.arithmetic(Precision::Auto).unwrap();
    {
        allocated(MemoryPlan::of_weights(weights));
        let _decoder = Decoder::new(&model, None, capacity).unwrap();
        allocated(Decoder::plan(&gpu, config, None, weights, capacity).unwrap());
    }
    {
        let _evaluator = Evaluator::new(&model, None, &rows, 2, arithmetic).unwrap();
        allocated(Evaluator::plan(&gpu, config, None, weights, &rows, 2, arithmetic).unwrap());
    }
    let (lora, lora_config) = (golden.lora(&model), Some(&golden.adapter.config));
    {
        let _decoder = Decoder::new(&model, Some(&lora), capacity).unwrap();
        allocated(Decoder::plan(&gpu, config, lora_config, weights, capacity).unwrap());
    }
    let _evaluator = Evaluator::new(&model, Some(lora.into()), &rows, 2, arithmetic).unwrap();
    allocated(Evaluator::plan(&gpu, config, lora_config, weights, &rows, 2, arithmetic).unwrap());
}

/// A given budget stays; a default follows what the device grants up and, beside a software driver's, down.
pub async fn budgets(gpu: &Arc<Gpu>) {
    const GIB: u64 = 1 << 30;
    let mut given = MemoryBudget::given(1000);
    given.correct(gpu, 2000).await;
    assert_eq!(given, MemoryBudget::given(1000));
    let default = MemoryBudget::default_for(gpu);
    assert!(default.bytes >= 2 * GIB);
    let mut granted = default.clone();
    granted.correct(gpu, gpu.allocated_bytes() + (1 << 20)).await;
    assert_eq!((granted.bytes, granted.source), (default.bytes, default.source));
    gpu.check().unwrap();

    // Devices of so much memory, beside `taken`.
    let guess = || MemoryBudget::guessed(4 * GIB, "a guess", true);
    let device = |has: u64| async move |asked: u64| asked.min(has);
    let mut raised = guess();
    raised.correct_by(6 * GIB, GIB, device(100 * GIB)).await;
    assert_eq!(
        (raised.bytes, raised.source.as_str()),
        (6 * GIB, "a guess, raised to what the device grants")
    );
    raised.correct_by(5 * GIB, GIB, async |_| panic!("granted already")).await;
    raised.correct_by(7 * GIB, GIB, device(100 * GIB)).await;
    assert_eq!(
        (raised.bytes, raised.source.as_str()),
        (7 * GIB, "a guess, raised to what the device grants")
    );

    let mut lowered = guess();
    lowered.correct_by(GIB, 0, device(2 * GIB)).await;
    assert_eq!(lowered.bytes, 4 * GIB, "nothing is known of more than was asked for");
    lowered.correct_by(3 * GIB, GIB, device(GIB)).await;
    assert_eq!(
        (lowered.bytes, lowered.source.as_str()),
        (2 * GIB, "a guess, lowered to what the device grants")
    );
    lowered.correct_by(8 * GIB, 0, async |_| panic!("what it has is known")).await;
    assert_eq!(lowered.bytes, 2 * GIB);

    // More than the guess, but not all of it.
    let mut between = guess();
    between.correct_by(8 * GIB, 0, device(5 * GIB)).await;
    assert_eq!(between.bytes, 5 * GIB);

    // A promise of more than the guess is not believed where `rises` is false; a refusal is.
    let mut software = MemoryBudget::guessed(4 * GIB, "a guess", false);
    software.correct_by(8 * GIB, 0, device(100 * GIB)).await;
    assert_eq!(software.bytes, 4 * GIB);
    let mut software = MemoryBudget::guessed(4 * GIB, "a guess", false);
    software.correct_by(8 * GIB, 0, device(GIB)).await;
    assert_eq!(software.bytes, GIB);
}
