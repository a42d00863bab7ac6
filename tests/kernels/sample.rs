use postil::gpu::Gpu;
use postil::kernels::NONE;
use postil::kernels::sample::{Candidates, Choice, MAX_TOP_K, REMEMBERED, TokenState, noise, sample};

use super::inputs::{Random, f32s, run};
use crate::reference::sample::Draw;

/// One slice, almost one and a little more; candidates that need one pass more, and two.
const VOCABULARIES: [usize; 7] = [1, 5, 1000, 1024, 1025, 5000, 40_000];

const SEED: u64 = 0x0123_4567_89ab_cdef;

/// The tokens of so many choices by the same logits, the first of which is number `step`.
async fn choose(gpu: &Gpu, logits: &[f32], choice: Choice, step: u32, count: usize) -> Vec<u32> {
    let candidates = Candidates::new(gpu, logits.len()).unwrap();
    let state = TokenState::new(gpu).unwrap();
    state.write(gpu, 0, 10, Some(4), step);
    let logits = f32s(gpu, &[1, logits.len()], logits);
    run(gpu, |plan| {
        for _ in 0..count {
            sample(plan, &logits, choice, &candidates, &state, Some(4));
        }
    });
    let chosen: Vec<u32> = gpu.read(&state.chosen()).await.unwrap();
    (step as usize..step as usize + count).map(|number| chosen[number % REMEMBERED]).collect()
}

/// Logits like a model's, some of them equal.
fn logits(count: usize) -> Vec<f32> {
    Random::new(150).normal(count).iter().map(|v| (v * 40.0).round() / 10.0).collect()
}

pub async fn likeliest(gpu: &Gpu) {
    for count in VOCABULARIES {
        // Many of them are the highest.
        let logits: Vec<f32> = logits(count).iter().map(|v| v.min(3.0)).collect();
        let highest = logits.iter().copied().fold(f32::MIN, f32::max);
        // The first of several.
        let expected = logits.iter().position(|&v| v == highest).unwrap() as u32;
        assert_eq!(choose(gpu, &logits, Choice::Likeliest, 0, 1).await, [expected], "of {count}");
    }
}

/// The reference's tokens. Noise in f32 and in f64 differ by 1e-6, so that of a few hundred draws none is decided by it.
pub async fn draws(gpu: &Gpu) {
    for count in VOCABULARIES {
        let logits = logits(count);
        let all = Draw { top_k: 0, top_p: 1.0, temperature: 1.3, seed: SEED };
        let step = 60;
        let expected: Vec<u32> = (step..step + 12).map(|step| all.token(&logits, step)).collect();
        let choice = Choice::Draw { temperature: 1.3, seed: SEED };
        assert_eq!(choose(gpu, &logits, choice, step, 12).await, expected, "of {count}");
        for (top_k, top_p) in [(1, 1.0), (50, 1.0), (50, 0.9), (7, 0.3), (MAX_TOP_K, 0.99)] {
            let draw = Draw { top_k, top_p, temperature: 2.0, seed: SEED };
            let expected: Vec<u32> = (0..6).map(|step| draw.token(&logits, step)).collect();
            let choice = Choice::TopK { top_k, top_p: top_p as f32, temperature: 2.0, seed: SEED };
            assert_eq!(choose(gpu, &logits, choice, 0, 6).await, expected, "of {count} by {draw:?}");
        }
    }
}

/// Each choice makes the next token's state.
pub async fn state(gpu: &Gpu) {
    let state = TokenState::new(gpu).unwrap();
    let candidates = Candidates::new(gpu, 3).unwrap();
    let logits = f32s(gpu, &[1, 3], &[0.0, 2.0, 1.0]);
    for (window, sliding) in [(Some(4), [9, 13]), (Some(100), [0, 13]), (None, [0, 13])] {
        state.write(gpu, 7, 10, window, 3);
        let written: Vec<u32> = gpu.read(&state.kv_range(true)).await.unwrap();
        assert_eq!(written, [if window == Some(4) { 7 } else { 0 }, 11]);
        run(gpu, |plan| {
            for _ in 0..2 {
                sample(plan, &logits, Choice::Likeliest, &candidates, &state, window);
            }
        });
        let read = async |tensor| gpu.read::<u32>(&tensor).await.unwrap();
        assert_eq!(read(state.input_ids()).await, [1]);
        assert_eq!(read(state.positions()).await, [12]);
        assert_eq!(read(state.kv_range(false)).await, [0, 13]);
        assert_eq!(read(state.kv_range(true)).await, sliding, "{window:?}");
        assert_eq!(read(state.chosen()).await[3..5], [1, 1]);
    }
}

/// A logit that is no number is never hidden by the others.
pub async fn not_finite(gpu: &Gpu) {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for at in [0, 1500] {
            let mut logits = logits(2000);
            logits[at] = bad;
            let top_k = Choice::TopK { top_k: 9, top_p: 0.9, temperature: 1.0, seed: 1 };
            for choice in [Choice::Likeliest, Choice::Draw { temperature: 1.0, seed: 1 }, top_k] {
                assert_eq!(choose(gpu, &logits, choice, 0, 1).await, [NONE], "{bad} at {at}, {choice:?}");
            }
        }
    }
}

/// The host's noise is the reference's: without any logit it alone decides.
pub async fn noise_on_the_host(_gpu: &Gpu) {
    let draw = Draw { top_k: 0, top_p: 1.0, temperature: 1.0, seed: SEED };
    for step in 0..50 {
        let highest = (0..1000).max_by(|&a, &b| noise(SEED, step, a).total_cmp(&noise(SEED, step, b)));
        assert_eq!(highest, Some(draw.token(&[0.0; 1000], step)));
    }
}

cases!(likeliest, draws, state, not_finite, noise_on_the_host);
