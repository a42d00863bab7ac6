//! Data sets: records read from files, examples (token ids and which of them are trained on), epochs, batches.

mod batch;
mod columns;
mod dataset;
mod examples;
mod file_format;
mod order;
mod preview;
mod read;
mod records;
mod report;
mod rows;
mod store;

pub use batch::Batch;
pub use columns::Columns;
pub use dataset::{Dataset, FirstRows};
pub use examples::{PrepareOptions, Prepared, prepare};
pub use file_format::{DataFormat, FileFormat};
pub use order::{EpochOrder, group_by_length, split};
pub use preview::{PreviewToken, preview};
pub use records::{Format, Record, SkippedLine};
pub use report::{Bar, DataReport, Lengths, Packing, Rejected};
pub use rows::Rows;
pub use store::{Example, Examples};
