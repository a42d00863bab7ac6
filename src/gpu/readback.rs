//! Reading results back without stopping the GPU.

use std::cell::OnceCell;
use std::rc::Rc;

use futures_channel::oneshot;
#[cfg(not(target_arch = "wasm32"))]
use std::time::{Duration, Instant};

use super::device::Gpu;
use super::tensor::Tensor;
use crate::error::{Error, ErrorKind, Result};

/// Between two questions whether a submission is done: a small part of what it has taken so far, within these.
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
    submission: Rc<OnceCell<wgpu::SubmissionIndex>>,
}

/// The other end of a [`PendingRead`]: what is to happen once its copies were submitted.
pub(super) struct Mapping {
    chunks: Vec<(wgpu::Buffer, oneshot::Sender<Result<(), wgpu::BufferAsyncError>>)>,
    submission: Rc<OnceCell<wgpu::SubmissionIndex>>,
}

impl Mapping {
    /// Asks for the bytes at once, so that later submissions are not waited for.
    pub(super) fn start(self, index: wgpu::SubmissionIndex) {
        let _ = self.submission.set(index);
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
        let submission = Rc::new(OnceCell::new());
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
        let mapping = Mapping { chunks: mappings, submission: Rc::clone(&submission) };
        (Self { chunks, submission }, mapping)
    }

    /// Waits for the copies and returns their elements.
    ///
    /// # Errors
    /// Whatever the device reported in the meantime, or [`ErrorKind::Device`] if it is lost.
    pub async fn finish<T: bytemuck::Pod>(self, gpu: &Gpu) -> Result<Vec<T>> {
        drive(gpu, self.submission.get().cloned())?;
        let mut values = Vec::new();
        for chunk in self.chunks {
            let mapped = chunk.mapped.await.map_err(|error| lost(&error))?;
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
        let index = self.queue.submit([]);
        self.queue.on_submitted_work_done(move || {
            // The receiver is gone only when nobody waits any more.
            let _ = sender.send(());
        });
        drive(self, Some(index))?;
        done.await.map_err(|error| lost(&error))?;
        self.check()
    }
}

/// Waits for a submission. In a browser the event loop calls back; natively somebody has to drive the device.
///
/// It asks again and again instead of sleeping in the driver, which may wake up milliseconds late: a prompt of 512 tokens
/// took 14 ms instead of 18 on an H200 (driver 580, in a virtual machine).
#[cfg_attr(target_arch = "wasm32", expect(unused_variables, clippy::unnecessary_wraps))]
pub(super) fn drive(gpu: &Gpu, submission: Option<wgpu::SubmissionIndex>) -> Result<()> {
    #[cfg(not(target_arch = "wasm32"))]
    {
        let start = Instant::now();
        loop {
            let now =
                wgpu::PollType::Wait { submission_index: submission.clone(), timeout: Some(Duration::ZERO) };
            match gpu.device.poll(now) {
                Ok(_) => break,
                Err(wgpu::PollError::Timeout) => {
                    std::thread::sleep((start.elapsed() / 32).clamp(SHORTEST, LONGEST))
                }
                Err(error) => return Err(lost(&error)),
            }
        }
    }
    Ok(())
}

pub(super) fn lost(error: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Device, format!("the GPU stopped answering before it was done: {error}"))
}
