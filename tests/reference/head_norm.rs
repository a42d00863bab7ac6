//! Root-mean-square normalisation of each head by itself, in the first columns of a wider matrix.

use super::rms_norm::{rms_norm, rms_norm_backward};
use super::{Scalar, columns};

/// Writes the norms of `x [rows, heads·head_dim]` to the first columns of `y [rows, ldy]`; returns rstd
/// `[rows, heads]`.
pub fn head_norm<S: Scalar>(
    x: &[S],
    weight: &[S],
    heads: usize,
    eps: f64,
    y: &mut [S],
    ldy: usize,
) -> Vec<S> {
    let (normed, rstd) = rms_norm(x, weight, eps);
    let width = heads * weight.len();
    for (to, from) in y.chunks_exact_mut(ldy).zip(normed.chunks_exact(width)) {
        to[..width].copy_from_slice(from);
    }
    rstd
}

/// Turns the gradient of the norms, in the first columns of `d [rows, ldd]`, into that of `x`.
pub fn head_norm_backward(x: &[f64], weight: &[f64], heads: usize, rstd: &[f64], d: &mut [f64], ldd: usize) {
    let width = heads * weight.len();
    let dx = rms_norm_backward(x, weight, rstd, &columns(d, ldd, 0, width));
    for (to, from) in d.chunks_exact_mut(ldd).zip(dx.chunks_exact(width)) {
        to[..width].copy_from_slice(from);
    }
}
