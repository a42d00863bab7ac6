//! Files of weights: safetensors in slices, PEFT adapters in and out, and writing files so that a
//! killed run leaves the old or the new ones, never half of them.

mod adapter;
#[cfg(not(target_arch = "wasm32"))]
pub mod atomic;
mod safetensors;
mod tensors;

pub use self::adapter::{ADAPTER_CONFIG_FILE, ADAPTER_MODEL_FILE, Adapter, AdapterFiles, AdapterModule};
pub use self::safetensors::{SafetensorsFile, write_safetensors};
pub use self::tensors::{TensorInfo, TensorSource};
