//! What describes the rows of a pass: tokens, positions, who sees whom, and what is predicted.

use super::buffers::rows_of;
use crate::config::ModelConfig;
use crate::data::Batch;
use crate::error::Result;
use crate::gpu::{Allocator, Dtype, Gpu, Tensor};

/// What describes the rows of a pass.
#[derive(Clone)]
pub struct Inputs {
    /// Token ids, `[rows]`.
    pub input_ids: Tensor,
    /// Positions in the row's document, `[rows]`.
    pub positions: Tensor,
    /// Who attends whom in layers that see everything before.
    pub full: Ranges,
    /// Who attends whom in layers with a sliding window, if the model has such layers.
    pub sliding: Option<Ranges>,
    /// Rows whose next token is a target, `[rows]`, then [`NONE`](crate::kernels::NONE).
    pub target_rows: Tensor,
    /// Those tokens, `[rows]`.
    pub target_ids: Tensor,
}

/// Which rows attend which.
#[derive(Clone)]
pub struct Ranges {
    /// First and one past the last key row that a row attends, `[rows, 2]`.
    pub kv_range: Tensor,
    /// First and one past the last row that attends a key row, `[rows, 2]`.
    pub query_range: Tensor,
}

impl Ranges {
    fn new(gpu: &dyn Allocator, rows: usize) -> Result<Self> {
        let pairs = |label: &str| gpu.tensor(label, &[rows, 2], Dtype::U32);
        Ok(Self { kv_range: pairs("kv_range")?, query_range: pairs("query_range")? })
    }

    fn first(&self, rows: usize) -> Self {
        Self { kv_range: rows_of(&self.kv_range, rows), query_range: rows_of(&self.query_range, rows) }
    }
}

impl Inputs {
    /// Inputs of a model for up to `rows` rows.
    pub fn new(gpu: &dyn Allocator, config: &ModelConfig, rows: usize) -> Result<Self> {
        let column = |label: &str| gpu.tensor(label, &[rows], Dtype::U32);
        Ok(Self {
            input_ids: column("input_ids")?,
            positions: column("positions")?,
            full: Ranges::new(gpu, rows)?,
            sliding: config.sliding_window.map(|_| Ranges::new(gpu, rows)).transpose()?,
            target_rows: column("target_rows")?,
            target_ids: column("target_ids")?,
        })
    }

    /// Uploads what describes a batch.
    pub fn write(&self, gpu: &Gpu, config: &ModelConfig, batch: &Batch) {
        gpu.write(&self.input_ids, &batch.input_ids);
        gpu.write(&self.positions, &batch.positions);
        gpu.write(&self.full.kv_range, &batch.kv_range);
        gpu.write(&self.full.query_range, &batch.query_range);
        if let (Some(ranges), Some(window)) = (&self.sliding, config.sliding_window) {
            gpu.write(&ranges.kv_range, &batch.sliding_kv_range(window));
            gpu.write(&ranges.query_range, &batch.sliding_query_range(window));
        }
        gpu.write(&self.target_rows, &batch.target_rows);
        gpu.write(&self.target_ids, &batch.target_ids);
    }

    /// The ranges of a layer.
    pub(super) fn ranges(&self, is_sliding: bool) -> &Ranges {
        match &self.sliding {
            Some(ranges) if is_sliding => ranges,
            _ => &self.full,
        }
    }

    /// The same memory for the first `rows` rows.
    pub fn first(&self, rows: usize) -> Self {
        Self {
            input_ids: rows_of(&self.input_ids, rows),
            positions: rows_of(&self.positions, rows),
            full: self.full.first(rows),
            sliding: self.sliding.as_ref().map(|ranges| ranges.first(rows)),
            target_rows: rows_of(&self.target_rows, rows),
            target_ids: rows_of(&self.target_ids, rows),
        }
    }
}
