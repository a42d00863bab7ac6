//! The command line as a person uses it: the real binary, the built-in model, files on disk.
#![cfg(not(target_arch = "wasm32"))]

mod bad_input;
mod bench;
mod commands;
mod common;
mod data;
mod export;
mod gguf;
mod hub;
mod hub_large;
mod hub_plan;
mod hub_server;
mod memory;
mod resume;
mod run_file;
mod train;
