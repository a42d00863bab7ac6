//! GELU in its tanh form, with and without a gate.

use super::Scalar;

/// √(2/π)
const SQRT_2_OVER_PI: f64 = 0.797_884_560_802_865_4;

/// ½·x·(1 + tanh u), u = √(2/π)·(x + 0.044715·x³), with tanh u = 1 − 2/(1 + exp(2u)).
pub fn of<S: Scalar>(x: S) -> S {
    let (one, two) = (S::of(1.0), S::of(2.0));
    let u = S::of(SQRT_2_OVER_PI) * (x + S::of(0.044715) * x * x * x);
    S::of(0.5) * x * (one + one - two / (one + (two * u).exp()))
}

/// d gelu/dx = ½·(1 + t) + ½·x·(1 − t²)·u', t = tanh u.
pub fn slope(x: f64) -> f64 {
    let t = (SQRT_2_OVER_PI * (x + 0.044715 * x.powi(3))).tanh();
    0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * SQRT_2_OVER_PI * (1.0 + 3.0 * 0.044715 * x * x)
}

/// y = gelu(gate)⊙up for x [rows, 2·width]: gate, then up; without a gate y = gelu(x).
pub fn gelu<S: Scalar>(x: &[S], width: usize, gated: bool) -> Vec<S> {
    if !gated {
        return x.iter().map(|&v| of(v)).collect();
    }
    let row = |row: &[S]| -> Vec<S> { (0..width).map(|i| of(row[i]) * row[width + i]).collect() };
    x.chunks_exact(2 * width).flat_map(row).collect()
}

/// d_gate = dy·up·gelu'(gate), d_up = dy·gelu(gate); without a gate dx = dy·gelu'(x).
pub fn gelu_backward(x: &[f64], dy: &[f64], width: usize, gated: bool) -> Vec<f64> {
    if !gated {
        return x.iter().zip(dy).map(|(&x, dy)| dy * slope(x)).collect();
    }
    let mut dx = Vec::with_capacity(x.len());
    for (row, dy) in x.chunks_exact(2 * width).zip(dy.chunks_exact(width)) {
        let (gate, up) = row.split_at(width);
        dx.extend((0..width).map(|i| dy[i] * up[i] * slope(gate[i])));
        dx.extend((0..width).map(|i| dy[i] * of(gate[i])));
    }
    dx
}
