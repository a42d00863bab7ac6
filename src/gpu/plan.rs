//! A plan: dispatches recorded once, replayed every step.

use std::cell::{Cell, OnceCell};
use std::sync::Arc;

use super::device::Gpu;
use super::governor::Costs;
use super::pipeline::{Params, Shader};
use super::tensor::Tensor;
use crate::config::Arithmetic;

/// Where `struct Step` (values that change from step to step) is bound in the kernels that use it.
const STEP_BINDING: u32 = 9;

/// Uniform bindings start at multiples of this in every implementation.
const UNIFORM_ALIGN: usize = 256;

pub(super) struct Dispatch {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) bind_group: wgpu::BindGroup,
    pub(super) grid: [u32; 3],
    pub(super) shader: Shader,
}

pub(super) enum Op {
    Dispatch(Dispatch),
    Copy { from: Tensor, to: Tensor },
    Clear(Tensor),
}

/// A recorded list of dispatches, copies and clears.
pub struct Plan {
    shaders: Vec<Shader>,
    len: usize,
    pub(super) costs: Arc<Costs>,
    unbound: Cell<Option<Unbound>>,
    /// With pipelines and bind groups: as soon as it runs.
    ops: OnceCell<Vec<Op>>,
}

/// A plan whose pipelines are perhaps being compiled.
struct Unbound {
    uniform: wgpu::Buffer,
    step: Option<wgpu::Buffer>,
    ops: Vec<PendingOp>,
}

impl Plan {
    /// Number of GPU operations in the plan.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the plan does nothing.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The shaders that it runs, in order: the record of which variants a run used.
    pub fn shaders(&self) -> impl Iterator<Item = &Shader> {
        self.shaders.iter()
    }

    /// Until its pipelines are compiled, where that goes on beside the program: a browser is asked for them when they
    /// are recorded. Natively [`Self::ops`] waits, and helps.
    #[cfg(target_arch = "wasm32")]
    pub(super) async fn compiled(&self, gpu: &Gpu) {
        if self.ops.get().is_none() {
            let labels: Vec<_> = self.shaders.iter().map(Shader::label).collect();
            gpu.pipelines.compiled(&labels).await;
        }
    }

    /// Its operations, after compiling what is not compiled yet.
    pub(super) fn ops(&self, gpu: &Gpu) -> &[Op] {
        self.ops.get_or_init(|| {
            let Unbound { uniform, step, ops } = self.unbound.take().expect("taken once, here");
            let bound = ops.into_iter().map(|op| match op {
                PendingOp::Copy { from, to } => Op::Copy { from, to },
                PendingOp::Clear(tensor) => Op::Clear(tensor),
                PendingOp::Dispatch(pending) => Op::Dispatch(bind(gpu, &uniform, step.as_ref(), pending)),
            });
            bound.collect()
        })
    }

    pub(super) fn dispatches(&self, gpu: &Gpu) -> impl Iterator<Item = &Dispatch> {
        self.ops(gpu)
            .iter()
            .filter_map(|op| if let Op::Dispatch(dispatch) = op { Some(dispatch) } else { None })
    }
}

struct Pending {
    shader: Shader,
    params_at: usize,
    params_len: usize,
    bindings: Vec<Tensor>,
    step: bool,
    grid: [u32; 3],
}

enum PendingOp {
    Dispatch(Pending),
    Copy { from: Tensor, to: Tensor },
    Clear(Tensor),
}

impl PendingOp {
    /// Operations of one kind take time by their size.
    fn kind_and_size(&self) -> (String, f32) {
        match self {
            Self::Copy { from, .. } => ("copy".to_owned(), from.bytes() as f32),
            Self::Clear(tensor) => ("clear".to_owned(), tensor.bytes() as f32),
            Self::Dispatch(pending) => {
                (pending.shader.label(), pending.grid.iter().map(|&n| n as f32).product())
            }
        }
    }
}

/// Collects a plan. Kernels add their dispatches to it, and their pipelines begin to be compiled.
pub struct PlanBuilder<'g> {
    gpu: &'g Gpu,
    arithmetic: Arithmetic,
    step: Option<wgpu::Buffer>,
    params: Vec<u8>,
    ops: Vec<PendingOp>,
}

impl<'g> PlanBuilder<'g> {
    /// An empty plan.
    pub fn new(gpu: &'g Gpu) -> Self {
        Self { gpu, arithmetic: Arithmetic::F32, step: None, params: Vec::new(), ops: Vec::new() }
    }

    /// Kernels may compute in this arithmetic.
    pub fn in_arithmetic(self, arithmetic: Arithmetic) -> Self {
        Self { arithmetic, ..self }
    }

    /// What [`Self::in_arithmetic`] allows.
    pub fn arithmetic(&self) -> Arithmetic {
        self.arithmetic
    }

    /// An empty plan whose kernels may use `step`'s values (see [`StepBuffer`]).
    pub fn with_step(gpu: &'g Gpu, step: &StepBuffer) -> Self {
        Self { step: Some(step.buffer.clone()), ..Self::new(gpu) }
    }

    /// The device that the plan is for.
    pub fn gpu(&self) -> &'g Gpu {
        self.gpu
    }

    /// Adds a dispatch: `bindings` are the storage buffers at bindings 1, 2, …, each of one part (see
    /// [`row_parts`](super::row_parts)); the parameter block is binding 0.
    pub fn dispatch<P: Params>(&mut self, shader: Shader, params: &P, bindings: &[&Tensor], grid: [u32; 3]) {
        self.push(shader, params, bindings, grid, false);
    }

    /// As [`Self::dispatch`], for a kernel that reads the step's values too.
    ///
    /// # Panics
    /// If the plan was made without them ([`PlanBuilder::with_step`]).
    pub fn dispatch_with_step<P: Params>(
        &mut self,
        shader: Shader,
        params: &P,
        bindings: &[&Tensor],
        grid: [u32; 3],
    ) {
        assert!(self.step.is_some(), "{} needs a plan made with step values", shader.label());
        self.push(shader, params, bindings, grid, true);
    }

    fn push<P: Params>(
        &mut self,
        shader: Shader,
        params: &P,
        bindings: &[&Tensor],
        grid: [u32; 3],
        step: bool,
    ) {
        if grid.contains(&0) {
            return;
        }
        self.gpu.pipelines.request(&shader);
        self.params.resize(self.params.len().next_multiple_of(UNIFORM_ALIGN), 0);
        let params_at = self.params.len();
        self.params.extend_from_slice(bytemuck::bytes_of(params));
        self.ops.push(PendingOp::Dispatch(Pending {
            shader,
            params_at,
            params_len: size_of::<P>(),
            bindings: bindings.iter().map(|&tensor| tensor.clone()).collect(),
            step,
            grid,
        }));
    }

    /// Adds a copy between tensors of equal size.
    pub fn copy(&mut self, from: &Tensor, to: &Tensor) {
        assert_eq!(from.bytes(), to.bytes(), "a copy keeps the size");
        self.ops.push(PendingOp::Copy { from: from.clone(), to: to.clone() });
    }

    /// Sets a tensor to zero.
    pub fn clear(&mut self, tensor: &Tensor) {
        self.ops.push(PendingOp::Clear(tensor.clone()));
    }

    /// The plan. Its pipelines are waited for when it first runs.
    pub fn finish(self) -> Plan {
        let Self { gpu, step, params, ops, .. } = self;
        let costs = gpu.governor.costs(ops.iter().map(PendingOp::kind_and_size));
        let shaders = ops.iter().filter_map(|op| match op {
            PendingOp::Dispatch(pending) => Some(pending.shader.clone()),
            _ => None,
        });
        let (shaders, len) = (shaders.collect(), ops.len());
        let unbound = Cell::new(Some(Unbound { uniform: gpu.uniform("params", &params), step, ops }));
        Plan { shaders, len, costs, unbound, ops: OnceCell::new() }
    }
}

fn bind(gpu: &Gpu, uniform: &wgpu::Buffer, step: Option<&wgpu::Buffer>, pending: Pending) -> Dispatch {
    let pipeline = gpu.pipelines.get(&pending.shader);
    let mut entries = vec![wgpu::BindGroupEntry {
        binding: 0,
        resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: uniform,
            offset: pending.params_at as u64,
            size: std::num::NonZeroU64::new(pending.params_len as u64),
        }),
    }];
    for (i, tensor) in pending.bindings.iter().enumerate() {
        entries.push(wgpu::BindGroupEntry { binding: i as u32 + 1, resource: tensor.binding() });
    }
    if let (true, Some(step)) = (pending.step, step) {
        entries.push(wgpu::BindGroupEntry { binding: STEP_BINDING, resource: step.as_entire_binding() });
    }
    let bind_group = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some(pending.shader.kernel),
        layout: &pipeline.get_bind_group_layout(0),
        entries: &entries,
    });
    Dispatch { pipeline, bind_group, grid: pending.grid, shader: pending.shader }
}

/// A uniform buffer of values that change from step to step; its layout belongs to the kernels.
pub struct StepBuffer {
    buffer: wgpu::Buffer,
}

impl StepBuffer {
    /// Makes the buffer with a first value.
    pub fn new<P: Params>(gpu: &Gpu, value: &P) -> Self {
        Self { buffer: gpu.uniform("step", bytemuck::bytes_of(value)) }
    }

    /// Sets the values for everything submitted from now on.
    pub fn write<P: Params>(&self, gpu: &Gpu, value: &P) {
        gpu.queue.write_buffer(&self.buffer, 0, bytemuck::bytes_of(value));
    }
}
