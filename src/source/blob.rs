//! A browser's `Blob`, such as a file that the user picked.

use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::Blob;

use super::{BoxFuture, ByteSource, check_range, received};
use crate::error::{Error, ErrorKind, Result};

/// A browser's `Blob`, such as a file that the user picked.
pub struct BlobSource {
    name: String,
    blob: Blob,
    len: u64,
}

impl BlobSource {
    /// `blob` under the name that messages shall use.
    pub fn new(name: impl Into<String>, blob: Blob) -> Self {
        // A size is a whole number below 2^53.
        let len = blob.size() as u64;
        Self { name: name.into(), blob, len }
    }

    fn failed(&self, error: &JsValue) -> Error {
        let reason = error
            .dyn_ref::<js_sys::Error>()
            .map_or_else(|| format!("{error:?}"), |error| String::from(error.to_string()));
        Error::new(ErrorKind::Io, format!("cannot read {}: {reason}", self.name))
    }
}

impl ByteSource for BlobSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, offset: u64, len: usize) -> BoxFuture<'_, Result<Vec<u8>>> {
        Box::pin(async move {
            let range = check_range(self, offset, len)?;
            let slice = self
                .blob
                .slice_with_f64_and_f64(range.start as f64, range.end as f64)
                .map_err(|error| self.failed(&error))?;
            let array = JsFuture::from(slice.array_buffer()).await.map_err(|error| self.failed(&error))?;
            received(&self.name, offset, len, &js_sys::Uint8Array::new(&array))
        })
    }
}
