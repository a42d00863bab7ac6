//! Tests of what runs on the host alone: no GPU, no network.
#![cfg(not(target_arch = "wasm32"))]

mod adapter;
mod atomic;
mod config;
mod data;
mod demo;
mod formats;
mod imports;
mod lora;
mod order;
mod packing;
mod safetensors;
mod schedule;
mod source;
mod streaming;
mod tokenizer;
mod tokenizer_kinds;
