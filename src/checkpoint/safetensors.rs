//! The safetensors format: an 8-byte little-endian length, a JSON header of that length, then the
//! tensors' bytes.
//!
//! The header is parsed here and not by the `safetensors` crate, whose offsets are `usize`: a browser
//! has 32 bits of those and models are larger. The crate supplies the element types and writes files.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::ops::Range;
use std::rc::Rc;

use ::safetensors::{Dtype, View};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use super::tensors::{TensorInfo, TensorSource, check_range, no_tensor};
use crate::error::{Error, Result};
use crate::source::{BoxFuture, ByteSource, read_exact};

/// Bytes of the header's length.
const LENGTH_BYTES: u64 = 8;
/// The format's own bound on the header.
const MAX_HEADER_BYTES: u64 = 100_000_000;
const METADATA: &str = "__metadata__";

/// A tensor and where it is.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) info: TensorInfo,
    /// Offset of its first byte in the file; its bytes lie in the file.
    pub(super) begin: u64,
}

/// A safetensors file of which only the header is in memory.
pub struct SafetensorsFile {
    source: Rc<dyn ByteSource>,
    header: Header,
}

impl SafetensorsFile {
    /// Reads and checks the header: every tensor's bytes lie in the file, are as many as its type and
    /// shape need, and together they fill the file without gap or overlap.
    ///
    /// # Errors
    ///
    /// `Format`, naming the file and the tensor, and what reading the source gives.
    pub async fn open(source: Rc<dyn ByteSource>) -> Result<Self> {
        let name = source.name();
        let length = read_exact(&*source, 0, LENGTH_BYTES as usize).await?;
        let header_bytes = header_length(name, &length, source.len())?;
        let json = read_exact(&*source, LENGTH_BYTES, header_bytes).await?;
        let header = Header::parse(name, &json, source.len())?;
        Ok(Self { source, header })
    }

    /// The header's free-form texts.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.header.metadata
    }
}

impl TensorSource for SafetensorsFile {
    fn name(&self) -> &str {
        self.source.name()
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.header.tensors.keys().map(String::as_str))
    }

    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.header.tensors.get(name).map(|tensor| &tensor.info)
    }

    fn read<'a>(&'a self, name: &'a str, bytes: Range<u64>) -> BoxFuture<'a, Result<Vec<u8>>> {
        Box::pin(async move {
            let Some(tensor) = self.header.tensors.get(name) else {
                return Err(no_tensor(self.name(), name));
            };
            let len = check_range(self.name(), name, tensor.info.bytes(), &bytes)?;
            read_exact(&*self.source, tensor.begin + bytes.start, len).await
        })
    }
}

/// The checked header of a file.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) tensors: BTreeMap<String, Placed>,
    pub(super) metadata: BTreeMap<String, String>,
}

/// The header's length from the file's first 8 bytes, checked against the file's length.
fn header_length(file: &str, length: &[u8], file_bytes: u64) -> Result<usize> {
    let length = length.try_into().map(u64::from_le_bytes).unwrap_or(u64::MAX);
    let room = file_bytes.saturating_sub(LENGTH_BYTES).min(MAX_HEADER_BYTES);
    if length > room {
        return Err(Error::format(format!(
            "{file}: not a safetensors file, or truncated: its first 8 bytes promise a header of {length} bytes, \
             and it can have at most {room}"
        )));
    }
    Ok(length as usize)
}

impl Header {
    /// Reads the header of a file that is in memory.
    pub(super) fn of_bytes(file: &str, bytes: &[u8]) -> Result<Self> {
        let Some((length, rest)) = bytes.split_at_checked(LENGTH_BYTES as usize) else {
            let found = bytes.len();
            return Err(Error::format(format!("{file}: truncated: a header needs 8 bytes, found {found}")));
        };
        let header_bytes = header_length(file, length, bytes.len() as u64)?;
        Self::parse(file, &rest[..header_bytes], bytes.len() as u64)
    }

    /// Parses and checks the JSON header of a file of `file_bytes` bytes.
    fn parse(file: &str, json: &[u8], file_bytes: u64) -> Result<Self> {
        let raw: RawHeader = serde_json::from_slice(json).map_err(|error| {
            Error::format(format!("{file}: the safetensors header is not valid: {error}"))
        })?;
        let data_begin = LENGTH_BYTES + json.len() as u64;
        let mut tensors = BTreeMap::new();
        for (name, raw) in raw.tensors {
            let tensor = raw
                .check(data_begin, file_bytes)
                .map_err(|error| error.context(format!("{file}: tensor {name}")))?;
            tensors.insert(name, tensor);
        }

        let mut in_order: Vec<(&String, &Placed)> = tensors.iter().collect();
        in_order.sort_by_key(|(_, tensor)| (tensor.begin, tensor.info.bytes()));
        let mut expected = data_begin;
        for (name, tensor) in in_order {
            if tensor.begin != expected {
                let fault =
                    if tensor.begin < expected { "overlaps the tensor before it" } else { "leaves a gap" };
                return Err(Error::format(format!(
                    "{file}: tensor {name} {fault}: expected it to start at byte {expected}, found {}",
                    tensor.begin
                )));
            }
            expected = tensor.begin + tensor.info.bytes();
        }
        if expected != file_bytes {
            return Err(Error::format(format!(
                "{file}: the tensors end at byte {expected}, but the file has {file_bytes} bytes"
            )));
        }
        Ok(Self { tensors, metadata: raw.metadata })
    }
}

/// A header as it is written; names are unique.
struct RawHeader {
    tensors: Vec<(String, RawTensor)>,
    metadata: BTreeMap<String, String>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTensor {
    dtype: Dtype,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

impl RawTensor {
    /// Turns offsets into the data into offsets into the file, and checks them against the shape.
    fn check(self, data_begin: u64, file_bytes: u64) -> Result<Placed> {
        let (dtype, shape) = (self.dtype, self.shape);
        let bits = shape.iter().try_fold(dtype.bitsize() as u64, |bits, &size| bits.checked_mul(size));
        let expected = match bits {
            Some(bits) if bits.is_multiple_of(8) => bits / 8,
            Some(_) => {
                return Err(Error::format(format!("{dtype} {shape:?} does not end at a whole byte")));
            }
            None => {
                return Err(Error::format(format!("the size of {dtype} {shape:?} overflows")));
            }
        };
        let (begin, end) = self.data_offsets;
        if end.checked_sub(begin) != Some(expected) {
            return Err(Error::format(format!(
                "{dtype} {shape:?} needs {expected} bytes, but its data_offsets are {begin} to {end}"
            )));
        }
        let room = file_bytes - data_begin;
        if end > room {
            return Err(Error::format(format!(
                "truncated: its data_offsets are {begin} to {end}, but the file has {room} bytes of data"
            )));
        }
        // A dimension can pass 32 bits only beside a zero.
        let shape = shape.into_iter().map(usize::try_from).collect::<Result<Vec<usize>, _>>();
        let shape = shape.map_err(|_| Error::format("a dimension is too large"))?;
        Ok(Placed { info: TensorInfo { dtype, shape }, begin: data_begin + begin })
    }
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeaderVisitor;

        impl<'de> Visitor<'de> for HeaderVisitor {
            type Value = RawHeader;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
                let mut seen = BTreeSet::new();
                let mut header = RawHeader { tensors: Vec::new(), metadata: BTreeMap::new() };
                while let Some(name) = map.next_key::<String>()? {
                    if !seen.insert(name.clone()) {
                        return Err(A::Error::custom(format!("{name} appears twice")));
                    }
                    if name == METADATA {
                        header.metadata = map.next_value()?;
                    } else {
                        header.tensors.push((name, map.next_value()?));
                    }
                }
                Ok(header)
            }
        }

        deserializer.deserialize_map(HeaderVisitor)
    }
}

/// A tensor to write: name, element type, shape and bytes.
type NamedTensor<'a> = (&'a str, Dtype, Vec<usize>, Cow<'a, [u8]>);

struct Bytes<'a>(Dtype, &'a [usize], &'a [u8]);

impl View for Bytes<'_> {
    fn dtype(&self) -> Dtype {
        self.0
    }

    fn shape(&self) -> &[usize] {
        self.1
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.2)
    }

    fn data_len(&self) -> usize {
        self.2.len()
    }
}

/// The bytes of a safetensors file with `tensors` (in the order the format wants) and `metadata`.
///
/// # Errors
///
/// `Format` for a name that appears twice, or bytes that are not as many as type and shape need.
pub fn write_safetensors(
    tensors: &[NamedTensor<'_>],
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>> {
    let mut seen = BTreeSet::from([METADATA]);
    for (name, ..) in tensors {
        if !seen.insert(name) {
            return Err(Error::format(format!(
                "cannot write a safetensors file: two tensors are called {name}"
            )));
        }
    }
    let views = tensors.iter().map(|(name, dtype, shape, data)| (*name, Bytes(*dtype, shape, data)));
    let metadata: HashMap<String, String> = metadata.clone().into_iter().collect();
    ::safetensors::serialize(views, (!metadata.is_empty()).then_some(metadata))
        .map_err(|error| Error::format(format!("cannot write a safetensors file: {error}")))
}

/// The first bytes of a safetensors file with these tensors in this order, up to the first of their own: padded with
/// spaces to a multiple of 8, as the format's library does.
///
/// # Errors
///
/// `Format` for more names than a header may have.
pub(super) fn header(tensors: &[(&str, &TensorInfo)]) -> Result<Vec<u8>> {
    let failed = |what: &dyn fmt::Display| Error::format(format!("cannot write a safetensors file: {what}"));
    let mut map = serde_json::Map::new();
    map.insert(METADATA.to_owned(), serde_json::json!({ "format": "pt" }));
    let mut begin = 0;
    for &(name, info) in tensors {
        let end = begin + info.bytes();
        let entry =
            serde_json::json!({ "dtype": info.dtype, "shape": info.shape, "data_offsets": [begin, end] });
        map.insert(name.to_owned(), entry);
        begin = end;
    }
    let mut json = serde_json::to_vec(&map).map_err(|error| failed(&error))?;
    json.resize(json.len().next_multiple_of(8), b' ');
    if json.len() as u64 > MAX_HEADER_BYTES {
        return Err(failed(&format_args!("its header would have {} bytes", json.len())));
    }
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend(json);
    Ok(bytes)
}
