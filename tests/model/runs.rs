//! What must not change a run: the seed's determinism, how a step is cut into micro-batches, an interruption.

use std::sync::Arc;

use postil::checkpoint::Adapter;
use postil::config::TrainConfig;
use postil::data::Examples;
use postil::gpu::Gpu;
use postil::train::{Checkpoint, StepReport, Trainer, TrainingData};

use super::compare::assert_close;
use super::golden::GoldenCase;
use super::training::run;

cases!(seed, accumulation, resume);

/// A run with every source of randomness: shuffled epochs of uneven batches, dropout.
pub fn random(golden: &mut GoldenCase) -> TrainConfig {
    golden.adapter.config.lora_dropout = 0.2;
    TrainConfig { shuffle: true, seed: 7, max_steps: Some(9), warmup_steps: Some(2), ..golden.train_config() }
}

pub async fn trainer(gpu: &Arc<Gpu>, golden: &GoldenCase, config: TrainConfig) -> Trainer {
    let model = golden.model(gpu).await;
    let data = golden.training_data();
    Trainer::new(&model, golden.lora(&model), config, data).unwrap()
}

/// Loss and gradient norm of every step, to the bit.
pub fn bits(reports: &[StepReport]) -> Vec<[u64; 2]> {
    reports.iter().map(|report| [report.loss.to_bits(), report.grad_norm.to_bits()]).collect()
}

/// The same seed gives the same run to the bit; another one, or no dropout, another run.
pub async fn seed(gpu: &Arc<Gpu>) {
    let mut golden = GoldenCase::load("tied_embed_only_f32");
    let config = random(&mut golden);
    let first = bits(&run(&mut trainer(gpu, &golden, config.clone()).await).await);
    assert_eq!(first, bits(&run(&mut trainer(gpu, &golden, config.clone()).await).await));
    let other = TrainConfig { seed: 8, ..config.clone() };
    assert_ne!(first, bits(&run(&mut trainer(gpu, &golden, other).await).await));
    // Without shuffling a seed acts through dropout alone.
    let ordered = TrainConfig { shuffle: false, ..config };
    let with = bits(&run(&mut trainer(gpu, &golden, ordered.clone()).await).await);
    let reseeded = TrainConfig { seed: 8, ..ordered.clone() };
    assert_ne!(with, bits(&run(&mut trainer(gpu, &golden, reseeded).await).await));
    golden.adapter.config.lora_dropout = 0.0;
    assert_ne!(with, bits(&run(&mut trainer(gpu, &golden, ordered).await).await));
}

/// Two micro-batches of two examples make the step that one of four makes, though their targets are unequal.
pub async fn accumulation(gpu: &Arc<Gpu>) {
    let golden = GoldenCase::load("untied_wide");
    let examples = golden.examples()[..4].to_vec();
    let model = golden.model(gpu).await;
    let mut runs = Vec::new();
    for (batch_size, accumulation) in [(2, 2), (4, 1)] {
        let config = TrainConfig {
            per_device_train_batch_size: batch_size,
            gradient_accumulation_steps: accumulation,
            max_steps: Some(6),
            ..golden.train_config()
        };
        let data = TrainingData { train: Examples::new(examples.clone()).unwrap(), evaluation: None };
        let mut trainer = Trainer::new(&model, golden.lora(&model), config, data).unwrap();
        let reports = run(&mut trainer).await;
        let values = reports.iter().flat_map(|r| [r.loss as f32, r.grad_norm as f32]).collect::<Vec<_>>();
        assert!(
            reports.iter().all(|r| r.tokens == examples.iter().map(|e| e.input_ids.len()).sum::<usize>())
        );
        let adapter = trainer.adapter().await.unwrap();
        runs.push((
            values,
            adapter.modules.into_iter().flat_map(|m| [m.a, m.b]).flatten().collect::<Vec<_>>(),
        ));
    }
    let wide = |values: &[f32]| values.iter().copied().map(f64::from).collect::<Vec<_>>();
    // Sums in another order; six steps of AdamW then magnify the difference a little.
    assert_close("losses and norms", &runs[0].0, &wide(&runs[1].0), 2, 1e-6);
    assert_close("adapter", &runs[0].1, &wide(&runs[1].1), 1, 1e-5);
}

/// A run that is stopped, written to files and read again goes on to the bit like one that is not.
pub async fn resume(gpu: &Arc<Gpu>) {
    let mut golden = GoldenCase::load("tied_f16");
    let config = random(&mut golden);
    let mut whole = trainer(gpu, &golden, config.clone()).await;
    let expected = run(&mut whole).await;

    let mut stopped = trainer(gpu, &golden, config.clone()).await;
    let mut reports = Vec::new();
    for _ in 0..2 {
        reports.push(stopped.step().await.unwrap().unwrap());
    }
    while let Some(report) = stopped.drain().await.unwrap() {
        reports.push(report);
    }
    let checkpoint = stopped.checkpoint().await.unwrap();
    assert_eq!(checkpoint.state.global_step, reports.len());
    assert!(
        checkpoint.state.batch_in_epoch > 0,
        "in the middle of an epoch, where the data's cursor matters"
    );
    let [(_, optimizer), (_, state)] = checkpoint.to_files().unwrap();
    let files = checkpoint.adapter.to_files().unwrap();
    drop((stopped, checkpoint));

    let adapter = Adapter::from_files(&files.config, &files.model).unwrap();
    let checkpoint = Checkpoint::from_files(adapter, optimizer, &state).await.unwrap();
    let data = golden.training_data();
    let model = golden.model(gpu).await;
    let mut resumed = Trainer::resume(&model, config.clone(), data, &checkpoint, false).unwrap();
    reports.extend(run(&mut resumed).await);
    assert_eq!(reports.len(), expected.len());
    assert_eq!(bits(&reports), bits(&expected));
    let (resumed, whole) = (resumed.adapter().await.unwrap(), whole.adapter().await.unwrap());
    assert!(resumed.modules == whole.modules, "the adapters differ");

    // Another run's checkpoint is refused, with the setting that tells them apart.
    let other = TrainConfig { learning_rate: 1e-3, ..config };
    let data = golden.training_data();
    let error = Trainer::resume(&model, other, data, &checkpoint, false).err().expect("another run");
    assert!(error.to_string().contains("learning_rate"), "{error}");
}
