//! The mean loss over examples.

use std::rc::Rc;
use std::sync::Arc;

use postil::config::{Arithmetic, TrainConfig};
use postil::data::{Examples, Rows};
use postil::gpu::Gpu;
use postil::train::{Evaluator, Trainer, TrainingData};

use super::compare::assert_close;
use super::golden::GoldenCase;

each_kind!(loss, zero_b, called_off);

/// PEFT's loss, whatever the batch size: how examples are laid out changes rounding at most.
async fn loss(gpu: &Arc<Gpu>, golden: &GoldenCase) {
    let model = golden.model(gpu).await;
    let lora = Rc::new(golden.lora(&model));
    let rows = Rows::single(Examples::new(golden.examples()).unwrap());
    for batch_size in [1, 2, rows.len()] {
        let mut evaluator =
            Evaluator::new(&model, Some(Rc::clone(&lora)), &rows, batch_size, Arithmetic::F32).unwrap();
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
    let base =
        Evaluator::new(&model, None, &rows, size, Arithmetic::F32).unwrap().loss(&rows, size).await.unwrap();
    let lora = Rc::new(golden.lora(&model));
    let with = Evaluator::new(&model, Some(lora), &rows, size, Arithmetic::F32)
        .unwrap()
        .loss(&rows, size)
        .await
        .unwrap();
    assert_eq!(with, base);
    let data = TrainingData { train: examples.clone(), evaluation: Some(examples) };
    let mut trainer = Trainer::new(&model, golden.lora(&model), golden.train_config(), data).unwrap();
    assert_eq!(trainer.evaluate().await.unwrap(), Some(base.loss));
}

/// An evaluation that is called off gives nothing and is still due; the run that goes on there makes it first.
pub async fn called_off(gpu: &Arc<Gpu>) {
    let golden = GoldenCase::load("tied_bf16");
    let model = golden.model(gpu).await;
    let examples = Examples::new(golden.examples()).unwrap();
    let config = TrainConfig { eval_steps: Some(1), max_steps: Some(3), ..golden.train_config() };
    let data = || TrainingData { train: examples.clone(), evaluation: Some(examples.clone()) };
    let mut whole = Trainer::new(&model, golden.lora(&model), config.clone(), data()).unwrap();
    let first = whole.step().await.unwrap().unwrap();

    let mut stopped = Trainer::new(&model, golden.lora(&model), config.clone(), data()).unwrap();
    stopped.evaluate_while(Rc::new(|| false));
    assert_eq!(stopped.evaluate().await.unwrap(), None);
    let report = stopped.step().await.unwrap().unwrap();
    assert_eq!((report.loss, report.eval_loss), (first.loss, None));
    assert_eq!(stopped.best(), None);
    let mut resumed =
        Trainer::resume(&model, config, data(), &stopped.checkpoint().await.unwrap(), false).unwrap();
    assert_eq!(resumed.evaluate_if_due().await.unwrap(), first.eval_loss.map(|loss| (loss, true)));
    assert_eq!(resumed.evaluate_if_due().await.unwrap(), None, "once");
    assert_eq!(resumed.best(), whole.best());
}
