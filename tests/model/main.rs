//! Model, training and generation on a Vulkan device against transformers and PEFT (see tests/README.md).
#![cfg(not(target_arch = "wasm32"))]

/// Makes a `#[test]` of each `async fn case(gpu: &Arc<Gpu>)`; the browser's target has its own version.
macro_rules! cases {
    ($($case:ident),* $(,)?) => {
        mod cases {
            $(#[test]
            fn $case() {
                pollster::block_on(super::$case(crate::device()));
            })*
        }
    };
}

#[path = "mod.rs"]
mod model;

use std::sync::{Arc, OnceLock};

use postil::gpu::Gpu;

/// The device that all tests share. A machine without one fails them: nothing here is ever skipped.
fn device() -> &'static Arc<Gpu> {
    static DEVICE: OnceLock<Arc<Gpu>> = OnceLock::new();
    DEVICE.get_or_init(|| {
        let gpu = pollster::block_on(Gpu::open(None)).expect("model tests need a Vulkan device");
        eprintln!("device: {} ({})", gpu.caps().adapter.name, gpu.caps().adapter.driver);
        gpu
    })
}
