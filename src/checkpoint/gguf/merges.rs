//! The merges of a sentencepiece vocabulary, which lists pieces and no merges.

use std::cmp::Ordering;
use std::collections::HashMap;

use crate::error::{Error, Result};

/// Longer than any piece; bounds the ways to cut one in two.
const MAX_PIECE_BYTES: usize = 512;

/// The pairs that join to a piece, in the order in which they are to be joined: every cut of a piece into two
/// others, best piece first, as transformers' `generate_merges` orders them. `rank` is higher for better.
///
/// # Errors
///
/// `Format` for a piece longer than any tokenizer has.
pub(super) fn generate<'a>(
    pieces: &'a [String],
    ids: &HashMap<&str, usize>,
    rank: impl Fn(usize) -> f64,
) -> Result<Vec<(&'a str, &'a str)>> {
    struct Merge<'a> {
        left: &'a str,
        right: &'a str,
        rank: f64,
    }
    let mut merges = Vec::new();
    for (id, piece) in pieces.iter().enumerate() {
        if piece.len() > MAX_PIECE_BYTES {
            return Err(Error::format(format!(
                "tokenizer.ggml.tokens: token {id} has {} bytes; at most {MAX_PIECE_BYTES} are expected",
                piece.len()
            )));
        }
        let cuts = piece.char_indices().skip(1).map(|(at, _)| piece.split_at(at));
        let mut found: Vec<_> = cuts
            .filter_map(|(left, right)| Some(((*ids.get(left)?, *ids.get(right)?), left, right)))
            .collect();
        found.sort_by_key(|(ids, ..)| *ids);
        merges.extend(found.into_iter().map(|(_, left, right)| Merge { left, right, rank: rank(id) }));
    }
    let length = |text: &str| text.chars().count();
    // Stable, and backwards as a whole: equal ranks have the longer parts first.
    merges.sort_by(|a, b| {
        let ranks = b.rank.partial_cmp(&a.rank).unwrap_or(Ordering::Equal);
        ranks.then_with(|| (length(b.left), length(b.right)).cmp(&(length(a.left), length(a.right))))
    });
    Ok(merges.into_iter().map(|merge| (merge.left, merge.right)).collect())
}
