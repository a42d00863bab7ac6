//! Where bytes come from: a file, a browser's `Blob`, a server or memory, behind one trait.
//!
//! A source is read in slices, so that a model passes through without ever being held whole.

use std::borrow::Cow;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;

use crate::error::{Error, ErrorKind, Result};

#[cfg(not(target_arch = "wasm32"))]
mod file;
#[cfg(not(target_arch = "wasm32"))]
pub use file::FileSource;

#[cfg(target_arch = "wasm32")]
mod blob;
#[cfg(target_arch = "wasm32")]
pub use blob::BlobSource;
#[cfg(target_arch = "wasm32")]
mod remote;
#[cfg(target_arch = "wasm32")]
pub use remote::RemoteSource;

/// A future on the heap that stays on its thread, as everything in a browser's worker does.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Bytes with a known length that can be read anywhere.
pub trait ByteSource {
    /// What messages call it: a path or a file's name.
    fn name(&self) -> &str;

    /// Number of bytes.
    fn len(&self) -> u64;

    /// Whether there are no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The `len` bytes from `offset` on.
    ///
    /// # Errors
    ///
    /// `Format` when the source ends before `offset + len` (checked before memory is taken),
    /// `OutOfMemory` when there is no memory for `len` bytes, `Io` when reading fails.
    fn read(&self, offset: u64, len: usize) -> BoxFuture<'_, Result<Vec<u8>>>;
}

/// Checks that `source` has `len` bytes from `offset` on.
pub(crate) fn check_range(source: &dyn ByteSource, offset: u64, len: usize) -> Result<Range<u64>> {
    match offset.checked_add(len as u64) {
        Some(end) if end <= source.len() => Ok(offset..end),
        _ => Err(Error::format(format!(
            "{}: truncated: expected {len} bytes at offset {offset}, but the file has {} bytes",
            source.name(),
            source.len()
        ))),
    }
}

/// Reads `len` bytes, and checks that it is that many.
///
/// # Errors
///
/// Those of [`ByteSource::read`]; `Format` when fewer or more bytes came.
pub async fn read_exact(source: &dyn ByteSource, offset: u64, len: usize) -> Result<Vec<u8>> {
    let bytes = source.read(offset, len).await?;
    if bytes.len() != len {
        return Err(Error::format(format!(
            "{}: expected {len} bytes at offset {offset}, found {}. Is the file complete?",
            source.name(),
            bytes.len()
        )));
    }
    Ok(bytes)
}

/// A buffer of `len` zeros, or `OutOfMemory`.
pub(crate) fn buffer(name: &str, len: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| {
        Error::new(ErrorKind::OutOfMemory, format!("{name}: no memory to read {len} bytes at once"))
    })?;
    bytes.resize(len, 0);
    Ok(bytes)
}

/// What the page handed over for a read of `len` bytes at `offset`, as the engine's own bytes.
#[cfg(target_arch = "wasm32")]
fn received(name: &str, offset: u64, len: usize, array: &js_sys::Uint8Array) -> Result<Vec<u8>> {
    if array.length() as usize != len {
        let found = array.length();
        return Err(Error::format(format!(
            "{name}: truncated: expected {len} bytes at offset {offset}, found {found}"
        )));
    }
    let mut bytes = buffer(name, len)?;
    array.copy_to(&mut bytes);
    Ok(bytes)
}

/// Bytes in memory.
pub struct MemorySource {
    name: String,
    bytes: Cow<'static, [u8]>,
}

impl MemorySource {
    /// `bytes` under the name that messages shall use.
    pub fn new(name: impl Into<String>, bytes: impl Into<Cow<'static, [u8]>>) -> Self {
        Self { name: name.into(), bytes: bytes.into() }
    }
}

impl ByteSource for MemorySource {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read(&self, offset: u64, len: usize) -> BoxFuture<'_, Result<Vec<u8>>> {
        Box::pin(async move {
            let range = check_range(self, offset, len)?;
            let mut bytes = buffer(&self.name, len)?;
            // The range lies inside a slice, so its ends fit usize.
            bytes.copy_from_slice(&self.bytes[range.start as usize..range.end as usize]);
            Ok(bytes)
        })
    }
}
