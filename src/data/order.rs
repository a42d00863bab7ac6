//! The order of examples in an epoch, and the held-out part of a data set.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::store::Examples;
use crate::error::{Error, Result};

/// The order in which an epoch visits its examples. It depends on nothing but the fields, the epoch and the
/// number of examples, and is the same on every platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochOrder {
    /// The run's seed.
    pub seed: u64,
    /// Whether to shuffle; otherwise examples come as they are in the data set.
    pub shuffle: bool,
}

impl EpochOrder {
    /// A permutation of `0..len` for `epoch`, counted from 0.
    pub fn order(&self, epoch: usize, len: usize) -> Vec<usize> {
        if self.shuffle {
            shuffled(len, self.seed, epoch as u64, b"postil epoch")
        } else {
            (0..len).collect()
        }
    }
}

/// Puts examples of about equal length next to each other, as transformers' `get_length_grouped_indices`: chunks
/// of `order` of up to fifty batches (a quarter of the data set if that is less) are sorted by `length`, longest
/// first, and the longest example of all comes first.
pub fn group_by_length(order: &[usize], batch_size: usize, length: impl Fn(usize) -> usize) -> Vec<usize> {
    let batch_size = batch_size.max(1);
    let batches = (order.len() / batch_size.saturating_mul(4)).clamp(1, 50);
    let chunk = batches.saturating_mul(batch_size);
    let mut grouped = order.to_vec();
    for chunk in grouped.chunks_mut(chunk) {
        chunk.sort_by_key(|&i| std::cmp::Reverse(length(i)));
    }
    // The first of several equally long ones.
    let heads = (0..grouped.len()).step_by(chunk);
    if let Some(longest) = heads.rev().max_by_key(|&at| length(grouped[at])) {
        grouped.swap(0, longest);
    }
    grouped
}

/// Splits examples into those to train on and a share of `fraction`, drawn by `seed`, to evaluate on. Neither is
/// empty, and both keep the order of the data set.
///
/// # Errors
///
/// `Config` unless `0 < fraction < 1`; `Data` for fewer than two examples.
pub fn split(examples: &Examples, fraction: f64, seed: u64) -> Result<(Examples, Examples)> {
    if !(fraction > 0.0 && fraction < 1.0) {
        return Err(Error::config(format!(
            "the share of examples held out for evaluation is {fraction}; it must be greater than 0 and less than 1"
        )));
    }
    let len = examples.len();
    if len < 2 {
        return Err(Error::data(format!(
            "{len} example cannot be split into a part to train on and one to evaluate on; add records or hold out none"
        )));
    }
    let held_out = ((len as f64 * fraction).round() as usize).clamp(1, len - 1);
    let mut is_held_out = vec![false; len];
    for &i in &shuffled(len, seed, 0, b"postil split")[..held_out] {
        is_held_out[i] = true;
    }
    let part = |wanted| examples.choose((0..len).filter(|&i| is_held_out[i] == wanted));
    Ok((part(false), part(true)))
}

/// Fisher–Yates over `0..len` with ChaCha8 keyed by seed, stream and purpose. Draws are u64 throughout, since
/// `usize` has another width in a browser.
fn shuffled(len: usize, seed: u64, stream: u64, purpose: &[u8; 12]) -> Vec<usize> {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&stream.to_le_bytes());
    key[16..28].copy_from_slice(purpose);
    let mut rng = ChaCha8Rng::from_seed(key);
    let mut order: Vec<usize> = (0..len).collect();
    for i in (1..len).rev() {
        order.swap(i, below(&mut rng, i as u64 + 1) as usize);
    }
    order
}

/// A number drawn evenly from `0..bound` (Lemire, "Fast Random Integer Generation in an Interval", 2019).
fn below(rng: &mut impl Rng, bound: u64) -> u64 {
    // Draws whose low half falls below 2⁶⁴ mod bound would make some results likelier than others.
    let uneven = bound.wrapping_neg() % bound;
    loop {
        let product = u128::from(rng.next_u64()) * u128::from(bound);
        if product as u64 >= uneven {
            return (product >> 64) as u64;
        }
    }
}
