//! Files of weights: safetensors and GGUF in slices, adapters in and out, merged models out, and writing files so
//! that a killed run leaves the old or the new ones, never half of them.

mod adapter;
#[cfg(not(target_arch = "wasm32"))]
pub mod atomic;
mod canonical;
mod gguf;
mod merge;
mod mlx;
mod safetensors;
mod shards;
mod stream;
mod tensors;
mod uniform;

pub use self::adapter::{ADAPTER_CONFIG_FILE, ADAPTER_MODEL_FILE, Adapter, AdapterFiles, AdapterModule};
pub use self::canonical::Canonical;
pub use self::gguf::{GgmlType, GgufFile, Outtype};
pub use self::merge::{Merge, Sharding};
pub use self::mlx::MLX_ADAPTERS_FILE;
pub use self::safetensors::{SafetensorsFile, write_safetensors};
pub use self::shards::{
    INDEX_FILE, MAX_INDEX_BYTES, MODEL_FILE, PICKLED, ShardIndex, ShardedSafetensors, open_weights, pickled,
};
pub use self::stream::{IN_FLIGHT, Meter, Progress, SLICE, Slice, Slices};
pub use self::tensors::{TensorInfo, TensorSource};
