use postil::gpu::{Dtype, Gpu};
use postil::kernels::loss_scale::{LossScale, loss_scale};

use super::inputs::run;

/// Norms in turn, with an interval of 3: every scale, inverse, count and norm is exact, being a power of two or divided
/// by one.
pub async fn follows_the_gradients(gpu: &Gpu) {
    let state = gpu.tensor("state", &[8], Dtype::U32).unwrap();
    LossScale { scale: 8.0, finite: 1, skipped: 5 }.write(gpu, &state);
    let infinite = f32::INFINITY;
    // The scaled norm, then what is expected: norm, inverse, and the scale, count and skipped steps after it.
    let steps = [
        (24.0, 3.0, 0.125, 8.0, 2, 5),
        (4.0, 0.5, 0.125, 16.0, 0, 5),
        (16.0, 1.0, 0.0625, 16.0, 1, 5),
        (infinite, infinite, 0.0625, 8.0, 0, 6),
        (f32::NAN, f32::NAN, 0.0625, 4.0, 0, 7),
        (infinite, infinite, 0.0625, 2.0, 0, 8),
        (-infinite, -infinite, 0.0625, 1.0, 0, 9),
        (infinite, infinite, 0.0625, 1.0, 0, 10),
        (3.0, 3.0, 1.0, 1.0, 1, 10),
    ];
    for (i, (norm, expected, inverse, scale, finite, skipped)) in steps.into_iter().enumerate() {
        gpu.write(&state, &[norm]);
        run(gpu, |plan| loss_scale(plan, &state, 3));
        let words: Vec<u32> = gpu.read(&state).await.unwrap();
        let (norm, found) = LossScale::parse(&words);
        assert_eq!(found, LossScale { scale, finite, skipped }, "state after step {i}");
        assert_eq!(norm.to_bits(), f32::to_bits(expected), "norm of step {i}");
        assert_eq!(f32::from_bits(words[2]), inverse, "inverse of step {i}");
    }
    LossScale { scale: 16_777_216.0, finite: 2, skipped: 0 }.write(gpu, &state);
    run(gpu, |plan| loss_scale(plan, &state, 3));
    let words: Vec<u32> = gpu.read(&state).await.unwrap();
    assert_eq!(LossScale::parse(&words).1.scale, 16_777_216.0, "it does not grow for ever");
}

cases!(follows_the_gradients);
