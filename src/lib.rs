//! Postil: LoRA fine-tuning of language models on one's own GPU, natively and in the browser.
//!
//! `W_eff = W0 + (α/r)·B·A` (Hu et al., arXiv:2106.09685): the base's weights are frozen and stay in GPU
//! memory as stored, only `A` and `B` are trained, and `B·A` is never formed.
//!
//! # Modules, in the order of their imports
//!
//! [`error`] ← [`config`] ← {[`source`], [`sink`], [`checkpoint`], [`tokenizer`], [`data`], [`gpu`]} ← [`kernels`] ←
//! [`model`] ← {[`base`], [`memory`], `hub`} ← {[`train`], [`generate`]} ← [`bench`] ← {`demo`, `web`, the binary}. A test enforces it.
//!
//! # One training step
//!
//! A [`Batch`](data::Batch) is rows of tokens, documents laid end to end, uploaded once. The plan for its
//! number of rows ([`gpu::Plan`]: pipelines, bind groups, grids) was recorded by [`model`] the first time
//! that it was needed and is replayed: forward, loss in chunks of tokens, backward into one flat gradient
//! buffer. After the last micro-batch the optimizer clips and applies it, and while the loss is read back
//! the next step is already under way ([`train::Trainer`]).
//!
//! # One generated token
//!
//! A prompt is read as training reads a batch, many rows at once, into a key-value cache. Then each token is a plan of
//! five dispatches a layer, nine with an adapter ([`model::TokenPass`]; one more for a long cache, or a norm), whose time is that of reading the weights. The
//! next token is chosen on the GPU too, so that the host hands over many tokens at once and reads their ids while the
//! next ones are made ([`generate::Tokens`]).

pub mod base;
pub mod bench;
pub mod checkpoint;
pub mod config;
pub mod data;
#[cfg(not(target_arch = "wasm32"))]
pub mod demo;
pub mod error;
pub mod generate;
pub mod gpu;
#[cfg(not(target_arch = "wasm32"))]
pub mod hub;
pub mod kernels;
pub mod memory;
pub mod model;
pub mod sink;
pub mod source;
pub mod tokenizer;
pub mod train;
#[cfg(target_arch = "wasm32")]
pub mod web;

pub use error::{Context, Error, ErrorKind, Result, counted};
