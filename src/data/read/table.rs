//! CSV and TSV: a header line, then rows of strings.

use std::io::BufRead;

use csv::{ByteRecord, ReaderBuilder};
use serde_json::{Map, Value};

use super::{Guarded, MAX_ROW, OnRow, Row};
use crate::data::records::RowResult;
use crate::error::{Error, Result};

fn builder(delimiter: u8) -> ReaderBuilder {
    let mut builder = ReaderBuilder::new();
    builder.delimiter(delimiter).flexible(true);
    builder
}

/// The column names that a file's first bytes give with this delimiter; `None` if they are no header.
pub(in crate::data) fn header(head: &[u8], delimiter: u8) -> Option<Vec<String>> {
    let mut reader = builder(delimiter).from_reader(head);
    let names = reader.headers().ok()?;
    Some(names.iter().map(|name| name.trim().to_owned()).collect())
}

/// The rows below the header, from 1; blank lines are none.
pub(super) fn rows(reader: impl BufRead, delimiter: u8, on_row: &mut OnRow<'_>) -> Result<()> {
    let (reader, budget) = Guarded::new(reader);
    let mut reader = builder(delimiter).from_reader(reader);
    let error = |error: csv::Error| Error::format(format!("no valid table: {error}"));
    let header = reader.headers().map_err(error)?;
    let names: Vec<_> = header.iter().map(|name| name.trim().to_owned()).collect();
    // Columns without a name, as behind a delimiter at the lines' ends, are never asked for.
    let is_repeated = |(i, name): &(usize, &String)| !name.is_empty() && names[..*i].contains(name);
    if let Some((_, name)) = names.iter().enumerate().find(is_repeated) {
        return Err(Error::format(format!(
            "no valid table: two columns are called \"{name}\", and which of them is meant cannot be told; rename one"
        )));
    }
    let mut record = ByteRecord::new();
    for number in 1.. {
        budget.set(MAX_ROW);
        if !reader.read_byte_record(&mut record).map_err(error)?
            || on_row(number, to_row(&names, &record))?.is_break()
        {
            break;
        }
    }
    Ok(())
}

fn to_row(names: &[String], record: &ByteRecord) -> RowResult<Row> {
    if record.len() != names.len() {
        return Err(format!("{} fields where the header has {}", record.len(), names.len()));
    }
    let mut fields = Map::with_capacity(names.len());
    for (name, value) in names.iter().zip(record) {
        let value = std::str::from_utf8(value).map_err(|_| format!("\"{name}\" is no UTF-8"))?;
        fields.insert(name.clone(), Value::from(value));
    }
    Ok(Row::Fields(fields))
}
