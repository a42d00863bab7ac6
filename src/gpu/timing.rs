//! GPU time from timestamp queries: by kernel, or of a whole plan.

use std::collections::BTreeMap;

use super::device::Gpu;
use super::plan::{Dispatch, Plan};
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

/// Room for `count` timestamps, and for what they are read back from.
fn timestamps(gpu: &Gpu, count: u32) -> Result<(wgpu::QuerySet, wgpu::Buffer)> {
    if !gpu.caps().timestamps {
        return Err(Error::unsupported(format!(
            "\"{}\" has no timestamp queries, so its kernels cannot be timed",
            gpu.caps().adapter.name
        )));
    }
    let queries = gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
        label: Some("timestamps"),
        ty: wgpu::QueryType::Timestamp,
        count,
    });
    let resolved = gpu.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("timestamps"),
        size: u64::from(count) * 8,
        usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
        mapped_at_creation: false,
    });
    Ok((queries, resolved))
}

/// Seconds between the first `count` timestamps, two by two.
async fn durations(
    gpu: &Gpu,
    queries: &wgpu::QuerySet,
    count: u32,
    resolved: &wgpu::Buffer,
) -> Result<Vec<f64>> {
    let mut recorder = Recorder::new(gpu);
    recorder.resolve(queries, count, resolved);
    let pending = recorder.read(&Tensor::whole(resolved.clone(), &[count as usize, 2], Dtype::U32));
    recorder.submit().await?;
    let ticks: Vec<u64> = pending.finish(gpu).await?;
    let period = f64::from(gpu.queue.get_timestamp_period()) * 1e-9;
    Ok(ticks.chunks_exact(2).map(|pair| pair[1].saturating_sub(pair[0]) as f64 * period).collect())
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
        let (queries, resolved) = timestamps(gpu, 2 * CAPACITY)?;
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
        let seconds = durations(gpu, &self.queries, count, &self.resolved).await?;
        for (label, seconds) in labels.into_iter().zip(seconds) {
            let entry = self.times.entry(label).or_default();
            entry.0 += 1;
            entry.1 += seconds;
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

/// Times a plan as a whole, in one pass, as often as asked: what one kernel takes by itself.
pub struct Stopwatch {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
}

impl Stopwatch {
    /// A stopwatch for plans on `gpu`.
    ///
    /// # Errors
    /// If the device has no timestamp queries.
    pub fn new(gpu: &Gpu) -> Result<Self> {
        let (queries, resolved) = timestamps(gpu, 2)?;
        Ok(Self { queries, resolved })
    }

    /// Seconds on the GPU of `repeats` runs of the dispatches of a plan; copies and clears are left out.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub async fn time(&self, gpu: &Gpu, plan: &Plan, repeats: usize) -> Result<f64> {
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: Some("stopwatch"),
            timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                query_set: &self.queries,
                beginning_of_pass_write_index: Some(0),
                end_of_pass_write_index: Some(1),
            }),
        });
        for _ in 0..repeats {
            plan.dispatches(gpu).for_each(|dispatch| encode(&mut pass, dispatch));
        }
        drop(pass);
        gpu.queue.submit([encoder.finish()]);
        Ok(durations(gpu, &self.queries, 2, &self.resolved).await?[0])
    }
}
