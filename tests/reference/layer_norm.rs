//! Layer normalisation.

use super::{Scalar, sum};

/// y = (x − mean)·rstd·weight + bias with rstd = 1/√(mean((x − mean)²) + eps), per row; returns (y, rstd).
pub fn layer_norm<S: Scalar>(x: &[S], weight: &[S], bias: &[S], eps: f64) -> (Vec<S>, Vec<S>) {
    let width = S::of(weight.len() as f64);
    let (mut y, mut rstd) = (Vec::new(), Vec::new());
    for row in x.chunks_exact(weight.len()) {
        let mean = sum(row.iter().copied()) / width;
        let variance = sum(row.iter().map(|&v| (v - mean) * (v - mean))) / width;
        let inverse = S::of(1.0) / (variance + S::of(eps)).sqrt();
        y.extend(row.iter().zip(weight).zip(bias).map(|((&v, &w), &b)| (v - mean) * inverse * w + b));
        rstd.push(inverse);
    }
    (y, rstd)
}

/// dx = rstd·(g − mean(g) − n·mean(g⊙n)) with g = w⊙dy and n = (x − mean)·rstd, per row.
pub fn layer_norm_backward(x: &[f64], weight: &[f64], rstd: &[f64], dy: &[f64]) -> Vec<f64> {
    let width = weight.len();
    let mean = |values: &[f64]| sum(values.iter().copied()) / width as f64;
    let mut dx = Vec::new();
    for ((x, dy), &rstd) in x.chunks_exact(width).zip(dy.chunks_exact(width)).zip(rstd) {
        let middle = mean(x);
        let n: Vec<f64> = x.iter().map(|v| (v - middle) * rstd).collect();
        let g: Vec<f64> = weight.iter().zip(dy).map(|(w, d)| w * d).collect();
        let along = mean(&g.iter().zip(&n).map(|(g, n)| g * n).collect::<Vec<_>>());
        let mean_g = mean(&g);
        dx.extend(g.iter().zip(&n).map(|(g, n)| rstd * (g - mean_g - n * along)));
    }
    dx
}
