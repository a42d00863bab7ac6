//! Whether a merged model computes what its base and the adapter do together.

use serde::Serialize;

use super::adapted::{largest_difference, next_logits};
use super::{Adapted, Prompt};
use crate::base::Base;
use crate::error::{Error, Result};
use crate::gpu::Dtype;
use crate::model::Lora;

/// Roundings of one weight that the logits may show, as a share of their range. Each merged weight is off by half a unit
/// in its last place at most; the products average that out, and the layers after each other add it up again.
const ROUNDINGS: f64 = 8.0;

/// The share of the logits' range that sums in another order may change.
const REORDERING: f64 = 1.0 / (1 << 16) as f64;

/// What the base and an adapter make of a prompt, to hold a merged model against. It outlives the base.
pub struct MergeProbe {
    prompt: Prompt,
    ids: Vec<u32>,
    tuned: Vec<f32>,
    effect: f64,
    dtype: Dtype,
}

/// How a merged model compares with its base and the adapter.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MergeCheck {
    /// The largest difference between the logits of the token after the prompt.
    pub max_difference: f64,
    /// The most that the rounding of the merged weights explains.
    pub allowed: f64,
    /// The largest difference that the adapter makes to the base's logits.
    pub effect: f64,
    /// What the weights are rounded to: `float32`, `float16` or `bfloat16`.
    pub dtype: &'static str,
}

impl MergeCheck {
    /// Whether the merged model is what it should be.
    pub fn is_same(&self) -> bool {
        self.max_difference <= self.allowed
    }
}

impl MergeProbe {
    /// Asks the base, and the base with the adapter.
    ///
    /// # Errors
    /// As [`logit_difference`](super::logit_difference).
    pub async fn of(base: &Base, lora: &Lora, prompt: Prompt) -> Result<Self> {
        let ids = prompt.encode(&base.tokenizer)?;
        let alone = next_logits(base, None, &ids).await?;
        let tuned = next_logits(base, Some(Adapted::from(lora)), &ids).await?;
        let effect = largest_difference(&alone, &tuned)?;
        Ok(Self { prompt, ids, tuned, effect, dtype: coarsest(base) })
    }

    /// Asks the merged model.
    ///
    /// # Errors
    /// As [`Self::of`]; `Format` for a tokenizer that is not the base's.
    pub async fn check(&self, merged: &Base) -> Result<MergeCheck> {
        if self.prompt.encode(&merged.tokenizer)? != self.ids {
            return Err(Error::format(
                "the merged model's tokenizer reads the prompt otherwise than the base's",
            ));
        }
        let found = next_logits(merged, None, &self.ids).await?;
        let max_difference = largest_difference(&self.tuned, &found)?;
        let (least, most) = self
            .tuned
            .iter()
            .fold((f32::INFINITY, f32::NEG_INFINITY), |(least, most), &x| (least.min(x), most.max(x)));
        let (unit, dtype) = rounding(self.dtype);
        let allowed = (f64::from(most) - f64::from(least)) * (ROUNDINGS * unit + REORDERING);
        Ok(MergeCheck { max_difference, allowed, effect: self.effect, dtype })
    }
}

/// The largest error of rounding to a type, as a share of the value, and the type's name in PyTorch.
fn rounding(dtype: Dtype) -> (f64, &'static str) {
    match dtype {
        Dtype::BF16 => (f64::exp2(-8.0), "bfloat16"),
        Dtype::F16 => (f64::exp2(-11.0), "float16"),
        Dtype::F32 | Dtype::U32 => (f64::exp2(-24.0), "float32"),
    }
}

/// The type of the base's linear layers that rounds most.
fn coarsest(base: &Base) -> Dtype {
    let (weights, config) = (base.model.weights(), base.model.config());
    let linears =
        weights.layers.iter().flat_map(|layer| config.family.projections.iter().map(|&p| layer.linear(p)));
    let dtypes = linears.map(|linear| linear.weight.dtype());
    dtypes.max_by(|&one, &other| rounding(one).0.total_cmp(&rounding(other).0)).unwrap_or(Dtype::F32)
}
