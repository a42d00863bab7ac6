//! Cross-entropy over the vocabulary.

use super::{Scalar, sum};

/// The target that asks for nothing: zero loss, zero gradient.
pub const NONE: u32 = u32::MAX;

/// loss[i] = logsumexp(z[i,:]) − z[i, target[i]].
pub fn cross_entropy<S: Scalar>(logits: &[S], targets: &[u32], vocab: usize) -> Vec<S> {
    logits
        .chunks_exact(vocab)
        .zip(targets)
        .map(|(z, &target)| {
            if target == NONE {
                return S::of(0.0);
            }
            let peak = S::of(z.iter().map(|z| z.re()).fold(f64::NEG_INFINITY, f64::max));
            sum(z.iter().map(|&z| (z - peak).exp())).ln() + peak - z[target as usize]
        })
        .collect()
}

/// d z[i,:] = (softmax(z[i,:]) − onehot(target[i]))·loss_scale.
pub fn cross_entropy_backward(logits: &[f64], targets: &[u32], vocab: usize, loss_scale: f64) -> Vec<f64> {
    let mut d_logits = Vec::with_capacity(logits.len());
    for (z, &target) in logits.chunks_exact(vocab).zip(targets) {
        if target == NONE {
            d_logits.extend(std::iter::repeat_n(0.0, vocab));
            continue;
        }
        let peak = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = z.iter().map(|z| (z - peak).exp()).sum();
        d_logits.extend((0..vocab).map(|i| {
            let onehot = if i == target as usize { 1.0 } else { 0.0 };
            ((z[i] - peak).exp() / total - onehot) * loss_scale
        }));
    }
    d_logits
}
