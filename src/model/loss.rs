//! The vocabulary projection fused with cross-entropy, in chunks of tokens.
//!
//! Only rows with a target go through the head, and the logits of a whole batch never exist: a chunk's
//! logits are made, turned into their own gradient in place, and multiplied back.

use super::buffers::rows_of;
use super::{Gradients, Inputs, Model, PassBuffers, ROW_MULTIPLE};
use crate::config::{Arithmetic, ModelConfig};
use crate::error::Result;
use crate::gpu::{Allocator, Dtype, Plan, PlanBuilder, StepBuffer, Tensor};
use crate::kernels::cross_entropy::cross_entropy;
use crate::kernels::gather::{gather, scatter};
use crate::kernels::matmul::{Nn, Nt};
use crate::kernels::reduce::add_sum;

/// Bytes that a chunk's logits may take. Larger chunks fill a GPU better, smaller ones leave room; cooperative matrices
/// need more rows to be busy.
fn chunk_bytes(arithmetic: Arithmetic) -> u64 {
    match arithmetic {
        Arithmetic::F32 => 64 << 20,
        Arithmetic::F16 => 256 << 20,
    }
}

/// In how many shares the sums over the vocabulary are made.
const VOCAB_SHARES: usize = 8;

/// Workspace of the loss, for up to a number of rows; cloning shares the memory.
#[derive(Clone)]
pub struct LossBuffers {
    /// Hidden states of the target rows, `[rows, hidden_size]`.
    hidden: Tensor,
    normed: Tensor,
    rstd: Tensor,
    /// `[chunk, vocab_size]`.
    logits: Tensor,
    /// `[rows]`.
    losses: Tensor,
    /// Sum of losses since it was cleared, `[1]`.
    pub sum: Tensor,
    d_normed: Tensor,
    d_hidden: Tensor,
    /// `[VOCAB_SHARES, chunk·hidden_size]`.
    shares: Option<Tensor>,
}

impl LossBuffers {
    /// Workspace for up to `rows` rows.
    pub fn new(
        gpu: &dyn Allocator,
        config: &ModelConfig,
        rows: usize,
        arithmetic: Arithmetic,
    ) -> Result<Self> {
        let wide = |label: &str| gpu.tensor(label, &[rows, config.hidden_size], Dtype::F32);
        // One dispatch after the other indexes the whole of it.
        let (needed, allowed) = (4 * rows as u64, gpu.part_limits().bytes);
        if needed > allowed {
            return Err(gpu.too_large("losses", needed));
        }
        let chunk = chunk_rows(gpu, config.vocab_size, arithmetic).min(rows);
        let shares = [VOCAB_SHARES, chunk * config.hidden_size];
        // In one part, or not at all.
        let shares = match Tensor::byte_size(&shares, Dtype::F32) {
            Some(bytes) if bytes <= allowed => Some(gpu.tensor("vocabulary shares", &shares, Dtype::F32)?),
            _ => None,
        };
        Ok(Self {
            hidden: wide("target hidden")?,
            normed: wide("target normed")?,
            rstd: gpu.tensor("target rstd", &[rows], Dtype::F32)?,
            logits: gpu.tensor("logits", &[chunk, config.vocab_size], Dtype::F32)?,
            losses: gpu.tensor("losses", &[rows], Dtype::F32)?,
            sum: gpu.tensor("loss sum", &[1], Dtype::F32)?,
            d_normed: wide("d target normed")?,
            d_hidden: wide("d target hidden")?,
            shares,
        })
    }
}

/// Rows of a chunk on this device: a multiple of [`ROW_MULTIPLE`], so that it starts where a binding may, and of twice as
/// many if there are more.
pub fn chunk_rows(gpu: &dyn Allocator, vocab_size: usize, arithmetic: Arithmetic) -> usize {
    let limit = gpu.part_limits().bytes.min(chunk_bytes(arithmetic)) as usize;
    let rows = (limit / (4 * vocab_size) / ROW_MULTIPLE).max(1) * ROW_MULTIPLE;
    if rows > 2 * ROW_MULTIPLE { rows / (2 * ROW_MULTIPLE) * (2 * ROW_MULTIPLE) } else { rows }
}

/// The loss of one batch shape, in pieces: how many chunks run depends on the number of targets.
pub struct LossPlans {
    /// Before the chunks.
    pub begin: Plan,
    /// One per chunk of target rows.
    pub chunks: Vec<Plan>,
    /// After the chunks: adds to `sum` and, with gradients, writes `gradients.x`.
    pub end: Plan,
    chunk_rows: usize,
}

impl LossPlans {
    /// The chunks that a batch with so many targets needs.
    pub fn chunks_for(&self, targets: usize) -> &[Plan] {
        &self.chunks[..targets.div_ceil(self.chunk_rows).min(self.chunks.len())]
    }
}

/// Records the loss after a pass into `buffers`; with `gradients` its backward pass too, down to the
/// gradient of the pass's result.
pub fn record_loss(
    model: &Model,
    step: &StepBuffer,
    inputs: &Inputs,
    buffers: &PassBuffers,
    loss: &LossBuffers,
    gradients: Option<&Gradients>,
    arithmetic: Arithmetic,
) -> LossPlans {
    let (gpu, config, weights) = (&**model.gpu(), model.config(), model.weights());
    let rows = inputs.input_ids.len();
    let cut = |tensor: &Tensor| rows_of(tensor, rows);
    let (hidden, normed, rstd) = (cut(&loss.hidden), cut(&loss.normed), cut(&loss.rstd));
    let losses = cut(&loss.losses);
    let (d_normed, d_hidden) = (cut(&loss.d_normed), cut(&loss.d_hidden));

    let mut begin = PlanBuilder::new(gpu);
    gather(&mut begin, &inputs.target_rows, &buffers.out, &hidden);
    weights.norm.forward(&mut begin, &hidden, [&normed, &rstd], None);
    begin.clear(&losses);

    let chunk_rows = loss.logits.rows();
    let mut chunks = Vec::new();
    for first in (0..rows).step_by(chunk_rows) {
        let count = chunk_rows.min(rows - first);
        let part = |tensor: &Tensor| tensor.view(first * config.hidden_size, &[count, config.hidden_size]);
        let logits = rows_of(&loss.logits, count);
        let mut plan = PlanBuilder::with_step(gpu, step).in_arithmetic(arithmetic);
        Nt::new(&part(&normed), &weights.lm_head, &logits).add_to(&mut plan);
        let state = gradients.map(|gradients| &gradients.state);
        cross_entropy(&mut plan, &inputs.target_ids, &logits, &losses, first, state);
        if gradients.is_some() {
            let d_normed = part(&d_normed);
            Nn { shares: loss.shares.as_ref(), ..Nn::new(&logits, &weights.lm_head, &d_normed) }
                .add_to(&mut plan);
        }
        chunks.push(plan.finish());
    }

    let mut end = PlanBuilder::new(gpu);
    add_sum(&mut end, &losses, &loss.sum);
    if let Some(gradients) = gradients {
        // Rows past the last chunk that ran hold old values; scatter skips them, as they have no target.
        weights.norm.backward(&mut end, [&hidden, &rstd], &d_normed, &d_hidden, None, false);
        end.clear(&gradients.x);
        scatter(&mut end, &inputs.target_rows, &d_hidden, &gradients.x);
    }
    LossPlans { begin: begin.finish(), chunks, end: end.finish(), chunk_rows }
}
