//! The memory plan: what a run will allocate, by purpose, before anything is; and, when that is too much,
//! what would make it fit.
//!
//! The plan asks the constructors that make the buffers ([`Tally`]), so it is exact: what is not counted is the
//! driver's own and a few KiB of parameters.

use std::fmt::Write;

use serde::Serialize;

use super::session::{SessionBuffers, SessionOptions};
use crate::config::{LoraConfig, ModelConfig, TrainConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::{Allocator, MemoryBudget, MemoryUse, Tally, human_bytes};
use crate::model::Lora;

/// The shortest `max_length` that is proposed.
const SHORTEST: usize = 64;

/// Bytes of one purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryItem {
    /// What for.
    pub purpose: MemoryUse,
    /// How many.
    pub bytes: u64,
}

/// What a run allocates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryPlan {
    /// By purpose; nothing is left out.
    pub items: Vec<MemoryItem>,
    /// Their sum.
    pub total: u64,
}

/// What does not change when a run is made smaller.
pub(super) struct Demand<'a> {
    /// The device, for its limits.
    pub gpu: &'a dyn Allocator,
    /// The base.
    pub model: &'a ModelConfig,
    /// The adapter.
    pub lora: &'a LoraConfig,
    /// Bytes of the base's weights.
    pub weights: u64,
    /// What buffers the run's data need under given settings.
    pub options: &'a dyn Fn(&TrainConfig) -> SessionOptions,
}

/// Changes to a run that make it smaller.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Proposal {
    /// The settings that differ, as `name value`.
    pub changes: Vec<String>,
    /// All settings.
    pub train: TrainConfig,
    /// Bytes that it takes then.
    pub total: u64,
    /// Whether that is within the budget.
    pub fits: bool,
}

/// A plan against a budget.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MemoryReport {
    /// What the run takes.
    #[serde(flatten)]
    pub plan: MemoryPlan,
    /// What it may take.
    pub budget: MemoryBudget,
    /// Whether it does.
    pub fits: bool,
    /// If not: what would help.
    pub proposals: Vec<Proposal>,
}

impl MemoryPlan {
    /// Counts the buffers of a run under `options`, beside `weights` bytes of the base.
    ///
    /// # Errors
    /// What no device with these limits can hold: a few rows larger than a binding, a size that overflows.
    pub fn new(
        gpu: &dyn Allocator,
        model: &ModelConfig,
        lora: &LoraConfig,
        weights: u64,
        options: &SessionOptions,
    ) -> Result<Self> {
        let tally = Tally::new(gpu);
        let lora = Lora::allocate(&tally, lora, model)?;
        SessionBuffers::new(&tally, model, &lora, options)?;
        let bytes = |purpose| match purpose {
            MemoryUse::Weights => weights,
            other => tally.bytes(other),
        };
        let items: Vec<_> =
            MemoryUse::ALL.into_iter().map(|purpose| MemoryItem { purpose, bytes: bytes(purpose) }).collect();
        let total = items.iter().fold(0u64, |sum, item| sum.saturating_add(item.bytes));
        Ok(Self { items, total })
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
        for (name, bytes) in rows.chain([("total", self.total)]) {
            // Writing to a string cannot fail.
            let _ = writeln!(table, "  {name:<12} {:>10}", human_bytes(bytes));
        }
        table
    }
}

impl Demand<'_> {
    pub fn plan(&self, train: &TrainConfig) -> Result<MemoryPlan> {
        MemoryPlan::new(self.gpu, self.model, self.lora, self.weights, &(self.options)(train))
    }

    /// The plan of `train` against `budget`.
    pub fn report(&self, train: &TrainConfig, budget: MemoryBudget) -> Result<MemoryReport> {
        let plan = self.plan(train)?;
        let fits = plan.total <= budget.bytes;
        let proposals = if fits { Vec::new() } else { self.proposals(train, budget.bytes)? };
        Ok(MemoryReport { plan, budget, fits, proposals })
    }

    /// Each single change, then both that keep the run's results, then all, as far as they are needed.
    fn proposals(&self, train: &TrainConfig, budget: u64) -> Result<Vec<Proposal>> {
        let mut found = Vec::new();
        let mut add = |changed: Option<TrainConfig>| -> Result<bool> {
            let Some(changed) = changed else { return Ok(false) };
            let total = self.plan(&changed)?.total;
            let changes = differences(train, &changed);
            found.push(Proposal { changes, train: changed, total, fits: total <= budget });
            Ok(total <= budget)
        };
        let batch = self.smaller_batch(train, budget)?;
        let checkpointing = checkpointing(train);
        let both = checkpointing.as_ref().map(|config| self.smaller_batch(config, budget)).transpose()?;
        let both = both.flatten();
        let least = both.as_ref().or(batch.as_ref()).or(checkpointing.as_ref()).unwrap_or(train);
        let all = self.shorter(least, budget)?;
        let mut enough = add(batch)?;
        enough |= add(checkpointing)?;
        // This one drops tokens, so that it fits does not end the search.
        add(self.shorter(train, budget)?)?;
        enough = enough || add(both)?;
        if !enough && !found.iter().any(|p| Some(&p.train) == all.as_ref()) {
            let total = all.as_ref().map(|config| self.plan(config)).transpose()?;
            if let (Some(config), Some(plan)) = (all, total) {
                let changes = differences(train, &config);
                found.push(Proposal {
                    changes,
                    train: config,
                    total: plan.total,
                    fits: plan.total <= budget,
                });
            }
        }
        Ok(found)
    }

    /// The first of `candidates` that fits, or else the last.
    fn first_fit(
        &self,
        candidates: impl Iterator<Item = TrainConfig>,
        budget: u64,
    ) -> Result<Option<TrainConfig>> {
        let mut last = None;
        for candidate in candidates {
            let fits = self.plan(&candidate)?.total <= budget;
            last = Some(candidate);
            if fits {
                break;
            }
        }
        Ok(last)
    }

    /// Fewer examples in a micro-batch and more micro-batches: the largest of those that keep the examples of
    /// an optimizer step.
    fn smaller_batch(&self, train: &TrainConfig, budget: u64) -> Result<Option<TrainConfig>> {
        let (batch, accumulation) = (train.per_device_train_batch_size, train.gradient_accumulation_steps);
        let Some(examples) = batch.checked_mul(accumulation) else { return Ok(None) };
        let smaller = (1..batch).rev().filter(|size| examples.is_multiple_of(*size));
        let configs = smaller.map(|size| TrainConfig {
            per_device_train_batch_size: size,
            gradient_accumulation_steps: examples / size,
            ..train.clone()
        });
        self.first_fit(configs, budget)
    }

    /// Half the tokens of the longest example, or half of that, and so on.
    fn shorter(&self, train: &TrainConfig, budget: u64) -> Result<Option<TrainConfig>> {
        let longest = (self.options)(train).positions.min(train.max_length);
        let halves = std::iter::successors(Some(longest / 2), |length| Some(length / 2));
        let lengths = halves.take_while(|length| *length >= SHORTEST);
        let configs = lengths.map(|max_length| TrainConfig { max_length, ..train.clone() });
        self.first_fit(configs, budget)
    }
}

fn checkpointing(train: &TrainConfig) -> Option<TrainConfig> {
    (!train.gradient_checkpointing).then(|| TrainConfig { gradient_checkpointing: true, ..train.clone() })
}

/// The memory settings in which `after` differs, as `name value`.
fn differences(before: &TrainConfig, after: &TrainConfig) -> Vec<String> {
    let mut changes = Vec::new();
    let mut number = |name: &str, before: usize, after: usize| {
        if before != after {
            changes.push(format!("{name} {after}"));
        }
    };
    number(
        "per_device_train_batch_size",
        before.per_device_train_batch_size,
        after.per_device_train_batch_size,
    );
    number(
        "gradient_accumulation_steps",
        before.gradient_accumulation_steps,
        after.gradient_accumulation_steps,
    );
    number("max_length", before.max_length, after.max_length);
    if before.gradient_checkpointing != after.gradient_checkpointing {
        changes.insert(0, format!("gradient_checkpointing {}", after.gradient_checkpointing));
    }
    changes
}

impl MemoryReport {
    /// The proposal that `auto` takes: one that only takes more time, or else one that shortens examples too.
    pub fn choice(&self) -> Option<&Proposal> {
        let shortens = |p: &Proposal| p.changes.iter().any(|change| change.starts_with("max_length"));
        let fitting = || self.proposals.iter().filter(|p| p.fits);
        let longest = || fitting().min_by_key(|p| std::cmp::Reverse(p.train.max_length));
        fitting().find(|p| !shortens(p)).or_else(longest)
    }

    /// The error for a run that does not fit.
    pub fn error(&self) -> Error {
        let (total, budget) = (human_bytes(self.plan.total), human_bytes(self.budget.bytes));
        let mut text = format!(
            "the run needs {total} of GPU memory, but the budget is {budget} ({})\n{}",
            self.budget.source,
            self.plan.table()
        );
        for proposal in &self.proposals {
            let enough = if proposal.fits { "fits" } else { "not enough" };
            let (changes, total) = (proposal.changes.join(", "), human_bytes(proposal.total));
            let _ = writeln!(text, "  with {changes}: {total} ({enough})");
        }
        text.push_str(if self.choice().is_some() {
            "Make one of these changes, or let --auto make one. If the device has more memory, allow it"
        } else {
            "No such change is enough: use a smaller rank, fewer target modules or a smaller model. If the device \
             has more memory, allow it"
        });
        text.push_str(" with --memory-budget");
        Error::new(ErrorKind::OutOfMemory, text)
    }
}
