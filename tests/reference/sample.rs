//! The next token: a draw from the softmax of the likeliest tokens, by noise from a counter.

use super::dropout::pcg;

/// How a token is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    /// So many of the likeliest; 0 is all.
    pub top_k: usize,
    /// The first of these that together have this probability; 1 is all.
    pub top_p: f64,
    /// Logits are divided by it.
    pub temperature: f64,
    pub seed: u64,
}

/// Exponentially distributed with mean 1, from 32 random bits.
pub fn exponential(hash: u32) -> f64 {
    -(-(f64::from(hash) + 0.5) / 4_294_967_296.0).ln_1p()
}

impl Draw {
    /// Tokens that may be drawn, the likeliest first; of equals the lower id.
    pub fn kept(&self, logits: &[f32]) -> Vec<u32> {
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        order.sort_by(|&a, &b| logits[b as usize].partial_cmp(&logits[a as usize]).unwrap().then(a.cmp(&b)));
        if self.top_k > 0 {
            order.truncate(self.top_k);
        }
        let weight =
            |id: u32| (f64::from(logits[id as usize] - logits[order[0] as usize]) / self.temperature).exp();
        let total: f64 = order.iter().map(|&id| weight(id)).sum();
        let mut sum = 0.0;
        let mut kept = 0;
        while kept < order.len() && (self.top_p >= 1.0 || sum < self.top_p * total) {
            sum += weight(order[kept]);
            kept += 1;
        }
        order.truncate(kept);
        order
    }

    /// The token of the `step`-th draw: the highest after its logit was raised by −ln of its exponential number.
    pub fn token(&self, logits: &[f32], step: u32) -> u32 {
        let start = pcg(step ^ pcg(self.seed as u32 ^ pcg((self.seed >> 32) as u32)));
        let noisy =
            |id: u32| f64::from(logits[id as usize]) / self.temperature - exponential(pcg(id ^ start)).ln();
        let kept = self.kept(logits);
        kept.iter().copied().reduce(|best, id| if noisy(id) > noisy(best) { id } else { best }).unwrap()
    }
}
