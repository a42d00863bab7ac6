//! Every kernel variant on a Vulkan device against its reference (see tests/README.md).
#![cfg(not(target_arch = "wasm32"))]

/// Makes a `#[test]` of each `async fn case(gpu: &Gpu)`; the browser's target has its own version.
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
mod kernels;
#[path = "../reference/mod.rs"]
mod reference;
mod reference_checks;

use std::sync::{Arc, OnceLock};

use postil::gpu::{Gpu, GpuOptions};

/// The device that all tests share. A machine without one fails them: nothing here is ever skipped.
fn device() -> &'static Gpu {
    static DEVICE: OnceLock<Arc<Gpu>> = OnceLock::new();
    DEVICE.get_or_init(|| {
        // What users run is unchecked, and the model's tests run that.
        let checked = std::env::var_os("POSTIL_UNCHECKED").is_none();
        let options = GpuOptions { checked, ..Default::default() };
        let gpu =
            pollster::block_on(Gpu::open_with(None, options)).expect("kernel tests need a Vulkan device");
        eprintln!("device: {} ({})", gpu.caps().adapter.name, gpu.caps().adapter.driver);
        gpu
    })
}
