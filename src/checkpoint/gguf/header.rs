//! The header of a GGUF file: metadata and the list of tensors
//! (<https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, versions 2 and 3, little-endian).
//!
//! Nothing in it is believed: a count takes no memory, a length only after it was checked against the file and
//! the budget, and every tensor's bytes lie in the file without overlap.

use std::collections::BTreeMap;

use super::metadata::{ARRAY, Array, Metadata, STRING, Scalar, Value};
use super::types::GgmlType;
use crate::error::{Context, Error, Result};
use crate::source::{ByteSource, read_exact};

/// Most bytes that a header may have; those of the largest vocabularies have some 20 MB.
const MAX_HEADER_BYTES: u64 = 64 << 20;
/// The specification's own bound on keys.
const MAX_KEY_BYTES: u64 = u16::MAX as u64;
/// Longer than any tensor's name; ggml itself keeps 64 bytes.
const MAX_NAME_BYTES: u64 = 256;
const MAX_DIMENSIONS: u32 = 4;
pub(super) const DEFAULT_ALIGNMENT: u64 = 32;
/// Alignments in use are 32 bytes, seldom a page.
const MAX_ALIGNMENT: u64 = 1 << 20;
/// Bytes read at a time.
const CHUNK: usize = 256 << 10;

/// A tensor in the file.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) ggml_type: GgmlType,
    /// Slowest dimension first, as everywhere but in the file.
    pub(super) shape: Vec<usize>,
    /// Offset of its first byte in the file; all its bytes lie in the file.
    pub(super) begin: u64,
    /// Its size.
    pub(super) bytes: u64,
}

/// The checked header.
/// The first bytes of every file.
pub(super) const MAGIC: &[u8] = b"GGUF";

#[derive(Debug)]
pub(super) struct Header {
    pub(super) metadata: Metadata,
    pub(super) tensors: BTreeMap<String, Stored>,
}

impl Header {
    pub(super) async fn read(source: &dyn ByteSource) -> Result<Self> {
        let name = source.name();
        Self::parse(&mut Reader { source, at: 0, chunk: Vec::new(), next: 0 }).await.context(|| name)
    }

    async fn parse(reader: &mut Reader<'_>) -> Result<Self> {
        if reader.source.len() < 4 || reader.take(4).await? != MAGIC {
            return Err(Error::format("not a GGUF file: it does not begin with \"GGUF\""));
        }
        match reader.u32().await? {
            2 | 3 => {}
            version if matches!(version.swap_bytes(), 1..=3) => {
                return Err(Error::unsupported(
                    "a big-endian GGUF file; convert the model for little-endian",
                ));
            }
            version => {
                return Err(Error::unsupported(format!(
                    "GGUF version {version}; expected 2 or 3. Convert the model again with a current llama.cpp"
                )));
            }
        }
        let tensor_count = reader.u64().await?;
        let metadata_count = reader.u64().await?;
        let metadata = Metadata::new(reader.metadata(metadata_count).await?);

        let mut raw = BTreeMap::new();
        for _ in 0..tensor_count {
            let name = reader.string("a tensor's name", MAX_NAME_BYTES).await?;
            let tensor = reader.tensor().await.context(|| format!("tensor {name}"))?;
            if raw.contains_key(&name) {
                return Err(Error::format(format!("the tensor {name} appears twice")));
            }
            raw.insert(name, tensor);
        }
        let alignment = metadata.unsigned("general.alignment")?.unwrap_or(DEFAULT_ALIGNMENT);
        if !alignment.is_multiple_of(8) || !(8..=MAX_ALIGNMENT).contains(&alignment) {
            return Err(Error::format(format!(
                "general.alignment {alignment}: expected a multiple of 8 up to {MAX_ALIGNMENT}"
            )));
        }
        let data_begin = reader.at.next_multiple_of(alignment);
        let tensors = place(raw, data_begin, alignment, reader.source.len())?;
        Ok(Self { metadata, tensors })
    }
}

/// A tensor as it is listed: type, shape, offset into the data.
type Listed = (GgmlType, Vec<usize>, u64);

/// Turns offsets into the data into offsets into the file; checks bounds and overlap.
fn place(
    raw: BTreeMap<String, Listed>,
    data_begin: u64,
    alignment: u64,
    file_bytes: u64,
) -> Result<BTreeMap<String, Stored>> {
    let mut tensors = BTreeMap::new();
    for (name, (ggml_type, shape, offset)) in raw {
        let fault = |what: String| Error::format(format!("tensor {name}: {what}"));
        let bytes = ggml_type.bytes(&shape).map_err(|error| error.context(format!("tensor {name}")))?;
        if !offset.is_multiple_of(alignment) {
            return Err(fault(format!("its offset {offset} is not a multiple of the alignment {alignment}")));
        }
        let begin = data_begin.checked_add(offset);
        match begin.and_then(|begin| begin.checked_add(bytes)) {
            Some(end) if end <= file_bytes => {}
            _ => {
                return Err(fault(format!(
                    "truncated: {ggml_type} {shape:?} needs {bytes} bytes at offset {offset} of the data, which \
                     begins at byte {data_begin} of {file_bytes}. Is the file complete?"
                )));
            }
        }
        tensors.insert(name, Stored { ggml_type, shape, begin: data_begin + offset, bytes });
    }
    let mut in_order: Vec<(&String, &Stored)> = tensors.iter().collect();
    in_order.sort_by_key(|(_, tensor)| (tensor.begin, tensor.bytes));
    for pair in in_order.windows(2) {
        if pair[0].1.begin + pair[0].1.bytes > pair[1].1.begin {
            return Err(Error::format(format!("the tensors {} and {} overlap", pair[0].0, pair[1].0)));
        }
    }
    Ok(tensors)
}

/// Reads forward through a header.
struct Reader<'a> {
    source: &'a dyn ByteSource,
    /// Offset of the next byte in the file.
    at: u64,
    chunk: Vec<u8>,
    /// The next byte's place in the chunk.
    next: usize,
}

impl Reader<'_> {
    /// Bytes that may still follow.
    fn room(&self) -> u64 {
        self.source.len().min(MAX_HEADER_BYTES).saturating_sub(self.at)
    }

    fn short(&self, wanted: u64) -> Error {
        Error::format(format!(
            "truncated, or not a GGUF file: {wanted} bytes are to follow at byte {} of the header, and at most {} can",
            self.at,
            self.room()
        ))
    }

    /// The next `len` bytes.
    async fn take(&mut self, len: usize) -> Result<&[u8]> {
        let room = self.room();
        if len as u64 > room {
            return Err(self.short(len as u64));
        }
        if self.chunk.len() - self.next < len {
            let wanted = len.max(CHUNK.min(room as usize));
            self.chunk = read_exact(self.source, self.at, wanted).await?;
            self.next = 0;
        }
        let bytes = &self.chunk[self.next..self.next + len];
        self.next += len;
        self.at += len as u64;
        Ok(bytes)
    }

    async fn u32(&mut self) -> Result<u32> {
        let bytes = self.take(4).await?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    async fn u64(&mut self) -> Result<u64> {
        let bytes = self.take(8).await?;
        Ok(bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    async fn string(&mut self, what: &str, limit: u64) -> Result<String> {
        let len = self.u64().await?;
        if len > self.room() {
            return Err(self.short(len));
        }
        if len > limit {
            return Err(Error::format(format!("{what} has {len} bytes; at most {limit} are read")));
        }
        let bytes = self.take(len as usize).await?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(Error::format(format!("{what} is not UTF-8"))),
        }
    }

    async fn metadata(&mut self, count: u64) -> Result<BTreeMap<String, Value>> {
        let mut values = BTreeMap::new();
        for _ in 0..count {
            let key = self.string("a key of the metadata", MAX_KEY_BYTES).await?;
            let value = self.value().await.context(|| key.clone())?;
            if values.contains_key(&key) {
                return Err(Error::format(format!("the key {key} appears twice")));
            }
            values.insert(key, value);
        }
        Ok(values)
    }

    async fn value(&mut self) -> Result<Value> {
        match self.u32().await? {
            STRING => Ok(Value::String(self.string("the text", MAX_HEADER_BYTES).await?)),
            ARRAY => {
                let element = self.u32().await?;
                let count = self.u64().await?;
                if element == STRING {
                    return Ok(Value::Array(Array::Strings(self.strings(count).await?)));
                }
                let scalar = Scalar::new(element)
                    .ok_or_else(|| Error::unsupported(format!("an array of values of type {element}")))?;
                let bytes = count.checked_mul(scalar.bytes() as u64).filter(|&bytes| bytes <= self.room());
                let bytes = bytes.ok_or_else(|| self.short(count.saturating_mul(scalar.bytes() as u64)))?;
                Ok(Value::Array(Array::Scalars(scalar, self.take(bytes as usize).await?.to_vec())))
            }
            other => {
                let scalar = Scalar::new(other)
                    .ok_or_else(|| Error::format(format!("a value of the unknown type {other}")))?;
                Ok(scalar.value(self.take(scalar.bytes()).await?))
            }
        }
    }

    async fn strings(&mut self, count: u64) -> Result<Vec<String>> {
        // Each has at least the 8 bytes of its length.
        if count.checked_mul(8).is_none_or(|bytes| bytes > self.room()) {
            return Err(self.short(count.saturating_mul(8)));
        }
        let mut strings = Vec::new();
        for _ in 0..count {
            strings.push(self.string("a text", MAX_HEADER_BYTES).await?);
        }
        Ok(strings)
    }

    async fn tensor(&mut self) -> Result<Listed> {
        let dimensions = self.u32().await?;
        if !(1..=MAX_DIMENSIONS).contains(&dimensions) {
            return Err(Error::format(format!(
                "it has {dimensions} dimensions; expected 1 to {MAX_DIMENSIONS}"
            )));
        }
        let mut shape = Vec::with_capacity(dimensions as usize);
        for _ in 0..dimensions {
            let size = self.u64().await?;
            shape.push(usize::try_from(size).map_err(|_| Error::format("a dimension is too large"))?);
        }
        shape.reverse();
        let ggml_type = GgmlType::new(self.u32().await?)?;
        Ok((ggml_type, shape, self.u64().await?))
    }
}
