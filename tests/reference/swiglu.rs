//! The gated activation of the MLP.

use super::Scalar;

/// y = silu(gate)⊙up for gate_up [rows, 2·width]: gate, then up.
pub fn swiglu<S: Scalar>(gate_up: &[S], width: usize) -> Vec<S> {
    let one = S::of(1.0);
    let row = |row: &[S]| -> Vec<S> {
        (0..width).map(|i| row[i] / (one + (-row[i]).exp()) * row[width + i]).collect()
    };
    gate_up.chunks_exact(2 * width).flat_map(row).collect()
}

/// d_gate = dy·up·σ·(1 + gate·(1 − σ)), d_up = dy·gate·σ, with σ = sigmoid(gate).
pub fn swiglu_backward(gate_up: &[f64], dy: &[f64], width: usize) -> Vec<f64> {
    let mut d_gate_up = Vec::with_capacity(gate_up.len());
    for (row, dy) in gate_up.chunks_exact(2 * width).zip(dy.chunks_exact(width)) {
        let (gate, up) = row.split_at(width);
        let sigma: Vec<f64> = gate.iter().map(|g| 1.0 / (1.0 + (-g).exp())).collect();
        d_gate_up.extend((0..width).map(|i| dy[i] * up[i] * sigma[i] * (1.0 + gate[i] * (1.0 - sigma[i]))));
        d_gate_up.extend((0..width).map(|i| dy[i] * gate[i] * sigma[i]));
    }
    d_gate_up
}
