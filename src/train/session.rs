//! The GPU side of training: buffers for the largest batch, plans by batch shape, micro-batches and the
//! optimizer.

use std::collections::HashMap;
use std::rc::Rc;

use super::evaluate::{Evaluator, Workspace};
use crate::data::Batch;
use crate::error::Result;
use crate::gpu::{Dtype, PendingRead, Plan, PlanBuilder, Profiler, Recorder, Tensor};
use crate::kernels::adamw::adamw;
use crate::kernels::reduce::{NORM_PARTS, norm};
use crate::kernels::step::Step;
use crate::model::{
    Forward, Gradients, Lora, LossPlans, Model, PassBuffers, record_backward, record_forward, record_loss,
};

/// The plans of one number of rows.
struct RowPlans {
    forward: Plan,
    loss: LossPlans,
    backward: Plan,
}

/// An adapter in training on a model.
pub struct Session {
    model: Rc<Model>,
    lora: Rc<Lora>,
    dropout: bool,
    workspace: Workspace,
    gradients: Gradients,
    moments: [Tensor; 2],
    norm: Tensor,
    optimizer: Plan,
    plans: HashMap<usize, RowPlans>,
    profiler: Option<Profiler>,
}

impl Session {
    /// Makes everything for batches of up to `rows` rows (a multiple of
    /// [`ROW_MULTIPLE`](crate::model::ROW_MULTIPLE)) and positions below `positions`.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfMemory`](crate::error::ErrorKind::OutOfMemory) when a buffer passes a limit of
    /// the device or the device has no room for it.
    pub fn new(model: &Rc<Model>, lora: Lora, rows: usize, positions: usize, dropout: bool) -> Result<Self> {
        let gpu = &**model.gpu();
        let lora = Rc::new(lora);
        let flat = |label: &str| gpu.tensor(label, lora.values().shape(), Dtype::F32);
        let gradients = Gradients::new(model, &lora, rows)?;
        let moments = [flat("first moment")?, flat("second moment")?];
        let parts = gpu.tensor("norm parts", &[NORM_PARTS], Dtype::F32)?;
        let total = gpu.tensor("gradient norm", &[1], Dtype::F32)?;
        let buffers = PassBuffers::for_training(model, &lora, rows)?;
        let workspace = Workspace::new(model, buffers, rows, positions)?;
        let mut optimizer = PlanBuilder::with_step(gpu, &workspace.step);
        norm(&mut optimizer, &gradients.adapter, &parts, &total);
        adamw(&mut optimizer, lora.values(), &gradients.adapter, &moments[0], &moments[1], &total);
        Ok(Self {
            workspace,
            optimizer: optimizer.finish(),
            model: Rc::clone(model),
            lora,
            dropout,
            gradients,
            moments,
            norm: total,
            plans: HashMap::new(),
            profiler: None,
        })
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

    /// Clears the gradient and the sum of losses.
    pub fn begin(&self) {
        let gpu = self.model.gpu();
        let mut plan = PlanBuilder::new(gpu);
        plan.clear(&self.gradients.adapter);
        plan.clear(&self.workspace.loss.sum);
        let mut recorder = Recorder::new(gpu);
        recorder.run(&plan.finish(), None);
        recorder.submit();
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
        self.workspace.step.write(gpu, step);
        let mut recorder = Recorder::new(gpu);
        let mut run = |plan: &Plan| recorder.run(plan, self.profiler.as_mut());
        run(&plans.forward);
        run(&plans.loss.begin);
        plans.loss.chunks_for(batch.targets).iter().for_each(&mut run);
        run(&plans.loss.end);
        run(&plans.backward);
        recorder.submit();
        match &mut self.profiler {
            Some(profiler) => profiler.collect(gpu).await,
            None => Ok(()),
        }
    }

    /// Clips and applies the gradient; `step` holds the optimizer's values. Returns the sum of losses and
    /// the gradient's norm, on their way.
    pub async fn optimizer_step(&mut self, step: &Step) -> Result<[PendingRead; 2]> {
        let gpu = self.model.gpu();
        self.workspace.step.write(gpu, step);
        let mut recorder = Recorder::new(gpu);
        recorder.run(&self.optimizer, self.profiler.as_mut());
        let reads = [recorder.read(&self.workspace.loss.sum), recorder.read(&self.norm)];
        recorder.submit();
        if let Some(profiler) = &mut self.profiler {
            profiler.collect(gpu).await?;
        }
        Ok(reads)
    }

    /// An evaluator that uses this session's memory, and so runs between its steps only.
    pub fn evaluator(&self) -> Evaluator {
        Evaluator::sharing(&self.model, Some(Rc::clone(&self.lora)), self.workspace.clone())
    }

    fn record(&self, rows: usize) -> RowPlans {
        let (gpu, w) = (&**self.model.gpu(), &self.workspace);
        let (inputs, buffers) = (w.inputs.first(rows), w.buffers.first(rows));
        let gradients = self.gradients.first(rows);
        let pass = Forward {
            model: &self.model,
            lora: Some(&self.lora),
            dropout: self.dropout,
            rope_tables: &w.rope_tables,
            inputs: &inputs,
            buffers: &buffers,
            cache: None,
        };
        let mut forward = PlanBuilder::with_step(gpu, &w.step);
        record_forward(&mut forward, &pass);
        let mut backward = PlanBuilder::with_step(gpu, &w.step);
        record_backward(&mut backward, &pass, &gradients);
        let loss = record_loss(&self.model, &w.step, &inputs, &buffers, &w.loss, Some(&gradients));
        RowPlans { forward: forward.finish(), loss, backward: backward.finish() }
    }
}
