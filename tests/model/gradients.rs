//! The adapter's gradients, through the session that training uses, against autograd in f64.

use std::sync::Arc;

use postil::data::Batch;
use postil::gpu::Gpu;
use postil::kernels::step::{Optimizer, Step};
use postil::model::ROW_MULTIPLE;
use postil::train::{Session, SessionOptions};

use super::compare::assert_close;
use super::golden::GoldenCase;

/// Of each matrix's gradient. Rounding in f32 alone costs about 2e-6.
const TOLERANCE: f64 = 1e-5;

/// With a learning rate of 0 the adapter stays as it is.
pub const STILL: Optimizer =
    Optimizer { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0, max_grad_norm: 0.0 };

each_golden!(gradients);

/// All sequences in one micro-batch, then each in one of its own: the same loss and gradient.
pub async fn gradients(gpu: &Arc<Gpu>, golden: &GoldenCase) {
    let model = golden.model(gpu).await;
    let examples = golden.examples();
    let all: Vec<_> = examples.iter().collect();
    let whole = Batch::new(&all, ROW_MULTIPLE);
    assert_eq!(whole.targets, golden.facts.target_tokens);
    let positions = model.config().max_position_embeddings;
    let options = SessionOptions {
        rows: whole.rows(),
        positions,
        dropout: false,
        gradient_checkpointing: false,
        ..Default::default()
    };
    let mut session = Session::new(&model, golden.lora(&model), &options).unwrap();
    for batch_size in [all.len(), 1] {
        session.begin();
        let step = Step::default().targets(whole.targets).dropout(0.0, 0).optimizer(&STILL, 1, 0.0);
        for part in all.chunks(batch_size) {
            session.micro_batch(&Batch::new(part, ROW_MULTIPLE), &step).await.unwrap();
        }
        let flat: Vec<f32> = gpu.read(session.gradient()).await.unwrap();
        for module in session.lora().split(&flat) {
            let [a, b] = golden.pair("grad", &module);
            let name = |matrix| format!("d{matrix} of {} in batches of {batch_size}", module.id.name());
            assert_close(&name("A"), &module.a, &a, module.in_features, TOLERANCE);
            assert_close(&name("B"), &module.b, &b, module.r, TOLERANCE);
        }
        let [loss, norm] = session.optimizer_step(&step).await.unwrap();
        let loss = loss.finish::<f32>(gpu).await.unwrap()[0] / whole.targets as f32;
        assert_close("loss", &[loss], &[golden.facts.loss], 1, 1e-6);
        let norm = norm.finish::<f32>(gpu).await.unwrap();
        let square: f64 = flat.iter().map(|&g| f64::from(g) * f64::from(g)).sum();
        assert_close("norm", &norm[..1], &[square.sqrt()], 1, 1e-6);
    }
}
