//! CSV and TSV: a header line, then rows of strings.

use std::cell::RefCell;
use std::io::{self, BufRead, Read};
use std::rc::Rc;

use csv::{ByteRecord, ReaderBuilder};
use serde_json::{Map, Value};

use super::{Guarded, MAX_ROW, OnRow, Row};
use crate::data::records::RowResult;
use crate::error::{Error, Result, counted};

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
    let quotes = Rc::new(RefCell::new(Quotes::new(delimiter)));
    let mut reader = builder(delimiter).from_reader(Quoted { inner: reader, quotes: Rc::clone(&quotes) });
    let error = |error: csv::Error| match (quotes.borrow().open(), error.kind()) {
        // A row that grows past what a row may have.
        (Some(line), csv::ErrorKind::Io(_)) => unclosed(line, &format!("({error})")),
        _ => Error::format(format!("no valid table: {error}")),
    };
    // The parser takes the end of the file for the end of the quote.
    let closed =
        || quotes.borrow().open_at_end().map_or(Ok(()), |line| Err(unclosed(line, "to the file's end")));
    let header = reader.headers().map_err(error)?;
    closed()?;
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
        if !reader.read_byte_record(&mut record).map_err(error)? {
            break;
        }
        closed()?;
        if on_row(number, to_row(&names, &record))?.is_break() {
            break;
        }
    }
    Ok(())
}

fn to_row(names: &[String], record: &ByteRecord) -> RowResult<Row> {
    if record.len() != names.len() {
        return Err(format!("{} where the header has {}", counted(record.len(), "field"), names.len()));
    }
    let mut fields = Map::with_capacity(names.len());
    for (name, value) in names.iter().zip(record) {
        let value = std::str::from_utf8(value).map_err(|_| format!("\"{name}\" is no UTF-8"))?;
        fields.insert(name.clone(), Value::from(value));
    }
    Ok(Row::Fields(fields))
}

fn unclosed(line: usize, what: &str) -> Error {
    Error::format(format!(
        "no valid table: the quote that opens in line {line} is never closed, and everything after it {what} would be \
         one field. Close it; a quote that belongs to a text is written twice, in a field that is in quotes itself"
    ))
}

/// Whether the bytes so far end inside quotes, by the rules of the `csv` crate, which are those of RFC 4180: quotes
/// count at a field's beginning, and two of them inside are a quote of the text.
struct Quotes {
    delimiter: u8,
    state: State,
    /// The line that the last byte was in, from 1.
    line: usize,
    /// That of the last quote that opened a field.
    opened: usize,
    after_return: bool,
    ended: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    FieldStart,
    Field,
    Quoted,
    /// Behind a quote in quotes: the end of the field, or half of a quote of the text.
    QuoteInQuoted,
}

impl Quotes {
    fn new(delimiter: u8) -> Self {
        let state = State::FieldStart;
        Self { delimiter, state, line: 1, opened: 0, after_return: false, ended: false }
    }

    fn see(&mut self, byte: u8) {
        let ends_field = byte == self.delimiter || byte == b'\n' || byte == b'\r';
        self.state = match (self.state, byte) {
            (State::FieldStart, b'"') => {
                self.opened = self.line;
                State::Quoted
            }
            (State::Quoted, b'"') => State::QuoteInQuoted,
            (State::QuoteInQuoted, b'"') | (State::Quoted, _) => State::Quoted,
            _ if ends_field => State::FieldStart,
            _ => State::Field,
        };
        // A line ends with \n, \r or both.
        self.line += usize::from(byte == b'\r' || byte == b'\n' && !self.after_return);
        self.after_return = byte == b'\r';
    }

    /// The line in which the quote opened that is open now.
    fn open(&self) -> Option<usize> {
        (self.state == State::Quoted).then_some(self.opened)
    }

    /// The same, once all bytes have come.
    fn open_at_end(&self) -> Option<usize> {
        self.open().filter(|_| self.ended)
    }
}

/// A reader that follows the quotes in what passes through.
struct Quoted<R> {
    inner: R,
    quotes: Rc<RefCell<Quotes>>,
}

impl<R: Read> Read for Quoted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let mut quotes = self.quotes.borrow_mut();
        quotes.ended |= read == 0 && !buffer.is_empty();
        buffer[..read].iter().for_each(|&byte| quotes.see(byte));
        Ok(read)
    }
}
