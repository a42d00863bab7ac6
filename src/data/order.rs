//! The order of examples in an epoch, batches of it, and the held-out part of a data set.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::records::Dataset;
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

/// Cuts an order into batches of `batch_size` (at least 1) examples; the last may have fewer.
pub fn batches(order: &[usize], batch_size: usize) -> impl Iterator<Item = &[usize]> {
    order.chunks(batch_size.max(1))
}

/// Splits a data set into one to train on and one of `fraction` of its records, drawn by `seed`, to evaluate on.
/// Neither is empty, and both keep the order of the file. Skipped lines stay with the first.
///
/// # Errors
///
/// `Config` unless `0 < fraction < 1`; `Data` for fewer than two records.
pub fn split(dataset: Dataset, fraction: f64, seed: u64) -> Result<(Dataset, Dataset)> {
    if !(fraction > 0.0 && fraction < 1.0) {
        return Err(Error::config(format!(
            "the share of examples held out for evaluation is {fraction}; it must be greater than 0 and less than 1"
        )));
    }
    let len = dataset.records.len();
    if len < 2 {
        return Err(Error::data(format!(
            "{len} record cannot be split into a part to train on and one to evaluate on; add records or hold out none"
        )));
    }
    let held_out = ((len as f64 * fraction).round() as usize).clamp(1, len - 1);
    let mut is_held_out = vec![false; len];
    for &i in &shuffled(len, seed, 0, b"postil split")[..held_out] {
        is_held_out[i] = true;
    }
    let empty = |skipped| Dataset { format: dataset.format, records: Vec::new(), lines: Vec::new(), skipped };
    let (mut train, mut evaluation) = (empty(dataset.skipped), empty(Vec::new()));
    for ((record, line), held_out) in dataset.records.into_iter().zip(dataset.lines).zip(is_held_out) {
        let part = if held_out { &mut evaluation } else { &mut train };
        part.records.push(record);
        part.lines.push(line);
    }
    Ok((train, evaluation))
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
