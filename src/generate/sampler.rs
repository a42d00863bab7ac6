//! Choosing the next token on the CPU, from logits that were read back.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::error::{Error, Result};

/// How to sample, with transformers' names and semantics.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplingOptions {
    /// Most tokens to write.
    pub max_new_tokens: usize,
    /// Logits are divided by it; 0 always takes the likeliest token.
    pub temperature: f64,
    /// Keep the so many likeliest tokens; 0 keeps all.
    pub top_k: usize,
    /// Then keep the likeliest tokens that together have at least this probability; 1 keeps all.
    pub top_p: f64,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for SamplingOptions {
    fn default() -> Self {
        Self { max_new_tokens: 128, temperature: 0.7, top_k: 50, top_p: 0.95, seed: 42 }
    }
}

/// Draws tokens; the same seed and logits give the same tokens everywhere.
pub struct Sampler {
    options: SamplingOptions,
    rng: ChaCha8Rng,
}

impl Sampler {
    /// A sampler at the start of its random numbers.
    ///
    /// # Errors
    /// A negative or non-finite temperature, a `top_p` outside (0, 1], or no token to write.
    pub fn new(options: &SamplingOptions) -> Result<Self> {
        let SamplingOptions { temperature, top_p, .. } = *options;
        if !temperature.is_finite() || temperature < 0.0 {
            return Err(Error::config(format!("temperature is {temperature}; expected a number from 0 on")));
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            return Err(Error::config(format!("top_p is {top_p}; expected a number above 0 and at most 1")));
        }
        if options.max_new_tokens == 0 {
            return Err(Error::config("max_new_tokens is 0; expected at least 1"));
        }
        Ok(Self { options: options.clone(), rng: ChaCha8Rng::seed_from_u64(options.seed) })
    }

    /// The next token.
    pub fn sample(&mut self, logits: &[f32]) -> u32 {
        let SamplingOptions { temperature, top_k, top_p, .. } = self.options;
        if temperature == 0.0 {
            return likeliest(logits);
        }
        // Highest first; of equals the lower id first.
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        let by_logit =
            |&a: &u32, &b: &u32| logits[b as usize].total_cmp(&logits[a as usize]).then_with(|| a.cmp(&b));
        if top_k > 0 && top_k < order.len() {
            order.select_nth_unstable_by(top_k - 1, by_logit);
            order.truncate(top_k);
        }
        order.sort_unstable_by(by_logit);
        let peak = f64::from(logits[order[0] as usize]);
        let mut weights: Vec<f64> =
            order.iter().map(|&id| ((f64::from(logits[id as usize]) - peak) / temperature).exp()).collect();
        if top_p < 1.0 {
            let total: f64 = weights.iter().sum();
            let mut sum = 0.0;
            let keep = weights.iter().position(|w| {
                sum += w;
                sum >= top_p * total
            });
            weights.truncate(keep.map_or(weights.len(), |last| last + 1));
        }
        let mut left = self.rng.random::<f64>() * weights.iter().sum::<f64>();
        for (id, weight) in order.iter().zip(&weights) {
            left -= weight;
            if left < 0.0 {
                return *id;
            }
        }
        order[weights.len() - 1]
    }
}

fn likeliest(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (i, value) in logits.iter().enumerate() {
        if *value > logits[best] {
            best = i;
        }
    }
    best as u32
}
