//! What a run's rows are, and what they need.

use super::evaluate::largest_batch;
use super::session::SessionOptions;
use crate::config::{Arithmetic, TrainConfig};
use crate::data::{Examples, Rows};

/// What batches count.
pub(super) fn as_rows(config: &TrainConfig, examples: Examples) -> Rows {
    match config.packing {
        true => Rows::packed(examples, config.max_length),
        false => Rows::single(examples),
    }
}

/// What a run on these rows makes its buffers for, if they are cut to `max_length`. `arithmetic`: that of its beginning.
pub(super) fn session_options(
    config: &TrainConfig,
    lora_dropout: f64,
    [rows, held_out]: [&Rows; 2],
    max_length: usize,
    arithmetic: Arithmetic,
) -> SessionOptions {
    let largest = |rows| largest_batch(rows, config.per_device_train_batch_size, max_length);
    let (train, evaluation) = (largest(rows), largest(held_out));
    let rows = train.0.max(evaluation.0);
    SessionOptions {
        rows,
        positions: train.1.max(evaluation.1),
        dropout: lora_dropout > 0.0,
        gradient_checkpointing: config.gradient_checkpointing,
        half_activations: arithmetic == Arithmetic::F16,
        arithmetic,
    }
}
