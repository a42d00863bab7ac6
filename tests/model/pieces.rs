//! A device gets its work in pieces of any length: nothing that is computed depends on where they end.

use std::sync::Arc;

use postil::data::Batch;
use postil::gpu::{Gpu, GpuOptions};
use postil::kernels::step::Step;
use postil::model::ROW_MULTIPLE;
use postil::train::{Session, SessionOptions};

use super::compare::assert_same_bits;
use super::golden::GoldenCase;
use super::gradients::STILL;

const STEPS: u32 = 8;

cases!(same_gradients);

/// Gradient, loss and norm of two micro-batches on a device with such pieces, in each of many steps the same, and the
/// pieces of each.
async fn gradients(golden: &GoldenCase, piece_seconds: f32) -> (Vec<f32>, Vec<u32>) {
    let gpu = Gpu::open_with(None, GpuOptions { piece_seconds, ..Default::default() }).await.unwrap();
    let model = golden.model(&gpu).await;
    let examples = golden.examples();
    let batches: Vec<_> = examples
        .chunks(examples.len().div_ceil(2))
        .map(|part| Batch::new(&part.iter().collect::<Vec<_>>(), ROW_MULTIPLE))
        .collect();
    assert_eq!(batches.len(), 2);
    let options = SessionOptions {
        rows: batches.iter().map(Batch::rows).max().unwrap(),
        positions: model.config().max_position_embeddings,
        dropout: true,
        gradient_checkpointing: false,
        ..Default::default()
    };
    let mut session = Session::new(&model, golden.lora(&model), &options).unwrap();
    let (mut values, mut pieces) = (Vec::new(), Vec::new());
    for i in 0..STEPS {
        let before = gpu.submitted_pieces();
        session.begin();
        let step =
            Step::default().targets(golden.facts.target_tokens).optimizer(&STILL, 1, 0.0).dropout(0.3, 17);
        for batch in &batches {
            session.micro_batch(batch, &step).await.unwrap();
        }
        let mut found = gpu.read(session.gradient()).await.unwrap();
        for read in session.optimizer_step(&step).await.unwrap() {
            found.extend(read.finish::<f32>(&gpu).await.unwrap());
        }
        if i > 0 {
            assert_same_bits(&format!("gradient, loss and norm of step {i}"), &found, &values);
        }
        values = found;
        pieces.push(gpu.submitted_pieces() - before);
    }
    (values, pieces)
}

async fn same_gradients(_: &Arc<Gpu>) {
    let golden = GoldenCase::load("qwen2");
    let (expected, whole) = gradients(&golden, f32::INFINITY).await;
    assert!(expected.iter().filter(|g| **g != 0.0).count() > expected.len() / 2, "the gradient is not zero");
    // Each micro-batch and the optimizer.
    assert_eq!(whole, vec![3; STEPS as usize]);
    // Every device compiles all pipelines anew, which takes a browser's software driver far longer than the steps.
    if cfg!(not(target_arch = "wasm32")) {
        let (single, pieces) = gradients(&golden, 0.0).await;
        assert_same_bits("gradient, loss and norm, one operation at a time", &single, &expected);
        assert!(pieces.iter().all(|&n| n > 100), "{pieces:?} pieces are not single operations");
        // About a millisecond: cut elsewhere in every step.
        let (some, pieces) = gradients(&golden, 1e-3).await;
        assert_same_bits("gradient, loss and norm in pieces", &some, &expected);
        // How many there are is the machine's business; on a slow one every operation is a piece.
        assert!(pieces.iter().all(|&n| n >= 3), "{pieces:?}");
    }
    // Longer than a step takes anywhere: cut at first, and no more once it is known how long that is.
    let (long, pieces) = gradients(&golden, 10.0).await;
    assert_same_bits("gradient, loss and norm in long pieces", &long, &expected);
    let (first, last) = (pieces[0], pieces[pieces.len() - 1]);
    assert!(first > 3 && last == 3, "{pieces:?}: nothing was learned");
}
