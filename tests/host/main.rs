//! Tests of what runs on the host alone: no GPU, no network.
#![cfg(not(target_arch = "wasm32"))]

mod adapter;
mod atomic;
mod bench;
mod config;
mod data;
mod demo;
mod exports;
mod families;
mod family_modules;
mod formats;
mod gguf;
mod gguf_hostile;
mod gguf_tokenizer;
#[path = "../formats/gguf.rs"]
mod gguf_writer;
mod imports;
mod known_columns;
mod lora;
mod merge;
mod order;
mod packing;
mod records;
#[path = "../reference/mod.rs"]
mod reference;
mod run_file;
mod safetensors;
mod sampler;
mod schedule;
mod shards;
mod slices;
mod source;
mod streaming;
mod tables;
mod tokenizer;
mod tokenizer_kinds;
