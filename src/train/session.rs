//! The GPU side of training: buffers for the largest batch, plans by batch shape, micro-batches and the
//! optimizer.

use std::collections::HashMap;
use std::rc::Rc;

use super::evaluate::{Evaluator, Workspace};
use crate::config::{Arithmetic, LoraConfig, ModelConfig};
use crate::data::Batch;
use crate::error::Result;
use crate::gpu::{
    Allocator, Dtype, MemoryUse, PendingRead, Plan, PlanBuilder, Profiler, Recorder, StepBuffer, Tensor,
};
use crate::kernels::adamw::adamw;
use crate::kernels::loss_scale::{GROWTH_INTERVAL, INIT_SCALE, LossScale, loss_scale};
use crate::kernels::reduce::{NORM_PARTS, norm};
use crate::kernels::step::Step;
use crate::memory::MemoryPlan;
use crate::model::{
    Forward, Gradients, Keep, Lora, LossPlans, Model, PassBuffers, WeightBytes, record_backward,
    record_forward, record_loss,
};

/// The plans of one number of rows.
struct RowPlans {
    forward: Plan,
    loss: LossPlans,
    backward: Plan,
}

/// For what a session makes its buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SessionOptions {
    /// Rows of the largest batch, a multiple of [`ROW_MULTIPLE`](crate::model::ROW_MULTIPLE).
    pub rows: usize,
    /// Positions are below this.
    pub positions: usize,
    /// Whether dropout masks are drawn.
    pub dropout: bool,
    /// Whether the backward pass computes each layer's activations again.
    pub gradient_checkpointing: bool,
    /// Whether activations are in 16 bits ([`Keep::Halves`]), as they are in f16.
    pub half_activations: bool,
    /// Arithmetic of the matrix products.
    pub arithmetic: Arithmetic,
}

impl SessionOptions {
    fn keep(&self) -> Keep {
        match (self.gradient_checkpointing, self.half_activations) {
            (true, _) => Keep::Input,
            (false, true) => Keep::Halves,
            (false, false) => Keep::All,
        }
    }
}

/// All memory of a session but the base and the adapter.
pub(super) struct SessionBuffers {
    gradients: Gradients,
    moments: [Tensor; 2],
    norm_parts: Tensor,
    workspace: Workspace,
}

impl SessionBuffers {
    pub fn new(
        gpu: &dyn Allocator,
        config: &ModelConfig,
        lora: &Lora,
        options: &SessionOptions,
    ) -> Result<Self> {
        let SessionOptions { rows, positions, arithmetic, .. } = *options;
        let keep = match options.keep() {
            Keep::Halves if !Keep::suits_halves(gpu, config, lora, rows) => Keep::All,
            keep => keep,
        };
        let gradients = Gradients::new(gpu, config, lora, rows, keep)?;
        gpu.begin(MemoryUse::Moments);
        let moments = [lora.flat(gpu, "first moment")?, lora.flat(gpu, "second moment")?];
        let activations = PassBuffers::for_training(gpu, config, lora, rows, keep)?;
        let workspace = Workspace::new(gpu, config, activations, rows, positions, arithmetic)?;
        let norm_parts = gpu.tensor("norm parts", &[NORM_PARTS], Dtype::F32)?;
        Ok(Self { gradients, moments, norm_parts, workspace })
    }
}

/// An adapter in training on a model.
pub struct Session {
    model: Rc<Model>,
    lora: Rc<Lora>,
    dropout: bool,
    arithmetic: Arithmetic,
    workspace: Workspace,
    step: Rc<StepBuffer>,
    gradients: Gradients,
    moments: [Tensor; 2],
    norm_parts: Tensor,
    /// Clears the gradient and the sum of losses.
    clear: Plan,
    begins: bool,
    optimizer: Plan,
    plans: HashMap<usize, RowPlans>,
    profiler: Option<Profiler>,
}

impl Session {
    /// What a run takes under `options`, beside the weights of the base.
    ///
    /// # Errors
    /// Those of [`MemoryPlan::of`].
    pub fn plan(
        gpu: &dyn Allocator,
        model: &ModelConfig,
        lora: &LoraConfig,
        weights: WeightBytes,
        options: &SessionOptions,
    ) -> Result<MemoryPlan> {
        MemoryPlan::of(gpu, weights, |tally| {
            let lora = Lora::allocate(tally, lora, model)?;
            SessionBuffers::new(tally, model, &lora, options)?;
            Ok(())
        })
    }

    /// Makes everything; see [`Self::plan`] for how much that is.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfMemory`](crate::error::ErrorKind::OutOfMemory) when a buffer passes a limit of
    /// the device or the device has no room for it.
    pub fn new(model: &Rc<Model>, lora: Lora, options: &SessionOptions) -> Result<Self> {
        let gpu = &**model.gpu();
        let lora = Rc::new(lora);
        let buffers = SessionBuffers::new(gpu, model.config(), &lora, options)?;
        let SessionBuffers { gradients, moments, norm_parts, workspace } = buffers;
        model.fill_rope_tables(&workspace.rope_tables);
        let step = Rc::new(StepBuffer::new(gpu, &Step::default()));
        let mut clear = PlanBuilder::new(gpu);
        clear.clear(&gradients.adapter);
        clear.clear(&workspace.loss.sum);
        let mut session = Self {
            workspace,
            step,
            clear: clear.finish(),
            begins: true,
            optimizer: PlanBuilder::new(gpu).finish(),
            model: Rc::clone(model),
            lora,
            dropout: options.dropout,
            arithmetic: options.arithmetic,
            gradients,
            moments,
            norm_parts,
            plans: HashMap::new(),
            profiler: None,
        };
        session.set_arithmetic(options.arithmetic);
        Ok(session)
    }

    /// Leaves f16: everything is computed in f32 from now on, as with gradient checkpointing if activations were kept in
    /// 16 bits, where they may not have been what they stand for. An [`Evaluator`] of before is to be made anew.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfMemory`](crate::error::ErrorKind::OutOfMemory).
    pub fn leave_f16(&mut self) -> Result<()> {
        self.set_arithmetic(Arithmetic::F32);
        if self.gradients.operand.is_some() {
            let (gpu, rows) = (&**self.model.gpu(), self.workspace.buffers.out.rows());
            self.workspace.buffers =
                PassBuffers::for_training(gpu, self.model.config(), &self.lora, rows, Keep::Input)?;
            self.gradients.leave_f16(gpu)?;
        }
        Ok(())
    }

    /// The arithmetic of the matrix products, with the scale of the loss that it begins with.
    fn set_arithmetic(&mut self, arithmetic: Arithmetic) {
        let (gpu, g) = (&**self.model.gpu(), &self.gradients);
        let mut optimizer = PlanBuilder::with_step(gpu, &self.step);
        norm(&mut optimizer, &g.adapter, &self.norm_parts, &g.state.view(0, &[1]));
        let mut scale = 1.0;
        if arithmetic == Arithmetic::F16 {
            loss_scale(&mut optimizer, &g.state, GROWTH_INTERVAL);
            scale = INIT_SCALE;
        }
        LossScale::begin(gpu, &g.state, scale);
        let [m, v] = &self.moments;
        adamw(&mut optimizer, self.lora.values(), &g.adapter, m, v, &g.state);
        self.optimizer = optimizer.finish();
        self.arithmetic = arithmetic;
        self.plans.clear();
    }

    /// The arithmetic of the matrix products.
    pub fn arithmetic(&self) -> Arithmetic {
        self.arithmetic
    }

    /// Goes on from this scale of the loss.
    pub fn set_loss_scale(&self, scale: &LossScale) {
        scale.write(self.model.gpu(), &self.gradients.state);
    }

    /// The adapter.
    pub fn lora(&self) -> &Rc<Lora> {
        &self.lora
    }

    /// The base model.
    pub fn model(&self) -> &Rc<Model> {
        &self.model
    }

    /// AdamW's first and second moments, flat like the adapter.
    pub fn moments(&self) -> &[Tensor; 2] {
        &self.moments
    }

    /// The adapter's gradient, flat like the adapter.
    pub fn gradient(&self) -> &Tensor {
        &self.gradients.adapter
    }

    /// Times every kernel from now on.
    pub fn profile(&mut self) -> Result<()> {
        self.profiler = Some(Profiler::new(self.model.gpu())?);
        Ok(())
    }

    /// The times so far.
    pub fn profiler(&self) -> Option<&Profiler> {
        self.profiler.as_ref()
    }

    /// The next micro-batch begins a step: with no gradient yet, and no sum of losses.
    pub fn begin(&mut self) {
        self.begins = true;
    }

    /// Adds a micro-batch's losses to the sum and its gradient to the adapter's.
    pub async fn micro_batch(&mut self, batch: &Batch, step: &Step) -> Result<()> {
        let rows = batch.rows();
        if !self.plans.contains_key(&rows) {
            let plans = self.record(rows);
            self.plans.insert(rows, plans);
        }
        let (gpu, plans) = (&**self.model.gpu(), &self.plans[&rows]);
        self.workspace.upload(&self.model, batch);
        self.step.write(gpu, step);
        let mut recorder = Recorder::new(gpu);
        let clear = std::mem::take(&mut self.begins).then_some(&self.clear);
        let chunks = plans.loss.chunks_for(batch.targets);
        let before = clear.into_iter().chain([&plans.forward, &plans.loss.begin]);
        for plan in before.chain(chunks).chain([&plans.loss.end, &plans.backward]) {
            recorder.run(plan, self.profiler.as_mut()).await?;
        }
        recorder.submit().await?;
        match &mut self.profiler {
            Some(profiler) => profiler.collect(gpu).await,
            None => Ok(()),
        }
    }

    /// Clips and applies the gradient; `step` holds the optimizer's values. Returns the sum of losses and the
    /// gradient's norm with the scale of the loss ([`LossScale::parse`]), on their way.
    pub async fn optimizer_step(&mut self, step: &Step) -> Result<[PendingRead; 2]> {
        let gpu = self.model.gpu();
        self.step.write(gpu, step);
        let mut recorder = Recorder::new(gpu);
        recorder.run(&self.optimizer, self.profiler.as_mut()).await?;
        let reads = [recorder.read(&self.workspace.loss.sum), recorder.read(&self.gradients.state)];
        recorder.submit().await?;
        if let Some(profiler) = &mut self.profiler {
            profiler.collect(gpu).await?;
        }
        Ok(reads)
    }

    /// An evaluator that uses this session's memory, and so runs between its steps only.
    pub fn evaluator(&self) -> Evaluator {
        let lora = Some(Rc::clone(&self.lora));
        Evaluator::sharing(&self.model, lora, self.workspace.clone(), Rc::clone(&self.step), self.arithmetic)
    }

    fn record(&self, rows: usize) -> RowPlans {
        let (gpu, w) = (&**self.model.gpu(), &self.workspace);
        let (inputs, buffers) = (w.inputs.first(rows), w.buffers.first(rows));
        let gradients = self.gradients.first(rows);
        let pass = Forward {
            model: &self.model,
            lora: Some(&self.lora),
            adapter_scale: 1.0,
            dropout: self.dropout,
            rope_tables: &w.rope_tables,
            inputs: &inputs,
            buffers: &buffers,
            cache: None,
        };
        let builder = || PlanBuilder::with_step(gpu, &self.step).in_arithmetic(self.arithmetic);
        let mut forward = builder();
        record_forward(&mut forward, &pass);
        let mut backward = builder();
        record_backward(&mut backward, &pass, &gradients);
        let (loss, step) = (&w.loss, &self.step);
        let loss = record_loss(&self.model, step, &inputs, &buffers, loss, Some(&gradients), self.arithmetic);
        RowPlans { forward: forward.finish(), loss, backward: backward.finish() }
    }
}
