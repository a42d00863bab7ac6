//! The memory plan of a run; and, when that is too much, what would make it fit.

use super::session::{Session, SessionOptions};
use crate::config::{LoraConfig, ModelConfig, TrainConfig};
use crate::error::Result;
use crate::gpu::{Allocator, MemoryBudget};
use crate::memory::{Changes, MemoryPlan, MemoryReport, Proposal, Work};
use crate::model::WeightBytes;

/// The shortest `max_length` that is proposed.
const SHORTEST: usize = 64;

/// What does not change when a run is made smaller.
pub(super) struct Demand<'a> {
    /// The device, for its limits.
    pub gpu: &'a dyn Allocator,
    /// The base.
    pub model: &'a ModelConfig,
    /// The adapter.
    pub lora: &'a LoraConfig,
    /// Of the base.
    pub weights: WeightBytes,
    /// What buffers the run's data need under given settings.
    pub options: &'a dyn Fn(&TrainConfig) -> SessionOptions,
}

impl Demand<'_> {
    pub fn plan(&self, train: &TrainConfig) -> Result<MemoryPlan> {
        Session::plan(self.gpu, self.model, self.lora, self.weights, &(self.options)(train))
    }

    /// The plan of `train` against `budget`.
    pub fn report(&self, train: &TrainConfig, budget: MemoryBudget) -> Result<MemoryReport> {
        let report = MemoryReport::new(Work::Training, self.plan(train)?, budget);
        if report.fits {
            return Ok(report);
        }
        let proposals = self.proposals(train, &report)?;
        Ok(report.with_proposals(proposals))
    }

    /// Each single change, then both that keep the run's results, then all, as far as they are needed and help.
    fn proposals(&self, train: &TrainConfig, now: &MemoryReport) -> Result<Vec<Proposal>> {
        let budget = now.budget.bytes;
        let mut found: Vec<Proposal> = Vec::new();
        let mut add = |changed: Option<TrainConfig>| -> Result<bool> {
            let Some(changed) = changed else { return Ok(false) };
            let (changes, peak) = (Changes::between(train, &changed), self.plan(&changed)?.peak);
            let is_new = !changes.is_empty() && found.iter().all(|proposal| proposal.changes != changes);
            if is_new && peak < now.plan.peak {
                found.push(Proposal { changes, peak, fits: peak <= budget });
            }
            Ok(peak <= budget)
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
        if !enough {
            add(all)?;
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
            let fits = self.plan(&candidate)?.peak <= budget;
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
