//! Fills tensors in GPU memory from a source of named tensors.
//!
//! Tensors are asked for first, which checks them and makes their memory; then everything is read in one
//! stream of slices. So a wrong file or a device that is too small is found before the long part begins,
//! and small tensors do not wait for each other.

use half::{bf16, f16};
use web_time::Instant;
use xxhash_rust::xxh3::Xxh3Default;

use crate::checkpoint::{Meter, Progress, SLICE, Slice, Slices, TensorInfo, TensorSource};
use crate::error::{Error, Result};
use crate::gpu::{Allocator, Dtype, Gpu, MemoryUse, PlanBuilder, Tensor};
use crate::kernels::transpose::transpose;

/// Bytes written between two waits for the device: until it has taken them in, the driver keeps a copy of
/// each. Together with what [`Slices`] reads ahead this bounds the host's memory, whatever the model's size.
const SETTLE: u64 = 8 * SLICE;

/// How the stored elements become the tensor's.
enum Put {
    AsStored,
    /// To f32, from this type, plus a number.
    Widened(Dtype, f32),
    /// Rows become columns on the GPU, since the host holds no more than a slice: every kernel then finds one
    /// layout. The tensor as stored is there while it is read.
    Transposed(Option<Tensor>),
}

/// Tensors that were asked for and are to be read.
pub(super) struct Loader<'a> {
    memory: &'a dyn Allocator,
    source: &'a dyn TensorSource,
    names: Vec<String>,
    jobs: Vec<(Tensor, Put)>,
    total: u64,
    /// Of the largest tensor that is there twice while it is read; it is one at a time.
    passing: u64,
}

impl<'a> Loader<'a> {
    pub(super) fn new(memory: &'a dyn Allocator, source: &'a dyn TensorSource) -> Self {
        memory.begin(MemoryUse::Weights);
        Self { memory, source, names: Vec::new(), jobs: Vec::new(), total: 0, passing: 0 }
    }

    /// Whether the source has a tensor of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.source.info(name).is_some()
    }

    /// A tensor as it is stored.
    pub(super) fn packed(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let dtype = self.check(name, shape)?;
        self.add(name, shape, dtype, Put::AsStored)
    }

    /// Memory for tensors of these names one below the other: all of it, and each of them. `None` if they differ in type
    /// as they are stored (in f32 they do not), or if one binding cannot hold them all or begin at each.
    pub(super) fn stack(
        &self,
        parts: &[(String, Vec<usize>)],
        widened: bool,
    ) -> Result<Option<(Tensor, Vec<Tensor>)>> {
        const BINDING: usize = 256;
        let checked = parts.iter().map(|(name, shape)| self.check(name, shape));
        let mut dtypes = checked.collect::<Result<Vec<_>>>()?;
        dtypes.dedup();
        let dtype = match &dtypes[..] {
            _ if widened => Dtype::F32,
            &[dtype] => dtype,
            _ => return Ok(None),
        };
        let mut all = parts[0].1.clone();
        all[0] = parts.iter().map(|(_, shape)| shape[0]).sum();
        let len = |shape: &[usize]| shape.iter().product::<usize>();
        let fits = Tensor::byte_size(&all, dtype)
            .is_some_and(|bytes| bytes <= self.memory.part_limits().bytes)
            && parts.iter().all(|(_, shape)| (len(shape) * dtype.size()).is_multiple_of(BINDING));
        if !fits {
            return Ok(None);
        }
        let whole = self.memory.tensor(&parts[0].0, &all, dtype)?;
        let mut first = 0;
        let mut views = Vec::with_capacity(parts.len());
        for (_, shape) in parts {
            views.push(whole.view(first, shape));
            first += len(shape);
        }
        Ok(Some((whole, views)))
    }

    /// As [`Self::packed`], to memory of [`Self::stack`].
    pub(super) fn packed_to(&mut self, name: &str, tensor: Tensor) -> Tensor {
        self.push(name, &tensor, Put::AsStored);
        tensor
    }

    /// As [`Self::widened`], to memory of [`Self::stack`].
    pub(super) fn widened_to(&mut self, name: &str, tensor: Tensor) -> Result<Tensor> {
        let stored = self.check(name, tensor.shape())?;
        self.push(name, &tensor, Put::Widened(stored, 0.0));
        Ok(tensor)
    }

    /// A tensor widened to f32, plus `add`: norms, biases and positions are small and read by every row.
    pub(super) fn widened(&mut self, name: &str, shape: &[usize], add: f32) -> Result<Tensor> {
        let stored = self.check(name, shape)?;
        self.add(name, shape, Dtype::F32, Put::Widened(stored, add))
    }

    /// A matrix that is stored as `[rows, columns]`, as `[columns, rows]`.
    pub(super) fn transposed(&mut self, name: &str, rows: usize, columns: usize) -> Result<Tensor> {
        let dtype = self.check(name, &[rows, columns])?;
        let tensor = self.add(name, &[columns, rows], dtype, Put::Transposed(None))?;
        self.passing = self.passing.max(tensor.bytes());
        Ok(tensor)
    }

    /// Bytes of GPU memory that reading takes beside the tensors.
    pub(super) fn passing_bytes(&self) -> u64 {
        self.passing
    }

    fn add(&mut self, name: &str, shape: &[usize], dtype: Dtype, put: Put) -> Result<Tensor> {
        let tensor = self.memory.tensor(name, shape, dtype)?;
        self.push(name, &tensor, put);
        Ok(tensor)
    }

    fn push(&mut self, name: &str, tensor: &Tensor, put: Put) {
        self.total += self.source.info(name).map_or(0, TensorInfo::bytes);
        self.names.push(name.to_owned());
        self.jobs.push((tensor.clone(), put));
    }

    /// The element type of a tensor that must have this shape.
    fn check(&self, name: &str, shape: &[usize]) -> Result<Dtype> {
        let file = self.source.name();
        let info = self.source.info(name).ok_or_else(|| {
            Error::format(format!(
                "{file}: tensor \"{name}\" is missing; config.json asks for it with shape {shape:?}. \
                 Do config.json and the weights belong to the same model?"
            ))
        })?;
        if info.shape != shape {
            return Err(Error::format(format!(
                "{file}: tensor \"{name}\" has shape {:?}, but config.json asks for {shape:?}. \
                 Do config.json and the weights belong to the same model?",
                info.shape
            )));
        }
        match info.dtype {
            safetensors::Dtype::F32 => Ok(Dtype::F32),
            safetensors::Dtype::F16 => Ok(Dtype::F16),
            safetensors::Dtype::BF16 => Ok(Dtype::BF16),
            other => Err(Error::unsupported(format!(
                "{file}: tensor \"{name}\" has type {other:?}; expected F32, F16 or BF16. \
                 Save the model in one of these types"
            ))),
        }
    }

    /// Reads everything that was asked for. Returns a fingerprint of the tensors' names and bytes: XXH3, 64 bits,
    /// as hexadecimal, which keeps up with any disk.
    pub(super) async fn run(mut self, gpu: &Gpu, progress: &mut dyn FnMut(Progress)) -> Result<String> {
        let names = std::mem::take(&mut self.names);
        let mut slices = Slices::new(self.source, &names);
        let mut meter = Meter::new(self.total, Instant::now());
        let mut unsettled = 0;
        let mut hash = Xxh3Default::new();
        names.iter().for_each(|name| hash.update(name.as_bytes()));
        while let Some(slice) = slices.next().await? {
            let bytes = slice.bytes.len() as u64;
            hash.update(&slice.bytes);
            self.put(gpu, &slice).await?;
            unsettled += bytes;
            if unsettled >= SETTLE {
                // Errors of the device (out of memory above all) show here rather than at the end.
                gpu.settle().await?;
                unsettled = 0;
            }
            progress(meter.add(bytes, Instant::now()));
        }
        gpu.settle().await?;
        Ok(format!("{:016x}", hash.digest()))
    }

    async fn put(&mut self, gpu: &Gpu, slice: &Slice) -> Result<()> {
        let (tensor, put) = &mut self.jobs[slice.tensor];
        match put {
            Put::AsStored => gpu.write_at(tensor, slice.offset, &slice.bytes),
            Put::Widened(stored, add) => {
                let values = widen(*stored, &slice.bytes, *add);
                let offset = slice.offset / stored.size() as u64 * 4;
                gpu.write_at(tensor, offset, bytemuck::cast_slice(&values));
            }
            Put::Transposed(stored) => {
                let whole = match stored {
                    Some(whole) => whole,
                    None => {
                        let shape = [tensor.columns(), tensor.rows()];
                        let make = || gpu.tensor("to be transposed", &shape, tensor.dtype());
                        stored.insert(gpu.make_room("loading the model", make).await?)
                    }
                };
                gpu.write_at(whole, slice.offset, &slice.bytes);
                let end = slice.offset + slice.bytes.len() as u64;
                if end == (tensor.len() * tensor.dtype().size()) as u64 {
                    let mut plan = PlanBuilder::new(gpu);
                    transpose(&mut plan, whole, tensor);
                    gpu.run_whole(&plan.finish());
                    *stored = None;
                    // The driver gives its memory back before the next one is made.
                    gpu.settle().await?;
                }
            }
        }
        Ok(())
    }
}

/// Stored elements as f32, plus a number.
fn widen(stored: Dtype, bytes: &[u8], add: f32) -> Vec<f32> {
    let pairs = bytes.as_chunks::<2>().0.iter();
    let mut values: Vec<f32> = match stored {
        Dtype::F16 => pairs.map(|&bits| f16::from_le_bytes(bits).to_f32()).collect(),
        Dtype::BF16 => pairs.map(|&bits| bf16::from_le_bytes(bits).to_f32()).collect(),
        _ => bytes.as_chunks::<4>().0.iter().map(|&bits| f32::from_le_bytes(bits)).collect(),
    };
    if add != 0.0 {
        values.iter_mut().for_each(|value| *value += add);
    }
    values
}
