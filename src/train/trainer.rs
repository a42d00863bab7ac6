//! Which examples make up which step, what each step reports, and when to evaluate.

use std::collections::VecDeque;
use std::rc::Rc;

use web_time::Instant;

use super::evaluate::Evaluator;
use super::report::{Progress, StepReport};
use super::rows::{as_rows, session_options};
use super::session::Session;
use super::skipped::Skipped;
use super::state::{Checkpoint, TrainerState, fingerprint};
use crate::checkpoint::Adapter;
use crate::config::{Arithmetic, TrainConfig};
use crate::data::{EpochOrder, Examples, Rows, group_by_length};
use crate::error::{Error, Result};
use crate::gpu::PendingRead;
use crate::kernels::loss_scale::LossScale;
use crate::kernels::step::{Optimizer, Step};
use crate::model::{Lora, Model, ROW_MULTIPLE};

/// Steps on their way to the GPU before the oldest one's loss is waited for.
const IN_FLIGHT: usize = 2;

/// Prepared examples: what is trained on and what is held out.
pub struct TrainingData {
    /// Never empty.
    pub train: Examples,
    /// `None`: nothing is evaluated.
    pub evaluation: Option<Examples>,
}

/// Steps over which the speed is averaged: reports come in pairs when steps overlap.
const SPEED_WINDOW: usize = 8;

struct Pending {
    step: usize,
    lr: f64,
    tokens: usize,
    targets: usize,
    arithmetic: Arithmetic,
    reads: [PendingRead; 2],
}

/// A run.
pub struct Trainer {
    session: Session,
    evaluator: Evaluator,
    config: TrainConfig,
    lora_dropout: f64,
    rows: Rows,
    held_out: Rows,
    data_fingerprint: String,
    total: usize,
    submitted: usize,
    reported: usize,
    micro_batches: u64,
    pending: VecDeque<Pending>,
    /// After the last reported step.
    loss_scale: LossScale,
    order: (usize, Vec<usize>),
    best: Option<(usize, f64)>,
    /// An evaluation after the last step was called off.
    evaluation_due: bool,
    keep_going: Rc<dyn Fn() -> bool>,
    last_report: Instant,
    speeds: VecDeque<(usize, f64)>,
}

impl Trainer {
    /// A run from its beginning, with the adapter as it is.
    ///
    /// # Errors
    /// A setting that cannot be used; no training example; a buffer that the device does not allow.
    pub fn new(model: &Rc<Model>, lora: Lora, config: TrainConfig, data: TrainingData) -> Result<Self> {
        config.validate()?;
        if data.train.is_empty() {
            return Err(Error::data("there is no training example"));
        }
        let evaluation = data.evaluation.unwrap_or_else(|| data.train.choose([]));
        let data_fingerprint = fingerprint(data.train.iter().chain(evaluation.iter()))?;
        let (rows, held_out) = (as_rows(&config, data.train), as_rows(&config, evaluation));
        let lora_dropout = lora.config().lora_dropout;
        let arithmetic = model.gpu().arithmetic(config.precision)?;
        let options = session_options(&config, lora_dropout, [&rows, &held_out], usize::MAX, arithmetic);
        let session = Session::new(model, lora, &options)?;
        let evaluator = session.evaluator();
        Ok(Self {
            session,
            evaluator,
            lora_dropout,
            total: config.total_steps(rows.len()),
            config,
            data_fingerprint,
            rows,
            held_out,
            submitted: 0,
            reported: 0,
            micro_batches: 0,
            pending: VecDeque::new(),
            loss_scale: LossScale::default(),
            order: (usize::MAX, Vec::new()),
            best: None,
            evaluation_due: false,
            keep_going: Rc::new(|| true),
            last_report: Instant::now(),
            speeds: VecDeque::new(),
        })
    }

    /// Goes on from a checkpoint of the same run. With `extend` the run may have more steps than it had: from here on
    /// the learning rate is that of a run with all these steps, as transformers' `Trainer` has it that is resumed
    /// with a larger `max_steps` (its scheduler is made for the new total and set to the step). A run that had
    /// decayed to 0 starts again from where the longer schedule is.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::error::ErrorKind::Config) if settings or data differ from the checkpoint's, naming the first difference.
    pub fn resume(
        model: &Rc<Model>,
        config: TrainConfig,
        data: TrainingData,
        checkpoint: &Checkpoint,
        extend: bool,
    ) -> Result<Self> {
        let gpu = model.gpu();
        let lora = Lora::from_adapter(gpu, &checkpoint.adapter, model.config())?;
        let mut run = Self::new(model, lora, config, data)?;
        let state = &checkpoint.state;
        state.check_same_run(&run.state(), extend)?;
        for (tensor, values) in run.session.moments().iter().zip(&checkpoint.moments) {
            if values.len() != tensor.len() {
                return Err(Error::format(format!(
                    "the checkpoint's optimizer state has {} values, the adapter {}",
                    values.len(),
                    tensor.len()
                )));
            }
            gpu.write(tensor, values);
        }
        if state.arithmetic == Arithmetic::F32 {
            run.leave_f16()?;
        }
        if state.arithmetic == run.session.arithmetic() {
            run.loss_scale = state.loss_scale;
            run.session.set_loss_scale(&run.loss_scale);
        }
        run.submitted = state.global_step;
        run.reported = state.global_step;
        run.micro_batches = state.micro_batches;
        run.best = state.best_step.zip(state.best_metric);
        run.evaluation_due = state.evaluation_due;
        Ok(run)
    }

    /// The run's settings.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// How far the run is.
    pub fn progress(&self) -> Progress {
        Progress { step: self.reported, total: self.total }
    }

    /// The best held-out loss and its step, if anything was evaluated.
    pub fn best(&self) -> Option<(usize, f64)> {
        self.best
    }

    /// The GPU side.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Rows of the training data: its examples, or what they were packed into.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Evaluations end early, without a result, once `keep_going` says no.
    pub fn evaluate_while(&mut self, keep_going: Rc<dyn Fn() -> bool>) {
        self.keep_going = keep_going;
    }

    /// See [`Session::profile`].
    pub fn profile(&mut self) -> Result<()> {
        self.session.profile()
    }

    /// The next step's report, in order; `None` when the run is done. While one step's report is read back
    /// the next is already under way, except where the run must stand still (evaluation, checkpoints).
    ///
    /// # Errors
    /// [`ErrorKind::NotFinite`](crate::error::ErrorKind::NotFinite) when loss or gradient are not finite: that step left the adapter as it was.
    pub async fn step(&mut self) -> Result<Option<StepReport>> {
        while self.pending.len() < IN_FLIGHT
            && self.submitted < self.total
            && (self.pending.is_empty() || !self.stands_still_after(self.submitted))
        {
            self.submit().await?;
        }
        self.report().await
    }

    /// As [`Self::step`], but nothing is under way afterwards.
    ///
    /// # Errors
    /// Those of [`Self::step`].
    pub async fn step_alone(&mut self) -> Result<Option<StepReport>> {
        if self.pending.is_empty() && self.submitted < self.total {
            self.submit().await?;
        }
        // Between two calls one step is under way at most.
        self.report().await
    }

    /// As [`Self::step`], but starts nothing new: for stopping. `None` when nothing is under way.
    pub async fn drain(&mut self) -> Result<Option<StepReport>> {
        self.report().await
    }

    /// Whether the adapter after `step` is asked for: to be evaluated, saved, or as the run's result.
    fn stands_still_after(&self, step: usize) -> bool {
        self.evaluates_after(step) || self.saves_after(step) || step == self.total
    }

    fn evaluates_after(&self, step: usize) -> bool {
        let every = self.config.eval_steps.unwrap_or(self.total.div_ceil(10).max(10));
        !self.held_out.is_empty() && (step.is_multiple_of(every) || step == self.total)
    }

    /// Whether a checkpoint is due after `step`.
    pub fn saves_after(&self, step: usize) -> bool {
        self.config.save_steps.is_some_and(|every| every > 0 && step.is_multiple_of(every))
    }

    fn optimizer(&self) -> Optimizer {
        Optimizer {
            beta1: self.config.adam_beta1,
            beta2: self.config.adam_beta2,
            epsilon: self.config.adam_epsilon,
            weight_decay: self.config.weight_decay,
            max_grad_norm: self.config.max_grad_norm,
        }
    }

    /// Epoch and first micro-batch of a step (from 0), and one past its last.
    fn batches_of(&self, step: usize) -> (usize, usize, usize) {
        let accumulation = self.config.gradient_accumulation_steps;
        let batches = self.rows.len().div_ceil(self.config.per_device_train_batch_size);
        let per_epoch = batches.div_ceil(accumulation);
        let first = step % per_epoch * accumulation;
        (step / per_epoch, first, batches.min(first + accumulation))
    }

    async fn submit(&mut self) -> Result<()> {
        let (epoch, first, end) = self.batches_of(self.submitted);
        if self.order.0 != epoch {
            let order = EpochOrder { seed: self.config.seed, shuffle: self.config.shuffle };
            let mut order = order.order(epoch, self.rows.len());
            if self.config.group_by_length {
                let step = self
                    .config
                    .per_device_train_batch_size
                    .saturating_mul(self.config.gradient_accumulation_steps);
                order = group_by_length(&order, step, |i| self.rows.tokens(i));
            }
            self.order = (epoch, order);
        }
        let batches = self
            .order
            .1
            .chunks(self.config.per_device_train_batch_size)
            .take(end)
            .skip(first)
            .map(|chunk| self.rows.batch(chunk, ROW_MULTIPLE))
            .collect::<Result<Vec<_>>>()?;
        let targets = batches.iter().map(|b| b.targets).sum();
        let lr = self.config.learning_rate_at(self.submitted, self.total);
        let (number, skipped) = (self.submitted as u64 + 1, self.loss_scale.skipped);
        let step = Step::default().optimizer_after(&self.optimizer(), number, lr, skipped).targets(targets);
        self.session.begin();
        for batch in &batches {
            let step = step.dropout(self.lora_dropout, mix(self.config.seed, self.micro_batches));
            self.session.micro_batch(batch, &step).await?;
            self.micro_batches += 1;
        }
        let reads = self.session.optimizer_step(&step).await?;
        self.submitted += 1;
        let tokens = batches.iter().map(|b| b.tokens).sum();
        let arithmetic = self.session.arithmetic();
        self.pending.push_back(Pending { step: self.submitted, lr, tokens, targets, arithmetic, reads });
        Ok(())
    }

    async fn report(&mut self) -> Result<Option<StepReport>> {
        let Some(pending) = self.pending.pop_front() else { return Ok(None) };
        let Pending { step, lr, tokens, targets, arithmetic, reads: [loss, state] } = pending;
        let gpu = self.session.model().gpu().clone();
        let loss = f64::from(loss.finish::<f32>(&gpu).await?[0]) / targets.max(1) as f64;
        let (grad_norm, loss_scale) = LossScale::parse(&state.finish::<u32>(&gpu).await?);
        let grad_norm = f64::from(grad_norm);
        if arithmetic == self.session.arithmetic() {
            self.loss_scale = loss_scale;
        }
        let mut note = None;
        if !loss.is_finite() || !grad_norm.is_finite() {
            let skipped = Skipped { step, loss, grad_norm, arithmetic };
            let (next, text) =
                skipped.deal_with(self.session.arithmetic(), self.loss_scale.scale, self.config.precision)?;
            if next != self.session.arithmetic() {
                self.leave_f16()?;
            }
            note = Some(text);
        }
        self.reported = step;
        self.speeds.push_back((tokens, self.last_report.elapsed().as_secs_f64()));
        if self.speeds.len() > SPEED_WINDOW {
            self.speeds.pop_front();
        }
        let (sum, seconds) = self.speeds.iter().fold((0, 0.0), |(n, s), (tokens, t)| (n + tokens, s + t));
        let tokens_per_second = sum as f64 / seconds.max(1e-9);
        self.evaluation_due = self.evaluates_after(step) && self.pending.is_empty();
        let (eval_loss, improved) = self.evaluate_if_due().await?.unzip();
        let improved = improved.unwrap_or(false);
        self.last_report = Instant::now();
        Ok(Some(StepReport {
            step,
            loss,
            lr,
            grad_norm,
            tokens,
            tokens_per_second,
            eval_loss,
            improved,
            note,
        }))
    }

    /// The steps to come are computed in f32.
    fn leave_f16(&mut self) -> Result<()> {
        self.session.leave_f16()?;
        self.evaluator = self.session.evaluator();
        Ok(())
    }

    /// The evaluation after the last step, if it is still to be made: its loss, and whether that is the lowest
    /// so far. [`Self::step`] makes it itself; in a run that was stopped there, and then resumed, it is left.
    pub async fn evaluate_if_due(&mut self) -> Result<Option<(f64, bool)>> {
        if !self.evaluation_due {
            return Ok(None);
        }
        let Some(loss) = self.evaluate().await? else { return Ok(None) };
        self.evaluation_due = false;
        let improved = self.best.is_none_or(|(_, best)| loss < best);
        if improved {
            self.best = Some((self.reported, loss));
        }
        Ok(Some((loss, improved)))
    }

    /// Mean loss over the held-out target tokens, without dropout; `None` without held-out data, or when it was
    /// ended early ([`Self::evaluate_while`]).
    pub async fn evaluate(&mut self) -> Result<Option<f64>> {
        if self.held_out.is_empty() {
            return Ok(None);
        }
        let batch_size = self.config.per_device_train_batch_size;
        let keep_going = Rc::clone(&self.keep_going);
        let evaluation = self.evaluator.loss_while(&self.held_out, batch_size, &*keep_going).await?;
        self.last_report = Instant::now();
        Ok(evaluation.map(|evaluation| evaluation.loss))
    }

    /// Reads the adapter back.
    pub async fn adapter(&self) -> Result<Adapter> {
        self.session.lora().to_adapter(self.session.model().gpu()).await
    }

    /// The run's state after the last reported step.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::error::ErrorKind::Config) while a step is under way: [`Self::drain`] first.
    pub async fn checkpoint(&self) -> Result<Checkpoint> {
        if !self.pending.is_empty() {
            return Err(Error::config(
                "a checkpoint is taken between steps, and one is under way: drain it first",
            ));
        }
        let gpu = self.session.model().gpu();
        let [m, v] = self.session.moments();
        Ok(Checkpoint {
            adapter: self.adapter().await?,
            moments: [gpu.read(m).await?, gpu.read(v).await?],
            state: self.state(),
        })
    }

    /// What a checkpoint after the last reported step remembers.
    fn state(&self) -> TrainerState {
        let (epoch, batch_in_epoch, _) = self.batches_of(self.reported);
        let model = self.session.model();
        TrainerState {
            global_step: self.reported,
            max_steps: self.total,
            epoch,
            batch_in_epoch,
            micro_batches: self.micro_batches,
            best_metric: self.best.map(|(_, loss)| loss),
            best_step: self.best.map(|(step, _)| step),
            config: self.config.clone(),
            data_fingerprint: self.data_fingerprint.clone(),
            model_fingerprint: model.fingerprint().to_owned(),
            evaluation_due: self.evaluation_due,
            arithmetic: self.session.arithmetic(),
            loss_scale: self.loss_scale,
            device: model.gpu().caps().adapter.describe(),
        }
    }
}

/// A seed for one micro-batch's dropout masks: the finalizer of SplitMix64 (Steele, Lea & Flood, 2014)
/// over run seed and counter.
fn mix(seed: u64, counter: u64) -> u32 {
    let mut z = seed.wrapping_add(counter.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) as u32
}
