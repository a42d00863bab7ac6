//! Root-mean-square normalisation.

use super::{Scalar, sum};

/// y = x·rstd·weight with rstd = 1/√(mean(x²) + eps), per row; returns (y, rstd).
pub fn rms_norm<S: Scalar>(x: &[S], weight: &[S], eps: f64) -> (Vec<S>, Vec<S>) {
    let width = weight.len();
    let (mut y, mut rstd) = (Vec::new(), Vec::new());
    for row in x.chunks_exact(width) {
        let mean = sum(row.iter().map(|&v| v * v)) / S::of(width as f64);
        let inverse = S::of(1.0) / (mean + S::of(eps)).sqrt();
        y.extend(row.iter().zip(weight).map(|(&v, &w)| v * inverse * w));
        rstd.push(inverse);
    }
    (y, rstd)
}

/// dx = rstd·(w⊙dy) − x·rstd³·mean(w⊙dy⊙x), per row.
pub fn rms_norm_backward(x: &[f64], weight: &[f64], rstd: &[f64], dy: &[f64]) -> Vec<f64> {
    let width = weight.len();
    let mut dx = Vec::new();
    for ((x, dy), &rstd) in x.chunks_exact(width).zip(dy.chunks_exact(width)).zip(rstd) {
        let mean = sum((0..width).map(|i| weight[i] * dy[i] * x[i])) / width as f64;
        dx.extend((0..width).map(|i| rstd * weight[i] * dy[i] - x[i] * rstd.powi(3) * mean));
    }
    dx
}
