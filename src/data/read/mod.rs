//! Files into rows, one after the other: nothing here holds more than a row, or a page of a Parquet column.

mod json;
mod parquet;
mod table;
mod text;
mod value;

use std::cell::Cell;
#[cfg(not(target_arch = "wasm32"))]
use std::fs::File;
use std::io::{self, BufRead, Read};
use std::ops::ControlFlow;
#[cfg(not(target_arch = "wasm32"))]
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::columns::Columns;
use super::file_format::FileFormat;
use super::records::RowResult;
#[cfg(not(target_arch = "wasm32"))]
use crate::error::ErrorKind;
use crate::error::{Error, Result};

pub(super) use parquet::column_names;
pub(super) use table::header;
pub(super) use value::parse_list;

/// The most bytes a row may have. It ends what would otherwise fill the memory: a file without line breaks, or a
/// quote that is never closed.
const MAX_ROW: usize = 64 << 20;
/// How much of a file is looked at to tell its format.
const HEAD: u64 = 1 << 20;
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// What a file has in one place.
pub(super) enum Row {
    /// The fields of an object or a table's row.
    Fields(Map<String, Value>),
    /// A part of a plain text.
    Passage { text: String, ends: bool },
}

/// Takes a row with its number from 1, or what is wrong with it, and says whether to go on.
pub(super) type OnRow<'a> = dyn FnMut(usize, RowResult<Row>) -> Result<ControlFlow<()>> + 'a;

/// Where a data set's bytes are. Either can be read again and again.
#[derive(Debug, Clone)]
pub(super) enum Input {
    /// In memory; clones share it.
    Memory(Bytes),
    /// A file, opened for each reading.
    #[cfg(not(target_arch = "wasm32"))]
    File(PathBuf),
    /// What could be read only once, in a temporary file that goes with the last clone.
    #[cfg(not(target_arch = "wasm32"))]
    Spooled(Rc<tempfile::TempPath>),
}

impl Input {
    /// What is at `path`: a file or, of what can be read only once, such as a pipe, all that it gives.
    ///
    /// # Errors
    ///
    /// `Io`, without the path.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open(path: &Path) -> Result<Self> {
        let file = Self::open_file(path)?;
        let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
        if is_file { Ok(Self::File(path.to_owned())) } else { Self::spool(file) }
    }

    /// All that a reader gives.
    ///
    /// # Errors
    ///
    /// `Io`, without a name.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn spool(mut once: impl Read) -> Result<Self> {
        let folder = std::env::temp_dir();
        let failed = |error: io::Error| {
            let folder = folder.display();
            Error::io(
                format!("no file, and copying it to one in {folder} (TMPDIR sets another folder)"),
                &error,
            )
        };
        let mut file = tempfile::NamedTempFile::new().map_err(failed)?;
        io::copy(&mut once, &mut file).map_err(failed)?;
        Ok(Self::Spooled(Rc::new(file.into_temp_path())))
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn open_file(path: &Path) -> Result<File> {
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
        // Whoever asked puts the name before it.
        let (metadata, file) = opened.map_err(|error| Error::new(ErrorKind::Io, error.to_string()))?;
        if metadata.is_dir() {
            return Err(Error::new(ErrorKind::Io, "a folder, not a file"));
        }
        Ok(file)
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn buffered(path: &Path) -> Result<Box<dyn BufRead>> {
        Ok(Box::new(io::BufReader::with_capacity(1 << 18, Self::open_file(path)?)))
    }

    /// The bytes from the beginning, without a byte order mark.
    fn reader(&self) -> Result<Box<dyn BufRead + '_>> {
        let mut reader: Box<dyn BufRead> = match self {
            Self::Memory(bytes) => Box::new(&bytes[..]),
            #[cfg(not(target_arch = "wasm32"))]
            Self::File(path) => Self::buffered(path)?,
            #[cfg(not(target_arch = "wasm32"))]
            Self::Spooled(path) => Self::buffered(path)?,
        };
        let start = reader.fill_buf().map_err(|error| Error::io("the data set's beginning", &error))?;
        if start.starts_with(BYTE_ORDER_MARK) {
            reader.consume(BYTE_ORDER_MARK.len());
        }
        Ok(reader)
    }

    /// The first bytes, and whether they are all.
    pub fn head(&self) -> Result<(Vec<u8>, bool)> {
        let mut head = Vec::new();
        let read = self.reader()?.take(HEAD + 1).read_to_end(&mut head);
        read.map_err(|error| Error::io("the data set's beginning", &error))?;
        let is_all = head.len() as u64 <= HEAD;
        head.truncate(HEAD as usize);
        Ok((head, is_all))
    }

    /// Hands the rows of a file of `format` to `on_row`.
    ///
    /// # Errors
    ///
    /// `Io` when reading fails, `Format` from where on the file makes no sense; both without the file's name.
    pub fn rows(&self, format: FileFormat, columns: &Columns, on_row: &mut OnRow<'_>) -> Result<()> {
        match format {
            FileFormat::JsonLines => json::lines(self.reader()?, on_row),
            FileFormat::Json => json::entries(self.reader()?, on_row),
            FileFormat::Table { delimiter } => table::rows(self.reader()?, delimiter, on_row),
            FileFormat::Parquet => parquet::rows(self, columns, on_row),
            FileFormat::PlainText => text::passages(self.reader()?, on_row),
        }
    }
}

/// A reader that refuses to go on when a row grows past [`MAX_ROW`].
struct Guarded<R> {
    inner: R,
    budget: Rc<Cell<usize>>,
}

impl<R> Guarded<R> {
    /// The reader, and the handle that gives it the budget of another row.
    fn new(inner: R) -> (Self, Rc<Cell<usize>>) {
        let budget = Rc::new(Cell::new(MAX_ROW));
        (Self { inner, budget: Rc::clone(&budget) }, budget)
    }
}

impl<R: Read> Read for Guarded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.budget.get();
        if left == 0 {
            return Err(io::Error::other(format!(
                "a row has more than {} MiB: a quote or a bracket that is not closed?",
                MAX_ROW >> 20
            )));
        }
        let len = buffer.len().min(left);
        let read = self.inner.read(&mut buffer[..len])?;
        self.budget.set(left - read);
        Ok(read)
    }
}
