//! JSON Lines, and JSON lists alone or as the one list in an object.

use std::fmt;
use std::io::{BufRead, Read};
use std::ops::ControlFlow;

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::value::{Bounded, budget, parse};
use super::{Guarded, MAX_ROW, OnRow, Row};
use crate::data::records::{RowResult, kind};
use crate::error::{Error, Result};

/// JSON Lines: one object a line. Blank lines count and are passed over.
pub(super) fn lines(mut reader: impl BufRead, on_row: &mut OnRow<'_>) -> Result<()> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let error = |error| Error::io(format!("line {number}"), &error);
        let mut part = reader.by_ref().take(MAX_ROW as u64);
        if part.read_until(b'\n', &mut line).map_err(error)? == 0 {
            break;
        }
        let too_long = line.len() == MAX_ROW && !line.ends_with(b"\n");
        if too_long {
            reader.skip_until(b'\n').map_err(error)?;
        } else if line.trim_ascii().is_empty() {
            continue;
        }
        let row = if too_long {
            Err(format!("more than {} MiB in one line", MAX_ROW >> 20))
        } else {
            parse_line(&line)
        };
        if on_row(number, row)?.is_break() {
            break;
        }
    }
    Ok(())
}

fn parse_line(bytes: &[u8]) -> RowResult<Row> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| format!("no UTF-8 from byte {} on", error.valid_up_to() + 1))?;
    if text.trim_start().starts_with('[') {
        return Err("a JSON list where one JSON object a line is expected".to_owned());
    }
    let value = parse(text.trim_end_matches(['\n', '\r'])).map_err(|error| {
        // serde_json counts lines of its own input, which is always the first.
        let (said, column) = (error.to_string(), error.column());
        let said = said.strip_suffix(&format!(" at line 1 column {column}")).unwrap_or(&said);
        match column {
            // What is wrong with the row as a whole.
            _ if error.is_data() => said.to_owned(),
            _ => format!("no valid JSON: {said} at character {}", characters(text, column)),
        }
    })?;
    to_row(value)
}

/// The character, from 1, at byte `column`, from 1.
fn characters(text: &str, column: usize) -> usize {
    text.char_indices().take_while(|(at, _)| *at < column).count().max(1)
}

fn to_row(value: Value) -> RowResult<Row> {
    match value {
        Value::Object(fields) => Ok(Row::Fields(fields)),
        other => Err(format!("no JSON object but {}", kind(&other))),
    }
}

/// The entries of a list, which is the whole file or the only list in the file's one object.
pub(super) fn entries(reader: impl BufRead, on_row: &mut OnRow<'_>) -> Result<()> {
    let (reader, budget) = Guarded::new(reader);
    let mut read = Entries {
        number: 0,
        outcome: Ok(ControlFlow::Continue(())),
        next: &mut || budget.set(MAX_ROW),
        on_row,
        lists: Vec::new(),
    };
    let mut deserializer = serde_json::Deserializer::from_reader(std::io::BufReader::new(reader));
    let parsed = TopLevel(&mut read).deserialize(&mut deserializer).and_then(|()| deserializer.end());
    let (number, is_break) =
        (read.number, std::mem::replace(&mut read.outcome, Ok(ControlFlow::Continue(())))?);
    match parsed {
        Err(_) if is_break.is_break() => Ok(()),
        Err(error) if error.is_data() => Err(Error::format(error.to_string())),
        Err(error) => Err(Error::format(format!("no valid JSON after item {number}: {error}"))),
        Ok(()) => Ok(()),
    }
}

struct Entries<'a, 'b> {
    number: usize,
    /// What ended the reading, if that was not the file.
    outcome: Result<ControlFlow<()>>,
    next: &'a mut dyn FnMut(),
    on_row: &'a mut OnRow<'b>,
    /// Names of the lists found in the file's object.
    lists: Vec<String>,
}

impl Entries<'_, '_> {
    fn read<'de, A: SeqAccess<'de>>(&mut self, mut list: A) -> Result<(), A::Error> {
        loop {
            let left = budget();
            let Some(value) = list.next_element_seed(Bounded::new(&left))? else { break };
            self.number += 1;
            (self.next)();
            self.outcome = (self.on_row)(self.number, to_row(value));
            if !matches!(self.outcome, Ok(ControlFlow::Continue(()))) {
                return Err(A::Error::custom("reading was ended"));
            }
        }
        Ok(())
    }
}

/// The file's one value.
struct TopLevel<'a, 'b, 'c>(&'a mut Entries<'b, 'c>);

impl<'de> DeserializeSeed<'de> for TopLevel<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TopLevel<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON list of objects, or an object that holds one")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<(), A::Error> {
        self.0.read(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while let Some(name) = fields.next_key::<String>()? {
            fields.next_value_seed(Field { entries: self.0, name })?;
        }
        if self.0.lists.is_empty() {
            Err(A::Error::custom("the file's object holds no list"))
        } else {
            Ok(())
        }
    }
}

/// A field of the file's object: its list, or something about the data set.
struct Field<'a, 'b, 'c> {
    entries: &'a mut Entries<'b, 'c>,
    name: String,
}

impl<'de> DeserializeSeed<'de> for Field<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// Anything but a list is passed over.
macro_rules! ignored {
    ($($visit:ident: $value:ty),*) => {
        $(fn $visit<E>(self, _: $value) -> Result<(), E> {
            Ok(())
        })*
    };
}

impl<'de> Visitor<'de> for Field<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<(), A::Error> {
        self.entries.lists.push(self.name);
        if let [first, second] = self.entries.lists.as_slice() {
            return Err(A::Error::custom(format!(
                "\"{first}\" and \"{second}\" are both lists, and which of them holds the records cannot be told; leave \
                 one, or save the records as JSON Lines"
            )));
        }
        self.entries.read(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    ignored!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);
}
