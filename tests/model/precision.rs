//! Runs in f16 against runs in f32, where the device has kernels for it; where it has none it says so.

use std::rc::Rc;
use std::sync::Arc;

use postil::base::Base;
use postil::config::{Arithmetic, LoraOptions, Precision, TrainConfig};
use postil::data::{Example, Examples};
use postil::gpu::Gpu;
use postil::model::{Lora, Model};
use postil::train::{StepReport, Trainer, TrainingData};
use postil::{ErrorKind, demo};

use super::training::run;

cases!(follows_f32, goes_on_in_f32, resumes);

/// Of every step's loss. Rounding operands to f16 moves each by 2⁻¹¹, at random; their sums average that out.
const TOLERANCE: f64 = 0.01;

async fn model(gpu: &Arc<Gpu>) -> Rc<Model> {
    Base::load(gpu, demo::base_files().await.unwrap(), &mut |_| {}).await.unwrap().model
}

/// Rows of 64 tokens that repeat, so that there is something to learn.
fn data() -> TrainingData {
    let row = |i: u32| (0..64).map(|t| 5 + (i * 7 + t * t) % 97).collect::<Vec<u32>>();
    let examples = (0..8).map(|i| Example { input_ids: row(i), trained: (0..64).map(|t| t > 0).collect() });
    TrainingData { train: Examples::new(examples).unwrap(), evaluation: None }
}

fn config(precision: Precision) -> TrainConfig {
    TrainConfig {
        precision,
        per_device_train_batch_size: 2,
        max_steps: Some(20),
        learning_rate: 2e-3,
        ..TrainConfig::default()
    }
}

/// A new adapter; `scale` multiplies A.
async fn adapter(gpu: &Arc<Gpu>, model: &Model, scale: f32) -> Lora {
    let lora = Lora::new(gpu, &LoraOptions::default().config().unwrap(), model.config(), 3).unwrap();
    let mut adapter = lora.to_adapter(gpu).await.unwrap();
    adapter.modules.iter_mut().flat_map(|module| &mut module.a).for_each(|value| *value *= scale);
    Lora::from_adapter(gpu, &adapter, model.config()).unwrap()
}

/// Whether the device has f16; asking for it without is an error that says so.
async fn available(gpu: &Arc<Gpu>) -> bool {
    let model = model(gpu).await;
    let lora = adapter(gpu, &model, 1.0).await;
    match Trainer::new(&model, lora, config(Precision::F16), data()) {
        Ok(_) => assert!(gpu.caps().cooperative_matrix),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            assert!(
                !gpu.caps().cooperative_matrix && error.to_string().contains("Use precision f32, or auto")
            );
        }
    }
    gpu.caps().cooperative_matrix
}

async fn reports(gpu: &Arc<Gpu>, config: TrainConfig, scale: f32) -> (Vec<StepReport>, Arithmetic) {
    let model = model(gpu).await;
    let mut trainer = Trainer::new(&model, adapter(gpu, &model, scale).await, config, data()).unwrap();
    (run(&mut trainer).await, trainer.session().arithmetic())
}

pub async fn follows_f32(gpu: &Arc<Gpu>) {
    let (exact, _) = reports(gpu, config(Precision::F32), 1.0).await;
    assert!(exact[19].loss < 0.8 * exact[0].loss, "{} is not well below {}", exact[19].loss, exact[0].loss);
    let auto = if available(gpu).await { Arithmetic::F16 } else { Arithmetic::F32 };
    let (found, arithmetic) = reports(gpu, config(Precision::Auto), 1.0).await;
    assert_eq!(arithmetic, auto);
    for (exact, found) in exact.iter().zip(&found) {
        assert_eq!(found.note, None, "step {}", found.step);
        let difference = (found.loss - exact.loss).abs() / exact.loss;
        assert!(difference <= TOLERANCE, "step {}: {} instead of {}", exact.step, found.loss, exact.loss);
        let difference = (found.grad_norm - exact.grad_norm).abs() / exact.grad_norm;
        assert!(
            difference <= 5.0 * TOLERANCE,
            "norm of step {}: {} instead of {}",
            exact.step,
            found.grad_norm,
            exact.grad_norm
        );
    }
}

/// With an adapter so large that its inner values leave f16's range (and B = 0, so that the model is the base all the
/// same) a run goes on in f32 by itself.
pub async fn goes_on_in_f32(gpu: &Arc<Gpu>) {
    if !available(gpu).await {
        return;
    }
    // Steps as small as the adapter is large.
    let config = |precision| TrainConfig { learning_rate: 1e-9, ..config(precision) };
    let (found, arithmetic) = reports(gpu, config(Precision::Auto), 1e6).await;
    assert_eq!(arithmetic, Arithmetic::F32);
    let note = found[0].note.as_deref().expect("the first step was skipped");
    assert!(note.contains("the run goes on in f32"), "{note}");
    assert!(found[2..].iter().all(|report| report.note.is_none() && report.loss.is_finite()));
    let model = model(gpu).await;
    let lora = adapter(gpu, &model, 1e6).await;
    let mut trainer = Trainer::new(&model, lora, config(Precision::F16), data()).unwrap();
    let error = trainer.step().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFinite);
    assert!(error.to_string().contains("precision f32 or auto may help"), "{error}");
}

/// Interrupted and resumed it follows the same losses to the bit, in either arithmetic.
pub async fn resumes(gpu: &Arc<Gpu>) {
    let precisions =
        if available(gpu).await { [Precision::F32, Precision::F16] } else { [Precision::F32; 2] };
    for precision in precisions {
        let (whole, _) = reports(gpu, config(precision), 1.0).await;
        let model = model(gpu).await;
        let mut first =
            Trainer::new(&model, adapter(gpu, &model, 1.0).await, config(precision), data()).unwrap();
        for _ in 0..7 {
            first.step_alone().await.unwrap();
        }
        let checkpoint = first.checkpoint().await.unwrap();
        assert_eq!(checkpoint.state.arithmetic, first.session().arithmetic());
        let mut second = Trainer::resume(&model, config(precision), data(), &checkpoint, false).unwrap();
        let rest = run(&mut second).await;
        let bits = |reports: &[StepReport]| reports.iter().map(|r| r.loss.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&rest), bits(&whole[7..]), "{precision:?}");
    }
}
