//! LoRA adapters as mlx-lm keeps them (`mlx_lm/tuner/lora.py`, `mlx_lm/tuner/utils.py`): the folder that
//! `--adapter-path` names.
//!
//! mlx-lm computes `scale·(x·lora_a)·lora_b` with one rank and one scale for all modules: smaller ranks are filled up
//! with zeros, other scales go into `lora_b`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use ::safetensors::Dtype;
use serde_json::json;

use super::adapter::{ADAPTER_CONFIG_FILE, Adapter, AdapterFiles, AdapterModule, le_bytes, read_f32};
use super::safetensors::{Header, write_safetensors};
use super::uniform::{Uniform, config_of, scaled_b, transposed};
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
        let uniform = Uniform::of(self, model, |module| module.alpha / module.r as f64)?;
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
                "scale": uniform.value,
            },
            "model": self.config.base_model_name_or_path,
            "num_layers": model.num_hidden_layers - first,
        });
        let config = serde_json::to_vec_pretty(&config)
            .map_err(|error| Error::config(format!("{ADAPTER_CONFIG_FILE} cannot be written: {error}")))?;
        Ok(AdapterFiles { config, model: write_safetensors(&tensors, &metadata)? })
    }

    /// Reads an adapter of `model` from the two files of an mlx-lm adapter.
    ///
    /// # Errors
    ///
    /// `Format` for malformed files, a tensor that no module of `model` has, a half that is missing, or shapes that do
    /// not fit; `Unsupported` for an adapter that is no LoRA.
    pub fn from_mlx(files: &AdapterFiles, model: &ModelConfig) -> Result<Self> {
        let format = |what: String| Error::format(format!("{MLX_ADAPTERS_FILE}: {what}"));
        let MlxConfig { fine_tune_type, lora_parameters } =
            serde_json::from_slice(&files.config).map_err(|error| {
                Error::format(format!("{ADAPTER_CONFIG_FILE}: no adapter of mlx-lm: {error}"))
            })?;
        let LoraParameters { rank, scale } = lora_parameters;
        if fine_tune_type != "lora" {
            return Err(Error::unsupported(format!(
                "{ADAPTER_CONFIG_FILE}: fine_tune_type is {fine_tune_type}; expected lora"
            )));
        }
        let header = Header::of_bytes(MLX_ADAPTERS_FILE, &files.model)?;
        let mut modules = Vec::new();
        for id in model.linear_modules() {
            let names = [".lora_a", ".lora_b"].map(|half| format!("{}{half}", mlx_name(id)));
            let [a, b] = names.each_ref().map(|name| header.tensors.get(name));
            let (a, b) = match (a, b) {
                (None, None) => continue,
                (Some(a), Some(b)) => (a, b),
                _ => return Err(format(format!("{id}: one of lora_a and lora_b is missing"))),
            };
            let (out_features, in_features) = model.projection_shape(id.projection);
            for (name, tensor, wanted) in
                [(&names[0], a, [in_features, rank]), (&names[1], b, [rank, out_features])]
            {
                if tensor.info.shape != wanted {
                    let found = &tensor.info.shape;
                    return Err(format(format!("{name} has the shape {found:?}; expected {wanted:?}")));
                }
            }
            let a = transposed(&read_f32(MLX_ADAPTERS_FILE, &names[0], a, &files.model)?, in_features, rank);
            let b = transposed(&read_f32(MLX_ADAPTERS_FILE, &names[1], b, &files.model)?, rank, out_features);
            modules.push(AdapterModule { id, r: rank, in_features, out_features, a, b });
        }
        if 2 * modules.len() != header.tensors.len() {
            return Err(format(format!(
                "it has {} tensors; {} of them belong to modules of the model",
                header.tensors.len(),
                2 * modules.len()
            )));
        }
        let config = config_of(&modules, scale * rank as f64, model)?;
        let adapter = Self { config, modules };
        adapter.check(model)?;
        Ok(adapter)
    }
}

/// What mlx-lm reads of its configuration.
#[derive(serde::Deserialize)]
struct MlxConfig {
    fine_tune_type: String,
    lora_parameters: LoraParameters,
}

#[derive(serde::Deserialize)]
struct LoraParameters {
    rank: usize,
    scale: f64,
}

/// A module's name in mlx-lm, where every family's decoder is called `model`.
fn mlx_name(id: ModuleId) -> String {
    let layers = id.projection.layers();
    let (_, list) = layers.split_once('.').unwrap_or(("", layers));
    format!("model.{list}.{}.{}", id.layer, id.projection.path())
}
