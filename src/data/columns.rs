//! Columns mapped by name, for data sets whose fields are called something else.

use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};

use super::records::{Format, quoted};
use crate::error::{Error, Result};

/// What a column may be read as.
const TARGETS: [&str; 9] =
    ["text", "prompt", "completion", "instruction", "input", "output", "messages", "conversations", "system"];

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
        let is_field =
            |format: Format| format.fields().contains(&column) || format.optional_fields().contains(&column);
        self.sources().any(|source| source == column) || Format::ALL.into_iter().any(is_field)
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
            let reads = |(field, _): &(String, String)| {
                let field = field.as_str();
                format.fields().contains(&field) || format.optional_fields().contains(&field)
            };
            format.matches(row) && self.0.iter().all(reads)
        })
    }
}

impl FromStr for Columns {
    type Err = Error;

    /// `prompt=question,completion=answer`
    fn from_str(text: &str) -> Result<Self> {
        let pairs = text.split(',').map(|pair| match pair.split_once('=') {
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
        let pairs: Vec<_> = self.0.iter().map(|(field, column)| format!("{field}={column}")).collect();
        f.write_str(&pairs.join(","))
    }
}
