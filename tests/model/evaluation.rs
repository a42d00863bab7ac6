//! The mean loss over examples.

use std::rc::Rc;
use std::sync::Arc;

use postil::data::{Examples, Rows};
use postil::gpu::Gpu;
use postil::train::{Evaluator, Trainer, TrainingData};

use super::compare::assert_close;
use super::golden::GoldenCase;

each_golden!(loss, zero_b);

/// PEFT's loss, whatever the batch size: how examples are laid out changes rounding at most.
async fn loss(gpu: &Arc<Gpu>, golden: &GoldenCase) {
    let model = golden.model(gpu).await;
    let lora = Rc::new(golden.lora(&model));
    let rows = Rows::single(Examples::new(golden.examples()).unwrap());
    for batch_size in [1, 2, rows.len()] {
        let mut evaluator = Evaluator::new(&model, Some(Rc::clone(&lora)), &rows, batch_size).unwrap();
        let found = evaluator.loss(&rows, batch_size).await.unwrap();
        assert_eq!(found.targets, golden.facts.target_tokens);
        let name = format!("loss in batches of {batch_size}");
        assert_close(&name, &[found.loss as f32], &[golden.facts.loss], 1, 1e-6);
    }
}

/// With B = 0 the loss is the base's to the last bit, before training and at its first evaluation: dropout acts in
/// training only.
pub async fn zero_b(gpu: &Arc<Gpu>) {
    let mut golden = GoldenCase::load("tied_bf16");
    golden.adapter.modules.iter_mut().for_each(|module| module.b.fill(0.0));
    golden.adapter.config.lora_dropout = 0.5;
    let model = golden.model(gpu).await;
    let examples = Examples::new(golden.examples()).unwrap();
    let rows = Rows::single(examples.clone());
    let size = golden.train_config().per_device_train_batch_size;
    let base = Evaluator::new(&model, None, &rows, size).unwrap().loss(&rows, size).await.unwrap();
    let lora = Rc::new(golden.lora(&model));
    let with = Evaluator::new(&model, Some(lora), &rows, size).unwrap().loss(&rows, size).await.unwrap();
    assert_eq!(with, base);
    let data = TrainingData { train: examples.clone(), evaluation: Some(examples) };
    let mut trainer = Trainer::new(&model, golden.lora(&model), golden.train_config(), data).unwrap();
    assert_eq!(trainer.evaluate().await.unwrap(), Some(base.loss));
}
