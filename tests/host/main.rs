//! Tests of what runs on the host alone: no GPU, no network.

mod adapter;
mod atomic;
mod config;
mod data;
mod demo;
mod families;
mod family_modules;
mod imports;
mod lora;
mod safetensors;
mod schedule;
mod source;
mod tokenizer;
