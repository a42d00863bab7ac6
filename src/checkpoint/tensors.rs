//! Named tensors, whatever file they lie in: one trait that the model is loaded from.

use std::ops::Range;

use ::safetensors::Dtype;

use crate::error::{Error, Result};
use crate::source::BoxFuture;

/// What a tensor holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Element type, of what [`TensorSource::read`] gives.
    pub dtype: Dtype,
    /// Shape, slowest dimension first; empty for a scalar. Whoever lists a tensor has checked that its size
    /// in bits fits 64 bits and is a whole number of bytes.
    pub shape: Vec<usize>,
}

impl TensorInfo {
    /// Its size.
    pub fn bytes(&self) -> u64 {
        let elements: u64 = self.shape.iter().map(|&size| size as u64).product();
        elements * self.dtype.bitsize() as u64 / 8
    }
}

/// Tensors that can be found by name and read in slices.
pub trait TensorSource {
    /// What messages call it.
    fn name(&self) -> &str;

    /// The tensors' names, sorted.
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_>;

    /// The tensor called `name`, if there is one.
    fn info(&self, name: &str) -> Option<&TensorInfo>;

    /// Reads that start and end at multiples of this many bytes are the cheapest: nothing below is read twice.
    fn granule(&self, _name: &str) -> u64 {
        1
    }

    /// The file, among several, that the tensor called `name` lies in.
    fn shard(&self, _name: &str) -> Option<&str> {
        None
    }

    /// Whether tensors are computed from what the file holds, so that they cannot be written back as it has them.
    fn is_decoded(&self) -> bool {
        false
    }

    /// Reads `bytes` of the tensor called `name`, counted from its start: row-major, little-endian.
    ///
    /// # Errors
    ///
    /// `Format` when there is no such tensor or it has fewer bytes, and what reading the bytes below gives.
    fn read<'a>(&'a self, name: &'a str, bytes: Range<u64>) -> BoxFuture<'a, Result<Vec<u8>>>;
}

/// Checks that a tensor of `size` bytes has the range `bytes`; its length.
pub(super) fn check_range(source: &str, name: &str, size: u64, bytes: &Range<u64>) -> Result<usize> {
    let len = bytes.end.checked_sub(bytes.start).and_then(|len| usize::try_from(len).ok());
    len.filter(|_| bytes.end <= size).ok_or_else(|| {
        Error::format(format!(
            "{source}: tensor {name} has {size} bytes; bytes {} to {} were asked for",
            bytes.start, bytes.end
        ))
    })
}

/// The error for a tensor that is not there.
pub(super) fn no_tensor(source: &str, name: &str) -> Error {
    Error::format(format!("{source}: there is no tensor {name}"))
}
