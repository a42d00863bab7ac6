//! Where bytes go: a file, a browser's writable stream or memory, behind one trait.
//!
//! The counterpart of [`source`](crate::source): what is written in pieces is never held whole.

use crate::error::{Error, ErrorKind, Result};
use crate::source::BoxFuture;

#[cfg(not(target_arch = "wasm32"))]
mod file;
#[cfg(not(target_arch = "wasm32"))]
pub use file::FileSink;

#[cfg(target_arch = "wasm32")]
mod callback;
#[cfg(target_arch = "wasm32")]
pub use callback::CallbackSink;

/// Bytes that are written one after the other.
pub trait ByteSink {
    /// What messages call it: a path or a file's name.
    fn name(&self) -> &str;

    /// Appends all of `bytes`.
    ///
    /// # Errors
    ///
    /// `Io` when writing fails (a full disk above all), `OutOfMemory` when there is no memory for them.
    fn write<'a>(&'a mut self, bytes: &'a [u8]) -> BoxFuture<'a, Result<()>>;
}

/// Bytes in memory.
pub struct MemorySink {
    name: String,
    bytes: Vec<u8>,
}

impl MemorySink {
    /// An empty sink under the name that messages shall use.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), bytes: Vec::new() }
    }

    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl ByteSink for MemorySink {
    fn name(&self) -> &str {
        &self.name
    }

    fn write<'a>(&'a mut self, bytes: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.bytes.try_reserve(bytes.len()).map_err(|_| {
                let (name, len) = (&self.name, bytes.len());
                Error::new(ErrorKind::OutOfMemory, format!("{name}: no memory for {len} more bytes"))
            })?;
            self.bytes.extend_from_slice(bytes);
            Ok(())
        })
    }
}
