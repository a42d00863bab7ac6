//! Operands of products in 16 bits, and activations kept so for the backward pass: loss and gradients as near as that rounding
//! allows.

use std::sync::Arc;

use postil::config::Arithmetic;
use postil::data::Batch;
use postil::gpu::Gpu;
use postil::kernels::step::Step;
use postil::model::ROW_MULTIPLE;
use postil::train::{Session, SessionOptions};

use super::compare::{assert_close, assert_same_bits};
use super::golden::GoldenCase;
use super::gradients::STILL;

/// Of each matrix's gradient: an f16 is within 2⁻¹¹ of what it stands for, 5e-4, the residual stream's bf16 within 2⁻⁹,
/// 2e-3, and each kept factor on the way down adds its own; beside f32's 2e-6.
const TOLERANCE: f64 = 1e-2;

/// Of the loss: every product's operand is within 2⁻¹¹, 5e-4, of what it stands for. Logits are as near to theirs, and the
/// loss, their mean over many targets, of random errors, nearer.
const LOSS_TOLERANCE: f64 = 1e-3;

// Every kind of layer once; all of them have more than one.
each_golden!(@ near [gemma3, gpt2, phi3, qwen3, gqa_f32_untied] [exact_after_f16]);

/// A run that leaves f16 has the gradients of one that was never in it, to the bit.
pub async fn exact_after_f16(gpu: &Arc<Gpu>) {
    let golden = GoldenCase::load("qwen2");
    let model = golden.model(gpu).await;
    let examples = golden.examples();
    let batch = Batch::new(&examples.iter().collect::<Vec<_>>(), ROW_MULTIPLE);
    let mut gradients = Vec::new();
    for (half_activations, arithmetic) in [(false, Arithmetic::F32), (true, Arithmetic::F16)] {
        let options = SessionOptions {
            rows: batch.rows(),
            positions: model.config().max_position_embeddings,
            half_activations,
            arithmetic,
            ..Default::default()
        };
        let mut session = Session::new(&model, golden.lora(&model), &options).unwrap();
        session.leave_f16().unwrap();
        session.begin();
        let step = Step::default().targets(batch.targets).dropout(0.0, 0).optimizer(&STILL, 1, 0.0);
        session.micro_batch(&batch, &step).await.unwrap();
        gradients.push(gpu.read::<f32>(session.gradient()).await.unwrap());
    }
    assert_same_bits("gradient", &gradients[1], &gradients[0]);
}

async fn near(gpu: &Arc<Gpu>, golden: &GoldenCase) {
    let model = golden.model(gpu).await;
    let examples = golden.examples();
    let batch = Batch::new(&examples.iter().collect::<Vec<_>>(), ROW_MULTIPLE);
    let mut results = Vec::new();
    for half_activations in [false, true] {
        let options = SessionOptions {
            rows: batch.rows(),
            positions: model.config().max_position_embeddings,
            half_activations,
            ..Default::default()
        };
        let mut session = Session::new(&model, golden.lora(&model), &options).unwrap();
        session.begin();
        let step = Step::default().targets(batch.targets).dropout(0.0, 0).optimizer(&STILL, 1, 0.0);
        session.micro_batch(&batch, &step).await.unwrap();
        let flat: Vec<f32> = gpu.read(session.gradient()).await.unwrap();
        if half_activations {
            for module in session.lora().split(&flat) {
                let [a, b] = golden.pair("grad", &module);
                assert_close(
                    &format!("dA of {}", module.id.name()),
                    &module.a,
                    &a,
                    module.in_features,
                    TOLERANCE,
                );
                assert_close(&format!("dB of {}", module.id.name()), &module.b, &b, module.r, TOLERANCE);
            }
        }
        let [loss, _] = session.optimizer_step(&step).await.unwrap();
        results.push((flat, loss.finish::<f32>(gpu).await.unwrap()));
    }
    let [(exact, loss), (rounded, rounded_loss)] = &results[..] else { panic!("two sessions") };
    let loss: Vec<f64> = loss.iter().copied().map(f64::from).collect();
    assert_close("loss", rounded_loss, &loss, 1, LOSS_TOLERANCE);
    assert!(exact.iter().zip(rounded).any(|(a, b)| a != b), "nothing was rounded");
}
