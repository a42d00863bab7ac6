//! Activation checkpointing changes no bit of a gradient, and takes less memory.

use std::sync::Arc;

use postil::config::TrainConfig;
use postil::data::Batch;
use postil::gpu::Gpu;
use postil::kernels::step::{Optimizer, Step};
use postil::model::ROW_MULTIPLE;
use postil::train::{Session, SessionOptions, Trainer};

use super::compare::assert_same_bits;
use super::golden::GoldenCase;
use super::runs::{bits, random, trainer};
use super::training::run;

each_kind!(same_gradients, goes_on_with_it);

/// Two micro-batches with dropout masks of their own. Returns the gradient, its norm and the loss.
async fn gradient(gpu: &Arc<Gpu>, golden: &GoldenCase, gradient_checkpointing: bool) -> Vec<f32> {
    let model = golden.model(gpu).await;
    let examples = golden.examples();
    let batches = examples.chunks(3).map(|part| Batch::new(&part.iter().collect::<Vec<_>>(), ROW_MULTIPLE));
    let batches: Vec<_> = batches.collect();
    let options = SessionOptions {
        rows: batches.iter().map(Batch::rows).max().unwrap(),
        positions: model.config().max_position_embeddings,
        dropout: true,
        gradient_checkpointing,
        ..Default::default()
    };
    let mut session = Session::new(&model, golden.lora(&model), &options).unwrap();
    session.begin();
    let still = Optimizer { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0, max_grad_norm: 0.0 };
    let step = Step::default().targets(golden.facts.target_tokens).optimizer(&still, 1, 0.0);
    for (i, batch) in batches.iter().enumerate() {
        session.micro_batch(batch, &step.dropout(0.3, 17 + i as u32)).await.unwrap();
    }
    let mut values: Vec<f32> = gpu.read(session.gradient()).await.unwrap();
    for read in session.optimizer_step(&step).await.unwrap() {
        values.extend(read.finish::<f32>(gpu).await.unwrap());
    }
    values
}

async fn same_gradients(gpu: &Arc<Gpu>, golden: &GoldenCase) {
    let kept = gradient(gpu, golden, false).await;
    assert!(kept.iter().filter(|g| **g != 0.0).count() > kept.len() / 2, "the gradient is not zero");
    assert_same_bits("gradient, loss and norm", &gradient(gpu, golden, true).await, &kept);
}

/// A run with it is the run without, and either goes on from the other's checkpoint.
pub async fn goes_on_with_it(gpu: &Arc<Gpu>) {
    let mut golden = GoldenCase::load("tied_embed_only_f32");
    let config = random(&mut golden);
    let with = TrainConfig { gradient_checkpointing: true, ..config.clone() };
    let expected = run(&mut trainer(gpu, &golden, config).await).await;
    let mut stopped = trainer(gpu, &golden, with.clone()).await;
    let mut reports = vec![stopped.step().await.unwrap().unwrap()];
    while let Some(report) = stopped.drain().await.unwrap() {
        reports.push(report);
    }
    let checkpoint = stopped.checkpoint().await.unwrap();
    let data = golden.training_data();
    let without = TrainConfig { gradient_checkpointing: false, ..with };
    let mut resumed = Trainer::resume(&golden.model(gpu).await, without, data, &checkpoint, false).unwrap();
    reports.extend(run(&mut resumed).await);
    assert_eq!(bits(&reports), bits(&expected));
}
