//! Pipelines in a browser: compiled beside what the page does. wgpu has no such call, so the browser itself is asked,
//! and what it made is handed to wgpu.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use js_sys::{Function, Object, Promise, Reflect};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::{JsFuture, spawn_local};

use super::compile::{Pipelines, Shared, Slot};
use super::device::Gpu;
use super::pipeline::Shader;

/// The method by which wgpu makes a pipeline, at once.
const CREATE: &str = "createComputePipeline";

/// A plain object.
fn object(fields: &[(&str, &JsValue)]) -> Result<Object, JsValue> {
    let object = Object::new();
    for (name, value) in fields {
        Reflect::set(&object, &(*name).into(), value)?;
    }
    Ok(object)
}

fn call(object: &JsValue, method: &str, argument: &JsValue) -> Result<JsValue, JsValue> {
    Reflect::get(object, &method.into())?.dyn_into::<Function>()?.call1(object, argument)
}

impl Shared {
    fn raw_device(&self) -> &JsValue {
        self.device.as_webgpu().expect("the only backend of this build").as_ref()
    }

    /// Begins to compile a shader.
    pub(super) fn begin(self: &Arc<Self>, shader: &Shader) {
        let (shared, shader, promise) = (Arc::clone(self), shader.clone(), self.promise(shader));
        spawn_local(async move {
            let made = match promise {
                Ok(promise) => JsFuture::from(promise).await,
                Err(error) => Err(error),
            };
            let pipeline = match made {
                Ok(raw) => shared.adopt(&shader, raw),
                // wgpu says what is wrong with it.
                Err(_) => shared.pipeline(&shader),
            };
            shared.done(&shader, Slot::Ready(pipeline));
        });
    }

    fn promise(&self, shader: &Shader) -> Result<Promise, JsValue> {
        let label = JsValue::from(shader.label());
        let module = object(&[("label", &label), ("code", &shader.source().into())])?;
        let module = call(self.raw_device(), "createShaderModule", &module)?;
        let stage = object(&[("module", &module), ("entryPoint", &"main".into())])?;
        let pipeline = object(&[("label", &label), ("layout", &"auto".into()), ("compute", &stage)])?;
        call(self.raw_device(), "createComputePipelineAsync", &pipeline)?.dyn_into()
    }

    /// The pipeline as wgpu's own: the device gives it out the next time that it is asked to make one.
    fn adopt(&self, shader: &Shader, raw: JsValue) -> wgpu::ComputePipeline {
        let give = Closure::<dyn Fn(JsValue) -> JsValue>::new(move |_| raw.clone());
        let device = self.raw_device();
        // An object of the browser's takes properties; they stand before its class's methods.
        let _ = Reflect::set(device, &CREATE.into(), give.as_ref());
        let pipeline = self.pipeline(shader);
        let _ = Reflect::delete_property(device.unchecked_ref::<Object>(), &CREATE.into());
        pipeline
    }
}

impl Pipelines {
    /// Until none of these shaders, by their labels, is being compiled.
    pub(super) async fn compiled(&self, labels: &[String]) {
        poll_fn(|context| {
            let mut state = self.shared.state();
            if labels.iter().any(|label| matches!(state.slots.get(label), Some(Slot::Compiling))) {
                state.wakers.push(context.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }
}

impl Gpu {
    /// From now on tells `listener` how many of the pipelines that were asked for are compiled, and how many they are.
    pub fn on_compiling(&self, listener: impl Fn(usize, usize) + 'static) {
        self.pipelines.shared.state().listener = Some(Rc::new(listener));
    }
}
