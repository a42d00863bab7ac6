//! What a batch counts: single examples, or several short ones packed into one row.

use std::collections::{BTreeMap, VecDeque};

use super::batch::Batch;
use super::store::{Example, Examples};
use crate::error::Result;

/// Examples grouped into rows. Whatever a row holds, attention, positions and loss stay inside each example
/// ([`Batch`] lays them end to end with a range for each), so packing changes which examples share a step and
/// nothing else.
#[derive(Debug, Clone)]
pub struct Rows {
    examples: Examples,
    packed: Option<Packed>,
}

#[derive(Debug, Clone)]
struct Packed {
    /// Examples of the first row, of the second, and so on.
    members: Vec<usize>,
    /// One past each row's last entry in `members`.
    ends: Vec<usize>,
}

impl Rows {
    /// One row an example.
    pub fn single(examples: Examples) -> Self {
        Self { examples, packed: None }
    }

    /// Rows of up to `capacity` tokens by best-fit decreasing (TRL's `bfd`): the longest example first, each into
    /// the fullest row that still has room. Examples are never split; one longer than `capacity` is a row of its
    /// own.
    pub fn packed(examples: Examples, capacity: usize) -> Self {
        let lengths: Vec<_> = (0..examples.len()).map(|i| examples.tokens(i) as u32).collect();
        let mut placed = best_fit_decreasing(&lengths, capacity);
        // The sort is stable, so a row's examples stay in the order in which they came to it.
        placed.sort_by_key(|&(_, row)| row);
        let mut ends = Vec::new();
        for (at, &(_, row)) in placed.iter().enumerate() {
            ends.truncate(row);
            ends.push(at + 1);
        }
        let members = placed.into_iter().map(|(i, _)| i).collect();
        Self { examples, packed: Some(Packed { members, ends }) }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.packed.as_ref().map_or(self.examples.len(), |packed| packed.ends.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The examples that the rows are made of.
    pub fn examples(&self) -> &Examples {
        &self.examples
    }

    /// Indices of row `i`'s examples.
    pub fn members(&self, i: usize) -> Vec<usize> {
        match &self.packed {
            None => vec![i],
            Some(packed) => {
                let start = if i == 0 { 0 } else { packed.ends[i - 1] };
                packed.members[start..packed.ends[i]].to_vec()
            }
        }
    }

    /// Tokens of row `i`.
    pub fn tokens(&self, i: usize) -> usize {
        self.members(i).into_iter().map(|i| self.examples.tokens(i)).sum()
    }

    /// The rows with these indices as a batch, padded to a multiple of `row_multiple` token rows.
    ///
    /// # Errors
    ///
    /// As [`Examples::get`].
    pub fn batch(&self, rows: &[usize], row_multiple: usize) -> Result<Batch> {
        let members = rows.iter().flat_map(|&row| self.members(row));
        let examples = members.map(|i| self.examples.get(i)).collect::<Result<Vec<Example>>>()?;
        Ok(Batch::new(&examples.iter().collect::<Vec<_>>(), row_multiple))
    }
}

/// Pairs of example and row, in the order in which examples were placed; equally long ones in the data set's
/// order, equally full rows the older first.
fn best_fit_decreasing(lengths: &[u32], capacity: usize) -> Vec<(usize, usize)> {
    let mut order: Vec<_> = (0..lengths.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(lengths[i]));
    // Rows by the room that they have left.
    let mut open: BTreeMap<usize, VecDeque<usize>> = BTreeMap::new();
    let mut rows = 0;
    let place = |i: usize| {
        let best = open.range_mut(lengths[i] as usize..).next();
        let (room, row) = match best {
            Some((&room, queue)) => {
                let row = queue.pop_front().unwrap_or_default();
                if queue.is_empty() {
                    open.remove(&room);
                }
                (room, row)
            }
            None => {
                rows += 1;
                (capacity, rows - 1)
            }
        };
        let left = room.saturating_sub(lengths[i] as usize);
        if left > 0 {
            open.entry(left).or_default().push_back(row);
        }
        (i, row)
    };
    order.into_iter().map(place).collect()
}

/// Rows that packing into `capacity` tokens gives for examples of these lengths.
pub(super) fn packed_rows(lengths: &[u32], capacity: usize) -> usize {
    best_fit_decreasing(lengths, capacity).iter().map(|&(_, row)| row + 1).max().unwrap_or(0)
}
