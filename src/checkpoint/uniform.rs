//! An adapter for formats that know one alpha or one scale for all modules.

use std::collections::BTreeMap;

use super::{Adapter, AdapterModule};
use crate::config::{AdaptedModule, ModelConfig};
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
