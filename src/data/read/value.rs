//! JSON values that cannot grow past what a row is likely to hold.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The most values that a row may hold, in lists and objects of any depth. A value takes some hundred bytes of memory
/// where it may be two in the file, so that the length of the file's text alone bounds too little. (The depth is
/// bounded by `serde_json`: 128.)
const MAX_VALUES: usize = 1 << 20;

/// A JSON value of at most so many values, which are counted down.
pub(super) struct Bounded<'a>(&'a Cell<usize>);

/// Budget for a row.
pub(super) fn budget() -> Cell<usize> {
    Cell::new(MAX_VALUES)
}

impl<'a> Bounded<'a> {
    pub(super) fn new(left: &'a Cell<usize>) -> Self {
        Self(left)
    }

    fn take<E: serde::de::Error>(&self) -> Result<(), E> {
        let left = self.0.get().checked_sub(1);
        self.0.set(left.ok_or_else(|| E::custom(format!("more than {MAX_VALUES} values in one row")))?);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.take()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number that is not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(Bounded(self.0))? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            fields.insert(name, entries.next_value_seed(Bounded(self.0))?);
        }
        Ok(Value::Object(fields))
    }
}

/// One value that is all of `text`.
pub(super) fn parse(text: &str) -> serde_json::Result<Value> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Bounded(&budget()).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// A list that is all of `text`.
pub(in crate::data) fn parse_list(text: &str) -> serde_json::Result<Vec<Value>> {
    match parse(text)? {
        Value::Array(values) => Ok(values),
        _ => Err(serde_json::Error::custom("no list")),
    }
}
