//! The kernel and model cases again, in a browser's WebGPU, and the facade that its page calls (see
//! tests/README.md).
#![cfg(target_arch = "wasm32")]

/// Makes a browser test of each `async fn case(gpu: &Gpu)`; the native targets have their own version.
macro_rules! cases {
    ($($case:ident),* $(,)?) => {
        mod cases {
            use wasm_bindgen_test::wasm_bindgen_test;

            $(#[wasm_bindgen_test]
            async fn $case() {
                let gpu = crate::device().await;
                super::$case(&gpu).await;
            })*
        }
    };
}

mod facade;
#[path = "../kernels/mod.rs"]
mod kernels;
#[path = "../model/mod.rs"]
mod model;
#[path = "../reference/mod.rs"]
mod reference;

use std::cell::RefCell;
use std::sync::Arc;

use postil::gpu::Gpu;
use wasm_bindgen_test::{console_log, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_browser);

/// The device that all tests share. A browser without one fails them: nothing here is ever skipped.
async fn device() -> Arc<Gpu> {
    thread_local! {
        static DEVICE: RefCell<Option<Arc<Gpu>>> = const { RefCell::new(None) };
    }
    if let Some(gpu) = DEVICE.with_borrow(Clone::clone) {
        return gpu;
    }
    let gpu = Gpu::open(None).await.expect("these tests need a browser with WebGPU");
    console_log!("device: {} ({})", gpu.caps().adapter.name, gpu.caps().adapter.driver);
    DEVICE.set(Some(Arc::clone(&gpu)));
    gpu
}
