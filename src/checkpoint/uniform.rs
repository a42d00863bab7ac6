//! An adapter for formats that know one alpha or one scale for all modules.

use std::collections::{BTreeMap, BTreeSet};

use super::{Adapter, AdapterModule};
use crate::config::{AdaptedModule, LoraConfig, ModelConfig, TargetModules};
use crate::error::{Error, ErrorKind, Result};

/// One number for all modules, and for each what its `B` must be multiplied by so that the product stays.
pub(super) struct Uniform<'a> {
    /// The number that the file says.
    pub(super) value: f64,
    /// The modules in their order, each with its factor.
    pub(super) modules: Vec<(&'a AdapterModule, f64)>,
}

impl<'a> Uniform<'a> {
    /// Takes the first number that is not 0; where all are 0, 1 and factors of 0, since llama.cpp takes an alpha of 0
    /// for a scale of 1.
    ///
    /// # Errors
    ///
    /// Those of [`Adapter::check`].
    pub(super) fn of(
        adapter: &'a Adapter,
        model: &ModelConfig,
        number: impl Fn(&AdaptedModule) -> f64,
    ) -> Result<Self> {
        adapter.check(model)?;
        let resolved = adapter.config.resolve(model)?;
        let numbers: BTreeMap<_, _> = resolved.iter().map(|module| (module.id, number(module))).collect();
        let value = numbers.values().copied().find(|&number| number != 0.0).unwrap_or(1.0);
        let modules = adapter.modules.iter().map(|module| (module, numbers[&module.id] / value)).collect();
        Ok(Self { value, modules })
    }
}

/// `B` times a module's factor.
///
/// # Errors
///
/// `NotFinite` for a product that f32 cannot hold.
pub(super) fn scaled_b(module: &AdapterModule, factor: f64) -> Result<Vec<f32>> {
    let scaled: Vec<f32> = module.b.iter().map(|&value| (f64::from(value) * factor) as f32).collect();
    match scaled.iter().position(|value| !value.is_finite()) {
        None => Ok(scaled),
        Some(index) => Err(Error::new(
            ErrorKind::NotFinite,
            format!("{}: lora_B element {index}: {} x {factor} is no finite f32", module.id, module.b[index]),
        )),
    }
}

/// Rows as columns.
pub(super) fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|column| (0..rows).map(move |row| values[row * columns + column])).collect()
}

/// The configuration that means exactly these modules of `model`, with one alpha.
///
/// # Errors
///
/// Those of [`LoraConfig::resolve`].
pub(super) fn config_of(modules: &[AdapterModule], alpha: f64, model: &ModelConfig) -> Result<LoraConfig> {
    let r = modules.iter().map(|module| module.r).max().unwrap_or(0);
    let others = modules.iter().filter(|module| module.r != r);
    let names: BTreeSet<_> = modules.iter().map(|module| module.id.projection.name().to_owned()).collect();
    let config = LoraConfig {
        r,
        lora_alpha: alpha,
        rank_pattern: others.map(|module| (module.id.name().replace('.', "\\."), module.r)).collect(),
        target_modules: TargetModules::List(names.into_iter().collect()),
        ..LoraConfig::default()
    };
    let is_same = |config: &LoraConfig| {
        let found = config.resolve(model)?;
        Ok::<_, Error>(found.iter().map(|module| module.id).eq(modules.iter().map(|module| module.id)))
    };
    if is_same(&config)? {
        return Ok(config);
    }
    let names = modules.iter().map(|module| module.id.name()).collect();
    Ok(LoraConfig { target_modules: TargetModules::List(names), ..config })
}
