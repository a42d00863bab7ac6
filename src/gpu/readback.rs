//! Reading results back without stopping the GPU.

use std::future::Future;
#[cfg(not(target_arch = "wasm32"))]
use std::time::{Duration, Instant};

use futures_channel::oneshot;
#[cfg(not(target_arch = "wasm32"))]
use futures_util::FutureExt;

use super::device::Gpu;
use super::tensor::Tensor;
use crate::error::{Error, ErrorKind, Result};

/// Between two questions whether something is done: a small part of what it has taken so far, within these.
#[cfg(not(target_arch = "wasm32"))]
const SHORTEST: Duration = Duration::from_micros(20);
#[cfg(not(target_arch = "wasm32"))]
const LONGEST: Duration = Duration::from_millis(1);

/// One part of a tensor on its way.
struct Chunk {
    staging: wgpu::Buffer,
    bytes: u64,
    mapped: oneshot::Receiver<Result<(), wgpu::BufferAsyncError>>,
}

/// A copy of a tensor that is on its way to the host.
pub struct PendingRead {
    chunks: Vec<Chunk>,
}

/// The other end of a [`PendingRead`]: what is to happen once its copies were submitted.
pub(super) struct Mapping {
    chunks: Vec<(wgpu::Buffer, oneshot::Sender<Result<(), wgpu::BufferAsyncError>>)>,
}

impl Mapping {
    /// Asks for the bytes at once, so that later submissions are not waited for.
    pub(super) fn start(self) {
        for (staging, sender) in self.chunks {
            staging.slice(..).map_async(wgpu::MapMode::Read, move |result| {
                // The receiver is gone only when nobody waits any more.
                let _ = sender.send(result);
            });
        }
    }
}

impl PendingRead {
    /// Adds the copies to `encoder`; their mapping is started when that is submitted.
    pub(super) fn encode(gpu: &Gpu, encoder: &mut wgpu::CommandEncoder, tensor: &Tensor) -> (Self, Mapping) {
        let (mut chunks, mut mappings) = (Vec::new(), Vec::new());
        for (buffer, offset, part) in tensor.ranges(0..tensor.bytes()) {
            let bytes = part.end - part.start;
            let staging = gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("readback"),
                size: bytes,
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            encoder.copy_buffer_to_buffer(buffer, offset, &staging, 0, bytes);
            let (sender, mapped) = oneshot::channel();
            mappings.push((staging.clone(), sender));
            chunks.push(Chunk { staging, bytes, mapped });
        }
        (Self { chunks }, Mapping { chunks: mappings })
    }

    /// Waits for the copies and returns their elements.
    ///
    /// # Errors
    /// Whatever the device reported in the meantime, or [`ErrorKind::Device`] if it is lost.
    pub async fn finish<T: bytemuck::Pod>(self, gpu: &Gpu) -> Result<Vec<T>> {
        let mut values = Vec::new();
        for chunk in self.chunks {
            let mapped = drive(gpu, chunk.mapped).await?.map_err(|error| lost(&error))?;
            gpu.check()?;
            mapped.map_err(|error| lost(&error))?;
            let view = chunk.staging.slice(..chunk.bytes).get_mapped_range().map_err(|error| lost(&error))?;
            // Mapped memory is aligned for any element; collecting does not assume it.
            let part: Vec<T> = bytemuck::pod_collect_to_vec(&view[..]);
            if values.is_empty() {
                values = part
            } else {
                values.extend(part)
            }
            drop(view);
            chunk.staging.unmap();
        }
        Ok(values)
    }
}

impl Gpu {
    /// Waits until the device has taken in everything that was written so far: only then are the driver's
    /// copies of it freed.
    ///
    /// # Errors
    /// Whatever the device reported in the meantime, or [`ErrorKind::Device`] if it is lost.
    pub async fn settle(&self) -> Result<()> {
        let (sender, done) = oneshot::channel();
        self.queue.submit([]);
        self.queue.on_submitted_work_done(move || {
            // The receiver is gone only when nobody waits any more.
            let _ = sender.send(());
        });
        drive(self, done).await?.map_err(|error| lost(&error))?;
        self.check()
    }
}

/// Waits for what the device calls back about. In a browser the event loop calls; natively somebody has to drive the
/// device.
///
/// It asks again and again instead of sleeping in the driver, which may wake up milliseconds late: a prompt of 512 tokens
/// took 14 ms instead of 18 on an H200 (driver 580, in a virtual machine). It does not ask for a submission by its number:
/// where several threads drive a device, wgpu panics if another one has just tidied that away.
#[cfg_attr(target_arch = "wasm32", expect(unused_variables))]
pub(super) async fn drive<T>(gpu: &Gpu, called: impl Future<Output = T>) -> Result<T> {
    #[cfg(target_arch = "wasm32")]
    return Ok(called.await);
    #[cfg(not(target_arch = "wasm32"))]
    {
        let (start, mut called) = (Instant::now(), std::pin::pin!(called));
        loop {
            gpu.device.poll(wgpu::PollType::Poll).map_err(|error| lost(&error))?;
            if let Some(value) = called.as_mut().now_or_never() {
                return Ok(value);
            }
            std::thread::sleep((start.elapsed() / 32).clamp(SHORTEST, LONGEST));
        }
    }
}

pub(super) fn lost(error: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Device, format!("the GPU stopped answering before it was done: {error}"))
}
