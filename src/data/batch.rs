//! Examples laid end to end as the rows that the model computes on.

use super::store::Example;

/// Rows of several examples without padding between them, then padding rows up to a multiple.
///
/// `input_ids`, `positions`, `target_rows` and `target_ids` have [`rows`](Self::rows) entries; `kv_range` and
/// `query_range` have two per row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The token of each row; 0 in padding rows.
    pub input_ids: Vec<u32>,
    /// Each row's position in its example, from 0; 0 in padding rows.
    pub positions: Vec<u32>,
    /// `[rows, 2]`: first row and end of the keys that the row attends to: its example up to itself. Padding rows
    /// attend to themselves.
    pub kv_range: Vec<u32>,
    /// `[rows, 2]`: first row and end of the queries that attend to the row: itself up to its example's end.
    pub query_range: Vec<u32>,
    /// The rows that predict a trained token, ascending, filled up with `u32::MAX`.
    pub target_rows: Vec<u32>,
    /// The tokens that those rows predict, filled up with `u32::MAX`.
    pub target_ids: Vec<u32>,
    /// Rows that hold a token of an example.
    pub tokens: usize,
    /// Entries of `target_rows` and `target_ids` before the filling.
    pub targets: usize,
}

impl Batch {
    /// Lays `examples` end to end and pads the rows to a multiple of `row_multiple` (at least 1).
    pub fn new(examples: &[&Example], row_multiple: usize) -> Self {
        let tokens = examples.iter().map(|example| example.input_ids.len()).sum::<usize>();
        let rows = tokens.next_multiple_of(row_multiple.max(1));
        let with_rows = || Vec::with_capacity(rows);
        let with_ranges = || Vec::with_capacity(2 * rows);
        let mut batch = Self {
            input_ids: with_rows(),
            positions: with_rows(),
            kv_range: with_ranges(),
            query_range: with_ranges(),
            target_rows: with_rows(),
            target_ids: with_rows(),
            tokens,
            targets: 0,
        };
        for example in examples {
            let start = batch.input_ids.len() as u32;
            let end = start + example.input_ids.len() as u32;
            for (row, (&id, &trained)) in (start..end).zip(example.input_ids.iter().zip(&example.trained)) {
                batch.input_ids.push(id);
                batch.positions.push(row - start);
                batch.kv_range.extend([start, row + 1]);
                batch.query_range.extend([row, end]);
                if trained && row > start {
                    batch.target_rows.push(row - 1);
                    batch.target_ids.push(id);
                }
            }
        }
        batch.targets = batch.target_rows.len();
        batch.input_ids.resize(rows, 0);
        batch.positions.resize(rows, 0);
        for row in tokens as u32..rows as u32 {
            batch.kv_range.extend([row, row + 1]);
            batch.query_range.extend([row, row + 1]);
        }
        batch.target_rows.resize(rows, u32::MAX);
        batch.target_ids.resize(rows, u32::MAX);
        batch
    }

    /// As [`kv_range`](Self::kv_range), but for the last `window` keys only (at least 1), the row's own included.
    pub fn sliding_kv_range(&self, window: usize) -> Vec<u32> {
        let window = u32::try_from(window).unwrap_or(u32::MAX);
        let pairs = self.kv_range.as_chunks().0.iter();
        pairs.flat_map(|&[start, end]| [start.max(end.saturating_sub(window)), end]).collect()
    }

    /// As [`query_range`](Self::query_range), but for the first `window` queries only, the row's own included.
    pub fn sliding_query_range(&self, window: usize) -> Vec<u32> {
        let window = u32::try_from(window).unwrap_or(u32::MAX);
        let pairs = self.query_range.as_chunks().0.iter();
        pairs.flat_map(|&[start, end]| [start, end.min(start.saturating_add(window))]).collect()
    }

    /// Rows with the padding.
    pub fn rows(&self) -> usize {
        self.input_ids.len()
    }
}
