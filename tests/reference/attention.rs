//! Scaled dot-product attention with grouped-query heads over flat rows.
//!
//! q, o and their gradients are [M, heads·head_dim]; kv is [rows, 2·kv_heads·head_dim], all key heads
//! before all value heads; query row i attends the kv rows `range[i][0] .. range[i][1]`.

use super::{Scalar, sum};

/// Sizes of an attention, and what its scores are multiplied by.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub scale: f64,
}

impl Attention {
    /// Columns of q.
    pub fn q_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Columns of kv.
    pub fn kv_width(&self) -> usize {
        2 * self.kv_heads * self.head_dim
    }

    /// Where query head `head` of row `row` starts in q.
    fn q_at(&self, row: usize, head: usize) -> usize {
        row * self.q_width() + head * self.head_dim
    }

    /// Where the key and the value of kv row `row` that query head `head` reads start in kv.
    fn kv_at(&self, row: usize, head: usize) -> (usize, usize) {
        let group = self.heads / self.kv_heads;
        let key = row * self.kv_width() + head / group * self.head_dim;
        (key, key + self.kv_heads * self.head_dim)
    }

    fn scores<S: Scalar>(&self, q: &[S], kv: &[S], row: usize, head: usize, range: [u32; 2]) -> Vec<S> {
        let query = &q[self.q_at(row, head)..][..self.head_dim];
        let dot = |j| {
            let key = &kv[self.kv_at(j, head).0..][..self.head_dim];
            sum(query.iter().zip(key).map(|(&q, &k)| q * k)) * S::of(self.scale)
        };
        (range[0] as usize..range[1] as usize).map(dot).collect()
    }

    /// (o, lse): o = softmax(q·kᵀ·scale)·v and lse [M, heads], the logarithm of each softmax's sum.
    /// A row that attends nothing gives zeros in both.
    pub fn forward<S: Scalar>(&self, q: &[S], kv: &[S], range: &[[u32; 2]]) -> (Vec<S>, Vec<S>) {
        let mut o = vec![S::of(0.0); q.len()];
        let mut lse = vec![S::of(0.0); range.len() * self.heads];
        for (row, &range) in range.iter().enumerate().filter(|(_, range)| range[0] < range[1]) {
            for head in 0..self.heads {
                let scores = self.scores(q, kv, row, head, range);
                let peak = S::of(scores.iter().map(|s| s.re()).fold(f64::NEG_INFINITY, f64::max));
                let weights: Vec<S> = scores.iter().map(|&s| (s - peak).exp()).collect();
                let total = sum(weights.iter().copied());
                lse[row * self.heads + head] = total.ln() + peak;
                for (j, &weight) in (range[0] as usize..).zip(&weights) {
                    let (_, value) = self.kv_at(j, head);
                    for d in 0..self.head_dim {
                        let at = self.q_at(row, head) + d;
                        o[at] = o[at] + weight / total * kv[value + d];
                    }
                }
            }
        }
        (o, lse)
    }

    /// delta [M, heads] = Σ_d do⊙o, each head by itself.
    pub fn delta(&self, o: &[f64], d_o: &[f64]) -> Vec<f64> {
        o.chunks_exact(self.head_dim)
            .zip(d_o.chunks_exact(self.head_dim))
            .map(|(o, d_o)| o.iter().zip(d_o).map(|(o, d)| o * d).sum())
            .collect()
    }

    /// (dq, dkv) from the probabilities P = exp(s − lse): dS = P⊙(do·vᵀ − delta),
    /// dq = scale·dS·k, dk = scale·dSᵀ·q, dv = Pᵀ·do (Dao et al., arXiv:2205.14135, appendix B).
    pub fn backward(
        &self,
        [q, kv]: [&[f64]; 2],
        range: &[[u32; 2]],
        [lse, delta]: [&[f64]; 2],
        d_o: &[f64],
    ) -> (Vec<f64>, Vec<f64>) {
        let (mut dq, mut dkv) = (vec![0.0; q.len()], vec![0.0; kv.len()]);
        for (row, &range) in range.iter().enumerate().filter(|(_, range)| range[0] < range[1]) {
            for head in 0..self.heads {
                let side = row * self.heads + head;
                let query = self.q_at(row, head);
                let scores = self.scores(q, kv, row, head, range);
                for (j, score) in (range[0] as usize..).zip(scores) {
                    let (key, value) = self.kv_at(j, head);
                    let p = (score - lse[side]).exp();
                    let dp: f64 = (0..self.head_dim).map(|d| d_o[query + d] * kv[value + d]).sum();
                    let ds = p * (dp - delta[side]) * self.scale;
                    for d in 0..self.head_dim {
                        dq[query + d] += ds * kv[key + d];
                        dkv[key + d] += ds * q[query + d];
                        dkv[value + d] += p * d_o[query + d];
                    }
                }
            }
        }
        (dq, dkv)
    }
}
