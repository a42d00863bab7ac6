//! Tensors: a buffer, where in it, a shape and an element type.

/// Element type of a tensor in GPU memory. The 16-bit kinds are packed two to a `u32`, low half
/// first, as safetensors stores them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// IEEE single.
    F32,
    /// IEEE half, packed.
    F16,
    /// bfloat16, packed.
    BF16,
    /// Unsigned 32-bit (token ids, row numbers).
    U32,
}

impl Dtype {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::F32 | Self::U32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }
}

/// A view of GPU memory: row-major, dense. Cloning shares the memory.
#[derive(Clone, Debug)]
pub struct Tensor {
    buffer: wgpu::Buffer,
    offset: u64,
    shape: Vec<usize>,
    dtype: Dtype,
}

impl Tensor {
    pub(super) fn whole(buffer: wgpu::Buffer, shape: &[usize], dtype: Dtype) -> Self {
        Self { buffer, offset: 0, shape: shape.to_vec(), dtype }
    }

    /// Bytes of a tensor of this shape, rounded up to four; `None` if that overflows.
    pub fn byte_size(shape: &[usize], dtype: Dtype) -> Option<u64> {
        let mut bytes = dtype.size() as u64;
        for &n in shape {
            bytes = bytes.checked_mul(n as u64)?;
        }
        bytes.checked_next_multiple_of(4)
    }

    /// Shape, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Length of the last dimension.
    pub fn columns(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Number of rows: the product of all dimensions but the last.
    pub fn rows(&self) -> usize {
        self.shape.split_last().map_or(1, |(_, outer)| outer.iter().product())
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Element type.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Size in bytes, rounded up to four.
    pub fn bytes(&self) -> u64 {
        Self::byte_size(&self.shape, self.dtype).expect("checked when the buffer was made")
    }

    /// A part of this tensor's elements under another shape. `first` is in elements; bindings must
    /// start at multiples of 256 bytes, so it is a multiple of 64 four-byte elements.
    pub fn view(&self, first: usize, shape: &[usize]) -> Self {
        let offset = self.offset + (first * self.dtype.size()) as u64;
        let count: usize = shape.iter().product();
        assert!(first + count <= self.len(), "view of {count} from {first} in {:?}", self.shape);
        assert!(offset.is_multiple_of(256), "a view starts at a multiple of 256 bytes");
        Self { buffer: self.buffer.clone(), offset, shape: shape.to_vec(), dtype: self.dtype }
    }

    pub(super) fn raw(&self) -> (&wgpu::Buffer, u64) {
        (&self.buffer, self.offset)
    }

    pub(super) fn binding(&self) -> wgpu::BindingResource<'_> {
        wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: &self.buffer,
            offset: self.offset,
            size: std::num::NonZeroU64::new(self.bytes().max(4)),
        })
    }
}
