//! The metadata of a GGUF file, by key.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// A text's type in the file.
pub(super) const STRING: u32 = 8;
/// A list's type in the file.
pub(super) const ARRAY: u32 = 9;

/// A fixed-size value's type; the numbers are the file's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scalar {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

impl Scalar {
    pub(super) fn new(number: u32) -> Option<Self> {
        use Scalar::*;
        [U8, I8, U16, I16, U32, I32, F32, Bool, U64, I64, F64].into_iter().find(|&kind| kind as u32 == number)
    }

    pub(super) fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// The value in exactly [`Scalar::bytes`] bytes.
    pub(super) fn value(self, bytes: &[u8]) -> Value {
        let unsigned = bytes.iter().rev().fold(0u64, |value, &byte| value << 8 | u64::from(byte));
        // Sign bits above the type's own.
        let signed = || {
            let unused = 64 - 8 * bytes.len() as u32;
            (unsigned << unused) as i64 >> unused
        };
        match self {
            Self::U8 | Self::U16 | Self::U32 | Self::U64 => Value::Integer(unsigned.into()),
            Self::I8 | Self::I16 | Self::I32 | Self::I64 => Value::Integer(signed().into()),
            Self::F32 => Value::Float(f32::from_bits(unsigned as u32).into()),
            Self::F64 => Value::Float(f64::from_bits(unsigned)),
            Self::Bool => Value::Bool(unsigned != 0),
        }
    }
}

/// A value of the metadata.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Integer(i128),
    Float(f64),
    Bool(bool),
    String(String),
    Array(Array),
}

/// A list of values of one type; numbers stay the bytes that they are in the file.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Array {
    Strings(Vec<String>),
    Scalars(Scalar, Vec<u8>),
}

/// The metadata by key. Every question answers `None` for a key that is not there, and `Format` for a value of
/// another type.
#[derive(Debug)]
pub(super) struct Metadata(BTreeMap<String, Value>);

impl Metadata {
    pub(super) fn new(values: BTreeMap<String, Value>) -> Self {
        Self(values)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    fn read<'a, T>(
        &'a self,
        key: &str,
        what: &str,
        of: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.0.get(key) else { return Ok(None) };
        match of(value) {
            Some(value) => Ok(Some(value)),
            None => Err(Error::format(format!("{key}: expected {what}, found {}", shown(value)))),
        }
    }

    pub(super) fn unsigned(&self, key: &str) -> Result<Option<u64>> {
        self.read(key, "a whole number", unsigned)
    }

    /// A number, or a list of equal numbers (one a layer).
    pub(super) fn uniform(&self, key: &str) -> Result<Option<u64>> {
        self.read(key, "a whole number, the same for all layers", |value| match value {
            Value::Array(Array::Scalars(kind, bytes)) => {
                let mut values = bytes.chunks_exact(kind.bytes());
                let first = values.next()?;
                if values.all(|value| value == first) { unsigned(&kind.value(first)) } else { None }
            }
            single => unsigned(single),
        })
    }

    pub(super) fn float(&self, key: &str) -> Result<Option<f64>> {
        self.read(key, "a number", |value| match value {
            Value::Float(number) if number.is_finite() => Some(*number),
            Value::Integer(number) => Some(*number as f64),
            _ => None,
        })
    }

    pub(super) fn bool(&self, key: &str) -> Result<Option<bool>> {
        self.read(key, "true or false", |value| match value {
            Value::Bool(value) => Some(*value),
            _ => None,
        })
    }

    pub(super) fn string(&self, key: &str) -> Result<Option<&str>> {
        self.read(key, "a text", |value| match value {
            Value::String(text) => Some(text.as_str()),
            _ => None,
        })
    }

    pub(super) fn strings(&self, key: &str) -> Result<Option<&[String]>> {
        self.read(key, "a list of texts", |value| match value {
            Value::Array(Array::Strings(texts)) => Some(texts.as_slice()),
            _ => None,
        })
    }

    pub(super) fn floats(&self, key: &str) -> Result<Option<Vec<f32>>> {
        self.read(key, "a list of 32-bit numbers", |value| match value {
            Value::Array(Array::Scalars(Scalar::F32, bytes)) => {
                Some(bytes.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
            }
            _ => None,
        })
    }

    pub(super) fn integers(&self, key: &str) -> Result<Option<Vec<i32>>> {
        self.read(key, "a list of 32-bit whole numbers", |value| match value {
            Value::Array(Array::Scalars(Scalar::I32 | Scalar::U32, bytes)) => {
                Some(bytes.as_chunks::<4>().0.iter().map(|&bytes| i32::from_le_bytes(bytes)).collect())
            }
            _ => None,
        })
    }

    pub(super) fn bools(&self, key: &str) -> Result<Option<Vec<bool>>> {
        self.read(key, "a list of true and false", |value| match value {
            Value::Array(Array::Scalars(Scalar::Bool, bytes)) => {
                Some(bytes.iter().map(|&byte| byte != 0).collect())
            }
            _ => None,
        })
    }
}

fn unsigned(value: &Value) -> Option<u64> {
    match value {
        Value::Integer(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

/// A value in a message, where a long one would only hide the rest.
fn shown(value: &Value) -> String {
    match value {
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::String(_) => "a text".to_owned(),
        Value::Array(_) => "a list".to_owned(),
    }
}
