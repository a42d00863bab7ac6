//! Tensors: a shape, an element type, and where in GPU memory the rows lie.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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

/// Rows `rows` of a tensor, dense from `offset` bytes on.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub buffer: wgpu::Buffer,
    pub offset: u64,
    pub rows: Range<usize>,
    /// Counts the memory as long as there is a view of it.
    pub _counted: Option<Arc<Counted>>,
}

/// A share of the bytes that a device holds for tensors.
#[derive(Debug)]
pub(super) struct Counted {
    bytes: u64,
    meter: Arc<Meter>,
}

/// Bytes that a device holds for tensors.
#[derive(Debug, Default)]
pub(super) struct Meter {
    now: AtomicU64,
    peak: AtomicU64,
}

impl Meter {
    pub(super) fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    pub(super) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }
}

impl Counted {
    pub(super) fn new(bytes: u64, meter: &Arc<Meter>) -> Arc<Self> {
        let before = meter.now.fetch_add(bytes, Ordering::Relaxed);
        meter.peak.fetch_max(before + bytes, Ordering::Relaxed);
        Arc::new(Self { bytes, meter: Arc::clone(meter) })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.meter.now.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A view of GPU memory: row-major, dense. One that is larger than a binding lies in several buffers,
/// cut along the first dimension; kernels are issued once for each of its parts (see [`row_parts`]).
/// Cloning shares the memory.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// In the order of their rows, without gaps; none if the memory is only planned.
    parts: Vec<Part>,
    shape: Vec<usize>,
    dtype: Dtype,
}

/// Product of all dimensions but the first.
fn row_len(shape: &[usize]) -> usize {
    shape.iter().skip(1).product()
}

impl Tensor {
    pub(super) fn of_parts(parts: Vec<Part>, shape: &[usize], dtype: Dtype) -> Self {
        Self { parts, shape: shape.to_vec(), dtype }
    }

    pub(super) fn whole(buffer: wgpu::Buffer, shape: &[usize], dtype: Dtype) -> Self {
        let part = Part { buffer, offset: 0, rows: 0..shape.first().copied().unwrap_or(1), _counted: None };
        Self::of_parts(vec![part], shape, dtype)
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

    /// In how many buffers it lies.
    pub fn part_count(&self) -> usize {
        self.parts.len()
    }

    /// Length of the first dimension.
    fn first_dimension(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// Bytes of one index of the first dimension.
    fn row_bytes(&self) -> u64 {
        (row_len(&self.shape) * self.dtype.size()) as u64
    }

    /// A part of this tensor's elements under another shape. `first` is in elements; bindings must
    /// start at multiples of 256 bytes, so it is a multiple of 64 four-byte elements. Where the tensor is
    /// cut, the view must have a border of rows too.
    pub fn view(&self, first: usize, shape: &[usize]) -> Self {
        let (count, row): (usize, usize) = (shape.iter().product(), row_len(shape));
        assert!(first + count <= self.len(), "view of {count} from {first} in {:?}", self.shape);
        let start = first * self.dtype.size();
        assert!(start.is_multiple_of(256), "a view starts at a multiple of 256 bytes, not at {start}");
        let own_row = row_len(&self.shape);
        let mut parts = Vec::new();
        for part in &self.parts {
            let (start, end) = (part.rows.start * own_row, part.rows.end * own_row);
            let (from, to) = (first.max(start), (first + count).min(end));
            if from >= to {
                continue;
            }
            let offset = part.offset + ((from - start) * self.dtype.size()) as u64;
            let (from, to) = (from - first, to - first);
            assert!(from.is_multiple_of(row) && to.is_multiple_of(row), "a view is cut between its rows");
            parts.push(Part { offset, rows: from / row..to / row, ..part.clone() });
        }
        Self { parts, shape: shape.to_vec(), dtype: self.dtype }
    }

    /// The same memory for as many rows of fewer columns; they are dense within each part.
    pub fn narrowed(&self, columns: usize) -> Self {
        assert!(self.shape.len() == 2 && columns <= self.columns(), "{columns} columns of {:?}", self.shape);
        Self { parts: self.parts.clone(), shape: vec![self.shape[0], columns], dtype: self.dtype }
    }

    /// Rows (along the first dimension) that lie in one part; see [`row_parts`].
    pub fn slice(&self, rows: &Range<usize>) -> Self {
        let within = |part: &&Part| part.rows.start <= rows.start && rows.end <= part.rows.end;
        let part = self.parts.iter().find(within).expect("rows of one part");
        let offset = part.offset + (rows.start - part.rows.start) as u64 * self.row_bytes();
        let mut shape = self.shape.clone();
        shape[0] = rows.len();
        let part = Part { offset, rows: 0..rows.len(), ..part.clone() };
        Self { parts: vec![part], shape, dtype: self.dtype }
    }

    /// Buffer, offset and length of bytes `bytes` of the tensor, and where in `bytes` each begins.
    pub(super) fn ranges(&self, bytes: Range<u64>) -> impl Iterator<Item = (&wgpu::Buffer, u64, Range<u64>)> {
        let (row, total) = (self.row_bytes(), self.bytes());
        self.parts.iter().filter_map(move |part| {
            let start = part.rows.start as u64 * row;
            // What an odd 16-bit element is padded with belongs to the last part.
            let last = part.rows.end == self.first_dimension();
            let end = if last { total } else { part.rows.end as u64 * row };
            let (from, to) = (bytes.start.max(start), bytes.end.min(end));
            (from < to)
                .then(|| (&part.buffer, part.offset + from - start, from - bytes.start..to - bytes.start))
        })
    }

    /// # Panics
    /// If the tensor lies in several parts: whoever binds it must go through them.
    pub(super) fn binding(&self) -> wgpu::BindingResource<'_> {
        let [part] = &self.parts[..] else {
            panic!("{:?} in {} parts cannot be bound at once", self.shape, self.parts.len())
        };
        wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: &part.buffer,
            offset: part.offset,
            size: std::num::NonZeroU64::new(self.bytes().max(4)),
        })
    }
}

/// The ranges of the first dimension between all cuts of some tensors, which are equally long there: on
/// each of them every one lies in one part ([`Tensor::slice`]).
pub fn row_parts(tensors: &[&Tensor]) -> Vec<Range<usize>> {
    let rows = tensors[0].first_dimension();
    let mut cuts: Vec<usize> = Vec::new();
    for tensor in tensors {
        assert_eq!(tensor.first_dimension(), rows, "as many rows in each of them");
        cuts.extend(tensor.parts.iter().map(|part| part.rows.start));
    }
    cuts.sort_unstable();
    cuts.dedup();
    let ends = cuts.iter().skip(1).copied().chain([rows]);
    cuts.iter().copied().zip(ends).map(|(start, end)| start..end).filter(|range| !range.is_empty()).collect()
}

/// How large and how aligned the parts of a tensor are on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartLimits {
    /// Most bytes of a part: a buffer and a binding at once.
    pub bytes: u64,
    /// Parts have a multiple of so many rows. With at least two bytes a row they then start, and are cut
    /// by those of other tensors, where a binding may start.
    pub rows: usize,
}

impl PartLimits {
    /// Those of a device.
    pub fn of(limits: &wgpu::Limits) -> Self {
        Self {
            bytes: limits.max_buffer_size.min(limits.max_storage_buffer_binding_size),
            rows: limits.min_storage_buffer_offset_alignment as usize / 2,
        }
    }

    /// Rows of one part at most, `row_bytes` each: all, or a multiple of `self.rows`. `None` if that is not one.
    pub(super) fn rows_of_part(&self, rows: usize, row_bytes: u64) -> Option<usize> {
        let fit = self.bytes / row_bytes.max(1);
        if rows as u64 <= fit {
            return Some(rows.max(1));
        }
        // Smaller than `rows`, so it is a usize.
        let fit = fit as usize / self.rows * self.rows;
        (fit > 0).then_some(fit)
    }

    /// Cuts of a flat buffer of pieces, each a matrix of `(rows, row length, length with padding)`: as many
    /// whole pieces to a part as it holds, and one that is larger than a part between its rows. Returns the
    /// starts of all parts but the first; `None` if a piece cannot be cut.
    pub fn pack(&self, pieces: impl IntoIterator<Item = (usize, usize, usize)>) -> Option<Vec<usize>> {
        const SIZE: u64 = 4;
        let (mut cuts, mut start, mut at) = (Vec::new(), 0usize, 0usize);
        // Nothing is put behind the rest of a piece that was cut: it would not start where views may.
        let mut full = false;
        for (rows, row, padded) in pieces {
            let too_large = |start: usize| (at + padded - start) as u64 * SIZE > self.bytes;
            if at > start && (full || too_large(start)) {
                cuts.push(at);
                start = at;
            }
            full = too_large(start);
            while too_large(start) {
                start += self.rows_of_part(rows, row as u64 * SIZE)? * row;
                cuts.push(start);
            }
            at += padded;
        }
        Some(cuts)
    }
}
