//! Columns mapped by name, for data sets whose fields are called something else.

use std::fmt;
use std::str::FromStr;

use csv::{ReaderBuilder, StringRecord, Terminator};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::records::{Format, quoted};
use crate::error::{Error, Result};

/// What a column may be read as.
const TARGETS: [&str; 9] =
    ["text", "prompt", "completion", "instruction", "input", "output", "messages", "conversations", "system"];

/// Names that data sets give to the fields of a format: field and column. The first two are needed, one column of
/// those after them may be there. They count where no format's own names do.
const KNOWN: [(Format, &[(&str, &str)]); 6] = [
    (Format::PromptCompletion, &[("prompt", "question"), ("completion", "answer")]),
    (Format::PromptCompletion, &[("prompt", "input"), ("completion", "output")]),
    (Format::PromptCompletion, &[("prompt", "prompt"), ("completion", "response")]),
    (Format::PromptCompletion, &[("prompt", "query"), ("completion", "response")]),
    // Databricks Dolly.
    (Format::Alpaca, &[("instruction", "instruction"), ("output", "response"), ("input", "context")]),
    (Format::Text, &[("text", "content")]),
];
/// Columns that change what the others mean, though nothing here reads them: rows of one message, pairs to choose from.
const MEANINGFUL: [&str; 3] = ["role", "chosen", "rejected"];

/// Which column of a data set is read as which field of a record; without any, columns keep their names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Columns(Vec<(String, String)>);

impl Columns {
    /// From pairs of field and column, such as `("prompt", "question")`.
    ///
    /// # Errors
    ///
    /// `Config` for a field that no format has, and for one that is named twice.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        let mut columns: Vec<(String, String)> = Vec::new();
        for (field, column) in pairs {
            if !TARGETS.contains(&field.as_str()) {
                return Err(Error::config(format!(
                    "columns: there is no field \"{field}\"; expected {}",
                    quoted(TARGETS.into_iter())
                )));
            }
            if columns.iter().any(|(other, _)| *other == field) {
                return Err(Error::config(format!("columns: \"{field}\" is given twice")));
            }
            columns.push((field, column));
        }
        Ok(Self(columns))
    }

    /// Fields and their columns.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(field, column)| (field.as_str(), column.as_str()))
    }

    /// The columns that are read, by their names in the data set.
    pub(super) fn sources(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(_, column)| column.as_str())
    }

    /// Whether a data set with this column has something to read: a field's name, or one that is mapped.
    pub(super) fn reads(&self, column: &str) -> bool {
        self.sources().any(|source| source == column)
            || self.0.is_empty() && has_meaning(column)
            || Format::ALL.into_iter().any(|format| all_fields(format).any(|field| field == column))
    }

    /// What these columns are read as where none is mapped: the first format whose fields they are called, be it in
    /// other letters (`Prompt`), or else the one that [`KNOWN`] has for them. `None` where nothing fits, and where
    /// several columns could be the same field or one that means something would be left out.
    pub(super) fn known(&self, row: &Map<String, Value>, only: Option<Format>) -> Option<(Format, Self)> {
        if !self.0.is_empty() {
            return None;
        }
        let formats = || Format::ALL.into_iter().filter(|&format| only.is_none_or(|only| only == format));
        let exact = formats().find(|format| format.matches(row));
        let format = exact.or_else(|| {
            formats().find(|format| format.fields().iter().all(|field| called(row, field).is_some()))
        });
        if let Some(format) = format {
            let columns: Vec<_> =
                all_fields(format).filter_map(|field| Some((field, called(row, field)?))).collect();
            return Some((format, Self::renaming(&columns)));
        }
        let mut fitting = KNOWN.into_iter().filter(|(format, pairs)| {
            only.is_none_or(|only| only == *format)
                && pairs[..format.fields().len()].iter().all(|(_, name)| called(row, name).is_some())
        });
        let (Some((format, pairs)), None) = (fitting.next(), fitting.next()) else { return None };
        let columns = all_fields(format).filter_map(|field| {
            let own = called(row, field);
            let known = pairs.iter().find(|(other, _)| *other == field);
            // What need not be there may come in a later row.
            let known = known.map(|(_, name)| called(row, name).or(own).unwrap_or(name));
            Some((field, known.or(own)?))
        });
        let columns: Vec<_> = columns.collect();
        let is_read = |column: &String| columns.iter().any(|(_, read)| read == column);
        if row.keys().any(|column| has_meaning(column) && !is_read(column)) {
            return None;
        }
        Some((format, Self::renaming(&columns)))
    }

    /// Those of these fields and columns that have different names.
    fn renaming(pairs: &[(&str, &str)]) -> Self {
        let different = pairs.iter().filter(|(field, column)| field != column);
        Self(different.map(|&(field, column)| (field.to_owned(), column.to_owned())).collect())
    }

    /// Gives the mapped columns their fields' names.
    pub(super) fn apply(&self, row: &mut Map<String, Value>) {
        let moved: Vec<_> =
            (self.0.iter()).map(|(field, column)| (field, row.get(column).cloned())).collect();
        for (field, value) in moved {
            match value {
                Some(value) => row.insert(field.clone(), value),
                // A row without the column has none of the same name either: that one was not asked for.
                None => row.remove(field),
            };
        }
    }

    /// The first format that these fields are of. Where columns are mapped it is one that reads them.
    pub(super) fn detect(&self, row: &Map<String, Value>) -> Option<Format> {
        Format::ALL.into_iter().find(|format| {
            let reads = |(field, _): &(String, String)| all_fields(*format).any(|other| other == field);
            format.matches(row) && self.0.iter().all(reads)
        })
    }
}

/// All fields that a format reads.
fn all_fields(format: Format) -> impl Iterator<Item = &'static str> {
    format.fields().iter().chain(format.optional_fields()).copied()
}

/// The row's column of this name or, if there is just one, of this name in other letters.
fn called<'a>(row: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    let alike = || row.keys().filter(|column| column.eq_ignore_ascii_case(name));
    let exact = alike().find(|column| *column == name);
    exact.or_else(|| alike().next().filter(|_| alike().count() == 1)).map(String::as_str)
}

/// Whether the column's name says what it is, to a format or to [`KNOWN`].
fn has_meaning(column: &str) -> bool {
    let known = KNOWN.into_iter().flat_map(|(_, pairs)| pairs.iter().map(|(_, name)| *name));
    let mut names = Format::ALL.into_iter().flat_map(all_fields).chain(known).chain(MEANINGFUL);
    names.any(|name| name.eq_ignore_ascii_case(column))
}

impl Serialize for Columns {
    /// As an object of fields and their columns.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.pairs())
    }
}

impl FromStr for Columns {
    type Err = Error;

    /// `prompt=question,completion=answer`, or with commas in a name `"prompt=title, short",completion=answer`: a row of
    /// CSV.
    fn from_str(text: &str) -> Result<Self> {
        let mut row = StringRecord::new();
        // What ends no line may stand in a name.
        let mut reader = ReaderBuilder::new()
            .has_headers(false)
            .terminator(Terminator::Any(0))
            .from_reader(text.as_bytes());
        let found =
            reader.read_record(&mut row).map_err(|error| Error::config(format!("columns: {error}")))?;
        let parts = if found { row.iter().collect() } else { vec![text] };
        let pairs = parts.into_iter().map(|pair| match pair.split_once('=') {
            Some((field, column)) if !column.trim().is_empty() => {
                Ok((field.trim().to_owned(), column.trim().to_owned()))
            }
            _ => Err(Error::config(format!(
                "columns: \"{pair}\" is no pair; expected field=column, such as prompt=question,completion=answer"
            ))),
        });
        Self::new(pairs.collect::<Result<Vec<_>>>()?)
    }
}

impl fmt::Display for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs = self.0.iter().map(|(field, column)| {
            let pair = format!("{field}={column}");
            if pair.contains([',', '"', '\r', '\n']) {
                format!("\"{}\"", pair.replace('"', "\"\""))
            } else {
                pair
            }
        });
        f.write_str(&pairs.collect::<Vec<_>>().join(","))
    }
}
