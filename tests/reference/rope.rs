//! Rotary positions in the half-split layout.

use super::Scalar;

/// Where the heads of a matrix are: the first `heads` times `head_dim` columns of `ld`.
#[derive(Clone, Copy)]
pub struct Heads {
    pub heads: usize,
    pub head_dim: usize,
    /// The first columns of each head, which turn.
    pub rotary: usize,
    pub ld: usize,
}

/// Angle of pair `i` at `position`: position · theta^(−2i/head_dim).
pub fn angle(position: u32, pair: usize, head_dim: usize, theta: f64) -> f64 {
    f64::from(position) * theta.powf(-2.0 * pair as f64 / head_dim as f64)
}

/// The table of the kernels: per position head_dim/2 cosines, then as many sines.
pub fn table(positions: u32, head_dim: usize, theta: f64) -> Vec<f64> {
    let half = head_dim / 2;
    (0..positions)
        .flat_map(|position| {
            let cosines = (0..half).map(move |i| angle(position, i, head_dim, theta).cos());
            let sines = (0..half).map(move |i| angle(position, i, head_dim, theta).sin());
            cosines.chain(sines)
        })
        .collect()
}

/// (x1, x2) ← (x1·cos − x2·sin, x2·cos + x1·sin) in place; `direction` −1 turns back.
pub fn rope<S: Scalar>(x: &mut [S], heads: Heads, positions: &[u32], table: &[f64], direction: f64) {
    let Heads { heads, head_dim, rotary, ld } = heads;
    let half = rotary / 2;
    for (row, &position) in x.chunks_exact_mut(ld).zip(positions) {
        let angles = &table[position as usize * rotary..][..rotary];
        for head in row[..heads * head_dim].chunks_exact_mut(head_dim) {
            for i in 0..half {
                let (c, s) = (S::of(angles[i]), S::of(angles[half + i] * direction));
                let (x1, x2) = (head[i], head[half + i]);
                head[i] = x1 * c - x2 * s;
                head[half + i] = x2 * c + x1 * s;
            }
        }
    }
}
