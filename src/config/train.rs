//! How a training run goes, with the names of the Hugging Face trainer.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The most epochs or optimizer steps that are believed to be meant.
const MAX_EPOCHS: f64 = 1e6;
/// The most token positions a micro-batch may have: the kernels index with 32-bit integers.
const MAX_BATCH_TOKENS: u64 = 1 << 31;

/// How the learning rate goes after its linear warm-up from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Stays at `learning_rate`. The trainer's `constant` has no warm-up; with warm-up steps this is its
    /// `constant_with_warmup`, which is accepted as a name too.
    #[serde(alias = "constant_with_warmup")]
    Constant,
    /// Falls to 0 in a line.
    Linear,
    /// Falls to 0 as half a cosine.
    #[default]
    Cosine,
}

/// Arithmetic of the matrix products and of attention. Everything else is computed in f32 in either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arithmetic {
    /// Weights as stored, operands and sums in f32.
    #[default]
    F32,
    /// Operands in f16, sums in f32, and gradients scaled so that f16 holds them.
    F16,
}

/// Which arithmetic a run is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// f16 where the device multiplies matrices faster in it, else f32.
    #[default]
    Auto,
    /// f32.
    F32,
    /// f16; refused where the device has no kernels for it.
    F16,
}

/// The settings of a training run. Missing fields have their defaults; unknown ones are refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Examples, or rows of packed ones, in a micro-batch. Default 4.
    pub per_device_train_batch_size: usize,
    /// Micro-batches whose gradients make one optimizer step. Default 1.
    pub gradient_accumulation_steps: usize,
    /// Passes over the data; need not be whole. Default 3.
    pub num_train_epochs: f64,
    /// Optimizer steps; overrides `num_train_epochs` when set.
    pub max_steps: Option<usize>,
    /// The most tokens of an example. Default 1024.
    pub max_length: usize,
    /// The peak learning rate. Default 2e-4.
    pub learning_rate: f64,
    /// How the learning rate goes after warm-up. Default cosine.
    pub lr_scheduler_type: Schedule,
    /// Steps of linear warm-up; `None` is a twentieth of all steps (rounded down), at most 100.
    pub warmup_steps: Option<usize>,
    /// Decoupled weight decay of AdamW. Default 0.
    pub weight_decay: f64,
    /// AdamW's β₁. Default 0.9.
    pub adam_beta1: f64,
    /// AdamW's β₂. Default 0.999.
    pub adam_beta2: f64,
    /// AdamW's ε. Default 1e-8.
    pub adam_epsilon: f64,
    /// The most the global L2 norm of the gradient may be; 0 turns clipping off. Default 1.
    pub max_grad_norm: f64,
    /// Seed of initialisation, order and dropout. Default 42.
    pub seed: u64,
    /// Whether each epoch has its own order. Default true.
    pub shuffle: bool,
    /// Optimizer steps between evaluations; `None`: ten evaluations in a run, at least 10 steps apart. The end
    /// of a run is always evaluated.
    pub eval_steps: Option<usize>,
    /// Optimizer steps between saved checkpoints; `None` saves at the end only.
    pub save_steps: Option<usize>,
    /// Whether chat data trains on the assistant's turns only. Default true.
    pub assistant_only_loss: bool,
    /// Whether the backward pass computes each layer's activations again instead of keeping them: less
    /// memory, about a third more time, and the same results to the bit. Default false.
    pub gradient_checkpointing: bool,
    /// Whether short examples are packed into rows of up to `max_length` tokens, TRL's `bfd` packing. Each example
    /// is computed as it would be alone. Default false.
    pub packing: bool,
    /// Arithmetic of the matrix products. Default auto.
    pub precision: Precision,
    /// Whether an epoch's order puts examples of about equal length next to each other. No token is ever padded,
    /// so this saves no work; it makes the micro-batches of a step alike in size. Default false.
    pub group_by_length: bool,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            per_device_train_batch_size: 4,
            gradient_accumulation_steps: 1,
            num_train_epochs: 3.0,
            max_steps: None,
            max_length: 1024,
            learning_rate: 2e-4,
            lr_scheduler_type: Schedule::default(),
            warmup_steps: None,
            weight_decay: 0.0,
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            adam_epsilon: 1e-8,
            max_grad_norm: 1.0,
            seed: 42,
            shuffle: true,
            eval_steps: None,
            save_steps: None,
            assistant_only_loss: true,
            gradient_checkpointing: false,
            packing: false,
            precision: Precision::Auto,
            group_by_length: false,
        }
    }
}

impl TrainConfig {
    /// Checks every value.
    ///
    /// # Errors
    ///
    /// `Config` for the first value that cannot be used, by its name.
    pub fn validate(&self) -> Result<()> {
        let at_least = |name: &str, value: usize, least: usize| {
            let message = || format!("{name} is {value}; expected {least} or more");
            if value < least { Err(Error::config(message())) } else { Ok(()) }
        };
        at_least("per_device_train_batch_size", self.per_device_train_batch_size, 1)?;
        at_least("gradient_accumulation_steps", self.gradient_accumulation_steps, 1)?;
        at_least("max_steps", self.max_steps.unwrap_or(1), 1)?;
        // A token and the one it predicts.
        at_least("max_length", self.max_length, 2)?;
        at_least("eval_steps", self.eval_steps.unwrap_or(1), 1)?;
        at_least("save_steps", self.save_steps.unwrap_or(1), 1)?;

        let within = |name: &str, value: f64, inside: bool, expected: &str| {
            let message = || format!("{name} is {value}; expected {expected}");
            if value.is_finite() && inside { Ok(()) } else { Err(Error::config(message())) }
        };
        let epochs = self.num_train_epochs;
        within(
            "num_train_epochs",
            epochs,
            epochs > 0.0 && epochs <= MAX_EPOCHS,
            "more than 0, at most 1000000",
        )?;
        for (name, value) in [
            ("learning_rate", self.learning_rate),
            ("weight_decay", self.weight_decay),
            ("max_grad_norm", self.max_grad_norm),
        ] {
            within(name, value, value >= 0.0, "0 or more")?;
        }
        for (name, value) in [("adam_beta1", self.adam_beta1), ("adam_beta2", self.adam_beta2)] {
            within(name, value, (0.0..1.0).contains(&value), "0 or more and less than 1")?;
        }
        within("adam_epsilon", self.adam_epsilon, self.adam_epsilon > 0.0, "more than 0")?;

        if self.packing && self.group_by_length {
            return Err(Error::config(
                "packing and group_by_length are both on, but packed rows are all about equally long; turn one of them off",
            ));
        }
        let tokens = (self.per_device_train_batch_size as u64).checked_mul(self.max_length as u64);
        if tokens.is_none_or(|tokens| tokens > MAX_BATCH_TOKENS) {
            return Err(Error::config(format!(
                "per_device_train_batch_size {} times max_length {} is more than 2^31 tokens; lower one of them",
                self.per_device_train_batch_size, self.max_length
            )));
        }
        Ok(())
    }

    /// What is allowed and probably not meant, a sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.learning_rate == 0.0 {
            warnings.push("learning_rate is 0: the run trains nothing".to_owned());
        }
        if let (Some(warmup), Some(steps)) = (self.warmup_steps, self.max_steps)
            && warmup >= steps
        {
            warnings.push(format!(
                "warmup_steps {warmup} is not less than max_steps {steps}: the learning rate never reaches its peak"
            ));
        }
        warnings
    }

    /// Number of optimizer steps T for a data set of `examples` (rows, after packing if rows are packed).
    ///
    /// As the trainer counts: ⌈epochs · ⌈batches / accumulation⌉⌉ with batches = ⌈examples / batch size⌉,
    /// or `max_steps` when it is set. The last step of an epoch may have fewer micro-batches.
    /// 0 for no examples.
    pub fn total_steps(&self, examples: usize) -> usize {
        if examples == 0 {
            return 0;
        }
        if let Some(steps) = self.max_steps {
            return steps;
        }
        let batches = examples.div_ceil(self.per_device_train_batch_size);
        let steps_per_epoch = batches.div_ceil(self.gradient_accumulation_steps);
        // A float too large for usize becomes the largest one.
        (self.num_train_epochs * steps_per_epoch as f64).ceil() as usize
    }

    /// Number of warm-up steps in a run of `total` steps.
    pub fn warmup(&self, total: usize) -> usize {
        self.warmup_steps.unwrap_or((total / 20).min(100))
    }

    /// Learning rate of optimizer step `step`, counted from 0, in a run of `total` steps.
    ///
    /// As `transformers.get_scheduler`: with w warm-up steps, s < w gives s/max(1, w); then linear
    /// (T−s)/max(1, T−w) and cosine ½(1 + cos(π(s−w)/max(1, T−w))), never below 0.
    pub fn learning_rate_at(&self, step: usize, total: usize) -> f64 {
        let warmup = self.warmup(total);
        if step < warmup {
            return self.learning_rate * step as f64 / warmup as f64;
        }
        let decay_steps = total.saturating_sub(warmup).max(1) as f64;
        let factor = match self.lr_scheduler_type {
            Schedule::Constant => 1.0,
            Schedule::Linear => total.saturating_sub(step) as f64 / decay_steps,
            // Held at 1 past the end, where the cosine would rise again.
            Schedule::Cosine => 0.5 * (1.0 + (PI * ((step - warmup) as f64 / decay_steps).min(1.0)).cos()),
        };
        self.learning_rate * factor
    }
}
