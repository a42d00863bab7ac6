//! LoRA adapters as mlx-lm keeps them (`mlx_lm/tuner/lora.py`, `mlx_lm/tuner/utils.py`): the folder that
//! `--adapter-path` names.
//!
//! mlx-lm computes `scale·(x·lora_a)·lora_b` with one rank and one scale for all modules: smaller ranks are filled up
//! with zeros, other scales go into `lora_b`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use ::safetensors::Dtype;
use serde_json::json;

use super::adapter::{ADAPTER_CONFIG_FILE, Adapter, AdapterFiles, AdapterModule, le_bytes};
use super::safetensors::write_safetensors;
use super::uniform::{Uniform, scaled_b, transposed};
use crate::config::{ModelConfig, ModuleId};
use crate::error::{Error, Result};

/// The name of an mlx-lm adapter's weights; its configuration is called [`ADAPTER_CONFIG_FILE`].
pub const MLX_ADAPTERS_FILE: &str = "adapters.safetensors";

impl Adapter {
    /// The two files of an mlx-lm adapter of `model`: [`ADAPTER_CONFIG_FILE`] and [`MLX_ADAPTERS_FILE`], weights in
    /// f32, `lora_a` `[in_features, rank]` and `lora_b` `[rank, out_features]`.
    ///
    /// # Errors
    ///
    /// `NotFinite` for a weight that is no finite number or becomes none with its scale; those of
    /// [`Adapter::check`].
    pub fn to_mlx(&self, model: &ModelConfig) -> Result<AdapterFiles> {
        let uniform = Uniform::of(self, model, |module| f64::from(module.scale))?;
        let rank = self.modules.iter().map(|module| module.r).max().unwrap_or(0);
        let mut tensors = Vec::with_capacity(2 * self.modules.len());
        for &(module, factor) in &uniform.modules {
            let AdapterModule { id, r, in_features, out_features, .. } = *module;
            module.check()?;
            let name = mlx_name(id);
            // Columns of zeros in one and rows of zeros in the other add nothing.
            let mut a = module.a.clone();
            a.resize(rank * in_features, 0.0);
            let a = transposed(&a, rank, in_features);
            let mut b = transposed(&scaled_b(module, factor)?, out_features, r);
            b.resize(rank * out_features, 0.0);
            tensors.push((format!("{name}.lora_a"), vec![in_features, rank], a));
            tensors.push((format!("{name}.lora_b"), vec![rank, out_features], b));
        }
        let tensors: Vec<_> = tensors
            .iter()
            .map(|(name, shape, values)| (name.as_str(), Dtype::F32, shape.clone(), le_bytes(values)))
            .collect::<Vec<(&str, Dtype, Vec<usize>, Cow<'_, [u8]>)>>();
        let metadata = BTreeMap::from([("format".to_owned(), "mlx".to_owned())]);

        // mlx-lm counts adapted layers from the last, and keys are names inside a layer. A module that this adapts and
        // the file does not have keeps the zeros that its `lora_b` begins with.
        let first = self.modules.iter().map(|module| module.id.layer).min().unwrap_or(0);
        let keys: BTreeSet<_> = self.modules.iter().map(|module| module.id.projection.path()).collect();
        let config = json!({
            "fine_tune_type": "lora",
            "lora_parameters": {
                "dropout": self.config.lora_dropout,
                "keys": keys,
                "rank": rank,
                // The shortest decimal of an f32, not the one of the f64 nearest to it.
                "scale": uniform.value as f32,
            },
            "model": self.config.base_model_name_or_path,
            "num_layers": model.num_hidden_layers - first,
        });
        let config = serde_json::to_vec_pretty(&config)
            .map_err(|error| Error::config(format!("{ADAPTER_CONFIG_FILE} cannot be written: {error}")))?;
        Ok(AdapterFiles { config, model: write_safetensors(&tensors, &metadata)? })
    }
}

/// A module's name in mlx-lm, where every family's decoder is called `model`.
fn mlx_name(id: ModuleId) -> String {
    let layers = id.projection.layers();
    let (_, list) = layers.split_once('.').unwrap_or(("", layers));
    format!("model.{list}.{}.{}", id.layer, id.projection.path())
}
