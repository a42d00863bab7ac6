//! Products of matrices, and the linear layer with a low-rank adapter that they make up.

use super::Scalar;

/// x·wᵀ for x [m, k], w [n, k].
pub fn nt<S: Scalar>(x: &[S], w: &[S], [m, n, k]: [usize; 3]) -> Vec<S> {
    product(m, n, k, |i, p| x[i * k + p], |p, j| w[j * k + p])
}

/// x·w for x [m, k], w [k, n].
pub fn nn<S: Scalar>(x: &[S], w: &[S], [m, n, k]: [usize; 3]) -> Vec<S> {
    product(m, n, k, |i, p| x[i * k + p], |p, j| w[p * n + j])
}

/// aᵀ·b for a [k, m], b [k, n].
pub fn tn<S: Scalar>(a: &[S], b: &[S], [m, n, k]: [usize; 3]) -> Vec<S> {
    product(m, n, k, |i, p| a[p * m + i], |p, j| b[p * n + j])
}

fn product<S: Scalar>(
    m: usize,
    n: usize,
    k: usize,
    a: impl Fn(usize, usize) -> S,
    b: impl Fn(usize, usize) -> S,
) -> Vec<S> {
    let mut y = Vec::with_capacity(m * n);
    for i in 0..m {
        for j in 0..n {
            y.push((0..k).fold(S::of(0.0), |total, p| total + a(i, p) * b(p, j)));
        }
    }
    y
}

/// Element by element: `a + b`.
pub fn add<S: Scalar>(a: &[S], b: &[S]) -> Vec<S> {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(&a, &b)| a + b).collect()
}

/// Element by element: `mask ⊙ x`.
pub fn masked<S: Scalar>(x: &[S], mask: &[f64]) -> Vec<S> {
    assert_eq!(x.len(), mask.len());
    x.iter().zip(mask).map(|(&x, &m)| x * S::of(m)).collect()
}

/// `scale·x`.
pub fn scaled<S: Scalar>(x: &[S], scale: f64) -> Vec<S> {
    x.iter().map(|&x| x * S::of(scale)).collect()
}

/// Every row of `x` plus `bias`.
pub fn add_bias<S: Scalar>(x: &[S], bias: &[S]) -> Vec<S> {
    x.chunks_exact(bias.len()).flat_map(|row| add(row, bias)).collect()
}

/// Sizes of a linear layer with a low-rank adapter: rows, in_features, out_features, rank; and what
/// the low-rank path is multiplied by.
#[derive(Clone, Copy)]
pub struct Lora {
    pub rows: usize,
    pub inputs: usize,
    pub outputs: usize,
    pub rank: usize,
    pub scaling: f64,
}

impl Lora {
    /// y = x·Wᵀ + e·Bᵀ with e = scaling·(mask⊙x)·Aᵀ; returns (y, e).
    pub fn forward<S: Scalar>(&self, x: &[S], w: &[S], a: &[S], b: &[S], mask: &[f64]) -> (Vec<S>, Vec<S>) {
        let Self { rows, inputs, outputs, rank, scaling } = *self;
        let e = scaled(&nt(&masked(x, mask), a, [rows, rank, inputs]), scaling);
        let y = add(&nt(x, w, [rows, outputs, inputs]), &nt(&e, b, [rows, outputs, rank]));
        (y, e)
    }

    /// (dx, dA, dB): de = scaling·dy·B, dx = dy·W + mask⊙(de·A), dA = deᵀ·(mask⊙x), dB = dyᵀ·e.
    pub fn backward(
        &self,
        [x, w, a, b]: [&[f64]; 4],
        mask: &[f64],
        e: &[f64],
        dy: &[f64],
    ) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
        let Self { rows, inputs, outputs, rank, scaling } = *self;
        let de = scaled(&nn(dy, b, [rows, rank, outputs]), scaling);
        let dx = add(&nn(dy, w, [rows, inputs, outputs]), &masked(&nn(&de, a, [rows, inputs, rank]), mask));
        let da = tn(&de, &masked(x, mask), [rank, inputs, rows]);
        let db = tn(dy, e, [outputs, rank, rows]);
        (dx, da, db)
    }
}
