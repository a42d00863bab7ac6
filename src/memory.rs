//! The memory plan: what work on a model will allocate, by purpose, before anything is, against what may be; and
//! how that is said.
//!
//! A plan asks the constructors that make the buffers ([`Tally`]), so it is exact: what is not counted is the
//! driver's own and a few KiB of parameters.

use std::fmt::{self, Write};

use serde::Serialize;

use crate::config::TrainConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::{Allocator, MemoryBudget, MemoryUse, Tally, human_bytes};
use crate::model::WeightBytes;

/// Bytes of one purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryItem {
    /// What for.
    pub purpose: MemoryUse,
    /// How many.
    pub bytes: u64,
}

/// What is allocated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryPlan {
    /// By purpose; nothing is left out.
    pub items: Vec<MemoryItem>,
    /// Their sum.
    pub total: u64,
    /// The most at any time: more than `total` if loading the weights takes more than all that comes after it.
    pub peak: u64,
}

/// What a plan is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Work {
    /// Having a base in GPU memory.
    Loading,
    /// A run.
    Training,
    /// Measuring a loss.
    Evaluation,
    /// Continuing a prompt.
    Generation,
}

/// Training settings that differ, each with what it becomes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(default)]
pub struct Changes {
    /// See [`TrainConfig::gradient_checkpointing`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gradient_checkpointing: Option<bool>,
    /// See [`TrainConfig::per_device_train_batch_size`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_device_train_batch_size: Option<usize>,
    /// See [`TrainConfig::gradient_accumulation_steps`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gradient_accumulation_steps: Option<usize>,
    /// See [`TrainConfig::max_length`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length: Option<usize>,
}

/// Changes to a run that make it smaller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proposal {
    /// The settings that differ; never none.
    pub changes: Changes,
    /// The plan's peak then.
    pub peak: u64,
    /// Whether that is within the budget.
    pub fits: bool,
}

/// A plan against a budget.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryReport {
    /// What for.
    pub work: Work,
    /// What it takes.
    #[serde(flatten)]
    pub plan: MemoryPlan,
    /// What it may take.
    pub budget: MemoryBudget,
    /// Whether it does.
    pub fits: bool,
    /// If not: what would help a run.
    pub proposals: Vec<Proposal>,
    /// The one of them that is enough and costs least: which only takes more time, or else shortens examples too.
    pub choice: Option<usize>,
}

impl MemoryPlan {
    /// Counts what `make` makes, beside the weights of the base.
    ///
    /// # Errors
    /// What no device with these limits can hold: a few rows larger than a binding, a size that overflows.
    pub fn of(
        gpu: &dyn Allocator,
        weights: WeightBytes,
        make: impl FnOnce(&Tally<'_>) -> Result<()>,
    ) -> Result<Self> {
        let tally = Tally::new(gpu);
        make(&tally)?;
        let bytes = |purpose| match purpose {
            MemoryUse::Weights => weights.kept,
            other => tally.bytes(other),
        };
        let items: Vec<_> =
            MemoryUse::ALL.into_iter().map(|purpose| MemoryItem { purpose, bytes: bytes(purpose) }).collect();
        let total = items.iter().fold(0u64, |sum, item| sum.saturating_add(item.bytes));
        Ok(Self { items, total, peak: total.max(weights.peak()) })
    }

    /// Of a base alone.
    pub fn of_weights(weights: WeightBytes) -> Self {
        let items = vec![MemoryItem { purpose: MemoryUse::Weights, bytes: weights.kept }];
        Self { items, total: weights.kept, peak: weights.peak() }
    }

    /// One line for people.
    pub fn summary(&self) -> String {
        let items = self.items.iter().map(|i| format!("{} {}", i.purpose.name(), human_bytes(i.bytes)));
        format!("{} of GPU memory: {}", human_bytes(self.total), items.collect::<Vec<_>>().join(", "))
    }

    /// A line for each purpose and one for the total.
    pub fn table(&self) -> String {
        let mut table = String::new();
        let rows = self.items.iter().map(|item| (item.purpose.name(), item.bytes));
        let peak = (self.peak > self.total).then_some(("loading", self.peak));
        for (name, bytes) in rows.chain([("total", self.total)]).chain(peak) {
            // Writing to a string cannot fail.
            let _ = writeln!(table, "  {name:<12} {:>10}", human_bytes(bytes));
        }
        table
    }
}

impl Changes {
    /// What of `after` is not as in `before`.
    pub fn between(before: &TrainConfig, after: &TrainConfig) -> Self {
        fn changed<T: PartialEq + Copy>(
            before: &TrainConfig,
            after: &TrainConfig,
            of: fn(&TrainConfig) -> T,
        ) -> Option<T> {
            (of(before) != of(after)).then(|| of(after))
        }
        Self {
            gradient_checkpointing: changed(before, after, |train| train.gradient_checkpointing),
            per_device_train_batch_size: changed(before, after, |train| train.per_device_train_batch_size),
            gradient_accumulation_steps: changed(before, after, |train| train.gradient_accumulation_steps),
            max_length: changed(before, after, |train| train.max_length),
        }
    }

    /// `train` with these changes.
    pub fn applied(&self, train: &TrainConfig) -> TrainConfig {
        let mut train = train.clone();
        self.gradient_checkpointing.inspect(|on| train.gradient_checkpointing = *on);
        self.per_device_train_batch_size.inspect(|size| train.per_device_train_batch_size = *size);
        self.gradient_accumulation_steps.inspect(|steps| train.gradient_accumulation_steps = *steps);
        self.max_length.inspect(|length| train.max_length = *length);
        train
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// In words that belong to no host.
impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let checkpointing = self.gradient_checkpointing.map(|on| {
            if on { "gradient checkpointing".to_owned() } else { "no gradient checkpointing".to_owned() }
        });
        let batch = self.per_device_train_batch_size.map(|size| format!("batch size {size}"));
        let accumulation = self.gradient_accumulation_steps.map(|steps| format!("accumulation {steps}"));
        let length = self.max_length.map(|length| format!("maximum length {length}"));
        let all: Vec<_> = [checkpointing, batch, accumulation, length].into_iter().flatten().collect();
        f.write_str(&all.join(", "))
    }
}

impl Work {
    fn name(self) -> &'static str {
        match self {
            Self::Loading => "the model",
            Self::Training => "the run",
            Self::Evaluation => "the evaluation",
            Self::Generation => "the generation",
        }
    }

    /// What makes it smaller.
    fn advice(self) -> &'static str {
        match self {
            Self::Loading => "Use a smaller model",
            Self::Training => "Use a smaller rank, fewer target modules or a smaller model",
            Self::Evaluation => "Use a smaller batch size, shorter examples or a smaller model",
            Self::Generation => "Use a shorter prompt, fewer new tokens or a smaller model",
        }
    }
}

impl MemoryReport {
    /// A plan of what has no settings to change.
    pub fn new(work: Work, plan: MemoryPlan, budget: MemoryBudget) -> Self {
        let fits = plan.peak <= budget.bytes;
        Self { work, plan, budget, fits, proposals: Vec::new(), choice: None }
    }

    /// The same with what would help.
    pub(crate) fn with_proposals(self, proposals: Vec<Proposal>) -> Self {
        let fitting = || proposals.iter().enumerate().filter(|(_, proposal)| proposal.fits);
        let longest =
            || fitting().max_by_key(|(at, proposal)| (proposal.changes.max_length, usize::MAX - at));
        let choice = fitting().find(|(_, proposal)| proposal.changes.max_length.is_none()).or_else(longest);
        Self { choice: choice.map(|(at, _)| at), proposals, ..self }
    }

    /// The proposal of [`Self::choice`].
    pub fn chosen(&self) -> Option<&Proposal> {
        self.choice.and_then(|at| self.proposals.get(at))
    }

    /// What does not fit, and what would, with each proposal as the host's people know its settings. The last
    /// sentence is open for the host to say how more is allowed.
    pub fn shortage(&self, name: &dyn Fn(&Changes) -> String) -> String {
        let (peak, budget) = (human_bytes(self.plan.peak), human_bytes(self.budget.bytes));
        let mut text = format!(
            "{} needs {peak} of GPU memory, but the budget is {budget} ({})\n",
            self.work.name(),
            self.budget.source
        );
        if self.plan.items.len() > 1 {
            text.push_str(&self.plan.table());
        }
        for proposal in &self.proposals {
            let enough = if proposal.fits { "fits" } else { "not enough" };
            let (changes, peak) = (name(&proposal.changes), human_bytes(proposal.peak));
            let _ = writeln!(text, "  with {changes}: {peak} ({enough})");
        }
        match (self.choice, self.proposals.is_empty()) {
            (Some(_), _) => text.push_str("Make one of the changes that fit"),
            (None, false) => {
                let advice = self.work.advice();
                let _ = write!(text, "No such change is enough. {advice}");
            }
            (None, true) => text.push_str(self.work.advice()),
        }
        text
    }

    /// The report itself if it fits.
    ///
    /// # Errors
    /// [`ErrorKind::OverBudget`] with [`Self::shortage`], in words that belong to no host.
    pub fn checked(self) -> Result<Self> {
        if self.fits {
            return Ok(self);
        }
        let text = self.shortage(&ToString::to_string);
        Err(Error::new(
            ErrorKind::OverBudget,
            format!("{text}. If the device has more memory, allow more of it"),
        ))
    }
}
