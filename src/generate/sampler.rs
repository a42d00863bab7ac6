//! Choosing the next token on the host, from logits that were read back: for what the device does not choose itself
//! (see [`sample`](crate::kernels::sample)), and what its choices are held against.

use crate::error::{Error, Result};
use crate::kernels::NONE;
use crate::kernels::sample::noise;

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

impl SamplingOptions {
    /// Refuses what cannot be.
    ///
    /// # Errors
    /// A negative or non-finite temperature, a `top_p` outside (0, 1], or no token to write.
    pub fn check(&self) -> Result<()> {
        let Self { temperature, top_p, .. } = *self;
        if !temperature.is_finite() || temperature < 0.0 {
            return Err(Error::config(format!("temperature is {temperature}; expected a number from 0 on")));
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            return Err(Error::config(format!("top_p is {top_p}; expected a number above 0 and at most 1")));
        }
        if self.max_new_tokens == 0 {
            return Err(Error::config("max_new_tokens is 0; expected at least 1"));
        }
        Ok(())
    }
}

/// Draws tokens; the same seed and logits give the same tokens everywhere.
pub struct Sampler {
    options: SamplingOptions,
    drawn: u32,
}

impl Sampler {
    /// A sampler at the start of its random numbers.
    ///
    /// # Errors
    /// Those of [`SamplingOptions::check`].
    pub fn new(options: &SamplingOptions) -> Result<Self> {
        options.check()?;
        Ok(Self { options: options.clone(), drawn: 0 })
    }

    /// The next token; [`NONE`] if a logit is not finite.
    pub fn sample(&mut self, logits: &[f32]) -> u32 {
        let SamplingOptions { temperature, top_k, top_p, seed, .. } = self.options;
        let step = self.drawn;
        self.drawn = step.wrapping_add(1);
        if logits.iter().any(|logit| !logit.is_finite()) {
            return NONE;
        }
        // Highest first; of equals the lower id first.
        let by_logit =
            |&a: &u32, &b: &u32| logits[b as usize].total_cmp(&logits[a as usize]).then_with(|| a.cmp(&b));
        if temperature == 0.0 {
            return (0..logits.len() as u32).min_by(by_logit).unwrap_or(NONE);
        }
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        if top_k > 0 && top_k < order.len() {
            order.select_nth_unstable_by(top_k - 1, by_logit);
            order.truncate(top_k);
        }
        let scaled = |id: u32| f64::from(logits[id as usize]) / temperature;
        if top_p < 1.0 {
            order.sort_unstable_by(by_logit);
            let peak = scaled(order[0]);
            let weights: Vec<f64> = order.iter().map(|&id| (scaled(id) - peak).exp()).collect();
            let total: f64 = weights.iter().sum();
            let mut sum = 0.0;
            let keep = weights.iter().position(|w| {
                sum += w;
                sum >= top_p * total
            });
            order.truncate(keep.map_or(weights.len(), |last| last + 1));
        }
        let noisy = |&id: &u32| scaled(id) + noise(seed, step, id);
        order
            .iter()
            .copied()
            .max_by(|a, b| noisy(a).total_cmp(&noisy(b)).then_with(|| b.cmp(a)))
            .unwrap_or(NONE)
    }
}
