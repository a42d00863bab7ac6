//! Reading results back without stopping the GPU.

use std::cell::OnceCell;
use std::rc::Rc;

use futures_channel::oneshot;

use super::device::Gpu;
use super::tensor::Tensor;
use crate::error::{Error, ErrorKind, Result};

/// A copy of a tensor that is on its way to the host.
pub struct PendingRead {
    staging: wgpu::Buffer,
    bytes: u64,
    mapped: oneshot::Receiver<Result<(), wgpu::BufferAsyncError>>,
    submission: Rc<OnceCell<wgpu::SubmissionIndex>>,
}

/// The other end of a [`PendingRead`]: what is to happen once its copy was submitted.
pub(super) struct Mapping {
    staging: wgpu::Buffer,
    sender: oneshot::Sender<Result<(), wgpu::BufferAsyncError>>,
    submission: Rc<OnceCell<wgpu::SubmissionIndex>>,
}

impl Mapping {
    /// Asks for the bytes at once, so that later submissions are not waited for.
    pub(super) fn start(self, index: wgpu::SubmissionIndex) {
        let _ = self.submission.set(index);
        let sender = self.sender;
        self.staging.slice(..).map_async(wgpu::MapMode::Read, move |result| {
            // The receiver is gone only when nobody waits any more.
            let _ = sender.send(result);
        });
    }
}

impl PendingRead {
    /// Adds the copy to `encoder`; the mapping is started when that is submitted.
    pub(super) fn encode(gpu: &Gpu, encoder: &mut wgpu::CommandEncoder, tensor: &Tensor) -> (Self, Mapping) {
        let bytes = tensor.bytes();
        let staging = gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("readback"),
            size: bytes.max(4),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let (buffer, offset) = tensor.raw();
        encoder.copy_buffer_to_buffer(buffer, offset, &staging, 0, bytes.max(4));
        let (sender, mapped) = oneshot::channel();
        let submission = Rc::new(OnceCell::new());
        let mapping = Mapping { staging: staging.clone(), sender, submission: Rc::clone(&submission) };
        (Self { staging, bytes, mapped, submission }, mapping)
    }

    /// Waits for the copy and returns its elements.
    ///
    /// # Errors
    /// Whatever the device reported in the meantime, or [`ErrorKind::Device`] if it is lost.
    pub async fn finish<T: bytemuck::Pod>(self, gpu: &Gpu) -> Result<Vec<T>> {
        drive(gpu, self.submission.get().cloned())?;
        let mapped = self.mapped.await.map_err(|error| lost(&error))?;
        gpu.check()?;
        mapped.map_err(|error| lost(&error))?;
        let view = self.staging.slice(..self.bytes.max(4)).get_mapped_range();
        let view = view.map_err(|error| lost(&error))?;
        // Mapped memory is aligned for any element; collecting does not assume it.
        let values = bytemuck::pod_collect_to_vec(&view[..self.bytes as usize]);
        drop(view);
        self.staging.unmap();
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
#[cfg_attr(target_arch = "wasm32", expect(unused_variables, clippy::unnecessary_wraps))]
fn drive(gpu: &Gpu, submission: Option<wgpu::SubmissionIndex>) -> Result<()> {
    #[cfg(not(target_arch = "wasm32"))]
    gpu.device
        .poll(wgpu::PollType::Wait { submission_index: submission, timeout: None })
        .map_err(|error| lost(&error))?;
    Ok(())
}

fn lost(error: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Device, format!("the GPU stopped answering before it was done: {error}"))
}
