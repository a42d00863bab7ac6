//! The GPU layer: devices, tensors, pipelines, recorded plans, read-back and timing.
//!
//! It knows kernels only as WGSL text with a parameter block ([`Shader`]), and no model at all.
//! Everything is built on one idea: a [`Plan`] is recorded once (pipelines, bind groups, grids) and
//! replayed every step, because command buffers are one-shot in WebGPU.

mod adapter;
mod allocator;
mod budget;
mod compile;
#[cfg(target_arch = "wasm32")]
mod compile_web;
mod device;
mod governor;
mod pipeline;
#[cfg(not(target_arch = "wasm32"))]
mod pipeline_file;
mod plan;
mod readback;
mod recorder;
mod tensor;
mod timing;

pub use adapter::{AdapterSummary, list_adapters};
pub use allocator::{Allocator, MemoryUse, Tally};
pub use budget::MemoryBudget;
pub use device::{Caps, Gpu, GpuOptions};
pub use pipeline::{Param, ParamKind, Params, Shader};
pub use plan::{Plan, PlanBuilder, StepBuffer};
pub use readback::PendingRead;
pub use recorder::Recorder;
pub use tensor::{Dtype, PartLimits, Tensor, row_parts};
pub use timing::{KernelTime, Profiler, Stopwatch};

/// A byte count for people: `"1.5 MiB"`.
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}
