use postil::gpu::Gpu;
use postil::kernels::NONE;
use postil::kernels::cross_entropy as kernel;
use postil::kernels::step::Step;

use super::compare::{assert_close, assert_same_bits};
use super::inputs::{Random, f32s, read, run_step, u32s, unwritten, wide};
use crate::reference::cross_entropy as reference;

/// Lanes add up to 800 exponentials of positive sign (worst case 800·6e-8, on the average a thirtieth);
/// exp is good to 3 + 2|x| ULP and log to 2⁻²¹, small beside losses of about log(vocab).
const TOLERANCE: f64 = 5e-6;

/// The scale of the loss.
const SCALE: f32 = 16.0;

/// Rows, vocabulary, rows of the loss before this chunk.
const SHAPES: [(usize, usize, usize); 6] =
    [(5, 123, 0), (1, 1, 0), (3, 64, 2), (77, 65, 5), (4, 5000, 1), (2, 49_152, 0)];

async fn check(gpu: &Gpu, [rows, vocab, first]: [usize; 3], size: f32, backward: bool) {
    let mut random = Random::new(40);
    let logits: Vec<f32> = random.normal(rows * vocab).iter().map(|v| v * size).collect();
    let mut targets = random.below(vocab as u32, first + rows + 3);
    for (i, target) in targets.iter_mut().enumerate().skip(1) {
        if i % 3 == 1 {
            *target = NONE;
        }
    }
    let own = &targets[first..first + rows];
    let step = Step::default().targets(7);
    let z = f32s(gpu, &[rows, vocab], &logits);
    let all = u32s(gpu, &[targets.len()], &targets);
    let loss = unwritten(gpu, &[targets.len()]);
    let state = f32s(gpu, &[8], &[0.0, SCALE, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    let state = backward.then_some(&state);
    run_step(gpu, &step, |plan| kernel::cross_entropy(plan, &all, &z, &loss, first, state));
    let what = format!("{rows}×{vocab} from {first}, logits of {size}, backward {backward}");
    let losses = read(gpu, &loss).await;
    let expected = reference::cross_entropy(&wide(&logits), own, vocab);
    assert_close(&format!("loss of {what}"), &losses[first..first + rows], &expected, 1, TOLERANCE);
    for (i, loss) in losses.iter().enumerate() {
        assert!((first..first + rows).contains(&i) || loss.is_nan(), "{what}: loss {i} is not its own");
    }
    let got = read(gpu, &z).await;
    if backward {
        let expected = reference::cross_entropy_backward(&wide(&logits), own, vocab, f64::from(SCALE) / 7.0);
        assert_close(&format!("gradient of {what}"), &got, &expected, vocab, TOLERANCE);
    } else {
        assert_same_bits(&format!("logits of {what}"), &got, &logits);
    }
}

pub async fn loss_and_gradient(gpu: &Gpu) {
    for (rows, vocab, first) in SHAPES {
        for backward in [false, true] {
            check(gpu, [rows, vocab, first], 2.0, backward).await;
        }
    }
}

/// Logits so large that exp alone would overflow.
pub async fn large_logits(gpu: &Gpu) {
    check(gpu, [9, 123, 0], 80.0, true).await;
    check(gpu, [9, 123, 4], 3000.0, true).await;
}

/// Two equal logits of ±80 among others far below.
pub async fn logits_at_the_edges(gpu: &Gpu) {
    let logits = [80.0, -80.0, 80.0, -80.0, -80.0, -80.0];
    let targets = [1, 0];
    let z = f32s(gpu, &[2, 3], &logits);
    let loss = unwritten(gpu, &[2]);
    let indices = u32s(gpu, &[2], &targets);
    let state = f32s(gpu, &[8], &[0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    run_step(gpu, &Step::default().targets(1), |plan| {
        kernel::cross_entropy(plan, &indices, &z, &loss, 0, Some(&state));
    });
    let expected = [160.0 + 2f64.ln(), 3f64.ln()];
    assert_close("loss", &read(gpu, &loss).await, &expected, 1, TOLERANCE);
    let third = 1.0 / 3.0;
    let expected = [0.5, -1.0, 0.5, third - 1.0, third, third];
    assert_close("gradient", &read(gpu, &z).await, &expected, 3, TOLERANCE);
}

cases!(loss_and_gradient, large_logits, logits_at_the_edges);
