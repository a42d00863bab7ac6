//! Reading results back without stopping the GPU.

use futures_channel::oneshot;

use super::device::Gpu;
use super::tensor::Tensor;
use crate::error::{Error, ErrorKind, Result};

/// A copy of a tensor that is on its way to the host.
pub struct PendingRead {
    staging: wgpu::Buffer,
    bytes: u64,
}

impl PendingRead {
    /// Adds the copy to `encoder`; the bytes are there once it was submitted and [`Self::finish`]
    /// was awaited.
    pub(super) fn encode(gpu: &Gpu, encoder: &mut wgpu::CommandEncoder, tensor: &Tensor) -> Self {
        let bytes = tensor.bytes();
        let staging = gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("readback"),
            size: bytes.max(4),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let (buffer, offset) = tensor.raw();
        encoder.copy_buffer_to_buffer(buffer, offset, &staging, 0, bytes.max(4));
        Self { staging, bytes }
    }

    /// Waits for the copy and returns its elements.
    ///
    /// # Errors
    /// Whatever the device reported in the meantime, or [`ErrorKind::Device`] if it is lost.
    pub async fn finish<T: bytemuck::Pod>(self, gpu: &Gpu) -> Result<Vec<T>> {
        let (sender, receiver) = oneshot::channel();
        self.staging.slice(..).map_async(wgpu::MapMode::Read, move |result| {
            // The receiver is gone only when nobody waits any more.
            let _ = sender.send(result);
        });
        // In a browser the event loop calls back; natively somebody has to drive the device.
        #[cfg(not(target_arch = "wasm32"))]
        gpu.device.poll(wgpu::PollType::wait_indefinitely()).map_err(|error| lost(&error))?;
        let mapped = receiver.await.map_err(|error| lost(&error))?;
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

fn lost(error: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Device, format!("the GPU stopped answering while results were read back: {error}"))
}
