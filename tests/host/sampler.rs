//! The host's sampler against the reference, and against the probabilities that it is to draw with.

use postil::ErrorKind;
use postil::generate::{Sampler, SamplingOptions};
use postil::kernels::NONE;

use crate::reference::sample::Draw;

/// Some of them equal.
fn logits(count: usize, seed: u32) -> Vec<f32> {
    (0..count as u32).map(|i| ((i * 7919 + seed * 104_729) % 83) as f32 / 10.0).collect()
}

#[test]
fn draws_as_the_reference() {
    for (top_k, top_p) in [(0, 1.0), (1, 1.0), (50, 1.0), (50, 0.9), (0, 0.5), (1000, 0.95), (3, 1e-9)] {
        let options = SamplingOptions { temperature: 1.3, top_k, top_p, seed: 1 << 40, ..Default::default() };
        let draw = Draw { top_k, top_p, temperature: 1.3, seed: 1 << 40 };
        let mut sampler = Sampler::new(&options).unwrap();
        for step in 0..50 {
            let logits = logits(200, step);
            assert_eq!(sampler.sample(&logits), draw.token(&logits, step), "{options:?}, step {step}");
        }
    }
}

/// Frequencies of 40,000 draws are within five standard deviations of the softmax's probabilities.
#[test]
fn draws_with_the_probabilities() {
    let logits = [1.0f32, 0.0, 2.0, -1.0, 1.0, -5.0];
    let count = 40_000.0;
    for (top_k, top_p, kept) in [(0, 1.0, 6), (3, 1.0, 3), (0, 0.6, 2)] {
        let options = SamplingOptions { temperature: 1.5, top_k, top_p, ..Default::default() };
        let mut sampler = Sampler::new(&options).unwrap();
        let mut found = [0.0; 6];
        (0..count as usize).for_each(|_| found[sampler.sample(&logits) as usize] += 1.0);
        let order = [2, 0, 4, 1, 3, 5];
        let weight = |id: usize| (f64::from(logits[id]) / 1.5).exp();
        let total: f64 = order[..kept].iter().map(|&id| weight(id)).sum();
        for (rank, &id) in order.iter().enumerate() {
            let p = if rank < kept { weight(id) / total } else { 0.0 };
            let deviation = 5.0 * (p * (1.0 - p) * count).sqrt();
            assert!((found[id] - p * count).abs() <= deviation, "{options:?}: {found:?}, token {id}: {p}");
        }
    }
}

#[test]
fn what_cannot_be_drawn() {
    for options in [
        SamplingOptions { temperature: -1.0, ..Default::default() },
        SamplingOptions { temperature: f64::NAN, ..Default::default() },
        SamplingOptions { top_p: 0.0, ..Default::default() },
        SamplingOptions { top_p: 1.5, ..Default::default() },
        SamplingOptions { max_new_tokens: 0, ..Default::default() },
    ] {
        assert_eq!(options.check().expect_err("refused").kind(), ErrorKind::Config);
    }
    for temperature in [0.0, 1.0] {
        let mut sampler = Sampler::new(&SamplingOptions { temperature, ..Default::default() }).unwrap();
        assert_eq!(sampler.sample(&[1.0, f32::NAN, 2.0]), NONE);
        assert_eq!(sampler.sample(&[1.0, f32::INFINITY, 2.0]), NONE);
    }
}
