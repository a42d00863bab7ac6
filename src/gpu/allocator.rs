//! Where tensors come from: a device, or a [`Tally`] that only counts them, so that whoever makes buffers can
//! be asked beforehand for how many bytes.

use std::cell::RefCell;
use std::sync::Arc;

use super::human_bytes;
use super::tensor::{Dtype, PartLimits, Tensor};
use crate::error::{Error, ErrorKind, Result};

/// What memory is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MemoryUse {
    /// The frozen base.
    Weights,
    /// A and B.
    Adapter,
    /// Of A and B.
    Gradients,
    /// AdamW's two.
    Moments,
    /// Kept for the backward pass, and their gradients.
    Activations,
    /// Inputs, tables, a chunk of logits.
    Workspace,
}

impl MemoryUse {
    /// All of them, in the order of a table.
    pub const ALL: [Self; 6] =
        [Self::Weights, Self::Adapter, Self::Gradients, Self::Moments, Self::Activations, Self::Workspace];

    /// Its name in a table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::Adapter => "adapter",
            Self::Gradients => "gradients",
            Self::Moments => "moments",
            Self::Activations => "activations",
            Self::Workspace => "workspace",
        }
    }
}

/// Makes tensors, or says what they would take.
pub trait Allocator {
    /// How tensors are cut.
    fn part_limits(&self) -> PartLimits;

    /// The device's name, for messages.
    fn device_name(&self) -> &str;

    /// A zeroed tensor in parts that end at `cuts` along its first dimension.
    ///
    /// # Errors
    /// A size that overflows, or a device without room.
    fn allocate(&self, label: &str, shape: &[usize], dtype: Dtype, cuts: &[usize]) -> Result<Tensor>;

    /// What the tensors made from now on are for.
    fn begin(&self, _purpose: MemoryUse) {}

    /// A zeroed tensor, in as many buffers as the device's limits ask for.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfMemory`] when the device's limits do not even allow a few rows in one buffer, or it
    /// has no room.
    fn tensor(&self, label: &str, shape: &[usize], dtype: Dtype) -> Result<Tensor> {
        let bytes = byte_size(label, shape, dtype)?;
        let (rows, limits) = (shape.first().copied().unwrap_or(1), self.part_limits());
        if bytes <= limits.bytes {
            return self.allocate(label, shape, dtype, &[]);
        }
        let row_bytes = byte_size(label, &shape[1..], dtype)?;
        let part = limits.rows_of_part(rows, row_bytes).ok_or_else(|| {
            let least = row_bytes.saturating_mul(limits.rows as u64).min(bytes);
            self.too_large(&format!("{label} {shape:?}"), least)
        })?;
        self.allocate(label, shape, dtype, &(part..rows).step_by(part).collect::<Vec<_>>())
    }

    /// The error for what cannot be cut any further.
    fn too_large(&self, what: &str, bytes: u64) -> Error {
        Error::new(
            ErrorKind::OutOfMemory,
            format!(
                "{what} needs {} in one buffer, but \"{}\" allows {}. \
                 Use a smaller batch size or max_length, or a smaller model",
                human_bytes(bytes),
                self.device_name(),
                human_bytes(self.part_limits().bytes)
            ),
        )
    }
}

impl<T: Allocator + ?Sized> Allocator for Arc<T> {
    fn part_limits(&self) -> PartLimits {
        (**self).part_limits()
    }

    fn device_name(&self) -> &str {
        (**self).device_name()
    }

    fn allocate(&self, label: &str, shape: &[usize], dtype: Dtype, cuts: &[usize]) -> Result<Tensor> {
        (**self).allocate(label, shape, dtype, cuts)
    }
}

/// Bytes of a tensor.
pub(super) fn byte_size(label: &str, shape: &[usize], dtype: Dtype) -> Result<u64> {
    Tensor::byte_size(shape, dtype)
        .ok_or_else(|| Error::new(ErrorKind::OutOfMemory, format!("{label} {shape:?}: the size overflows")))
}

/// Counts bytes by purpose. Its tensors have a shape and no memory: nothing can be recorded on them.
pub struct Tally<'a> {
    device: &'a str,
    limits: PartLimits,
    counted: RefCell<(MemoryUse, [u64; MemoryUse::ALL.len()])>,
}

impl<'a> Tally<'a> {
    /// Nothing counted yet, for a device like `like`.
    pub fn new(like: &'a dyn Allocator) -> Self {
        let counted = RefCell::new((MemoryUse::Workspace, [0; MemoryUse::ALL.len()]));
        Self { device: like.device_name(), limits: like.part_limits(), counted }
    }

    /// Bytes for a purpose.
    pub fn bytes(&self, purpose: MemoryUse) -> u64 {
        self.counted.borrow().1[purpose as usize]
    }
}

impl Allocator for Tally<'_> {
    fn part_limits(&self) -> PartLimits {
        self.limits
    }

    fn device_name(&self) -> &str {
        self.device
    }

    fn allocate(&self, label: &str, shape: &[usize], dtype: Dtype, _: &[usize]) -> Result<Tensor> {
        let bytes = byte_size(label, shape, dtype)?;
        let (purpose, counts) = &mut *self.counted.borrow_mut();
        let count = &mut counts[*purpose as usize];
        *count = count.saturating_add(bytes);
        Ok(Tensor::of_parts(Vec::new(), shape, dtype))
    }

    fn begin(&self, purpose: MemoryUse) {
        self.counted.borrow_mut().0 = purpose;
    }
}
