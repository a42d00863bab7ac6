//! GPU time by kernel, from timestamp queries.

use std::collections::BTreeMap;

use super::device::Gpu;
use super::plan::Dispatch;
use super::recorder::{Recorder, encode};
use super::tensor::{Dtype, Tensor};
use crate::error::{Error, Result};

/// Dispatches timed between two read-backs; a query set holds two timestamps for each.
const CAPACITY: u32 = 2048;

/// GPU time of one kernel over all its timed dispatches.
#[derive(Debug, Clone, serde::Serialize)]
pub struct KernelTime {
    /// `kernel/variant`.
    pub kernel: String,
    /// Number of dispatches.
    pub dispatches: u64,
    /// Seconds on the GPU.
    pub seconds: f64,
}

/// Times dispatches, each in a pass of its own (so a profiled run is slower than a plain one).
pub struct Profiler {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    pending: Vec<String>,
    untimed: u64,
    times: BTreeMap<String, (u64, f64)>,
}

impl Profiler {
    /// A profiler with no times yet.
    ///
    /// # Errors
    /// If the device has no timestamp queries.
    pub fn new(gpu: &Gpu) -> Result<Self> {
        if !gpu.caps().timestamps {
            return Err(Error::unsupported(format!(
                "\"{}\" has no timestamp queries, so its kernels cannot be timed",
                gpu.caps().adapter.name
            )));
        }
        let queries = gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("profiler"),
            ty: wgpu::QueryType::Timestamp,
            count: 2 * CAPACITY,
        });
        let resolved = gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("profiler"),
            size: u64::from(2 * CAPACITY) * 8,
            usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        Ok(Self { queries, resolved, pending: Vec::new(), untimed: 0, times: BTreeMap::new() })
    }

    pub(super) fn encode(&mut self, encoder: &mut wgpu::CommandEncoder, dispatch: &Dispatch) {
        let first = 2 * self.pending.len() as u32;
        let timed = first + 1 < 2 * CAPACITY;
        let writes = wgpu::ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(first),
            end_of_pass_write_index: Some(first + 1),
        };
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: None,
            timestamp_writes: timed.then_some(writes),
        });
        encode(&mut pass, dispatch);
        if timed {
            self.pending.push(dispatch.shader.label());
        } else {
            self.untimed += 1;
        }
    }

    /// Waits for the timed dispatches and adds up their times. Call after each submission.
    pub async fn collect(&mut self, gpu: &Gpu) -> Result<()> {
        let labels = std::mem::take(&mut self.pending);
        if labels.is_empty() {
            return Ok(());
        }
        let count = 2 * labels.len() as u32;
        let mut recorder = Recorder::new(gpu);
        recorder.resolve(&self.queries, count, &self.resolved);
        let pending = recorder.read(&Tensor::whole(self.resolved.clone(), &[count as usize, 2], Dtype::U32));
        recorder.submit().await?;
        let ticks: Vec<u64> = pending.finish(gpu).await?;
        let period = f64::from(gpu.queue.get_timestamp_period()) * 1e-9;
        for (label, pair) in labels.into_iter().zip(ticks.chunks_exact(2)) {
            let entry = self.times.entry(label).or_default();
            entry.0 += 1;
            entry.1 += pair[1].saturating_sub(pair[0]) as f64 * period;
        }
        Ok(())
    }

    /// Dispatches that one submission had beyond what it can time; they are missing in [`Self::report`].
    pub fn untimed(&self) -> u64 {
        self.untimed
    }

    /// Times so far, longest first.
    pub fn report(&self) -> Vec<KernelTime> {
        let mut rows: Vec<_> = self
            .times
            .iter()
            .map(|(kernel, &(dispatches, seconds))| KernelTime {
                kernel: kernel.clone(),
                dispatches,
                seconds,
            })
            .collect();
        rows.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        rows
    }
}
