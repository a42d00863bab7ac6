//! A LoRA adapter as PEFT keeps it: `adapter_config.json` and `adapter_model.safetensors`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use ::safetensors::Dtype;
use half::{bf16, f16};

use super::safetensors::{Header, Placed, write_safetensors};
use crate::config::{LoraConfig, ModelConfig, ModuleId, TargetModules};
use crate::error::{Context, Error, Result};

/// The name of an adapter's configuration.
pub const ADAPTER_CONFIG_FILE: &str = "adapter_config.json";
/// The name of an adapter's weights.
pub const ADAPTER_MODEL_FILE: &str = "adapter_model.safetensors";

/// What PEFT puts before the names of a wrapped model's modules.
const PREFIX: &str = "base_model.model.";
const A_SUFFIX: &str = ".lora_A.weight";
const B_SUFFIX: &str = ".lora_B.weight";

/// An adapter: its configuration and the matrices of every adapted module.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    /// The configuration.
    pub config: LoraConfig,
    /// The modules, ordered by [`ModuleId`].
    pub modules: Vec<AdapterModule>,
}

/// The matrices of one module.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterModule {
    /// Which module.
    pub id: ModuleId,
    /// Rank.
    pub r: usize,
    /// Columns of the module's weight.
    pub in_features: usize,
    /// Rows of the module's weight.
    pub out_features: usize,
    /// `A`, `[r, in_features]`.
    pub a: Vec<f32>,
    /// `B`, `[out_features, r]`.
    pub b: Vec<f32>,
}

/// The bytes of an adapter's two files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterFiles {
    /// `adapter_config.json`.
    pub config: Vec<u8>,
    /// `adapter_model.safetensors`.
    pub model: Vec<u8>,
}

impl Adapter {
    /// The two files that PEFT, llama.cpp and others read: weights in f32, JSON with sorted keys.
    ///
    /// `all-linear` is written as the list of names it means, as PEFT does: other readers know no
    /// shorthand. `fan_in_fan_out` is written as the modules are.
    ///
    /// # Errors
    ///
    /// `NotFinite` for a weight that is no finite number, `Format` for matrices that do not have the
    /// sizes that their module states.
    pub fn to_files(&self) -> Result<AdapterFiles> {
        let mut names = Vec::with_capacity(2 * self.modules.len());
        for module in &self.modules {
            module.check()?;
            names.push(module.names());
        }
        let mut tensors = Vec::with_capacity(2 * self.modules.len());
        for (module, [a, b]) in self.modules.iter().zip(&names) {
            tensors.push((a.as_str(), Dtype::F32, vec![module.r, module.in_features], le_bytes(&module.a)));
            tensors.push((b.as_str(), Dtype::F32, vec![module.out_features, module.r], le_bytes(&module.b)));
        }
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);

        let mut config = self.config.clone();
        if config.target_modules == TargetModules::AllLinear {
            config.target_modules = TargetModules::List(self.module_names());
        }
        config.fan_in_fan_out = self.modules.iter().any(|module| module.id.projection.is_conv1d());
        Ok(AdapterFiles { config: config.to_json()?, model: write_safetensors(&tensors, &metadata)? })
    }

    /// Number of its weights.
    pub fn parameters(&self) -> usize {
        self.modules.iter().map(|module| module.a.len() + module.b.len()).sum()
    }

    /// The last parts of the modules' names, each once, in the order of execution.
    pub fn module_names(&self) -> Vec<String> {
        let projections: BTreeSet<_> = self.modules.iter().map(|module| module.id.projection).collect();
        let mut names: Vec<String> = Vec::new();
        for projection in projections {
            if !names.iter().any(|name| name == projection.name()) {
                names.push(projection.name().to_owned());
            }
        }
        names
    }

    /// Reads an adapter that PEFT or [`Adapter::to_files`] wrote, with weights in f32, f16 or bf16.
    ///
    /// # Errors
    ///
    /// `Format` for malformed files, a tensor that is no part of a LoRA adapter of the known modules, a
    /// half that is missing, shapes that do not fit the configuration's ranks, or a weight that is no
    /// finite number; those of [`LoraConfig::from_json`].
    pub fn from_files(config: &[u8], model: &[u8]) -> Result<Self> {
        let config = LoraConfig::from_json(config)?;
        let header = Header::of_bytes(ADAPTER_MODEL_FILE, model)?;
        let rules = config.rank_rules()?;

        let mut halves: BTreeMap<ModuleId, [Option<(&str, &Placed)>; 2]> = BTreeMap::new();
        for (name, tensor) in &header.tensors {
            let Some((id, half)) = parse_name(name) else {
                return Err(Error::format(format!(
                    "{ADAPTER_MODEL_FILE}: tensor {name} is not known; expected names like \
                     {PREFIX}model.layers.0.self_attn.q_proj{A_SUFFIX}"
                )));
            };
            halves.entry(id).or_default()[half] = Some((name, tensor));
        }
        if halves.is_empty() {
            return Err(Error::format(format!("{ADAPTER_MODEL_FILE}: there is no tensor in it")));
        }

        let mut modules = Vec::with_capacity(halves.len());
        for (id, [a, b]) in halves {
            let missing = |suffix: &str| {
                Error::format(format!("{ADAPTER_MODEL_FILE}: tensor {PREFIX}{id}{suffix} is missing"))
            };
            let (a_name, a) = a.ok_or_else(|| missing(A_SUFFIX))?;
            let (b_name, b) = b.ok_or_else(|| missing(B_SUFFIX))?;
            let (r, _) = rules.get(&id.name())?;
            let (&[a_rank, in_features], &[out_features, b_rank]) = (&a.info.shape[..], &b.info.shape[..])
            else {
                return Err(Error::format(format!(
                    "{ADAPTER_MODEL_FILE}: {id}: expected two matrices, found lora_A {:?} and lora_B {:?}",
                    a.info.shape, b.info.shape
                )));
            };
            if a_rank != r || b_rank != r || in_features == 0 || out_features == 0 {
                return Err(Error::format(format!(
                    "{ADAPTER_MODEL_FILE}: {id}: {ADAPTER_CONFIG_FILE} says rank {r}, so lora_A is [{r}, in] and \
                     lora_B is [out, {r}]; found {:?} and {:?}",
                    a.info.shape, b.info.shape
                )));
            }
            let a = read_f32(ADAPTER_MODEL_FILE, a_name, a, model)?;
            let b = read_f32(ADAPTER_MODEL_FILE, b_name, b, model)?;
            modules.push(AdapterModule { id, r, in_features, out_features, a, b });
        }
        Ok(Self { config, modules })
    }

    /// Checks that the adapter is one for `model`: exactly the modules that its configuration means
    /// there, in their shapes.
    ///
    /// # Errors
    ///
    /// `Format` for the first module that differs, those of [`LoraConfig::resolve`].
    pub fn check(&self, model: &ModelConfig) -> Result<()> {
        let fault =
            |message: String| Err(Error::format(format!("adapter does not fit the model: {message}")));
        let resolved = self.config.resolve(model).context(|| "adapter does not fit the model")?;
        let mut expected = BTreeMap::new();
        for module in resolved {
            expected.insert(module.id, module);
        }
        let mut seen = BTreeSet::new();
        for module in &self.modules {
            let Some(target) = expected.get(&module.id) else {
                return fault(format!(
                    "it has {}, which its target_modules do not name in this model of {} layers",
                    module.id, model.num_hidden_layers
                ));
            };
            if !seen.insert(module.id) {
                return fault(format!("it has {} twice", module.id));
            }
            let found = (module.r, module.in_features, module.out_features);
            let wanted = (target.r, target.in_features, target.out_features);
            if found != wanted {
                return fault(format!(
                    "{}: expected rank {}, {} inputs and {} outputs, found {}, {} and {}",
                    module.id, wanted.0, wanted.1, wanted.2, found.0, found.1, found.2
                ));
            }
        }
        match expected.keys().find(|id| !seen.contains(id)) {
            Some(id) => fault(format!("{id} has no matrices in it, but its target_modules name it")),
            None => Ok(()),
        }
    }

    /// Reads the two files of the directory `dir`.
    ///
    /// # Errors
    ///
    /// `Io` when a file cannot be read; those of [`Adapter::from_files`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn load(dir: &std::path::Path) -> Result<Self> {
        let read = |file: &str| {
            std::fs::read(dir.join(file)).map_err(|error| {
                let what = format!(
                    "cannot read {file} in {}: an adapter is the two files {ADAPTER_CONFIG_FILE} and \
                     {ADAPTER_MODEL_FILE}",
                    dir.display()
                );
                Error::io(what, &error)
            })
        };
        let (config, model) = (read(ADAPTER_CONFIG_FILE)?, read(ADAPTER_MODEL_FILE)?);
        Self::from_files(&config, &model).context(|| dir.display().to_string())
    }

    /// Writes the two files into the directory `dir`, each whole or not at all
    /// ([`super::atomic::write_file`]); what else is there stays.
    ///
    /// # Errors
    ///
    /// Those of [`Adapter::to_files`] and `write_file`.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn save(&self, dir: &std::path::Path) -> Result<()> {
        let files = self.to_files()?;
        super::atomic::write_file(&dir.join(ADAPTER_MODEL_FILE), &files.model)?;
        super::atomic::write_file(&dir.join(ADAPTER_CONFIG_FILE), &files.config)
    }
}

impl AdapterModule {
    /// The names of `A` and `B` in the file.
    fn names(&self) -> [String; 2] {
        [A_SUFFIX, B_SUFFIX].map(|suffix| format!("{PREFIX}{}{suffix}", self.id))
    }

    /// Checks that both matrices have their sizes and are finite.
    pub(super) fn check(&self) -> Result<()> {
        let [a, b] = self.names();
        self.check_matrix(&a, &self.a, self.in_features)?;
        self.check_matrix(&b, &self.b, self.out_features)
    }

    fn check_matrix(&self, name: &str, values: &[f32], features: usize) -> Result<()> {
        if self.r.checked_mul(features) != Some(values.len()) {
            return Err(Error::format(format!(
                "{name}: expected {} x {features} weights, found {}",
                self.r,
                values.len()
            )));
        }
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(()),
            Some(index) => Err(Error::new(
                crate::error::ErrorKind::NotFinite,
                format!("{name}: weight {index} is {}; the adapter cannot be used", values[index]),
            )),
        }
    }
}

/// The module that a tensor belongs to, and whether it is its A (0) or B (1).
fn parse_name(name: &str) -> Option<(ModuleId, usize)> {
    let name = name.strip_prefix(PREFIX)?;
    let (module, half) = match name.strip_suffix(A_SUFFIX) {
        Some(module) => (module, 0),
        None => (name.strip_suffix(B_SUFFIX)?, 1),
    };
    Some((ModuleId::from_name(module)?, half))
}

/// Values as a file has them.
pub(super) fn le_bytes(values: &[f32]) -> Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        Cow::Borrowed(bytemuck::cast_slice(values))
    } else {
        Cow::Owned(values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }
}

/// A tensor's elements as f32, all of them finite. `bytes` are the whole file, which has been checked to hold them.
pub(super) fn read_f32(file: &str, name: &str, tensor: &Placed, bytes: &[u8]) -> Result<Vec<f32>> {
    let bytes = &bytes[tensor.begin as usize..][..tensor.info.bytes() as usize];
    let (pairs, quads) = (bytes.as_chunks::<2>().0, bytes.as_chunks::<4>().0);
    let values: Vec<f32> = match tensor.info.dtype {
        Dtype::F32 => quads.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
        Dtype::F16 => pairs.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32()).collect(),
        Dtype::BF16 => pairs.iter().map(|&bytes| bf16::from_le_bytes(bytes).to_f32()).collect(),
        found => {
            return Err(Error::unsupported(format!(
                "{file}: tensor {name} is {found}; expected F32, F16 or BF16"
            )));
        }
    };
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(values),
        Some(index) => Err(Error::format(format!(
            "{file}: tensor {name}: element {index} is {}; the adapter cannot be used",
            values[index]
        ))),
    }
}
