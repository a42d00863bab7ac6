//! How much of a device's memory may be used, which no API tells.

use super::device::Gpu;
use super::human_bytes;

const GIB: u64 = 1 << 30;

/// Largest buffer that a probe asks for at once.
const PROBE_CHUNK: u64 = GIB;

/// Bytes that tensors may take together, and why.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct MemoryBudget {
    /// Bytes.
    pub bytes: u64,
    /// Where the number comes from, for people.
    pub source: String,
    /// Whether the device may be asked for more (see [`MemoryBudget::raise`]).
    #[serde(skip)]
    raisable: bool,
}

impl MemoryBudget {
    /// What a person allows.
    pub fn given(bytes: u64) -> Self {
        Self { bytes, source: "given".to_owned(), raisable: false }
    }

    /// What most devices of a kind have to spare:
    ///
    /// - discrete: 6 GiB, since 8 GiB is the usual least and the desktop takes its share;
    /// - integrated: 4 GiB, as systems lend their GPU half of the memory, and 16 GiB with a browser open is usual;
    /// - software: 4 GiB of the system's memory;
    /// - unknown, which is every GPU in a browser: 2 GiB, what an integrated GPU in an 8 GiB laptop has.
    pub fn default_for(gpu: &Gpu) -> Self {
        let kind = gpu.caps().adapter.device_type.as_str();
        let (bytes, what) = match kind {
            "DiscreteGpu" => (6 * GIB, "a discrete GPU"),
            "IntegratedGpu" => (4 * GIB, "an integrated GPU"),
            "Cpu" => (4 * GIB, "a software driver"),
            _ => (2 * GIB, "a GPU of unknown kind"),
        };
        // A software driver promises memory that the system may not have.
        Self { bytes, source: format!("the default for {what}"), raisable: kind != "Cpu" }
    }

    /// Raises a default to `needed` bytes, of which `taken` are allocated already, if the device grants the rest
    /// for a moment. A given budget stays as it is.
    pub async fn raise(&mut self, gpu: &Gpu, needed: u64, taken: u64) {
        if needed > self.bytes && self.raisable {
            if gpu.grants(needed.saturating_sub(taken)).await {
                self.source = format!("{}, raised since the device grants it", self.source);
                self.bytes = needed;
            } else {
                self.source =
                    format!("{}; the device does not grant {} in all", self.source, human_bytes(needed));
            }
            // Once is enough: what is asked for next is less.
            self.raisable = false;
        }
    }
}

impl Gpu {
    /// Whether the device has so many bytes left: takes them inside error scopes and gives them back.
    async fn grants(&self, bytes: u64) -> bool {
        let chunk = self.caps().limits.max_buffer_size.min(PROBE_CHUNK) & !3;
        let (mut left, mut taken, mut granted) = (bytes, Vec::new(), true);
        while left > 0 && granted {
            let size = left.min(chunk).next_multiple_of(4);
            let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
            taken.push(self.storage("probe", size));
            granted = scope.pop().await.is_none();
            left = left.saturating_sub(size);
        }
        taken.iter().for_each(wgpu::Buffer::destroy);
        drop(taken);
        // Natively memory is given back when the device is next driven.
        #[cfg(not(target_arch = "wasm32"))]
        let _ = self.device.poll(wgpu::PollType::Poll);
        granted
    }
}
