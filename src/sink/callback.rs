//! Bytes that code of the page's writes, such as into a file that the user chose.

use js_sys::{Function, Promise, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

use super::ByteSink;
use crate::error::{Error, ErrorKind, Result};
use crate::source::BoxFuture;

/// A function of the page's that takes a `Uint8Array` and may promise to have written it.
pub struct CallbackSink {
    name: String,
    write: Function,
}

impl CallbackSink {
    /// `write` under the name that messages shall use.
    pub fn new(name: impl Into<String>, write: Function) -> Self {
        Self { name: name.into(), write }
    }

    fn failed(&self, error: &JsValue) -> Error {
        let reason = error
            .dyn_ref::<js_sys::Error>()
            .map_or_else(|| format!("{error:?}"), |error| String::from(error.message()));
        Error::new(ErrorKind::Io, format!("cannot write {}: {reason}", self.name))
    }
}

impl ByteSink for CallbackSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn write<'a>(&'a mut self, bytes: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            // A copy: WebAssembly's memory may move while the page writes.
            let written = self.write.call1(&JsValue::NULL, &Uint8Array::from(bytes));
            let written = written.map_err(|error| self.failed(&error))?;
            JsFuture::from(Promise::resolve(&written)).await.map_err(|error| self.failed(&error))?;
            Ok(())
        })
    }
}
