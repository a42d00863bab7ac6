//! Packed rows: the loss and the gradient of the examples that are in them, and nothing of one in another.

use std::sync::Arc;

use postil::config::TrainConfig;
use postil::data::{Examples, Rows};
use postil::gpu::Gpu;
use postil::kernels::step::Step;
use postil::model::ROW_MULTIPLE;
use postil::train::{Session, SessionOptions, Trainer, TrainingData};

use super::compare::{assert_close, assert_same_bits};
use super::forward::logits_of;
use super::golden::GoldenCase;
use super::gradients::STILL;

each_kind!(packed_rows, isolation, steps);

/// Of losses and of each matrix's gradient. What a token contributes is the same; sums over tokens are taken in
/// another order, which in f32 costs some 1e-7.
const TOLERANCE: f64 = 2e-6;

/// One row of all examples, a few packed rows, and every example alone.
async fn packed_rows(gpu: &Arc<Gpu>, golden: &GoldenCase) {
    let model = golden.model(gpu).await;
    let examples = Examples::new(golden.examples()).unwrap();
    let lengths = (0..examples.len()).map(|i| examples.tokens(i));
    let (longest, total) = (lengths.clone().max().unwrap(), lengths.sum::<usize>());
    let alone = Rows::single(examples.clone());
    let packed = Rows::packed(examples.clone(), longest + longest / 2);
    let whole = Rows::packed(examples.clone(), total);
    assert_eq!(whole.len(), 1);
    assert!(1 < packed.len() && packed.len() < examples.len(), "{} rows", packed.len());

    let mut found: Vec<(f64, Vec<f32>)> = Vec::new();
    let rows = total.next_multiple_of(ROW_MULTIPLE);
    let options = SessionOptions {
        rows,
        positions: longest,
        dropout: false,
        gradient_checkpointing: false,
        ..Default::default()
    };
    let mut session = Session::new(&model, golden.lora(&model), &options).unwrap();
    for layout in [&alone, &packed, &whole] {
        session.begin();
        let batches: Vec<_> =
            (0..layout.len()).map(|row| layout.batch(&[row], ROW_MULTIPLE).unwrap()).collect();
        let targets = batches.iter().map(|batch| batch.targets).sum();
        assert_eq!(targets, golden.facts.target_tokens);
        let step = Step::default().targets(targets).dropout(0.0, 0).optimizer(&STILL, 1, 0.0);
        for batch in &batches {
            session.micro_batch(batch, &step).await.unwrap();
        }
        let gradient: Vec<f32> = gpu.read(session.gradient()).await.unwrap();
        let [loss, norm] = session.optimizer_step(&step).await.unwrap();
        let loss = f64::from(loss.finish::<f32>(gpu).await.unwrap()[0]) / targets as f64;
        norm.finish::<f32>(gpu).await.unwrap();
        found.push((loss, gradient));
    }
    let wide = |values: &[f32]| values.iter().copied().map(f64::from).collect::<Vec<_>>();
    let (loss, gradient) = found.remove(0);
    assert_close("loss", &[loss as f32], &[golden.facts.loss], 1, 1e-6);
    for (name, (other_loss, other)) in ["packed", "whole"].into_iter().zip(&found) {
        assert_close(&format!("{name} loss"), &[*other_loss as f32], &[loss], 1, TOLERANCE);
        let modules = session.lora().split(other).into_iter().zip(session.lora().split(&gradient));
        for (module, expected) in modules {
            let name = |matrix| format!("{name} d{matrix} of {}", module.id.name());
            assert_close(&name("A"), &module.a, &wide(&expected.a), module.in_features, TOLERANCE);
            assert_close(&name("B"), &module.b, &wide(&expected.b), module.r, TOLERANCE);
        }
    }
}

/// Other tokens in a row's first document leave the logits of the documents behind it as they are, to the bit; they
/// change its own.
pub async fn isolation(gpu: &Arc<Gpu>) {
    let golden = GoldenCase::load("tied_bf16");
    let model = golden.model(gpu).await;
    let lora = golden.lora(&model);
    let mut examples = golden.examples();
    let before = logits_of(&model, Some(&lora), &examples).await;
    for id in &mut examples[0].input_ids {
        *id = (*id + 1) % model.config().vocab_size as u32;
    }
    let after = logits_of(&model, Some(&lora), &examples).await;
    assert_ne!(before[0], after[0]);
    assert_same_bits("logits of the others", &before[1..].concat(), &after[1..].concat());
}

/// A run counts packed rows, evaluates as one without packing does, and its checkpoint is not one of a run without.
pub async fn steps(gpu: &Arc<Gpu>) {
    let golden = GoldenCase::load("tied_f16");
    let model = golden.model(gpu).await;
    let examples = Examples::new(golden.examples()).unwrap();
    let longest = (0..examples.len()).map(|i| examples.tokens(i)).max().unwrap();
    let config = |packing| TrainConfig {
        packing,
        max_length: 2 * longest,
        max_steps: None,
        num_train_epochs: 1.0,
        per_device_train_batch_size: 1,
        gradient_accumulation_steps: 1,
        ..golden.train_config()
    };
    let data = || TrainingData { train: examples.clone(), evaluation: Some(examples.clone()) };
    let mut packed = Trainer::new(&model, golden.lora(&model), config(true), data()).unwrap();
    let rows = Rows::packed(examples.clone(), 2 * longest);
    assert!(rows.len() < examples.len());
    assert_eq!((packed.rows(), packed.progress().total), (rows.len(), rows.len()));
    let loss = packed.evaluate().await.unwrap().unwrap();
    assert_close("held-out loss", &[loss as f32], &[golden.facts.loss], 1, 1e-6);
    let mut tokens = 0;
    while let Some(report) = packed.step().await.unwrap() {
        tokens += report.tokens;
    }
    assert_eq!(tokens, (0..examples.len()).map(|i| examples.tokens(i)).sum::<usize>());

    let checkpoint = packed.checkpoint().await.unwrap();
    let error =
        Trainer::resume(&model, config(false), data(), &checkpoint, false).err().expect("another run");
    assert!(error.to_string().contains("packing is false"), "{error}");
}
