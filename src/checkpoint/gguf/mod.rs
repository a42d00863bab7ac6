//! GGUF files as base models: what llama.cpp, Ollama and LM Studio keep on disk.
//!
//! The tensors appear as a Hugging Face checkpoint of the same model has them: under its names, in its order of
//! rows, decoded to 16 bits where the file has blocks. Configuration and tokenizer come from the metadata.

mod adapter;
mod architecture;
mod config;
mod header;
mod merges;
mod metadata;
mod rope;
mod tokenizer;
mod types;
mod writer;

pub use adapter::Outtype;
pub use types::GgmlType;

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::tensors::{TensorInfo, TensorSource, check_range, no_tensor};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::source::{BoxFuture, ByteSource, read_exact};
use architecture::{Architecture, Change, regrouped_row};
use header::{Header, Stored};
use metadata::Metadata;

/// A GGUF file of which only the header is in memory.
pub struct GgufFile {
    source: Rc<dyn ByteSource>,
    architecture: Architecture,
    metadata: Metadata,
    tensors: BTreeMap<String, Entry>,
    /// What the rotary frequencies are divided by, where the file says so.
    rope_freqs: Option<Vec<f32>>,
}

/// A tensor under its Hugging Face name.
struct Entry {
    info: TensorInfo,
    stored: Stored,
    change: Change,
}

impl Entry {
    /// Elements that must be read together: a block, or a head whose rows are regrouped.
    fn unit(&self) -> u64 {
        let block = self.stored.ggml_type.block().0 as u64;
        match self.change {
            Change::RegroupHeads { head_rows } => (head_rows * self.row()).max(1) as u64,
            Change::None | Change::MinusOne => block,
        }
    }

    /// Elements of a row.
    fn row(&self) -> usize {
        self.info.shape.iter().skip(1).product()
    }
}

impl GgufFile {
    /// Whether a file begins as GGUF files do, whatever its name says.
    ///
    /// # Errors
    ///
    /// What reading the source gives.
    pub async fn is_one(source: &dyn ByteSource) -> Result<bool> {
        let magic = header::MAGIC;
        Ok(source.len() >= magic.len() as u64 && read_exact(source, 0, magic.len()).await? == magic)
    }

    /// Reads and checks the header.
    ///
    /// # Errors
    ///
    /// `Format` for a malformed file, `Unsupported` for an architecture, a tensor or an element type that is not
    /// known, by its name; what reading the source gives.
    pub async fn open(source: Rc<dyn ByteSource>) -> Result<Self> {
        let header = Header::read(&*source).await?;
        let name = source.name();
        let metadata = header.metadata;
        let architecture = Architecture::of(&metadata).context(|| name)?;
        let mut tensors = BTreeMap::new();
        let mut rope_freqs = None;
        for (stored_name, stored) in header.tensors {
            if stored_name == rope::TENSOR {
                rope_freqs = Some(
                    rope::factors(&*source, &stored).await.context(|| format!("{name}: {stored_name}"))?,
                );
                continue;
            }
            if architecture.leaves_out(&stored_name) {
                continue;
            }
            let (hub_name, change) = architecture
                .tensor(&metadata, &stored_name, &stored)
                .context(|| format!("{name}: tensor {stored_name}"))?;
            let info = TensorInfo { dtype: stored.ggml_type.dtype(), shape: stored.shape.clone() };
            tensors.insert(hub_name, Entry { info, stored, change });
        }
        Ok(Self { source, architecture, metadata, tensors, rope_freqs })
    }

    /// The `config.json` of the same model.
    ///
    /// # Errors
    ///
    /// `Format` for a key that is missing or has an impossible value, `Unsupported` for what no configuration
    /// can say.
    pub fn config(&self) -> Result<Vec<u8>> {
        let config = config::synthesize(self).context(|| self.name())?;
        serde_json::to_vec(&config).map_err(|error| Error::format(format!("{}: {error}", self.name())))
    }

    /// `tokenizer.json` and `tokenizer_config.json` of the same model.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a kind of tokenizer or a way of splitting text that is not known, by its name; `Format`
    /// for lists that do not fit each other.
    pub fn tokenizer(&self) -> Result<(Vec<u8>, Vec<u8>)> {
        tokenizer::synthesize(&self.metadata, self.architecture).context(|| self.name())
    }

    async fn read_entry(&self, name: &str, entry: &Entry, bytes: Range<u64>) -> Result<Vec<u8>> {
        let size = (entry.info.dtype.bitsize() / 8) as u64;
        let ggml_type = entry.stored.ggml_type;
        let (block, block_bytes) = ggml_type.block();
        // Whole units around what was asked for.
        let unit = entry.unit();
        let first = bytes.start / size / unit * unit;
        let last = bytes.end.div_ceil(size).next_multiple_of(unit).min(entry.info.bytes() / size);
        let at = |element: u64| element / block as u64 * block_bytes as u64;
        let too_large =
            || Error::new(ErrorKind::OutOfMemory, format!("{}: {name}: a slice is too large", self.name()));
        let len = usize::try_from(at(last) - at(first)).map_err(|_| too_large())?;
        let raw = read_exact(&*self.source, entry.stored.begin + at(first), len).await?;

        let mut decoded = if ggml_type.is_quantized() { self.decode(name, ggml_type, &raw)? } else { raw };
        match entry.change {
            Change::None => {}
            Change::MinusOne => decoded = minus_one(ggml_type, &decoded),
            Change::RegroupHeads { head_rows } => {
                decoded = regroup(&decoded, head_rows, entry.row() * size as usize);
            }
        }
        // Both ends lie inside what was read, so they fit usize.
        let (skipped, wanted) = ((bytes.start - first * size) as usize, (bytes.end - bytes.start) as usize);
        decoded.truncate(skipped + wanted);
        decoded.drain(..skipped);
        Ok(decoded)
    }

    /// Blocks as f16.
    fn decode(&self, name: &str, ggml_type: GgmlType, raw: &[u8]) -> Result<Vec<u8>> {
        // Few enough values at a time that they stay in the cache.
        const BLOCKS: usize = 64;
        let (elements, bytes) = ggml_type.block();
        let mut decoded = Vec::with_capacity(raw.len() / bytes * elements * 2);
        let mut halves = [f16::ZERO; 256 * BLOCKS];
        for blocks in raw.chunks(BLOCKS * bytes) {
            let values = ggml_type.decode(blocks);
            let halves = &mut halves[..values.len()];
            halves.convert_from_f32_slice(&values);
            if let Some(at) = halves.iter().position(|half| !half.is_finite()) {
                return Err(Error::format(format!(
                    "{}: tensor {name}: {ggml_type} holds {}, which is no finite number of 16 bits (up to {}); convert \
                     the model to F16 or BF16",
                    self.name(),
                    values[at],
                    f16::MAX
                )));
            }
            decoded.extend(halves.iter().flat_map(|half| half.to_le_bytes()));
        }
        Ok(decoded)
    }
}

/// llama.cpp keeps Gemma's norms as what they multiply by, 1 + weight, in f32.
fn minus_one(ggml_type: GgmlType, bytes: &[u8]) -> Vec<u8> {
    ggml_type.decode(bytes).iter().flat_map(|value| (value - 1.0).to_le_bytes()).collect()
}

/// Undoes what llama.cpp does to query and key rows of Llama: its rotary embedding turns neighbouring rows of a
/// head, Hugging Face's row i with row i + head_dim/2. Bytes of whole heads in, the same out.
fn regroup(bytes: &[u8], head_rows: usize, row_bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for head in bytes.chunks_exact((head_rows * row_bytes).max(1)) {
        for row in 0..head_rows {
            let stored = regrouped_row(row, head_rows);
            out.extend_from_slice(&head[stored * row_bytes..][..row_bytes]);
        }
    }
    out
}

impl TensorSource for GgufFile {
    fn name(&self) -> &str {
        self.source.name()
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.tensors.keys().map(String::as_str))
    }

    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name).map(|entry| &entry.info)
    }

    fn granule(&self, name: &str) -> u64 {
        self.tensors.get(name).map_or(1, |entry| entry.unit() * (entry.info.dtype.bitsize() / 8) as u64)
    }

    fn is_decoded(&self) -> bool {
        true
    }

    fn read<'a>(&'a self, name: &'a str, bytes: Range<u64>) -> BoxFuture<'a, Result<Vec<u8>>> {
        Box::pin(async move {
            let entry = self.tensors.get(name).ok_or_else(|| no_tensor(self.name(), name))?;
            check_range(self.name(), name, entry.info.bytes(), &bytes)?;
            self.read_entry(name, entry, bytes).await
        })
    }
}
