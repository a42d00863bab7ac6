//! Fills tensors in GPU memory from a source of named tensors.
//!
//! Tensors are asked for first, which checks them and makes their memory; then everything is read in one
//! stream of slices. So a wrong file or a device that is too small is found before the long part begins,
//! and small tensors do not wait for each other.

use half::{bf16, f16};
use web_time::Instant;

use crate::checkpoint::{Meter, Progress, SLICE, Slice, Slices, TensorInfo, TensorSource};
use crate::error::{Error, Result};
use crate::gpu::{Dtype, Gpu, Tensor};

/// Bytes written between two waits for the device: until it has taken them in, the driver keeps a copy of
/// each. Together with what [`Slices`] reads ahead this bounds the host's memory, whatever the model's size.
const SETTLE: u64 = 8 * SLICE;

/// How the stored elements become the tensor's.
enum Put {
    AsStored,
    /// To f32, from this type.
    Widened(Dtype),
}

/// Tensors that were asked for and are to be read.
pub(super) struct Loader<'a> {
    gpu: &'a Gpu,
    source: &'a dyn TensorSource,
    names: Vec<String>,
    jobs: Vec<(Tensor, Put)>,
    total: u64,
}

impl<'a> Loader<'a> {
    pub(super) fn new(gpu: &'a Gpu, source: &'a dyn TensorSource) -> Self {
        Self { gpu, source, names: Vec::new(), jobs: Vec::new(), total: 0 }
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

    /// A vector, widened to f32: norms and biases are small and read by every row.
    pub(super) fn widened(&mut self, name: &str, len: usize) -> Result<Tensor> {
        let stored = self.check(name, &[len])?;
        self.add(name, &[len], Dtype::F32, Put::Widened(stored))
    }

    fn add(&mut self, name: &str, shape: &[usize], dtype: Dtype, put: Put) -> Result<Tensor> {
        let tensor = self.gpu.tensor(name, shape, dtype)?;
        self.total += self.source.info(name).map_or(0, TensorInfo::bytes);
        self.names.push(name.to_owned());
        self.jobs.push((tensor.clone(), put));
        Ok(tensor)
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

    /// Reads everything that was asked for.
    pub(super) async fn run(self, progress: &mut dyn FnMut(Progress)) -> Result<()> {
        let mut slices = Slices::new(self.source, &self.names);
        let mut meter = Meter::new(self.total, Instant::now());
        let mut unsettled = 0;
        while let Some(slice) = slices.next().await? {
            let bytes = slice.bytes.len() as u64;
            self.put(&slice);
            unsettled += bytes;
            if unsettled >= SETTLE {
                // Errors of the device (out of memory above all) show here rather than at the end.
                self.gpu.settle().await?;
                unsettled = 0;
            }
            progress(meter.add(bytes, Instant::now()));
        }
        self.gpu.settle().await
    }

    fn put(&self, slice: &Slice) {
        let (tensor, put) = &self.jobs[slice.tensor];
        let pairs = || slice.bytes.as_chunks::<2>().0.iter();
        let values: Vec<f32> = match put {
            Put::AsStored | Put::Widened(Dtype::F32 | Dtype::U32) => {
                return self.gpu.write_at(tensor, slice.offset, &slice.bytes);
            }
            Put::Widened(Dtype::F16) => pairs().map(|&bits| f16::from_le_bytes(bits).to_f32()).collect(),
            Put::Widened(Dtype::BF16) => pairs().map(|&bits| bf16::from_le_bytes(bits).to_f32()).collect(),
        };
        self.gpu.write_at(tensor, 2 * slice.offset, bytemuck::cast_slice(&values));
    }
}
