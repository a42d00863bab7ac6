//! How many parameters an adapter trains.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{LoraConfig, ModelConfig, Projection};
use crate::error::Result;

/// Parameter counts of a model with an adapter, as PEFT's `print_trainable_parameters` counts them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ParameterReport {
    /// Parameters of the adapter.
    pub trainable: u64,
    /// Parameters of the base model and the adapter.
    pub total: u64,
    /// `100 · trainable / total`.
    pub percent: f64,
    /// The adapter's parameters by projection and rank.
    pub modules: Vec<ModuleParameters>,
}

/// The modules of one projection that have the same rank.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModuleParameters {
    /// The projection's name, `q_proj`, or its path where two have the same name, `attn.c_proj`.
    #[serde(rename = "name")]
    pub projection: &'static str,
    /// Number of modules, one a layer.
    pub count: usize,
    /// Columns of W.
    pub in_features: usize,
    /// Rows of W.
    pub out_features: usize,
    /// Rank.
    pub r: usize,
    /// Parameters of all `count` modules: `count · r · (in_features + out_features)`.
    pub parameters: u64,
}

/// Counts the parameters that `lora` trains in `model`.
///
/// # Errors
///
/// Those of [`LoraConfig::resolve`].
pub fn parameter_report(lora: &LoraConfig, model: &ModelConfig) -> Result<ParameterReport> {
    let mut counts: BTreeMap<(Projection, usize), usize> = BTreeMap::new();
    for module in lora.resolve(model)? {
        *counts.entry((module.id.projection, module.r)).or_default() += 1;
    }
    let modules: Vec<ModuleParameters> = counts
        .into_iter()
        .map(|((projection, r), count)| {
            let (out_features, in_features) = model.projection_shape(projection);
            let parameters = count as u64 * r as u64 * (in_features as u64 + out_features as u64);
            let projection = model.family.label(projection);
            ModuleParameters { projection, count, in_features, out_features, r, parameters }
        })
        .collect();
    let trainable = modules.iter().map(|module| module.parameters).sum();
    let total = model.total_parameters() + trainable;
    Ok(ParameterReport { trainable, total, percent: 100.0 * trainable as f64 / total as f64, modules })
}
