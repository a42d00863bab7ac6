//! Postil: LoRA fine-tuning of language models on one's own GPU.

pub mod checkpoint;
pub mod config;
pub mod data;
pub mod error;
pub mod gpu;
pub mod kernels;
pub mod model;
pub mod source;

pub use error::{Context, Error, ErrorKind, Result};
