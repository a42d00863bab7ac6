//! Mean loss of a model, with or without an adapter, over examples.

use std::collections::HashMap;
use std::rc::Rc;

use crate::config::{Arithmetic, LoraConfig, ModelConfig};
use crate::data::{Batch, Rows};
use crate::error::{Error, Result};
use crate::gpu::{Allocator, MemoryUse, Plan, PlanBuilder, Recorder, StepBuffer, Tensor};
use crate::kernels::step::Step;
use crate::memory::MemoryPlan;
use crate::model::{
    Forward, Inputs, Lora, LossBuffers, LossPlans, Model, PassBuffers, ROW_MULTIPLE, WeightBytes,
    empty_rope_tables, record_forward, record_loss,
};

/// Token rows that hold the `batch_size` longest of some rows, and the longest example's length, all cut to
/// `max_length`.
pub(super) fn largest_batch(rows: &Rows, batch_size: usize, max_length: usize) -> (usize, usize) {
    let mut lengths: Vec<_> = (0..rows.len()).map(|i| rows.tokens(i).min(max_length)).collect();
    lengths.sort_unstable_by(|a, b| b.cmp(a));
    let tokens = lengths.iter().take(batch_size).sum::<usize>();
    let examples = rows.examples();
    let longest = (0..examples.len()).map(|i| examples.tokens(i)).max().unwrap_or(0);
    (tokens.next_multiple_of(ROW_MULTIPLE), longest.min(max_length))
}

/// What a pass over examples needs; cloning shares the memory.
#[derive(Clone)]
pub(super) struct Workspace {
    pub rope_tables: Vec<Tensor>,
    pub inputs: Inputs,
    pub buffers: PassBuffers,
    pub loss: LossBuffers,
}

impl Workspace {
    /// Its rotary tables are still to be written.
    pub fn new(
        gpu: &dyn Allocator,
        config: &ModelConfig,
        buffers: PassBuffers,
        rows: usize,
        positions: usize,
        arithmetic: Arithmetic,
    ) -> Result<Self> {
        gpu.begin(MemoryUse::Workspace);
        Ok(Self {
            rope_tables: empty_rope_tables(gpu, config, positions)?,
            inputs: Inputs::new(gpu, config, rows)?,
            buffers,
            loss: LossBuffers::new(gpu, config, rows, arithmetic)?,
        })
    }

    /// For the loss of these rows alone.
    fn for_evaluation(
        gpu: &dyn Allocator,
        config: &ModelConfig,
        lora: Option<&Lora>,
        rows: &Rows,
        batch_size: usize,
        arithmetic: Arithmetic,
    ) -> Result<Self> {
        let (rows, positions) = largest_batch(rows, batch_size, usize::MAX);
        let buffers = PassBuffers::for_inference(gpu, config, lora, rows)?;
        Self::new(gpu, config, buffers, rows, positions, arithmetic)
    }

    /// Uploads what describes a batch.
    pub fn upload(&self, model: &Model, batch: &Batch) {
        self.inputs.write(model.gpu(), model.config(), batch);
    }
}

/// A sum of losses and the number of target tokens that it is over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluation {
    /// Mean loss per target token, in nats.
    pub loss: f64,
    /// Target tokens.
    pub targets: usize,
}

/// Evaluates one model (and adapter) over examples.
pub struct Evaluator {
    model: Rc<Model>,
    lora: Option<Rc<Lora>>,
    workspace: Workspace,
    step: Rc<StepBuffer>,
    clear: Plan,
    arithmetic: Arithmetic,
    plans: HashMap<usize, (Plan, LossPlans)>,
}

impl Evaluator {
    /// What [`Self::new`] takes, beside the weights of the base and with an adapter.
    ///
    /// # Errors
    /// Those of [`MemoryPlan::of`].
    pub fn plan(
        gpu: &dyn Allocator,
        config: &ModelConfig,
        lora: Option<&LoraConfig>,
        weights: WeightBytes,
        rows: &Rows,
        batch_size: usize,
        arithmetic: Arithmetic,
    ) -> Result<MemoryPlan> {
        MemoryPlan::of(gpu, weights, |tally| {
            let lora = lora.map(|lora| Lora::allocate(tally, lora, config)).transpose()?;
            Workspace::for_evaluation(tally, config, lora.as_ref(), rows, batch_size, arithmetic)?;
            Ok(())
        })
    }

    /// With buffers for these rows in batches of `batch_size`.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfMemory`](crate::error::ErrorKind::OutOfMemory).
    pub fn new(
        model: &Rc<Model>,
        lora: Option<Rc<Lora>>,
        rows: &Rows,
        batch_size: usize,
        arithmetic: Arithmetic,
    ) -> Result<Self> {
        let (gpu, config) = (model.gpu(), model.config());
        let workspace =
            Workspace::for_evaluation(gpu, config, lora.as_deref(), rows, batch_size, arithmetic)?;
        model.fill_rope_tables(&workspace.rope_tables);
        let step = Rc::new(StepBuffer::new(model.gpu(), &Step::default()));
        Ok(Self::sharing(model, lora, workspace, step, arithmetic))
    }

    pub(super) fn sharing(
        model: &Rc<Model>,
        lora: Option<Rc<Lora>>,
        workspace: Workspace,
        step: Rc<StepBuffer>,
        arithmetic: Arithmetic,
    ) -> Self {
        let workspace = Workspace { buffers: workspace.buffers.forward_only(), ..workspace };
        let mut clear = PlanBuilder::new(model.gpu());
        clear.clear(&workspace.loss.sum);
        let clear = clear.finish();
        Self { model: Rc::clone(model), lora, workspace, step, clear, arithmetic, plans: HashMap::new() }
    }

    /// The mean loss over the examples of `rows`, without dropout.
    ///
    /// # Errors
    /// [`ErrorKind::Data`](crate::error::ErrorKind::Data) without a target token; what the device reports.
    pub async fn loss(&mut self, rows: &Rows, batch_size: usize) -> Result<Evaluation> {
        let evaluation = self.loss_while(rows, batch_size, &|| true).await?;
        Ok(evaluation.expect("nothing ends it early"))
    }

    /// As [`Self::loss`]; `None` once `keep_going`, asked before each batch, says no.
    pub async fn loss_while(
        &mut self,
        rows: &Rows,
        batch_size: usize,
        keep_going: &dyn Fn() -> bool,
    ) -> Result<Option<Evaluation>> {
        let model = Rc::clone(&self.model);
        let gpu = &**model.gpu();
        gpu.run_whole(&self.clear);
        let mut targets = 0;
        let all: Vec<_> = (0..rows.len()).collect();
        for chunk in all.chunks(batch_size) {
            // One batch at a time: a queue of them could not be called back.
            gpu.settle().await?;
            if !keep_going() {
                return Ok(None);
            }
            let batch = rows.batch(chunk, ROW_MULTIPLE)?;
            targets += batch.targets;
            self.workspace.upload(&model, &batch);
            let rows = batch.rows();
            if !self.plans.contains_key(&rows) {
                let plans = self.record(rows);
                self.plans.insert(rows, plans);
            }
            let (forward, loss) = &self.plans[&rows];
            let mut recorder = Recorder::new(gpu);
            let chunks = loss.chunks_for(batch.targets);
            for plan in [forward, &loss.begin].into_iter().chain(chunks).chain([&loss.end]) {
                recorder.run(plan, None).await?;
            }
            recorder.submit().await?;
        }
        if targets == 0 {
            return Err(Error::data("there is no target token to evaluate"));
        }
        let sum = gpu.read::<f32>(&self.workspace.loss.sum).await?[0];
        Ok(Some(Evaluation { loss: f64::from(sum) / targets as f64, targets }))
    }

    fn record(&self, rows: usize) -> (Plan, LossPlans) {
        let w = &self.workspace;
        let (inputs, buffers) = (w.inputs.first(rows), w.buffers.first(rows));
        let mut forward = PlanBuilder::new(self.model.gpu()).in_arithmetic(self.arithmetic);
        let pass = Forward {
            model: &self.model,
            lora: self.lora.as_deref(),
            adapter_scale: 1.0,
            dropout: false,
            rope_tables: &w.rope_tables,
            inputs: &inputs,
            buffers: &buffers,
            cache: None,
        };
        record_forward(&mut forward, &pass);
        let loss = record_loss(&self.model, &self.step, &inputs, &buffers, &w.loss, None, self.arithmetic);
        (forward.finish(), loss)
    }
}
