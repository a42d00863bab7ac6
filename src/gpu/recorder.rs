//! Plans and read-backs on their way to the GPU.

use super::device::Gpu;
use super::governor::Piece;
use super::plan::{Dispatch, Op, Plan};
use super::readback::{Mapping, PendingRead};
use super::tensor::Tensor;
use super::timing::Profiler;
use crate::error::Result;

/// Encodes plans and read-backs, and submits them: all at once on a device that is fast enough, in pieces on another
/// (see [`GpuOptions::piece_seconds`](super::GpuOptions::piece_seconds)).
pub struct Recorder<'g> {
    gpu: &'g Gpu,
    /// What is encoded of the piece, in order.
    encoded: Vec<wgpu::CommandBuffer>,
    /// What is being encoded behind it; `None`: nothing.
    encoder: Option<wgpu::CommandEncoder>,
    piece: Piece,
    mappings: Vec<Mapping>,
}

impl<'g> Recorder<'g> {
    /// Starts with nothing.
    pub fn new(gpu: &'g Gpu) -> Self {
        Self { gpu, encoded: Vec::new(), encoder: None, piece: Piece::default(), mappings: Vec::new() }
    }

    /// Replays a plan; with a profiler, each dispatch is timed. On a slow device much of it may have run when this
    /// returns, on another nothing: between here and [`Self::submit`], write to no buffer that it uses.
    ///
    /// # Errors
    /// Whatever the device reported in the meantime.
    pub async fn run(&mut self, plan: &Plan, mut profiler: Option<&mut Profiler>) -> Result<()> {
        #[cfg(target_arch = "wasm32")]
        plan.compiled(self.gpu).await;
        let ops = plan.ops(self.gpu);
        let mut next = 0;
        while next < ops.len() {
            let end = self.gpu.governor.fill(&mut self.piece, &plan.costs, next);
            self.encode(&ops[next..end], 1, profiler.as_deref_mut());
            if end < ops.len() {
                self.flush().await?;
            }
            next = end;
        }
        Ok(())
    }

    /// Replays a plan so many times.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn repeat(&mut self, plan: &Plan, times: usize) -> Result<()> {
        #[cfg(target_arch = "wasm32")]
        plan.compiled(self.gpu).await;
        let ops = plan.ops(self.gpu);
        // Those that fit into the piece as they are go to the encoder together.
        let mut whole = 0;
        for _ in 0..times {
            let mut next = 0;
            while next < ops.len() {
                let end = self.gpu.governor.fill(&mut self.piece, &plan.costs, next);
                if end - next == ops.len() {
                    whole += 1;
                } else {
                    self.encode(ops, std::mem::take(&mut whole), None);
                    self.encode(&ops[next..end], 1, None);
                    if end < ops.len() {
                        self.flush().await?;
                    }
                }
                next = end;
            }
        }
        self.encode(ops, whole, None);
        Ok(())
    }

    /// Adds a copy of a tensor to the host, to be awaited after [`Self::submit`].
    pub fn read(&mut self, tensor: &Tensor) -> PendingRead {
        let gpu = self.gpu;
        let (pending, mapping) = PendingRead::encode(gpu, self.encoder(), tensor);
        self.mappings.push(mapping);
        pending
    }

    /// Writes the first `count` timestamps of a set to a buffer.
    pub(super) fn resolve(&mut self, queries: &wgpu::QuerySet, count: u32, target: &wgpu::Buffer) {
        self.encoder().resolve_query_set(queries, 0..count, target, 0);
    }

    /// Hands over what is left.
    ///
    /// # Errors
    /// Whatever the device reported in the meantime.
    pub async fn submit(mut self) -> Result<()> {
        self.flush().await
    }

    /// Encodes operations so many times; natively many of them on several threads, since each takes the host about as long
    /// as it takes a large GPU.
    fn encode(&mut self, ops: &[Op], times: usize, mut profiler: Option<&mut Profiler>) {
        #[cfg(not(target_arch = "wasm32"))]
        if profiler.is_none() {
            let threads = threads(times * ops.len());
            if threads > 1 {
                self.encode_on(threads, ops, times);
                return;
            }
        }
        for _ in 0..times {
            encode_all(self.encoder(), ops, profiler.as_deref_mut());
        }
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn encode_on(&mut self, threads: usize, ops: &[Op], times: usize) {
        let device = &self.gpu.device;
        let encode = |ops: &[Op], times: usize| {
            let mut encoder = device.create_command_encoder(&Default::default());
            (0..times).for_each(|_| encode_all(&mut encoder, ops, None));
            encoder.finish()
        };
        // Each thread has a part of the list, or the whole of it some times.
        let shares: Vec<_> = match times {
            1 => ops.chunks(ops.len().div_ceil(threads)).map(|ops| (ops, 1)).collect(),
            _ => {
                let each = times.div_ceil(threads);
                (0..times).step_by(each).map(|done| (ops, each.min(times - done))).collect()
            }
        };
        self.encoded.extend(self.encoder.take().map(wgpu::CommandEncoder::finish));
        std::thread::scope(|scope| {
            let others: Vec<_> =
                shares[1..].iter().map(|&(ops, times)| scope.spawn(move || encode(ops, times))).collect();
            self.encoded.push(encode(shares[0].0, shares[0].1));
            self.encoded
                .extend(others.into_iter().map(|other| other.join().expect("encoding does not panic")));
        });
    }

    fn encoder(&mut self) -> &mut wgpu::CommandEncoder {
        let device = &self.gpu.device;
        self.encoder.get_or_insert_with(|| device.create_command_encoder(&Default::default()))
    }

    async fn flush(&mut self) -> Result<()> {
        self.encoded.extend(self.encoder.take().map(wgpu::CommandEncoder::finish));
        if self.encoded.is_empty() {
            return Ok(());
        }
        let (piece, encoded) = (std::mem::take(&mut self.piece), std::mem::take(&mut self.encoded));
        self.gpu.submit_piece(encoded, piece).await?;
        self.mappings.drain(..).for_each(Mapping::start);
        Ok(())
    }
}

/// On how many threads so many operations are encoded.
#[cfg(not(target_arch = "wasm32"))]
fn threads(operations: usize) -> usize {
    // Fewer are encoded sooner than a thread begins.
    const EACH: usize = 96;
    const MOST: usize = 8;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (operations / EACH).clamp(1, cores.min(MOST))
}

impl Gpu {
    /// Submits a plan in one submission, however long that takes: for what is short, and for measuring.
    pub fn run_whole(&self, plan: &Plan) {
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encode_all(&mut encoder, plan.ops(self), None);
        self.queue.submit([encoder.finish()]);
    }
}

fn encode_all(encoder: &mut wgpu::CommandEncoder, ops: &[Op], mut profiler: Option<&mut Profiler>) {
    let mut ops = ops.iter().peekable();
    while let Some(op) = ops.next() {
        match op {
            Op::Copy { from, to } => {
                for (source, from_at, outer) in from.ranges(0..from.bytes()) {
                    for (target, to_at, inner) in to.ranges(outer.clone()) {
                        let (at, size) = (from_at + inner.start, inner.end - inner.start);
                        encoder.copy_buffer_to_buffer(source, at, target, to_at, size);
                    }
                }
            }
            Op::Clear(tensor) => {
                for (buffer, offset, part) in tensor.ranges(0..tensor.bytes()) {
                    encoder.clear_buffer(buffer, offset, Some(part.end - part.start));
                }
            }
            Op::Dispatch(first) => {
                if let Some(profiler) = profiler.as_deref_mut() {
                    profiler.encode(encoder, first);
                    continue;
                }
                // One pass for a whole run of dispatches: a pass costs far more than a dispatch.
                let mut pass = encoder.begin_compute_pass(&Default::default());
                encode(&mut pass, first);
                while let Some(Op::Dispatch(next)) = ops.next_if(|op| matches!(op, Op::Dispatch(_))) {
                    encode(&mut pass, next);
                }
            }
        }
    }
}

pub(super) fn encode(pass: &mut wgpu::ComputePass<'_>, dispatch: &Dispatch) {
    pass.set_pipeline(&dispatch.pipeline);
    pass.set_bind_group(0, &dispatch.bind_group, &[]);
    let [x, y, z] = dispatch.grid;
    pass.dispatch_workgroups(x, y, z);
}
