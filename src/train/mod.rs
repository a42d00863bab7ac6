//! Training: one optimizer step after the other, evaluation, checkpoints.
//!
//! Semantics are those of transformers' `Trainer` with PEFT: the loss of an optimizer step is the sum over
//! the target tokens of all its micro-batches divided by their number, the gradient is clipped by its
//! global norm, then AdamW.

mod evaluate;
mod job;
mod memory;
mod records;
mod report;
mod rows;
mod session;
mod skipped;
mod state;
mod trainer;

#[cfg(not(target_arch = "wasm32"))]
mod run_dir;

pub use evaluate::{Evaluation, Evaluator};
pub use job::{Fit, Job, MemoryOptions, ReadyJob, Start, TokenizedJob};
pub use records::{Records, prepare_for};
pub use report::{Progress, StepReport};
#[cfg(not(target_arch = "wasm32"))]
pub use run_dir::{Made, RunDir, latest_checkpoint};
pub use session::{Session, SessionOptions};
pub use state::{Checkpoint, TrainerState};
pub use trainer::{Trainer, TrainingData};
