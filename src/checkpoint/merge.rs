//! A base model with an adapter added to its weights: `W0 + scale·B·A`, computed in f32 and rounded to the nearest
//! value (ties to even) of the type that the weight is stored in. Everything else is copied byte for byte.
//!
//! The model passes through in slices: host memory holds the adapter and what [`Slices`] reads ahead.

use std::borrow::Cow;
use std::collections::BTreeMap;

use ::safetensors::Dtype;
use half::{bf16, f16};
use serde_json::json;

use super::adapter::{Adapter, AdapterModule};
use super::canonical::{Canonical, canonical};
use super::safetensors::header;
use super::shards::{INDEX_FILE, MODEL_FILE};
use super::stream::Slices;
use super::tensors::{TensorInfo, TensorSource};
use super::uniform::transposed;
use crate::config::{ModelConfig, TensorKind, TensorSpec};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::sink::ByteSink;

/// How a merged model is cut into files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharding {
    /// As the base is.
    AsBase,
    /// Into files of at most this many bytes of tensors, if no single one is larger; one file if they fit.
    AtMost(u64),
}

/// A merged model to be written.
pub struct Merge<'a> {
    source: &'a dyn TensorSource,
    files: Vec<MergedFile>,
    /// By the tensor's name in `source`.
    deltas: BTreeMap<String, Delta<'a>>,
}

/// One file of a merged model.
struct MergedFile {
    name: String,
    header: Vec<u8>,
    /// In the order of the file.
    tensors: Vec<String>,
    bytes: u64,
}

impl<'a> Merge<'a> {
    /// Whether an adapter can be merged into the weights of `source` at all.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a source whose tensors are decoded (GGUF).
    pub fn check_source(source: &dyn TensorSource) -> Result<()> {
        if source.is_decoded() {
            return Err(Error::unsupported(format!(
                "{}: an adapter cannot be merged into a GGUF file: its weights are quantised or laid out for llama.cpp. \
                 Merge into the model that it was converted from and convert that, or export the adapter as GGUF, \
                 which llama.cpp loads beside the model",
                source.name()
            )));
        }
        Ok(())
    }

    /// Plans the merging of `adapter` into the weights of `source`, which belong to `model`.
    ///
    /// # Errors
    ///
    /// `Unsupported` for an adapted weight that is not F32, F16 or BF16; `Format` for a weight that is missing or has
    /// another shape; `NotFinite` for an adapter that is not finite; those of [`Merge::check_source`] and
    /// [`Adapter::check`].
    pub fn new(
        source: &'a dyn TensorSource,
        adapter: &'a Adapter,
        model: &ModelConfig,
        sharding: Sharding,
    ) -> Result<Self> {
        Self::check_source(source)?;
        adapter.check(model)?;
        let canonical_source = Canonical::new(source)?;
        let stored: BTreeMap<String, &str> = source.names().map(|name| (canonical(name), name)).collect();
        let resolved = adapter.config.resolve(model)?;
        let scales: BTreeMap<_, _> = resolved.iter().map(|module| (module.id, module.scale)).collect();
        let mut deltas = BTreeMap::new();
        for module in &adapter.modules {
            module.check()?;
            let spec = model.linear_tensor(module.id);
            check_weight(&canonical_source, &spec)?;
            let delta = Delta::new(module, scales[&module.id], spec.kind);
            deltas.insert(stored[&spec.name].to_owned(), delta);
        }
        let files = split(source, sharding)
            .into_iter()
            .map(|(name, tensors)| MergedFile::new(source, name, tensors))
            .collect::<Result<_>>()?;
        Ok(Self { source, files, deltas })
    }

    /// The files' names and exact sizes in bytes, in the order in which they are to be written.
    pub fn files(&self) -> impl Iterator<Item = (&str, u64)> {
        self.files.iter().map(|file| (file.name.as_str(), file.bytes))
    }

    /// `model.safetensors.index.json`, if there are several files or the base has an index.
    ///
    /// # Errors
    ///
    /// `Format` when it cannot be written as JSON.
    pub fn index(&self) -> Result<Option<Vec<u8>>> {
        if let [file] = &self.files[..]
            && file.name == MODEL_FILE
        {
            return Ok(None);
        }
        let total: u64 = self.files.iter().map(|file| file.bytes - file.header.len() as u64).sum();
        let tensors = self.files.iter().flat_map(|file| file.tensors.iter().map(|name| (name, &file.name)));
        let weight_map: BTreeMap<_, _> = tensors.collect();
        let index = json!({ "metadata": { "total_size": total }, "weight_map": weight_map });
        let bytes = serde_json::to_vec_pretty(&index);
        bytes.map(Some).map_err(|error| Error::format(format!("{INDEX_FILE} cannot be written: {error}")))
    }

    /// Writes the file of this number to `sink`; `progress` is told the bytes of each piece.
    ///
    /// # Errors
    ///
    /// `NotFinite` for a merged weight that its type cannot hold; what reading and writing give.
    ///
    /// # Panics
    ///
    /// If there is no file of this number.
    pub async fn write(
        &self,
        file: usize,
        sink: &mut dyn ByteSink,
        progress: &mut dyn FnMut(u64),
    ) -> Result<()> {
        let file = &self.files[file];
        sink.write(&file.header).await?;
        progress(file.header.len() as u64);
        let mut slices = Slices::new(self.source, &file.tensors);
        while let Some(mut slice) = slices.next().await? {
            let name = &file.tensors[slice.tensor];
            if let (Some(delta), Some(info)) = (self.deltas.get(name), self.source.info(name)) {
                delta
                    .add(info.dtype, slice.offset, &mut slice.bytes)
                    .context(|| format!("{}: tensor {name}", self.source.name()))?;
            }
            sink.write(&slice.bytes).await?;
            progress(slice.bytes.len() as u64);
        }
        Ok(())
    }
}

fn check_weight(source: &dyn TensorSource, TensorSpec { name, shape, .. }: &TensorSpec) -> Result<()> {
    let file = source.name();
    let info = source.info(name).ok_or_else(|| {
        Error::format(format!(
            "{file}: tensor {name} is missing. Do config.json and the weights belong together?"
        ))
    })?;
    if info.shape != *shape {
        return Err(Error::format(format!(
            "{file}: tensor {name} has the shape {:?}, but config.json asks for {shape:?}",
            info.shape
        )));
    }
    match info.dtype {
        Dtype::F32 | Dtype::F16 | Dtype::BF16 => Ok(()),
        other => Err(Error::unsupported(format!(
            "{file}: tensor {name} is {other}; expected F32, F16 or BF16, which an adapter can be added to"
        ))),
    }
}

/// The files' names with their tensors.
fn split(source: &dyn TensorSource, sharding: Sharding) -> Vec<(String, Vec<String>)> {
    let limit = match sharding {
        Sharding::AtMost(limit) => limit,
        Sharding::AsBase => {
            let mut files: BTreeMap<&str, Vec<String>> = BTreeMap::new();
            for name in source.names() {
                files.entry(source.shard(name).unwrap_or(MODEL_FILE)).or_default().push(name.to_owned());
            }
            return files.into_iter().map(|(file, tensors)| (file.to_owned(), tensors)).collect();
        }
    };
    let mut files: Vec<Vec<String>> = Vec::new();
    let mut room = 0;
    for name in source.names() {
        let bytes = source.info(name).map_or(0, TensorInfo::bytes);
        match files.last_mut() {
            Some(file) if bytes <= room => file.push(name.to_owned()),
            _ => {
                files.push(vec![name.to_owned()]);
                room = limit;
            }
        }
        room = room.saturating_sub(bytes);
    }
    let count = files.len();
    let name = |i: usize| match count {
        1 => MODEL_FILE.to_owned(),
        _ => format!("model-{:05}-of-{count:05}.safetensors", i + 1),
    };
    files.into_iter().enumerate().map(|(i, tensors)| (name(i), tensors)).collect()
}

impl MergedFile {
    fn new(source: &dyn TensorSource, name: String, mut tensors: Vec<String>) -> Result<Self> {
        // As the format's own library does: large elements first, so that each tensor is aligned for its type.
        let bits = |name: &String| source.info(name).map_or(0, |info| info.dtype.bitsize());
        tensors.sort_by_key(|name| std::cmp::Reverse(bits(name)));
        let infos: Vec<(&str, &TensorInfo)> =
            tensors.iter().filter_map(|name| Some((name.as_str(), source.info(name)?))).collect();
        let header = header(&infos)?;
        let bytes = header.len() as u64 + infos.iter().map(|(_, info)| info.bytes()).sum::<u64>();
        Ok(Self { name, header, tensors, bytes })
    }
}

/// What is added to a weight: scale·left·right.
struct Delta<'a> {
    /// `[rows, r]`.
    left: Cow<'a, [f32]>,
    /// `[r, columns]`.
    right: Cow<'a, [f32]>,
    r: usize,
    columns: usize,
    scale: f32,
}

impl<'a> Delta<'a> {
    fn new(module: &'a AdapterModule, scale: f32, kind: TensorKind) -> Self {
        let AdapterModule { r, in_features, out_features, ref a, ref b, .. } = *module;
        // Stored `[in_features, out_features]`: (B·A)ᵀ = Aᵀ·Bᵀ.
        if kind == TensorKind::Conv1d {
            let left = Cow::Owned(transposed(a, r, in_features));
            let right = Cow::Owned(transposed(b, out_features, r));
            return Self { left, right, r, columns: out_features, scale };
        }
        Self { left: Cow::Borrowed(b), right: Cow::Borrowed(a), r, columns: in_features, scale }
    }

    /// Adds to the part of the weight that begins `offset` bytes from its start.
    fn add(&self, dtype: Dtype, offset: u64, bytes: &mut [u8]) -> Result<()> {
        let size = dtype.bitsize() / 8;
        let first = offset / size as u64;
        // A row is a matrix's, and its number fits usize as `left` does.
        let (mut row, mut column) =
            ((first / self.columns as u64) as usize, (first % self.columns as u64) as usize);
        let mut rest = bytes;
        let mut sums = vec![0f32; self.columns];
        while !rest.is_empty() {
            let len = (self.columns - column).min(rest.len() / size);
            let (part, after) = rest.split_at_mut(len * size);
            let sums = &mut sums[..len];
            self.row(row, column, sums);
            if let Some(index) = add_row(dtype, part, sums) {
                return Err(Error::new(
                    ErrorKind::NotFinite,
                    format!("row {row}, column {}: the merged weight is no finite {dtype}", column + index),
                ));
            }
            (rest, row, column) = (after, row + 1, 0);
        }
        Ok(())
    }

    /// Elements of a row of scale·left·right, from `column` on.
    fn row(&self, row: usize, column: usize, sums: &mut [f32]) {
        sums.fill(0.0);
        for (k, &left) in self.left[row * self.r..][..self.r].iter().enumerate() {
            let right = &self.right[k * self.columns + column..][..sums.len()];
            for (sum, &right) in sums.iter_mut().zip(right) {
                *sum += left * right;
            }
        }
        sums.iter_mut().for_each(|sum| *sum *= self.scale);
    }
}

/// Adds to stored elements; the index of the first whose result is not finite.
fn add_row(dtype: Dtype, bytes: &mut [u8], sums: &[f32]) -> Option<usize> {
    let mut bad = None;
    let mut check = |index: usize, is_finite: bool| {
        if !is_finite {
            bad = bad.or(Some(index));
        }
    };
    match dtype {
        Dtype::F16 => {
            for (i, (bits, sum)) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(sums).enumerate() {
                let merged = f16::from_f32(f16::from_le_bytes(*bits).to_f32() + sum);
                check(i, merged.is_finite());
                *bits = merged.to_le_bytes();
            }
        }
        Dtype::BF16 => {
            for (i, (bits, sum)) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(sums).enumerate() {
                let merged = bf16::from_f32(bf16::from_le_bytes(*bits).to_f32() + sum);
                check(i, merged.is_finite());
                *bits = merged.to_le_bytes();
            }
        }
        _ => {
            for (i, (bits, sum)) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(sums).enumerate() {
                let merged = f32::from_le_bytes(*bits) + sum;
                check(i, merged.is_finite());
                *bits = merged.to_le_bytes();
            }
        }
    }
    bad
}
