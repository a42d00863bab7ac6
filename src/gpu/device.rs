//! Opening a device with what the adapter really offers.

use std::sync::{Arc, Mutex};

use super::adapter::{AdapterSummary, COOPERATIVE_FEATURES, choose, has_cooperative_matrix};
use super::allocator::{Allocator, byte_size};
use super::compile::Pipelines;
use super::governor::{Governor, PIECE_SECONDS};
#[cfg(not(target_arch = "wasm32"))]
use super::pipeline_file::PipelineFile;
use super::tensor::{Allocated, Counted, Dtype, Part, PartLimits, Tensor};
use super::{Recorder, human_bytes};
use crate::config::{Arithmetic, Precision};
use crate::error::{Error, ErrorKind, Result};

/// What the opened device may be asked for.
#[derive(Debug, Clone)]
pub struct Caps {
    /// The adapter's own description.
    pub adapter: AdapterSummary,
    /// The limits that the device was opened with: the adapter's, unless others were asked for.
    pub limits: wgpu::Limits,
    /// GPU timestamps are available.
    pub timestamps: bool,
    /// Cooperative matrices: 16 × 16 × 16, operands in f16 and sums in f32, held by 32 lanes together.
    pub cooperative_matrix: bool,
}

/// How to open a device.
#[derive(Debug, Clone)]
pub struct GpuOptions {
    /// Limits to open it with, such as WebGPU's defaults (`wgpu::Limits::default()`); `None`: the adapter's.
    pub limits: Option<wgpu::Limits>,
    /// Seconds that one submission may take; lists of operations that take longer are submitted in pieces, at 0 one by
    /// one. What is computed does not depend on it.
    pub piece_seconds: f32,
    /// Whether shaders check every index and clear their workgroup memory, as a browser's always do. The crate's own
    /// need neither; checks tell a mistake from what it overwrites.
    pub checked: bool,
    /// The folder in which compiled pipelines are kept for the next time; `None`: they are not kept.
    #[cfg(not(target_arch = "wasm32"))]
    pub pipeline_folder: Option<std::path::PathBuf>,
}

impl Default for GpuOptions {
    fn default() -> Self {
        Self {
            limits: None,
            piece_seconds: PIECE_SECONDS,
            checked: false,
            #[cfg(not(target_arch = "wasm32"))]
            pipeline_folder: None,
        }
    }
}

/// An opened device with its queue, its pipelines and its first error.
pub struct Gpu {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) pipelines: Pipelines,
    pub(super) governor: Governor,
    caps: Caps,
    failure: Arc<Mutex<Option<Error>>>,
    allocated: Arc<Allocated>,
    absent: wgpu::Buffer,
}

/// wgpu's consent to features that it calls experimental.
fn experimental_features(wanted: bool) -> wgpu::ExperimentalFeatures {
    if !wanted {
        return wgpu::ExperimentalFeatures::disabled();
    }
    // SAFETY: asked for are cooperative matrices alone, used by this crate's own kernels, which run as a whole
    // subgroup and whose every access lies inside its array.
    unsafe { wgpu::ExperimentalFeatures::enabled() }
}

impl Gpu {
    /// Opens an adapter (see [`list_adapters`](super::list_adapters); `selector` is an index or a part of its name) with all
    /// of its limits.
    ///
    /// # Errors
    /// [`ErrorKind::NoGpu`] when there is none, or none that matches, or it cannot be opened.
    pub async fn open(selector: Option<&str>) -> Result<Arc<Self>> {
        Self::open_with(selector, GpuOptions::default()).await
    }

    /// As [`Self::open`], with less than the adapter offers.
    ///
    /// # Errors
    /// As [`Self::open`]; also when the adapter does not offer what is asked for.
    pub async fn open_with(selector: Option<&str>, options: GpuOptions) -> Result<Arc<Self>> {
        let adapter = choose(selector).await?;
        let features =
            adapter.features() & (wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::PIPELINE_CACHE);
        let timestamps = features.contains(wgpu::Features::TIMESTAMP_QUERY);
        let summary = AdapterSummary::of(&adapter);
        let cooperative_matrix = has_cooperative_matrix(&adapter);
        let limits = options.limits.unwrap_or_else(|| adapter.limits());
        let mut required_features = features;
        required_features.set(COOPERATIVE_FEATURES, cooperative_matrix);
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("postil"),
            required_features,
            required_limits: limits.clone(),
            experimental_features: experimental_features(cooperative_matrix),
            ..Default::default()
        };
        let (device, queue) = adapter.request_device(&descriptor).await.map_err(|error| {
            Error::new(ErrorKind::NoGpu, format!("the GPU \"{}\" could not be opened: {error}", summary.name))
        })?;
        let failure = Arc::new(Mutex::new(None));
        watch(&device, &failure);
        #[cfg(not(target_arch = "wasm32"))]
        let file = match &options.pipeline_folder {
            Some(folder) => PipelineFile::open(&device, &adapter.get_info(), folder).await,
            None => None,
        };
        let pipelines = Pipelines::new(
            &device,
            options.checked,
            #[cfg(not(target_arch = "wasm32"))]
            file,
        );
        let absent = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("absent"),
            size: 256,
            usage: wgpu::BufferUsages::STORAGE,
            mapped_at_creation: false,
        });
        // A browser's GPU objects stay on one thread; natively they do not.
        #[cfg_attr(target_arch = "wasm32", expect(clippy::arc_with_non_send_sync))]
        let gpu = Arc::new(Self {
            device,
            queue,
            pipelines,
            governor: Governor::new(options.piece_seconds),
            caps: Caps { adapter: summary, limits, timestamps, cooperative_matrix },
            failure,
            allocated: Arc::default(),
            absent,
        });
        Ok(gpu)
    }

    /// The arithmetic that a setting means on this device.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for f16 without cooperative matrices.
    pub fn arithmetic(&self, precision: Precision) -> Result<Arithmetic> {
        match (precision, self.caps.cooperative_matrix) {
            (Precision::F32, _) | (Precision::Auto, false) => Ok(Arithmetic::F32),
            (Precision::F16 | Precision::Auto, true) => Ok(Arithmetic::F16),
            (Precision::F16, false) => Err(Error::unsupported(format!(
                "f16 needs a GPU and a driver with cooperative matrices (16 x 16 x 16, f16 to f32), and \"{}\" has none. \
                 Use precision f32, or auto",
                self.caps.adapter.name
            ))),
        }
    }

    /// What this device can do.
    pub fn caps(&self) -> &Caps {
        &self.caps
    }

    /// The file in which compiled pipelines are kept, if they are.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn pipeline_file(&self) -> Option<&std::path::Path> {
        self.pipelines.file().map(PipelineFile::path)
    }

    /// Bytes of the tensors that there are on this device.
    pub fn allocated_bytes(&self) -> u64 {
        self.allocated.now()
    }

    /// The most that these ever were.
    pub fn peak_allocated_bytes(&self) -> u64 {
        self.allocated.peak()
    }

    /// Ends the device as a driver's reset would: the loss is noticed with the next thing that is asked of it, and
    /// every later call fails.
    pub fn destroy(&self) {
        self.device.destroy();
    }

    /// Runs `make`, which makes tensors (and may record plans on them), and reports if the device has no room for
    /// them. The device goes on then, and what was made is given back.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfMemory`]; `make`'s own.
    pub async fn make_room<T>(&self, what: &str, make: impl FnOnce() -> Result<T>) -> Result<T> {
        let taken = self.allocated_bytes();
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        // What uses a buffer that was not granted is invalid.
        let validity = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let made = make();
        let needed = self.allocated_bytes().saturating_sub(taken);
        let invalid = validity.pop().await;
        if memory.pop().await.is_some() {
            return Err(Error::new(
                ErrorKind::OutOfMemory,
                format!(
                    "the GPU is out of memory: {what} takes {} beside the {} in use, and \"{}\" does not grant them. \
                     Make it smaller, or close other programs that use the GPU",
                    human_bytes(needed),
                    human_bytes(taken),
                    self.caps.adapter.name
                ),
            ));
        }
        match invalid {
            Some(error) => Err(Error::new(ErrorKind::Device, format!("the GPU reported an error: {error}"))),
            None => made,
        }
    }

    /// The first error that the device reported, if any. Errors arrive late: ask after a read-back.
    pub fn check(&self) -> Result<()> {
        match &*self.failure.lock().expect("no panic holds this lock") {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// See [`Allocator::tensor`].
    ///
    /// # Errors
    /// As there.
    pub fn tensor(&self, label: &str, shape: &[usize], dtype: Dtype) -> Result<Tensor> {
        Allocator::tensor(self, label, shape, dtype)
    }

    /// A buffer for tensors.
    pub(super) fn storage(&self, label: &str, bytes: u64) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: bytes.max(16),
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    }

    /// A tensor with contents; `data` has exactly the shape's number of 4-byte elements.
    pub fn tensor_from<T: bytemuck::Pod>(
        &self,
        label: &str,
        shape: &[usize],
        dtype: Dtype,
        data: &[T],
    ) -> Result<Tensor> {
        let tensor = self.tensor(label, shape, dtype)?;
        self.write(&tensor, data);
        Ok(tensor)
    }

    /// A uniform buffer with contents.
    pub(super) fn uniform(&self, label: &str, bytes: &[u8]) -> wgpu::Buffer {
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: (bytes.len() as u64).max(16),
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        self.queue.write_buffer(&buffer, 0, bytes);
        buffer
    }

    /// Overwrites the start of a tensor.
    pub fn write<T: bytemuck::Pod>(&self, tensor: &Tensor, data: &[T]) {
        self.write_at(tensor, 0, bytemuck::cast_slice(data));
    }

    /// Overwrites bytes of a tensor from `byte_offset` on. A tail that is not a multiple of four
    /// bytes is zero-padded, which only the last odd 16-bit element of a tensor can need.
    pub fn write_at(&self, tensor: &Tensor, byte_offset: u64, bytes: &[u8]) {
        let end = byte_offset + bytes.len().next_multiple_of(4) as u64;
        for (buffer, offset, part) in tensor.ranges(byte_offset..end) {
            let bytes = &bytes[part.start as usize..bytes.len().min(part.end as usize)];
            let whole = bytes.len() & !3;
            if whole > 0 {
                self.queue.write_buffer(buffer, offset, &bytes[..whole]);
            }
            if whole < bytes.len() {
                let mut tail = [0u8; 4];
                tail[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
                self.queue.write_buffer(buffer, offset + whole as u64, &tail);
            }
        }
    }

    /// Reads a whole tensor back.
    pub async fn read<T: bytemuck::Pod>(&self, tensor: &Tensor) -> Result<Vec<T>> {
        let mut recorder = Recorder::new(self);
        let pending = recorder.read(tensor);
        recorder.submit().await?;
        pending.finish(self).await
    }

    /// What stands in for an operand that a dispatch does not have; no kernel reads it.
    pub fn absent(&self) -> Tensor {
        Tensor::whole(self.absent.clone(), &[64], Dtype::F32)
    }
}

impl Allocator for Gpu {
    fn part_limits(&self) -> PartLimits {
        PartLimits::of(&self.caps.limits)
    }

    fn device_name(&self) -> &str {
        &self.caps.adapter.name
    }

    fn allocate(&self, label: &str, shape: &[usize], dtype: Dtype, cuts: &[usize]) -> Result<Tensor> {
        let rows = shape.first().copied().unwrap_or(1);
        let mut parts = Vec::with_capacity(cuts.len() + 1);
        for (i, start) in [0].iter().chain(cuts).copied().enumerate() {
            let end = cuts.get(i).copied().unwrap_or(rows);
            let mut part = shape.to_vec();
            if let Some(first) = part.first_mut() {
                *first = end - start;
            }
            let bytes = byte_size(label, &part, dtype)?;
            let buffer = self.storage(label, bytes);
            self.check()?;
            let _counted = Some(Counted::new(bytes, &self.allocated));
            parts.push(Part { buffer, offset: 0, rows: start..end, _counted });
        }
        Ok(Tensor::of_parts(parts, shape, dtype))
    }
}

/// Keeps the first error instead of wgpu's default, which panics.
fn watch(device: &wgpu::Device, failure: &Arc<Mutex<Option<Error>>>) {
    let note = |failure: &Mutex<Option<Error>>, error: Error| {
        failure.lock().expect("no panic holds this lock").get_or_insert(error);
    };
    let slot = Arc::clone(failure);
    device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
        let error = match error {
            wgpu::Error::OutOfMemory { .. } => Error::new(
                ErrorKind::OutOfMemory,
                "the GPU is out of memory. Use a smaller batch size, max_length or model, or close other programs",
            ),
            other => Error::new(ErrorKind::Device, format!("the GPU reported an error: {other}")),
        };
        note(&slot, error);
    }));
    let slot = Arc::clone(failure);
    device.set_device_lost_callback(move |_, message| {
        note(&slot, Error::new(ErrorKind::Device, format!("the GPU was lost: {message}")));
    });
}
