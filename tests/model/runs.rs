//! What must not change a run: the seed's determinism, how a step is cut into micro-batches, an interruption.

use std::sync::Arc;

use postil::config::{Schedule, TrainConfig};
use postil::data::Examples;
use postil::gpu::Gpu;
use postil::train::{Checkpoint, StepReport, Trainer, TrainingData};
use postil::{Error, ErrorKind};

use super::compare::assert_close;
use super::golden::GoldenCase;
use super::training::run;

cases!(seed, accumulation, resume, one_step_at_a_time, more_steps, damaged_checkpoints);

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

type Files = Vec<(&'static str, Vec<u8>)>;

async fn read_checkpoint(files: &Files) -> Result<Checkpoint, Error> {
    Checkpoint::from_files(|name| {
        let found = files.iter().find(|(other, _)| *other == name);
        found.map(|(_, bytes)| bytes.clone()).ok_or_else(|| Error::format(format!("no {name}")))
    })
    .await
}

/// The state of a run between two steps, by way of its files.
async fn written_and_read(trainer: &Trainer) -> Checkpoint {
    read_checkpoint(&trainer.checkpoint().await.unwrap().to_files().unwrap().into()).await.unwrap()
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
    let checkpoint = written_and_read(&stopped).await;
    assert_eq!(checkpoint.state.global_step, reports.len());
    assert!(
        checkpoint.state.batch_in_epoch > 0,
        "in the middle of an epoch, where the data's cursor matters"
    );
    drop(stopped);

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

/// Steps taken one at a time, and those that were under way when a run was paused, are those of a run that never
/// stands still; a checkpoint is refused while a step is under way.
pub async fn one_step_at_a_time(gpu: &Arc<Gpu>) {
    let mut golden = GoldenCase::load("tied_f16");
    let config = random(&mut golden);
    let mut whole = trainer(gpu, &golden, config.clone()).await;
    let expected = run(&mut whole).await;

    let mut paused = trainer(gpu, &golden, config).await;
    let mut reports = vec![paused.step_alone().await.unwrap().unwrap()];
    assert!(paused.drain().await.unwrap().is_none(), "nothing is under way");
    paused.checkpoint().await.unwrap();
    reports.push(paused.step().await.unwrap().unwrap());
    let error = paused.checkpoint().await.err().expect("a step is under way");
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    // The step that is under way is the one that is taken.
    reports.push(paused.step_alone().await.unwrap().unwrap());
    assert!(paused.drain().await.unwrap().is_none(), "nothing is under way");
    while let Some(report) = paused.step_alone().await.unwrap() {
        reports.push(report);
    }
    assert_eq!(bits(&reports), bits(&expected));
    let (paused, whole) = (paused.adapter().await.unwrap(), whole.adapter().await.unwrap());
    assert!(paused.modules == whole.modules, "the adapters differ");
}

/// A finished run goes on with more steps: to the bit like one that had them from the start where the schedule does
/// not depend on their number, and otherwise with the learning rates of the longer schedule.
pub async fn more_steps(gpu: &Arc<Gpu>) {
    let mut golden = GoldenCase::load("tied_f16");
    let longer = random(&mut golden);
    let model = golden.model(gpu).await;
    for schedule in [Schedule::Constant, Schedule::Linear] {
        let longer = TrainConfig { lr_scheduler_type: schedule, ..longer.clone() };
        let shorter = TrainConfig { max_steps: Some(4), ..longer.clone() };
        let mut first = trainer(gpu, &golden, shorter.clone()).await;
        let mut reports = run(&mut first).await;
        let checkpoint = written_and_read(&first).await;
        let resume = |config: &TrainConfig, extend| {
            Trainer::resume(&model, config.clone(), golden.training_data(), &checkpoint, extend)
        };
        let mut more = resume(&longer, true).unwrap();
        assert_eq!((more.progress().step, more.progress().total), (4, 9));
        reports.extend(run(&mut more).await);
        for report in &reports[4..] {
            assert_eq!(report.lr, longer.learning_rate_at(report.step - 1, 9), "step {}", report.step);
        }
        if schedule == Schedule::Constant {
            let whole = run(&mut trainer(gpu, &golden, longer.clone()).await).await;
            assert_eq!(bits(&reports), bits(&whole));
        }
        // By epochs too; not with fewer steps, not with other settings, and not unasked.
        let epochs = TrainConfig { max_steps: None, num_train_epochs: 40.0, ..longer.clone() };
        assert!(resume(&epochs, true).unwrap().progress().total > 9);
        assert!(resume(&shorter, true).is_ok());
        for (config, extend, said) in [
            (TrainConfig { max_steps: Some(3), ..longer.clone() }, true, "cannot become 3"),
            (TrainConfig { learning_rate: 1e-3, ..longer.clone() }, true, "learning_rate"),
            (longer.clone(), false, "max_steps"),
        ] {
            let error = resume(&config, extend).err().expect(said);
            assert!(error.to_string().contains(said), "{error}");
        }
    }
}

/// Files that are no checkpoint are refused by name.
pub async fn damaged_checkpoints(gpu: &Arc<Gpu>) {
    let mut golden = GoldenCase::load("tied_f16");
    let config = TrainConfig { max_steps: Some(2), ..random(&mut golden) };
    let mut trainer = trainer(gpu, &golden, config).await;
    trainer.step_alone().await.unwrap();
    let files: Files = trainer.checkpoint().await.unwrap().to_files().unwrap().into();
    for (at, (name, bytes)) in files.iter().enumerate() {
        let mut without = files.clone();
        without.remove(at);
        let error = read_checkpoint(&without).await.err().expect("a missing file");
        assert!(error.to_string().contains(name), "{error}");
        let mut cut = files.clone();
        cut[at].1 = bytes[..bytes.len() / 2].to_vec();
        let error = read_checkpoint(&cut).await.err().expect("half a file");
        assert!(error.to_string().contains(name), "{error}");
    }
    let mut beyond = files.clone();
    let text = String::from_utf8(files[3].1.clone()).unwrap();
    assert!(text.contains("\"global_step\": 1,"), "{text}");
    beyond[3].1 = text.replace("\"global_step\": 1,", "\"global_step\": 3,").into_bytes();
    let error = read_checkpoint(&beyond).await.err().expect("more steps than the run has");
    assert_eq!(error.kind(), ErrorKind::Format, "{error}");
}
