//! Parquet, by the record reader of the `parquet` crate: one row group after the other, and of each only the
//! columns that have something to read.

use std::sync::Arc;

use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::Type;
use serde_json::Value;

use super::{Input, OnRow, Row};
use crate::data::columns::Columns;
use crate::error::{Context, Error, Result};

fn failed(error: &ParquetError) -> Error {
    Error::format(format!("no valid Parquet: {error}"))
}

fn open(input: &Input) -> Result<Box<dyn FileReader>> {
    Ok(match input {
        Input::Memory(bytes) => Box::new(guarded(|| SerializedFileReader::new(bytes.clone()))?),
        #[cfg(not(target_arch = "wasm32"))]
        Input::File(path) => open_file(path)?,
        #[cfg(not(target_arch = "wasm32"))]
        Input::Spooled(path) => open_file(path)?,
    })
}

#[cfg(not(target_arch = "wasm32"))]
fn open_file(path: &std::path::Path) -> Result<Box<dyn FileReader>> {
    let file = Input::open_file(path)?;
    Ok(Box::new(guarded(|| SerializedFileReader::new(file))?))
}

fn schema(reader: &dyn FileReader) -> &Type {
    reader.metadata().file_metadata().schema()
}

/// Names of the file's columns.
pub(in crate::data) fn column_names(input: &Input) -> Result<Vec<String>> {
    Ok(schema(&*open(input)?).get_fields().iter().map(|field| field.name().to_owned()).collect())
}

/// The rows, from 1.
pub(super) fn rows(input: &Input, columns: &Columns, on_row: &mut OnRow<'_>) -> Result<()> {
    let reader = open(input)?;
    let schema = schema(&*reader);
    let read = |name: &str| columns.reads(name);
    let fields: Vec<Arc<Type>> =
        schema.get_fields().iter().filter(|field| read(field.name())).cloned().collect();
    if fields.is_empty() {
        return Ok(());
    }
    check_compression(&*reader, &read)?;
    let projection = Type::group_type_builder(schema.name()).with_fields(fields).build();
    let rows = guarded(|| projection.and_then(|projection| reader.get_row_iter(Some(projection))));
    let mut rows = rows?;
    for number in 1.. {
        let row = guarded(|| rows.next().transpose().map(|row| row.map(|row| row.to_json_value())));
        let Some(row) = row.context(|| format!("row {number}"))? else { break };
        if let Value::Object(fields) = row
            && on_row(number, Ok(Row::Fields(fields)))?.is_break()
        {
            break;
        }
    }
    Ok(())
}

/// Runs a part of the `parquet` crate (60.1), which panics on some damaged files. In WebAssembly a panic cannot be
/// caught: the page reads such a file in a worker of its own first, see [`check`](crate::data::Dataset::check).
fn guarded<T>(act: impl FnOnce() -> parquet::errors::Result<T>) -> Result<T> {
    #[cfg(not(target_arch = "wasm32"))]
    let _quiet = quiet::Quiet::begin();
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(act)) {
        Ok(result) => result.map_err(|error| failed(&error)),
        Err(_) => Err(Error::format("damaged Parquet: what it says of itself cannot be")),
    }
}

/// Keeps a panic that is caught and reported as an error from being printed as well.
#[cfg(not(target_arch = "wasm32"))]
mod quiet {
    use std::cell::Cell;
    use std::panic;
    use std::sync::Once;

    thread_local! {
        static IS_QUIET: Cell<bool> = const { Cell::new(false) };
    }

    /// This thread's panics are not printed while it lives; the others' are.
    pub(super) struct Quiet;

    impl Quiet {
        pub(super) fn begin() -> Self {
            static HOOK: Once = Once::new();
            HOOK.call_once(|| {
                let before = panic::take_hook();
                panic::set_hook(Box::new(move |info| {
                    if !IS_QUIET.get() {
                        before(info);
                    }
                }));
            });
            IS_QUIET.set(true);
            Self
        }
    }

    impl Drop for Quiet {
        fn drop(&mut self) {
            IS_QUIET.set(false);
        }
    }
}

/// Refuses by name what the crate was built without.
fn check_compression(reader: &dyn FileReader, read: &dyn Fn(&str) -> bool) -> Result<()> {
    for group in reader.metadata().row_groups() {
        for column in group.columns() {
            let name = column.column_path().parts().first().map_or("", String::as_str);
            let compression = column.compression();
            let known = match compression {
                Compression::LZO => false,
                // Its only full implementation is C code, which has no place in the WebAssembly build.
                Compression::ZSTD(_) => cfg!(not(target_arch = "wasm32")),
                _ => true,
            };
            if read(name) && !known {
                let codec = format!("{compression:?}");
                let codec = codec.split('(').next().unwrap_or_default();
                return Err(Error::unsupported(format!(
                    "column \"{name}\" is compressed with {codec}, which cannot be read here; save the file with snappy \
                     or gzip compression, or as JSON Lines"
                )));
            }
        }
    }
    Ok(())
}
