//! The fields of a `config.json`, read with their checks.

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// The most elements one weight matrix may have: the kernels index with 32-bit integers.
pub(super) const MAX_ELEMENTS: u64 = 1 << 31;

/// A JSON object of a `config.json`. `null` counts as missing, as it does for `transformers` wherever a
/// field has a default that depends on others.
pub(super) struct Fields {
    map: Map<String, Value>,
    /// What comes before a field's name in messages: `rope_scaling.`.
    path: String,
    /// Fields that the file calls differently: (written, read as).
    aliases: &'static [(&'static str, &'static str)],
}

impl Fields {
    /// The whole file.
    pub(super) fn from_json(json: &[u8]) -> Result<Self> {
        let value: Value = serde_json::from_slice(json)
            .map_err(|error| Error::format(format!("config.json: not valid JSON: {error}")))?;
        match value {
            Value::Object(map) => Ok(Self { map, path: String::new(), aliases: &[] }),
            _ => Err(Error::format("config.json: expected a JSON object")),
        }
    }

    /// Lets fields be read by the names that other families have for them.
    pub(super) fn rename(&mut self, aliases: &'static [(&'static str, &'static str)]) {
        self.aliases = aliases;
    }

    /// What the file calls a field.
    fn written<'n>(&self, name: &'n str) -> &'n str {
        let alias =
            self.aliases.iter().find(|(written, read)| *read == name && self.map.contains_key(*written));
        alias.map_or(name, |(written, _)| written)
    }

    /// The field's value, `null` included.
    fn value(&self, name: &str) -> Option<&Value> {
        self.map.get(self.written(name))
    }

    /// An object in a field; an empty one counts as missing.
    pub(super) fn object(&self, name: &str) -> Result<Option<Self>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(map)) if map.is_empty() => Ok(None),
            Some(Value::Object(map)) => {
                Ok(Some(Self { map: map.clone(), path: format!("{}{name}.", self.path), aliases: &[] }))
            }
            Some(value) => Err(self.wrong(name, "an object", value)),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.value(name).filter(|value| !value.is_null())
    }

    /// Whether the field is there and `null`.
    pub(super) fn is_null(&self, name: &str) -> bool {
        self.value(name).is_some_and(Value::is_null)
    }

    /// The fields whose values are objects.
    pub(super) fn nested(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.map.iter().filter(|(_, value)| value.is_object())
    }

    pub(super) fn wrong(&self, name: &str, expected: &str, found: &Value) -> Error {
        let name = self.written(name);
        Error::format(format!("config.json: {}{name}: expected {expected}, found {found}", self.path))
    }

    pub(super) fn unsupported(&self, name: &str, found: &Value, only: &str) -> Error {
        let name = self.written(name);
        Error::unsupported(format!("config.json: {}{name} {found} is not supported; {only}", self.path))
    }

    /// A number from 1 to 2^31 − 1.
    pub(super) fn size(&self, name: &str, default: usize) -> Result<usize> {
        let Some(value) = self.get(name) else { return Ok(default) };
        match value.as_u64() {
            Some(number) if (1..MAX_ELEMENTS).contains(&number) => Ok(number as usize),
            _ => Err(self.wrong(name, "a whole number from 1 to 2^31 - 1", value)),
        }
    }

    /// A number from 0 to 2^31 − 1.
    pub(super) fn count(&self, name: &str, default: usize) -> Result<usize> {
        match self.get(name) {
            Some(value) if value.as_u64() == Some(0) => Ok(0),
            _ => self.size(name, default),
        }
    }

    pub(super) fn positive(&self, name: &str, default: f64) -> Result<f64> {
        let Some(value) = self.get(name) else { return Ok(default) };
        match value.as_f64() {
            // As f32 too, since that is what the kernels compute with.
            Some(number) if number as f32 > 0.0 && (number as f32).is_finite() => Ok(number),
            _ => Err(self.wrong(name, "a positive number", value)),
        }
    }

    /// As [`Self::positive`], without a default.
    pub(super) fn required_positive(&self, name: &str) -> Result<f64> {
        match self.get(name) {
            Some(_) => self.positive(name, 1.0),
            None => Err(Error::format(format!("config.json: {}{name} is missing", self.path))),
        }
    }

    pub(super) fn bool(&self, name: &str, default: bool) -> Result<bool> {
        let Some(value) = self.get(name) else { return Ok(default) };
        value.as_bool().ok_or_else(|| self.wrong(name, "true or false", value))
    }

    /// A list of exactly `len` values.
    pub(super) fn list(&self, name: &str, len: usize) -> Result<Option<&[Value]>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.as_array() {
            Some(list) if list.len() == len => Ok(Some(list)),
            _ => Err(self.wrong(name, &format!("a list of {len} values, one a layer"), value)),
        }
    }

    /// One token; `null` and −1 (how some old files say it) mean none.
    pub(super) fn token(&self, name: &str, default: Option<u32>) -> Result<Option<u32>> {
        match self.value(name) {
            None => Ok(default),
            Some(Value::Null) => Ok(None),
            Some(value) if value.as_i64() == Some(-1) => Ok(None),
            Some(value) => self.id(name, value).map(Some),
        }
    }

    /// One token or a list of them.
    pub(super) fn tokens(&self, name: &str, default: Option<u32>) -> Result<Vec<u32>> {
        match self.value(name) {
            Some(Value::Array(list)) => list.iter().map(|value| self.id(name, value)).collect(),
            _ => Ok(self.token(name, default)?.into_iter().collect()),
        }
    }

    fn id(&self, name: &str, value: &Value) -> Result<u32> {
        value
            .as_u64()
            .and_then(|id| u32::try_from(id).ok())
            .ok_or_else(|| self.wrong(name, "a token id", value))
    }
}
