//! A writer of GGUF files for tests, which can also lie.
#![allow(dead_code, reason = "each target uses a part of it")]

/// A value of the metadata.
#[derive(Clone)]
pub enum Value {
    U32(u32),
    F32(f32),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    Ints(Vec<i32>),
    Floats(Vec<f32>),
    Bools(Vec<bool>),
}

/// A tensor: name, shape (slowest dimension first), the type's number, bytes.
pub type Tensor = (String, Vec<usize>, u32, Vec<u8>);

/// A file to be.
#[derive(Clone)]
pub struct Gguf {
    pub version: u32,
    pub metadata: Vec<(String, Value)>,
    pub tensors: Vec<Tensor>,
}

pub const F32: u32 = 0;
pub const F16: u32 = 1;
pub const Q8_0: u32 = 8;
pub const BF16: u32 = 30;

pub fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

impl Gguf {
    pub fn new(metadata: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        let metadata = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Self { version: 3, metadata, tensors: Vec::new() }
    }

    /// The bytes of the header up to the tensors' data, and where each tensor's offset is in it.
    fn header(&self) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            text(&mut bytes, key);
            value.write(&mut bytes);
        }
        let mut places = Vec::new();
        let mut offset = 0u64;
        for (name, shape, kind, data) in &self.tensors {
            text(&mut bytes, name);
            bytes.extend((shape.len() as u32).to_le_bytes());
            shape.iter().rev().for_each(|&size| bytes.extend((size as u64).to_le_bytes()));
            bytes.extend(kind.to_le_bytes());
            places.push(bytes.len());
            bytes.extend(offset.to_le_bytes());
            offset = (offset + data.len() as u64).next_multiple_of(32);
        }
        (bytes, places)
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.header().0;
        for (.., data) in &self.tensors {
            bytes.resize(bytes.len().next_multiple_of(32), 0);
            bytes.extend(data);
        }
        bytes
    }

    /// The file with another offset for one of its tensors.
    pub fn with_offset(&self, tensor: usize, offset: u64) -> Vec<u8> {
        let place = self.header().1[tensor];
        let mut bytes = self.bytes();
        bytes[place..place + 8].copy_from_slice(&offset.to_le_bytes());
        bytes
    }
}

impl Value {
    fn write(&self, bytes: &mut Vec<u8>) {
        let mut list = |kind: u32, count: usize| {
            bytes.extend(9u32.to_le_bytes());
            bytes.extend(kind.to_le_bytes());
            bytes.extend((count as u64).to_le_bytes());
        };
        match self {
            Self::U32(value) => bytes.extend([4, *value].map(u32::to_le_bytes).concat()),
            Self::F32(value) => bytes.extend([6, value.to_bits()].map(u32::to_le_bytes).concat()),
            Self::Bool(value) => {
                bytes.extend(7u32.to_le_bytes());
                bytes.push(u8::from(*value));
            }
            Self::Text(value) => {
                bytes.extend(8u32.to_le_bytes());
                text(bytes, value);
            }
            Self::Texts(values) => {
                list(8, values.len());
                values.iter().for_each(|value| text(bytes, value));
            }
            Self::Ints(values) => {
                list(5, values.len());
                values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
            }
            Self::Bools(values) => {
                list(7, values.len());
                bytes.extend(values.iter().map(|&value| u8::from(value)));
            }
            Self::Floats(values) => {
                list(6, values.len());
                values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
            }
        }
    }
}
