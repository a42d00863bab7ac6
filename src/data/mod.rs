//! Data sets: records read from files, examples (token ids and which of them are trained on), epochs, batches.

mod batch;
mod examples;
mod order;
mod preview;
mod records;

pub use batch::Batch;
pub use examples::{Example, PrepareOptions, Prepared, prepare};
pub use order::{EpochOrder, batches, split};
pub use preview::{PreviewToken, preview};
pub use records::{Dataset, Format, Record, SkippedLine};
