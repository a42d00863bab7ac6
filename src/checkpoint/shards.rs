//! Models in several safetensors files, with an index that says which tensor is in which.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;

use serde::Deserialize;

use super::safetensors::SafetensorsFile;
use super::tensors::{TensorInfo, TensorSource, no_tensor};
use crate::error::{Error, ErrorKind, Result};
use crate::source::{BoxFuture, ByteSource};

/// The name of a model's weights in one file.
pub const MODEL_FILE: &str = "model.safetensors";
/// The name of the index of a model in several files.
pub const INDEX_FILE: &str = "model.safetensors.index.json";
/// Largest index that is read, in bytes; one of a model of 400 billion parameters has 100 KB.
pub const MAX_INDEX_BYTES: u64 = 64 << 20;

/// Weights as PyTorch pickles them, in one file or several.
pub const PICKLED: [&str; 2] = ["pytorch_model.bin", "pytorch_model.bin.index.json"];

/// Why a model with nothing but `found` cannot be used, and what to do.
pub fn pickled(found: &str) -> String {
    format!(
        "has its weights only as {found}, and .bin weights are not read (they may hold programs). Convert them to \
         {MODEL_FILE}, in Python with transformers: AutoModelForCausalLM.from_pretrained(folder, \
         dtype=\"auto\").save_pretrained(new_folder), and the same with AutoTokenizer"
    )
}

/// `model.safetensors.index.json`, as transformers writes it. Its `total_size` is not read: published files are
/// known to count shared tensors twice, and every shard's header is checked against its own length.
#[derive(Debug)]
pub struct ShardIndex {
    /// File by tensor.
    weight_map: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct RawIndex {
    weight_map: BTreeMap<String, String>,
}

impl ShardIndex {
    /// Reads and checks an index: it names at least one tensor, and every file is a plain name in the index's
    /// own folder.
    ///
    /// # Errors
    ///
    /// `Format` otherwise.
    pub fn parse(json: &[u8]) -> Result<Self> {
        if json.len() as u64 > MAX_INDEX_BYTES {
            return Err(Error::format(format!(
                "{INDEX_FILE}: {} bytes; at most {MAX_INDEX_BYTES} are read",
                json.len()
            )));
        }
        let raw: RawIndex = serde_json::from_slice(json)
            .map_err(|error| Error::format(format!("{INDEX_FILE}: not a model's index: {error}")))?;
        if raw.weight_map.is_empty() {
            return Err(Error::format(format!("{INDEX_FILE}: weight_map names no tensor")));
        }
        for (tensor, file) in &raw.weight_map {
            if !is_plain_name(file) {
                return Err(Error::format(format!(
                    "{INDEX_FILE}: tensor {tensor} is said to be in {file:?}; expected the plain name of a \
                     .safetensors file beside the index"
                )));
            }
        }
        Ok(Self { weight_map: raw.weight_map })
    }

    /// The files that the index names, sorted.
    pub fn files(&self) -> BTreeSet<&str> {
        self.weight_map.values().map(String::as_str).collect()
    }
}

/// Whether `name` is a file's name and nothing that leads elsewhere, on any system.
fn is_plain_name(name: &str) -> bool {
    name.ends_with(".safetensors")
        && !name.starts_with('.')
        && !name.contains(['/', '\\', ':', '\0'])
        && !name.chars().any(char::is_control)
}

/// Opens a model's weights: one safetensors file, or several with the bytes of their index. `files` has each under
/// its name.
///
/// # Errors
///
/// `Io` for files that are missing; those of [`SafetensorsFile::open`], [`ShardIndex::parse`] and
/// [`ShardedSafetensors::open`].
pub async fn open_weights(
    files: &[(String, Rc<dyn ByteSource>)],
    index: Option<&[u8]>,
) -> Result<Rc<dyn TensorSource>> {
    match (files, index) {
        (files, Some(json)) => Ok(Rc::new(ShardedSafetensors::open(&ShardIndex::parse(json)?, files).await?)),
        ([(_, file)], None) => Ok(Rc::new(SafetensorsFile::open(Rc::clone(file)).await?)),
        ([], None) => Err(Error::new(ErrorKind::Io, "there is no file of weights")),
        (files, None) => Err(Error::new(
            ErrorKind::Io,
            format!("{INDEX_FILE} is missing: it says which of the {} files has which tensor", files.len()),
        )),
    }
}

/// The shards of one model.
pub struct ShardedSafetensors {
    /// By name.
    shards: Vec<(String, SafetensorsFile)>,
    /// Shard by tensor.
    places: BTreeMap<String, usize>,
}

impl ShardedSafetensors {
    /// Opens the shards of `index`; `files` has each under its name, in any order. Files that the index does
    /// not name are left alone.
    ///
    /// # Errors
    ///
    /// `Io` with the name of a file that is not among `files`. `Format` for a tensor that is not in its file, or a
    /// tensor of a shard that the index puts elsewhere or does not name; those of [`SafetensorsFile::open`].
    pub async fn open(index: &ShardIndex, files: &[(String, Rc<dyn ByteSource>)]) -> Result<Self> {
        let mut shards = Vec::new();
        let mut places = BTreeMap::new();
        for name in index.files() {
            let Some((_, source)) = files.iter().find(|(found, _)| found == name) else {
                return Err(Error::new(
                    ErrorKind::Io,
                    format!("{INDEX_FILE} names {name}, which is missing: all files of the model are needed"),
                ));
            };
            let shard = SafetensorsFile::open(Rc::clone(source)).await?;
            for tensor in shard.names() {
                if index.weight_map.get(tensor).is_none_or(|file| file != name) {
                    return Err(Error::format(format!(
                        "{}: has the tensor {tensor}, which {INDEX_FILE} says is in {}. Are all files of one model?",
                        shard.name(),
                        index.weight_map.get(tensor).map_or("no file", |file| file)
                    )));
                }
                places.insert(tensor.to_owned(), shards.len());
            }
            shards.push((name.to_owned(), shard));
        }
        if let Some((tensor, file)) =
            index.weight_map.iter().find(|(tensor, _)| !places.contains_key(*tensor))
        {
            return Err(Error::format(format!(
                "{file}: there is no tensor {tensor} in it, though {INDEX_FILE} says so. Are all files of one model?"
            )));
        }
        Ok(Self { shards, places })
    }

    /// The tensor's shard with its name.
    fn place(&self, tensor: &str) -> Option<&(String, SafetensorsFile)> {
        self.places.get(tensor).map(|&shard| &self.shards[shard])
    }
}

impl TensorSource for ShardedSafetensors {
    fn name(&self) -> &str {
        INDEX_FILE
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.places.keys().map(String::as_str))
    }

    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.place(name)?.1.info(name)
    }

    fn shard(&self, name: &str) -> Option<&str> {
        self.place(name).map(|(shard, _)| shard.as_str())
    }

    fn read<'a>(&'a self, name: &'a str, bytes: Range<u64>) -> BoxFuture<'a, Result<Vec<u8>>> {
        match self.place(name) {
            Some((_, shard)) => shard.read(name, bytes),
            None => Box::pin(async move { Err(no_tensor(INDEX_FILE, name)) }),
        }
    }
}
