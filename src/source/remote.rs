//! Bytes that code of the page's reads, such as parts of a file on a server.

use js_sys::{Function, Promise, Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

use super::{BoxFuture, ByteSource, check_range, received};
use crate::error::{Error, ErrorKind, Result};

/// An object of the page's with `size` and `read(offset, length)`, which promises a `Uint8Array`. Several
/// reads may be under way.
pub struct RemoteSource {
    name: String,
    object: JsValue,
    read: Function,
    len: u64,
}

impl RemoteSource {
    /// `object` under the name that messages shall use.
    ///
    /// # Errors
    ///
    /// `Config` when it lacks `size` or `read`.
    pub fn new(name: impl Into<String>, object: JsValue) -> Result<Self> {
        let name = name.into();
        let property = |key: &str| Reflect::get(&object, &key.into()).unwrap_or(JsValue::UNDEFINED);
        let size = property("size").as_f64().filter(|&size| size >= 0.0 && size.fract() == 0.0);
        match (size, property("read").dyn_into::<Function>()) {
            (Some(size), Ok(read)) => Ok(Self { name, object, read, len: size as u64 }),
            _ => Err(Error::config(format!("{name}: neither a Blob nor an object with size and read"))),
        }
    }

    fn failed(&self, error: &JsValue) -> Error {
        let reason = error
            .dyn_ref::<js_sys::Error>()
            .map_or_else(|| format!("{error:?}"), |error| String::from(error.message()));
        Error::new(ErrorKind::Io, format!("cannot read {}: {reason}", self.name))
    }
}

impl ByteSource for RemoteSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, offset: u64, len: usize) -> BoxFuture<'_, Result<Vec<u8>>> {
        Box::pin(async move {
            check_range(self, offset, len)?;
            let promise = self
                .read
                .call2(&self.object, &(offset as f64).into(), &(len as f64).into())
                .map_err(|error| self.failed(&error))?;
            let array =
                JsFuture::from(Promise::resolve(&promise)).await.map_err(|error| self.failed(&error))?;
            let array = array.dyn_into::<Uint8Array>().map_err(|other| self.failed(&other))?;
            received(&self.name, offset, len, &array)
        })
    }
}
