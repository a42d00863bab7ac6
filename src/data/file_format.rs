//! What kind of file a data set is: by its content first, then by its name.

use std::fmt;
use std::str::FromStr;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::columns::Columns;
use super::read::header;
use super::records::Format;
use crate::error::{Error, Result};

/// The kind of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// One JSON object a line.
    JsonLines,
    /// A JSON list, or an object that holds one.
    Json,
    /// A header line and rows, separated by `delimiter`: CSV, TSV.
    Table {
        /// A byte such as `,` or a tab.
        delimiter: u8,
    },
    /// Apache Parquet.
    Parquet,
    /// One document, cut into examples of the greatest length.
    PlainText,
}

impl FileFormat {
    /// What a row of it is called.
    pub fn unit(self) -> &'static str {
        match self {
            Self::JsonLines => "line",
            Self::Json => "item",
            Self::Table { .. } | Self::Parquet => "row",
            Self::PlainText => "part",
        }
    }
}

impl fmt::Display for FileFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JsonLines => f.write_str("JSON Lines"),
            Self::Json => f.write_str("JSON"),
            Self::Table { delimiter: b',' } => f.write_str("CSV"),
            Self::Table { delimiter: b'\t' } => f.write_str("TSV"),
            Self::Table { delimiter } => write!(f, "CSV separated by \"{}\"", char::from(*delimiter)),
            Self::Parquet => f.write_str("Parquet"),
            Self::PlainText => f.write_str("plain text"),
        }
    }
}

/// What is not to be detected: the kind of file, the format of the records, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DataFormat {
    /// The kind of file; a table's delimiter is that of `csv` or `tsv`.
    pub file: Option<FileFormat>,
    /// The format of the records.
    pub records: Option<Format>,
}

impl FromStr for DataFormat {
    type Err = Error;

    /// A kind of file (`jsonl`, `json`, `csv`, `tsv`, `parquet`, `txt`), a format of records (`messages`,
    /// `sharegpt`, `prompt-completion`, `alpaca`, `text`), or both with a comma between them.
    fn from_str(text: &str) -> Result<Self> {
        let mut format = Self::default();
        for word in text.split(',').map(str::trim) {
            let file = match word {
                "jsonl" => Some(FileFormat::JsonLines),
                "json" => Some(FileFormat::Json),
                "csv" => Some(FileFormat::Table { delimiter: b',' }),
                "tsv" => Some(FileFormat::Table { delimiter: b'\t' }),
                "parquet" => Some(FileFormat::Parquet),
                "txt" => Some(FileFormat::PlainText),
                _ => None,
            };
            let records = match word {
                "messages" => Some(Format::Messages),
                "sharegpt" => Some(Format::ShareGpt),
                "prompt-completion" => Some(Format::PromptCompletion),
                "alpaca" => Some(Format::Alpaca),
                "text" => Some(Format::Text),
                _ => None,
            };
            let is_new =
                (file.is_some() && format.file.is_none()) || (records.is_some() && format.records.is_none());
            if !is_new {
                return Err(Error::config(format!(
                    "data format \"{text}\": expected a kind of file (jsonl, json, csv, tsv, parquet, txt), a format of \
                     records (messages, sharegpt, prompt-completion, alpaca, text), or both as in csv,text"
                )));
            }
            format = Self { file: file.or(format.file), records: records.or(format.records) };
        }
        Ok(format)
    }
}

/// The kind of a file that begins with `head` (all of it if `is_all`).
///
/// # Errors
///
/// `Unsupported` for compressed and other known binary files, by name; `Data` when nothing tells.
pub(super) fn detect(head: &[u8], is_all: bool, name: &str, columns: &Columns) -> Result<FileFormat> {
    if let Some(what) = binary(head) {
        return what;
    }
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    let named = match extension.as_deref() {
        Some("jsonl" | "ndjson") => Some(FileFormat::JsonLines),
        Some("json") => Some(FileFormat::Json),
        Some("csv") => Some(FileFormat::Table {
            delimiter: delimiter(head, columns).unwrap_or_else(|| most_columns(head)),
        }),
        Some("tsv" | "tab") => Some(FileFormat::Table { delimiter: b'\t' }),
        Some("txt" | "text" | "md") => Some(FileFormat::PlainText),
        Some("parquet") => {
            return Err(Error::format(
                "no Parquet file, although its name says so: it does not begin with PAR1",
            ));
        }
        _ => None,
    };
    let found = match head.trim_ascii_start().first() {
        Some(b'[') => list(head),
        Some(b'{') => object(head, is_all, columns),
        _ => delimiter(head, columns).map(|delimiter| FileFormat::Table { delimiter }),
    };
    match (found, named) {
        (Some(found), _) => Ok(found),
        // What begins with no list can only be lines, or is reported best as such.
        (None, Some(FileFormat::Json)) if !head.trim_ascii_start().starts_with(b"[") => {
            Ok(FileFormat::JsonLines)
        }
        (None, Some(named)) => Ok(named),
        (None, None) if head.trim_ascii_start().starts_with(b"{") => Ok(FileFormat::JsonLines),
        (None, None) => Err(Error::data(
            "what kind of file this is can be told neither from its content nor from its name; expected JSON Lines, \
             JSON, CSV or TSV with a header of known columns, Parquet, or plain text (.txt): name it by data format",
        )),
    }
}

fn binary(head: &[u8]) -> Option<Result<FileFormat>> {
    let unpack = |what: &str| {
        Some(Err(Error::unsupported(format!(
            "compressed with {what}, which is not read here; unpack it first"
        ))))
    };
    match head {
        [b'P', b'A', b'R', b'1', ..] => Some(Ok(FileFormat::Parquet)),
        [0x1F, 0x8B, ..] => unpack("gzip"),
        [0x28, 0xB5, 0x2F, 0xFD, ..] => unpack("zstd"),
        [b'B', b'Z', b'h', ..] => unpack("bzip2"),
        [0xFD, b'7', b'z', b'X', b'Z', ..] => unpack("xz"),
        [b'P', b'K', 3, 4, ..] => unpack("ZIP (or a spreadsheet; save that as CSV)"),
        [b'A', b'R', b'R', b'O', b'W', b'1', ..] => {
            Some(Err(Error::unsupported("an Arrow file, which is not read here; save it as Parquet")))
        }
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => {
            Some(Err(Error::unsupported("UTF-16 text, which is not read here; save it as UTF-8")))
        }
        _ => None,
    }
}

/// The delimiter with which the first line names columns that can be read: two, or one that is all of a format.
fn delimiter(head: &[u8], columns: &Columns) -> Option<u8> {
    [b',', b'\t', b';'].into_iter().find(|&delimiter| {
        let names = header(head, delimiter).unwrap_or_default();
        let fields = names.iter().map(|name| (name.clone(), serde_json::Value::Null));
        let mut fields: serde_json::Map<_, _> = fields.collect();
        let is_mapped =
            columns.sources().next().is_some() && columns.sources().all(|s| fields.contains_key(s));
        let known = columns.known(&fields, None).map(|(format, _)| format);
        columns.apply(&mut fields);
        names.len() > 1 && (is_mapped || columns.detect(&fields).or(known).is_some())
    })
}

/// The delimiter that cuts the first line into the most names.
fn most_columns(head: &[u8]) -> u8 {
    let names = |delimiter: u8| header(head, delimiter).map_or(0, |names| names.len());
    [b'\t', b';', b','].into_iter().max_by_key(|&delimiter| names(delimiter)).unwrap_or(b',')
}

/// Whether a list is the file or only its first line.
fn list(head: &[u8]) -> Option<FileFormat> {
    let mut values = serde_json::Deserializer::from_slice(head).into_iter::<IgnoredAny>();
    match values.next()? {
        Ok(_) => match head[values.byte_offset()..].trim_ascii_start().first() {
            None => Some(FileFormat::Json),
            Some(_) => Some(FileFormat::JsonLines),
        },
        Err(error) if error.is_eof() => Some(FileFormat::Json),
        Err(_) => None,
    }
}

/// Whether an object is a row or the holder of a list.
fn object(head: &[u8], is_all: bool, columns: &Columns) -> Option<FileFormat> {
    let mut fields = TopLevel::default();
    let mut deserializer = serde_json::Deserializer::from_slice(head);
    let parsed = (&mut fields).deserialize(&mut deserializer);
    let goes_on = parsed.is_ok() && deserializer.end().is_err();
    let holds_list = fields.lists > 0 && !goes_on && !fields.names.iter().any(|name| columns.reads(name));
    match parsed {
        // A file may be cut off, or go on after what was looked at.
        Err(error) if !error.is_eof() || (is_all && !holds_list) => {
            // Broken in its first line: the lines after it tell.
            let rest = head.splitn(2, |&byte| byte == b'\n').nth(1)?;
            let is_object = |line: &[u8]| serde_json::from_slice::<serde_json::Map<_, _>>(line).is_ok();
            rest.split(|&byte| byte == b'\n').any(is_object).then_some(FileFormat::JsonLines)
        }
        _ if holds_list => Some(FileFormat::Json),
        _ => Some(FileFormat::JsonLines),
    }
}

/// The names of an object's fields, as far as it can be read, and how many of them are lists.
#[derive(Default)]
struct TopLevel {
    names: Vec<String>,
    lists: usize,
}

impl<'de> DeserializeSeed<'de> for &mut TopLevel {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut TopLevel {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while let Some(name) = fields.next_key()? {
            self.names.push(name);
            // What is cut off counts as a list: only a list is likely to be so long.
            self.lists += 1;
            self.lists -= usize::from(!fields.next_value::<serde_json::Value>()?.is_array());
        }
        Ok(())
    }
}
