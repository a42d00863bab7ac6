//! Training steps: how long they take, where the time goes, and how much of it the device needs at least.

use std::sync::Arc;

use serde::Serialize;
use web_time::Instant;

use super::ceilings::WARM_UP;
use super::{Ceilings, Group, Item, Setup, Times, WeightType, Work};
use crate::config::{Arithmetic, Schedule, TrainConfig, parameter_report};
use crate::data::{Example, Examples};
use crate::error::Result;
use crate::gpu::{Gpu, KernelTime, Profiler};
use crate::memory::MemoryPlan;
use crate::model::Lora;
use crate::train::{Trainer, TrainingData};

/// Steps whose kernels are timed one by one.
const PROFILED: usize = 3;
/// Different batches that the steps go through.
const BATCHES: usize = 4;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct TrainingOptions {
    /// Steps that are timed, at least 1.
    pub steps: usize,
    /// Steps before them; more are made until a second has passed, since a GPU that idles is slow at first.
    pub warmup: usize,
}

/// Kernels that belong together, in one step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupTime {
    /// Which.
    pub group: Group,
    /// Their number.
    pub dispatches: f64,
    /// Milliseconds on the GPU.
    pub ms: f64,
    /// The least milliseconds for their work: of each kernel the longer of its arithmetic at the matmul ceiling and its
    /// bytes at the bandwidth.
    pub floor_ms: f64,
    /// Their floating-point operations.
    pub flops: u64,
    /// The bytes that they move at least.
    pub bytes: u64,
}

/// One kernel in one step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KernelShare {
    /// `kernel/variant`.
    pub kernel: String,
    /// Number of dispatches.
    pub dispatches: f64,
    /// Milliseconds on the GPU.
    pub ms: f64,
    /// Of the time of all kernels.
    pub share: f64,
}

impl KernelShare {
    /// Of the times of so many steps.
    pub(super) fn of(times: &[KernelTime], steps: f64) -> Vec<Self> {
        let all: f64 = times.iter().map(|time| time.seconds).sum();
        let share = |time: &KernelTime| Self {
            kernel: time.kernel.clone(),
            dispatches: time.dispatches as f64 / steps,
            ms: time.seconds * 1e3 / steps,
            share: time.seconds / all,
        };
        times.iter().map(share).collect()
    }
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrainingReport {
    /// The model's name.
    pub model: String,
    /// The device, with its driver.
    pub device: String,
    /// Sequences in a batch.
    pub batch_size: usize,
    /// Tokens of each.
    pub length: usize,
    /// The adapter's rank.
    pub r: usize,
    /// Dropout on its input.
    pub lora_dropout: f64,
    /// Whether activations are computed again.
    pub gradient_checkpointing: bool,
    /// How weights are stored.
    pub weights: WeightType,
    /// Arithmetic of the matrix products.
    pub arithmetic: Arithmetic,
    /// Parameters of the adapter.
    pub trainable_parameters: u64,
    /// Parameters with those of the adapter.
    pub parameters: u64,
    /// Steps that were timed.
    pub steps: usize,
    /// Steps before them.
    pub warmup: usize,
    /// From the end of one step to the end of the next, as the loss is read.
    pub ms_per_step: Times,
    /// Tokens of a step, by its median time.
    pub tokens_per_second: f64,
    /// Floating-point operations that a step needs (see [`Work`]).
    pub flops_per_step: u64,
    /// Bytes that its kernels move at least.
    pub bytes_per_step: u64,
    /// 10¹² floating-point operations a second, by the median time.
    pub tflops: f64,
    /// What the device does at best.
    pub ceilings: Ceilings,
    /// Of the matmul ceiling.
    pub share_of_matmul: f64,
    /// Of the bandwidth.
    pub share_of_bandwidth: f64,
    /// The sum of the kernels' floors.
    pub floor_ms: f64,
    /// How many times the floor the median step takes.
    pub times_floor: f64,
    /// Time of all kernels of a step, each in a pass of its own.
    pub kernels_ms: f64,
    /// GPU operations in a step.
    pub dispatches_per_step: f64,
    /// Operations of those that were too many to be timed.
    pub untimed_per_step: f64,
    /// By group.
    pub groups: Vec<GroupTime>,
    /// By kernel, longest first.
    pub kernels: Vec<KernelShare>,
    /// The work, kernel by kernel.
    pub work: Vec<Item>,
    /// Memory as it was planned.
    pub memory: MemoryPlan,
    /// Bytes of all tensors while steps are made.
    pub allocated_bytes: u64,
    /// The most that they were.
    pub peak_allocated_bytes: u64,
    /// Seconds until the weights were in memory.
    pub load_seconds: f64,
    /// Seconds from there until the first step was done: buffers, compiled pipelines and the step itself.
    pub first_step_seconds: f64,
    /// The loss of the last step, nats: that of random weights on random tokens.
    pub loss: f64,
}

impl TrainingReport {
    /// Measures.
    ///
    /// # Errors
    /// A device without timestamp queries or without room; settings that cannot be used.
    pub async fn measure(
        gpu: &Arc<Gpu>,
        setup: &Setup,
        options: &TrainingOptions,
        tell: &mut dyn FnMut(&str),
    ) -> Result<Self> {
        // Said before anything else is done.
        Profiler::new(gpu)?;
        let memory = setup.training_plan(gpu)?;
        let parameters = parameter_report(&setup.lora, &setup.model)?;
        let work = setup.work(gpu)?;
        let start = Instant::now();
        let model = setup.load(gpu, tell).await?;
        let load_seconds = start.elapsed().as_secs_f64();

        let start = Instant::now();
        let examples = setup.examples()?;
        let train = TrainConfig {
            // More than are made, and none of them is unlike the others.
            max_steps: Some(u32::MAX as usize),
            lr_scheduler_type: Schedule::Constant,
            save_steps: None,
            ..setup.train.clone()
        };
        let make = || {
            let lora = Lora::new(gpu, &setup.lora, &setup.model, setup.train.seed)?;
            Trainer::new(&model, lora, train, TrainingData { train: examples, evaluation: None })
        };
        let mut trainer = gpu.make_room("the run", make).await?;
        trainer.step_alone().await?;
        let first_step_seconds = start.elapsed().as_secs_f64();
        tell(&format!("first step after {first_step_seconds:.2} s"));

        let (seconds, warmup, loss) = steps(&mut trainer, options).await?;
        while trainer.drain().await?.is_some() {}
        let allocated_bytes = gpu.allocated_bytes();
        let peak_allocated_bytes = gpu.peak_allocated_bytes();
        let profile = profile(&mut trainer).await?;
        // Their memory may be needed.
        drop((trainer, model));
        gpu.settle().await?;
        tell("the device's ceilings");
        let ceilings =
            Ceilings::measure(gpu, setup.weights, setup.operands(gpu)?, setup.arithmetic(gpu)?).await?;

        let ms_per_step = Times::of_seconds(seconds);
        let per_second = |amount: f64| amount / (ms_per_step.median * 1e-3);
        let tflops = per_second(work.flops() as f64) / 1e12;
        let groups = profile.groups(&work, &ceilings);
        let floor_ms = groups.iter().map(|group| group.floor_ms).sum();
        Ok(Self {
            model: setup.name.clone(),
            device: gpu.caps().adapter.describe(),
            batch_size: setup.train.per_device_train_batch_size,
            length: setup.train.max_length,
            r: setup.lora.r,
            lora_dropout: setup.lora.lora_dropout,
            gradient_checkpointing: setup.train.gradient_checkpointing,
            weights: setup.weights,
            arithmetic: setup.arithmetic(gpu)?,
            trainable_parameters: parameters.trainable,
            parameters: parameters.total,
            steps: options.steps,
            warmup,
            tokens_per_second: per_second(setup.tokens() as f64),
            flops_per_step: work.flops(),
            bytes_per_step: work.bytes(),
            tflops,
            share_of_matmul: tflops / ceilings.matmul_tflops,
            share_of_bandwidth: per_second(work.bytes() as f64) / (ceilings.bandwidth_gb_per_second * 1e9),
            ceilings,
            floor_ms,
            times_floor: ms_per_step.median / floor_ms,
            ms_per_step,
            kernels_ms: profile.ms(),
            dispatches_per_step: profile.dispatches() + profile.untimed,
            untimed_per_step: profile.untimed,
            groups,
            kernels: profile.kernels(),
            work: work.items,
            memory,
            allocated_bytes,
            peak_allocated_bytes,
            load_seconds,
            first_step_seconds,
            loss,
        })
    }
}

impl Setup {
    /// Random tokens, all of them to be predicted.
    fn examples(&self) -> Result<Examples> {
        let (length, count) = (self.train.max_length, BATCHES * self.train.per_device_train_batch_size);
        let example = |ids: &[u32]| Example { input_ids: ids.to_vec(), trained: vec![true; ids.len()] };
        Examples::new(self.random_ids(count * length).chunks(length).map(example))
    }
}

/// Seconds of each step, how many were made before, and the last one's loss.
async fn steps(trainer: &mut Trainer, options: &TrainingOptions) -> Result<(Vec<f64>, usize, f64)> {
    const ENDLESS: &str = "the run has more steps than are made";
    let (start, mut warmup) = (Instant::now(), 0);
    while warmup < options.warmup || start.elapsed() < WARM_UP {
        trainer.step().await?.expect(ENDLESS);
        warmup += 1;
    }
    let (mut seconds, mut loss, mut last) = (Vec::with_capacity(options.steps), 0.0, Instant::now());
    for _ in 0..options.steps {
        loss = trainer.step().await?.expect(ENDLESS).loss;
        let now = Instant::now();
        seconds.push((now - last).as_secs_f64());
        last = now;
    }
    Ok((seconds, warmup, loss))
}

/// Kernels of a few steps.
struct Profile {
    times: Vec<KernelTime>,
    steps: f64,
    /// Operations of a step.
    untimed: f64,
}

async fn profile(trainer: &mut Trainer) -> Result<Profile> {
    trainer.profile()?;
    let mut steps = 0.0;
    for _ in 0..PROFILED {
        steps += f64::from(u8::from(trainer.step_alone().await?.is_some()));
    }
    let profiler = trainer.session().profiler();
    let untimed = profiler.map_or(0, Profiler::untimed) as f64 / steps;
    Ok(Profile { times: profiler.map_or_else(Vec::new, Profiler::report), steps, untimed })
}

impl Profile {
    fn ms(&self) -> f64 {
        self.times.iter().map(|time| time.seconds * 1e3).sum::<f64>() / self.steps
    }

    fn dispatches(&self) -> f64 {
        self.times.iter().map(|time| time.dispatches as f64).sum::<f64>() / self.steps
    }

    fn kernels(&self) -> Vec<KernelShare> {
        KernelShare::of(&self.times, self.steps)
    }

    fn groups(&self, work: &Work, ceilings: &Ceilings) -> Vec<GroupTime> {
        let mut groups = Group::ALL.map(|group| GroupTime {
            group,
            dispatches: 0.0,
            ms: 0.0,
            floor_ms: 0.0,
            flops: 0,
            bytes: 0,
        });
        for kernel in self.kernels() {
            let group = &mut groups[Group::of(&kernel.kernel) as usize];
            group.dispatches += kernel.dispatches;
            group.ms += kernel.ms;
        }
        for item in &work.items {
            let group = &mut groups[item.group as usize];
            group.flops += item.count * item.flops;
            group.bytes += item.count * item.bytes;
            group.floor_ms += 1e3 * item.count as f64 * ceilings.floor(item.flops, item.bytes);
        }
        groups.into_iter().filter(|group| group.dispatches > 0.0 || group.bytes > 0).collect()
    }
}
