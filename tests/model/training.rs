//! Twenty optimizer steps through the trainer against a loop with PEFT, AdamW and transformers' schedule in f64.

use std::sync::Arc;

use postil::gpu::Gpu;
use postil::train::{StepReport, Trainer};

use super::compare::assert_close;
use super::golden::GoldenCase;

/// Of every loss and gradient norm. The same loop in f32 in PyTorch is up to 7e-7 away from the one in f64.
const TOLERANCE: f64 = 1e-5;
/// Of the trained adapter's matrices; PyTorch in f32 is up to 1e-6 away. AdamW divides a gradient by its own size, so an
/// element whose gradient is near zero takes steps that rounding decides: on an NVIDIA GPU one matrix was off by 1.1e-5.
const ADAPTER_TOLERANCE: f64 = 2e-5;

each_kind!(training);

/// Every report until the run's end.
pub async fn run(trainer: &mut Trainer) -> Vec<StepReport> {
    let mut reports = Vec::new();
    while let Some(report) = trainer.step().await.unwrap() {
        reports.push(report);
    }
    reports
}

pub async fn training(gpu: &Arc<Gpu>, golden: &GoldenCase) {
    let model = golden.model(gpu).await;
    let data = golden.training_data();
    let mut trainer = Trainer::new(&model, golden.lora(&model), golden.train_config(), data).unwrap();
    let reports = run(&mut trainer).await;
    let steps = &golden.facts.steps;
    assert_eq!(reports.len(), steps.losses.len());
    for (i, report) in reports.iter().enumerate() {
        assert_eq!(report.step, i + 1);
        let step = |what| format!("{what} of step {}", i + 1);
        assert_close(&step("loss"), &[report.loss as f32], &[steps.losses[i]], 1, TOLERANCE);
        assert_close(&step("norm"), &[report.grad_norm as f32], &[steps.grad_norms[i]], 1, TOLERANCE);
        let rate = steps.learning_rates[i];
        assert!((report.lr - rate).abs() <= 1e-12, "{}: {} is not {rate}", step("lr"), report.lr);
    }
    let trained = trainer.adapter().await.unwrap();
    assert_eq!(trained.modules.len(), golden.adapter.modules.len());
    for module in &trained.modules {
        let [a, b] = golden.pair("final", module);
        let name = |matrix| format!("trained {matrix} of {}", module.id.name());
        assert_close(&name("A"), &module.a, &a, module.in_features, ADAPTER_TOLERANCE);
        assert_close(&name("B"), &module.b, &b, module.r, ADAPTER_TOLERANCE);
    }
}
