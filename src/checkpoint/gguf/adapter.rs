//! LoRA adapters as GGUF files, which llama.cpp takes with `--lora` and Ollama as `ADAPTER`
//! (`convert_lora_to_gguf.py`, `src/llama-adapter.cpp`).
//!
//! llama.cpp computes `alpha/r · B·(A·x)`, r being each tensor's own. It knows one alpha and neither rsLoRA nor
//! `alpha_pattern`: what differs goes into `B`.

use std::collections::BTreeMap;

use half::f16;

use super::architecture::{layer_and_part, name_of, projection, regrouped_row, regroups, stem};
use super::header::{Header, Stored};
use super::types::GgmlType;
use super::writer::Writer;
use crate::checkpoint::uniform::{Uniform, config_of, scaled_b};
use crate::checkpoint::{Adapter, AdapterModule};
use crate::config::{ModelConfig, ModuleId, Role};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::source::{ByteSource, read_exact};

const ALPHA: &str = "adapter.lora.alpha";
const SUFFIXES: [&str; 2] = [".weight.lora_a", ".weight.lora_b"];

/// The type of an adapter's weights in a GGUF file; the names are those of llama.cpp's `--outtype`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Outtype {
    /// IEEE single: the adapter as it was trained.
    #[default]
    F32,
    /// IEEE half: half the size, rounded.
    F16,
}

impl Outtype {
    /// The type of this name: `f32` or `f16`.
    ///
    /// # Errors
    ///
    /// `Config` for any other name.
    pub fn from_name(name: &str) -> Result<Self> {
        match name {
            "f32" => Ok(Self::F32),
            "f16" => Ok(Self::F16),
            other => Err(Error::config(format!("outtype {other:?}; expected f32 or f16"))),
        }
    }

    fn ggml_type(self) -> GgmlType {
        match self {
            Self::F32 => GgmlType::F32,
            Self::F16 => GgmlType::F16,
        }
    }

    /// `general.file_type`: llama.cpp's `ALL_F32` and `MOSTLY_F16`.
    fn file_type(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
        }
    }

    fn bytes(self, name: &str, values: &[f32]) -> Result<Vec<u8>> {
        match self {
            Self::F32 => Ok(values.iter().flat_map(|value| value.to_le_bytes()).collect()),
            Self::F16 => {
                if let Some(value) = values.iter().find(|&&value| !f16::from_f32(value).is_finite()) {
                    return Err(Error::new(
                        ErrorKind::NotFinite,
                        format!("{name}: {value} is too large for F16 (up to {}); write F32", f16::MAX),
                    ));
                }
                Ok(values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect())
            }
        }
    }
}

impl Adapter {
    /// Whether adapters of `model` can be GGUF files at all.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a family that llama.cpp has no architecture for.
    pub fn check_gguf(model: &ModelConfig) -> Result<()> {
        name_of(model.family).map(drop)
    }

    /// The bytes of a GGUF file with this adapter of `model`.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a family that llama.cpp has no architecture for; `NotFinite` for weights that the type
    /// cannot hold; those of [`Adapter::check`].
    pub fn to_gguf(&self, model: &ModelConfig, outtype: Outtype) -> Result<Vec<u8>> {
        let architecture = name_of(model.family)?;
        let uniform = Uniform::of(self, model, |module| module.alpha)?;
        let mut writer = Writer::default();
        writer.string("general.architecture", architecture);
        writer.string("general.type", "adapter");
        writer.string("adapter.type", "lora");
        writer.f32(ALPHA, uniform.value as f32);
        writer.u32("general.file_type", outtype.file_type());
        for (module, factor) in uniform.modules {
            let AdapterModule { id, r, in_features, out_features, .. } = *module;
            module.check()?;
            let name = format!("blk.{}.{}", id.layer, stem(id.projection.role()));
            let [a_name, b_name] = SUFFIXES.map(|suffix| format!("{name}{suffix}"));
            let mut b = scaled_b(module, factor)?;
            if let Some(head_rows) = regrouped_head(architecture, model, id) {
                b = regroup_rows(&b, head_rows, r, regrouped_row);
            }
            let [a, b] = [outtype.bytes(&a_name, &module.a)?, outtype.bytes(&b_name, &b)?];
            writer.tensor(&a_name, &[r, in_features], outtype.ggml_type(), &a);
            writer.tensor(&b_name, &[out_features, r], outtype.ggml_type(), &b);
        }
        Ok(writer.finish())
    }

    /// Reads an adapter of `model` from a GGUF file.
    ///
    /// # Errors
    ///
    /// `Format` for a malformed file, a tensor that no module of `model` has, a half that is missing, or shapes that
    /// do not fit; `Unsupported` for a file that is no LoRA adapter of the model's architecture; what reading the
    /// source gives.
    pub async fn from_gguf(source: &dyn ByteSource, model: &ModelConfig) -> Result<Self> {
        let name = source.name();
        read(source, model).await.context(|| name)
    }
}

/// The rows of a head that are in another order in the file, if they are.
fn regrouped_head(architecture: &str, model: &ModelConfig, id: ModuleId) -> Option<usize> {
    let rotated = matches!(id.projection.role(), Role::Query | Role::Key);
    (rotated && regroups(architecture)).then_some(model.head_dim)
}

/// Rows of `r` values, each head's row i moved to `place(i, head_rows)`.
fn regroup_rows(b: &[f32], head_rows: usize, r: usize, place: impl Fn(usize, usize) -> usize) -> Vec<f32> {
    let mut moved = vec![0.0; b.len()];
    for (row, values) in b.chunks_exact(r).enumerate() {
        let (head, inside) = (row / head_rows, row % head_rows);
        moved[(head * head_rows + place(inside, head_rows)) * r..][..r].copy_from_slice(values);
    }
    moved
}

async fn read(source: &dyn ByteSource, model: &ModelConfig) -> Result<Adapter> {
    let header = Header::read(source).await?;
    let architecture = name_of(model.family)?;
    for (key, wanted) in
        [("general.type", "adapter"), ("adapter.type", "lora"), ("general.architecture", architecture)]
    {
        let found = header.metadata.string(key)?.unwrap_or("missing");
        if found != wanted {
            return Err(Error::unsupported(format!("{key} is {found}; expected {wanted}")));
        }
    }
    let alpha = header.metadata.float(ALPHA)?.filter(|alpha| *alpha > 0.0 && alpha.is_finite());
    let alpha = alpha.ok_or_else(|| Error::format(format!("{ALPHA} is missing or no positive number")))?;

    let mut halves: BTreeMap<ModuleId, [Option<(&str, &Stored)>; 2]> = BTreeMap::new();
    for (name, stored) in &header.tensors {
        let (id, half) = parse_name(model, name)
            .ok_or_else(|| Error::format(format!("tensor {name} is no half of a module of the model")))?;
        halves.entry(id).or_default()[half] = Some((name, stored));
    }
    let mut modules = Vec::new();
    for (id, halves) in halves {
        let [Some(a), Some(b)] = halves else {
            return Err(Error::format(format!("{id}: one of lora_a and lora_b is missing")));
        };
        modules.push(read_module(source, model, architecture, id, a, b).await?);
    }
    let config = config_of(&modules, alpha, model)?;
    let adapter = Adapter { config, modules };
    adapter.check(model)?;
    Ok(adapter)
}

/// The module of a tensor and whether it is its A (0) or B (1).
fn parse_name(model: &ModelConfig, name: &str) -> Option<(ModuleId, usize)> {
    let half = SUFFIXES.iter().position(|suffix| name.ends_with(suffix))?;
    let (layer, stem) = layer_and_part(name.strip_suffix(SUFFIXES[half])?)?;
    let id = ModuleId { layer, projection: projection(model.family, stem)? };
    (layer < model.num_hidden_layers).then_some((id, half))
}

async fn read_module(
    source: &dyn ByteSource,
    model: &ModelConfig,
    architecture: &str,
    id: ModuleId,
    a: (&str, &Stored),
    b: (&str, &Stored),
) -> Result<AdapterModule> {
    let (out_features, in_features) = model.projection_shape(id.projection);
    let r = a.1.shape[0];
    if r == 0 {
        return Err(Error::format(format!("tensor {} has rank 0", a.0)));
    }
    for ((name, stored), wanted) in [(a, [r, in_features]), (b, [out_features, r])] {
        if stored.shape != wanted {
            return Err(Error::format(format!(
                "tensor {name} has the shape {:?}; expected {wanted:?}",
                stored.shape
            )));
        }
    }
    let a = values(source, a).await?;
    let mut b = values(source, b).await?;
    if let Some(head_rows) = regrouped_head(architecture, model, id) {
        b = ungroup_rows(&b, head_rows, r);
    }
    Ok(AdapterModule { id, r, in_features, out_features, a, b })
}

/// Undoes what [`regroup_rows`] did.
fn ungroup_rows(b: &[f32], head_rows: usize, r: usize) -> Vec<f32> {
    // Where a row came from: half of them are even in the file, the others odd.
    regroup_rows(b, head_rows, r, |stored, head_rows| stored % 2 * (head_rows / 2) + stored / 2)
}

async fn values(source: &dyn ByteSource, (name, stored): (&str, &Stored)) -> Result<Vec<f32>> {
    let too_large = || Error::new(ErrorKind::OutOfMemory, format!("tensor {name} is too large"));
    let len = usize::try_from(stored.bytes).map_err(|_| too_large())?;
    let values = stored.ggml_type.decode(&read_exact(source, stored.begin, len).await?);
    match values.iter().find(|value| !value.is_finite()) {
        None => Ok(values),
        Some(value) => Err(Error::format(format!("tensor {name} holds {value}; the adapter cannot be used"))),
    }
}
