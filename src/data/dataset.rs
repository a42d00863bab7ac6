//! A data set: where its bytes are, and how they become records.

use std::ops::ControlFlow;
#[cfg(not(target_arch = "wasm32"))]
use std::path::Path;

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};

use super::columns::Columns;
use super::file_format::{DataFormat, FileFormat, detect};
use super::read::{Input, Row, column_names, header};
use super::records::{Format, Record, RowResult, few, quoted, to_record};
use crate::error::{Context, Error, Result};

/// Rows whose columns count as the data set's: JSON rows need not all have the same.
const COLUMN_ROWS: usize = 100;

/// The first rows of a file, as they are there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FirstRows {
    /// Names of the columns that these rows have. Plain text has one, `text`.
    pub columns: Vec<String>,
    /// For each row a cell for each column: texts as they are, other values as JSON, nothing where there is none.
    pub rows: Vec<Vec<String>>,
}

/// A data set that has been looked at: its rows are read again, one after the other, each time that they are used.
#[derive(Debug, Clone)]
pub struct Dataset {
    name: String,
    input: Input,
    columns: Columns,
    file_format: FileFormat,
    format: Format,
}

impl Dataset {
    /// Looks at a file, or at what a pipe gives, which is kept in a temporary file. See [`Dataset::from_bytes`].
    ///
    /// # Errors
    ///
    /// Also `Io` when the file cannot be read.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open(path: &Path, format: DataFormat, columns: Columns) -> Result<Self> {
        let input = Input::open(path).context(|| path.display())?;
        Self::new(input, path.display().to_string(), format, columns)
    }

    /// Looks at what can be read only once, which is kept in a temporary file; other arguments as in
    /// [`Dataset::from_bytes`].
    ///
    /// # Errors
    ///
    /// Also `Io` when it cannot be read or kept.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn from_reader(
        reader: impl std::io::Read,
        name: &str,
        format: DataFormat,
        columns: Columns,
    ) -> Result<Self> {
        let input = Input::spool(reader).context(|| name)?;
        Self::new(input, name.to_owned(), format, columns)
    }

    /// Looks at a file's bytes; `name`, a file name, is for messages and tells the kind of file where the content
    /// does not. `format` says what is not to be detected, `columns` which fields are called something else. The
    /// first row that is a record decides on the records' format.
    ///
    /// # Errors
    ///
    /// `Data` when no row is a record or a mapped column is missing, `Format` and `Unsupported` for files that
    /// cannot be read.
    pub fn from_bytes(
        bytes: impl Into<Bytes>,
        name: &str,
        format: DataFormat,
        columns: Columns,
    ) -> Result<Self> {
        Self::new(Input::Memory(bytes.into()), name.to_owned(), format, columns)
    }

    fn new(input: Input, name: String, forced: DataFormat, columns: Columns) -> Result<Self> {
        let looked_at = (|| {
            let (head, is_all) = input.head()?;
            if head.trim_ascii().is_empty() {
                return Err(Error::data("the file is empty"));
            }
            let file_format = match forced.file {
                Some(format) => format,
                None => detect(&head, is_all, &name, &columns)?,
            };
            let has_columns = file_format != FileFormat::PlainText;
            if !has_columns
                && (columns.sources().next().is_some() || forced.records.is_some_and(|f| f != Format::Text))
            {
                return Err(Error::config(
                    "plain text has no columns, and so no other format of records than text",
                ));
            }
            let (format, columns) = look(&input, file_format, columns, forced.records)?;
            Ok((file_format, format, columns))
        })();
        let (file_format, format, columns) = looked_at.context(|| &name)?;
        Ok(Self { name, input, columns, file_format, format })
    }

    /// Names of a file's columns, for whoever has to say which of them is read as what; arguments as in
    /// [`Dataset::from_bytes`]. Of JSON rows these are the fields of the first hundred; plain text has none.
    ///
    /// # Errors
    ///
    /// `Data`, `Format` and `Unsupported` for files that cannot be read.
    pub fn columns(bytes: impl Into<Bytes>, name: &str, format: DataFormat) -> Result<Vec<String>> {
        let input = Input::Memory(bytes.into());
        let none = Columns::default();
        let found = (|| {
            let (head, is_all) = input.head()?;
            let file = match format.file {
                Some(file) => file,
                None => detect(&head, is_all, name, &none)?,
            };
            match file {
                FileFormat::PlainText => Ok(Vec::new()),
                FileFormat::Parquet => column_names(&input),
                FileFormat::Table { delimiter } => Ok(header(&head, delimiter).unwrap_or_default()),
                FileFormat::JsonLines | FileFormat::Json => {
                    let (mut seen, mut rows) = (Vec::new(), 0);
                    input.rows(file, &none, &mut |_, row| {
                        rows += 1;
                        note_columns(&mut seen, &row);
                        Ok(if rows < COLUMN_ROWS {
                            ControlFlow::Continue(())
                        } else {
                            ControlFlow::Break(())
                        })
                    })?;
                    Ok(seen)
                }
            }
        })();
        found.context(|| name)
    }

    /// Reads a file in every way in which it can be read, for nothing but what may go wrong on the way. On some
    /// damaged Parquet files the crate that reads them panics, which ends a WebAssembly module: whoever has one to
    /// spare finds out first. Arguments as in [`Dataset::from_bytes`].
    ///
    /// # Errors
    ///
    /// Those of [`Dataset::columns`], [`Dataset::from_bytes`] and [`Dataset::read`].
    pub fn check(bytes: impl Into<Bytes>, name: &str, format: DataFormat, columns: Columns) -> Result<()> {
        let bytes = bytes.into();
        Self::columns(bytes.clone(), name, format)?;
        Self::from_bytes(bytes, name, format, columns)?.read(&mut |_, _| Ok(()))
    }

    /// The first `count` rows of a file, by its own names; arguments as in [`Dataset::from_bytes`]. Rows that are
    /// none are left out. Of Parquet only columns that are read, by their name or by `columns`.
    ///
    /// # Errors
    ///
    /// `Data`, `Format` and `Unsupported` for files that cannot be read.
    pub fn first_rows(
        bytes: impl Into<Bytes>,
        name: &str,
        format: DataFormat,
        columns: &Columns,
        count: usize,
    ) -> Result<FirstRows> {
        let input = Input::Memory(bytes.into());
        let found = (|| {
            let (head, is_all) = input.head()?;
            let file = match format.file {
                Some(file) => file,
                None => detect(&head, is_all, name, columns)?,
            };
            let (mut seen, mut rows) = (Vec::new(), Vec::new());
            if count > 0 {
                input.rows(file, columns, &mut |_, row| {
                    note_columns(&mut seen, &row);
                    match row {
                        Ok(Row::Fields(fields)) => rows.push(fields),
                        Ok(Row::Passage { text, .. }) => {
                            rows.push(Map::from_iter([("text".to_owned(), Value::String(text))]));
                        }
                        Err(_) => {}
                    }
                    Ok(if rows.len() < count { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
                })?;
            }
            if file == FileFormat::PlainText {
                seen.push("text".to_owned());
            }
            let cells = |mut row: Map<String, Value>| {
                seen.iter().map(|name| row.remove(name).map_or_else(String::new, cell)).collect()
            };
            Ok(FirstRows { rows: rows.into_iter().map(cells).collect(), columns: seen })
        })();
        found.context(|| name)
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The kind of file.
    pub fn file_format(&self) -> FileFormat {
        self.file_format
    }

    /// The records' format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The columns that are read as fields of other names: those that were mapped, or known to be so.
    pub fn read_as(&self) -> &Columns {
        &self.columns
    }

    /// Kind of file, format of the records and which columns are read as what, for people.
    pub fn describe(&self) -> String {
        let (file, format) = (self.file_format, self.format);
        let read = self.columns.pairs().map(|(field, column)| format!("{field} from \"{column}\""));
        let read = read.collect::<Vec<_>>().join(", ");
        match (file, read.is_empty()) {
            (FileFormat::PlainText, _) => file.to_string(),
            (_, true) => format!("{file}, {format}"),
            (_, false) => format!("{file}, {format} ({read})"),
        }
    }

    /// Hands every row to `on_record`, with its number from 1 ([`FileFormat::unit`]): the record, or why it is none.
    ///
    /// # Errors
    ///
    /// `Io` when reading fails, `Format` from where on the file makes no sense, and what `on_record` returns.
    pub fn read(&self, on_record: &mut dyn FnMut(usize, Result<Record, String>) -> Result<()>) -> Result<()> {
        // Errors of the caller's have their own context.
        let mut stopped = None;
        let read = self.input.rows(self.file_format, &self.columns, &mut |number, row| {
            let record = row.and_then(|row| record(row, &self.columns, Some(self.format)));
            match on_record(number, record.map(|(_, record)| record)) {
                Ok(()) => Ok(ControlFlow::Continue(())),
                Err(error) => {
                    stopped = Some(error);
                    Ok(ControlFlow::Break(()))
                }
            }
        });
        match stopped {
            Some(error) => Err(error),
            None => read.context(|| &self.name),
        }
    }
}

fn record(row: Row, columns: &Columns, format: Option<Format>) -> RowResult<(Format, Record)> {
    match row {
        Row::Passage { text, ends } => Ok((Format::Text, Record::Passage { text, ends })),
        Row::Fields(mut fields) => {
            columns.apply(&mut fields);
            to_record(&fields, format, |fields| columns.detect(fields))
        }
    }
}

/// Reads until a record has told the format and the columns are known: which of them are read as what.
fn look(
    input: &Input,
    file: FileFormat,
    columns: Columns,
    forced: Option<Format>,
) -> Result<(Format, Columns)> {
    let mut seen: Vec<String> = Vec::new();
    if file == FileFormat::Parquet {
        seen = column_names(input)?;
        check_columns(&columns, &seen)?;
    }
    let (mut format, mut first_reason, mut rows) = (None, None, 0);
    input.rows(file, &columns, &mut |number, row| {
        rows += 1;
        if rows <= COLUMN_ROWS && file != FileFormat::Parquet {
            note_columns(&mut seen, &row);
        }
        let known = match &row {
            Ok(Row::Fields(fields)) => columns.known(fields, forced),
            _ => None,
        };
        let (expected, read_as) =
            known.map_or((forced, columns.clone()), |(format, read_as)| (Some(format), read_as));
        match row.and_then(|row| record(row, &read_as, expected)) {
            Ok((found, _)) => {
                format.get_or_insert((found, read_as));
            }
            Err(reason) => {
                first_reason.get_or_insert_with(|| format!("{} {number}: {reason}", file.unit()));
            }
        }
        let is_known = format.is_some() && (columns.sources().next().is_none() || rows >= COLUMN_ROWS);
        Ok(if is_known { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    check_columns(&columns, &seen)?;
    format.ok_or_else(|| {
        let reason = first_reason.unwrap_or_else(|| "there is no row".to_owned());
        let columns = match seen.is_empty() {
            true => String::new(),
            false => format!("; its columns are {}", few(seen.iter().map(String::as_str))),
        };
        Error::data(format!(
            "no record that can be trained on ({reason}{columns}). Read as {file}. Expected \"messages\" (a list of \
             {{\"role\", \"content\"}}), or \"conversations\" (ShareGPT), or \"prompt\" and \"completion\", or \
             \"instruction\" and \"output\" (Alpaca, \"input\" if there is one), or \"text\"; columns with other names can \
             be mapped to these"
        ))
    })
}

/// Adds the row's columns to those seen before.
fn note_columns(seen: &mut Vec<String>, row: &RowResult<Row>) {
    if let Ok(Row::Fields(fields)) = row {
        let new = fields.keys().filter(|name| !seen.contains(name)).cloned().collect::<Vec<_>>();
        seen.extend(new);
    }
}

fn cell(value: Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn check_columns(columns: &Columns, seen: &[String]) -> Result<()> {
    let missing: Vec<_> =
        columns.sources().filter(|source| !seen.iter().any(|name| name == source)).collect();
    if missing.is_empty() || seen.is_empty() {
        return Ok(());
    }
    let no_column = if missing.len() == 1 { "is no column" } else { "are no columns" };
    Err(Error::data(format!(
        "there {no_column} {}; the columns are {}",
        quoted(missing.into_iter()),
        few(seen.iter().map(String::as_str))
    )))
}
