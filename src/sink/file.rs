//! A file on disk.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use super::ByteSink;
use crate::error::{Error, Result};
use crate::source::BoxFuture;

/// A new file on disk. Writes block.
pub struct FileSink {
    name: String,
    file: File,
}

impl FileSink {
    /// Makes the file at `path`, which must not be there yet.
    ///
    /// # Errors
    ///
    /// `Io` when it is there or cannot be made.
    pub fn create(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let file =
            File::create_new(path).map_err(|error| Error::io(format!("cannot write {name}"), &error))?;
        Ok(Self { name, file })
    }

    /// Waits until everything is on the disk.
    ///
    /// # Errors
    ///
    /// `Io` when the disk reports an error.
    pub fn finish(self) -> Result<()> {
        self.file.sync_all().map_err(|error| Error::io(format!("cannot write {}", self.name), &error))
    }
}

impl ByteSink for FileSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn write<'a>(&'a mut self, bytes: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let written = self.file.write_all(bytes);
            written.map_err(|error| Error::io(format!("cannot write {}", self.name), &error))
        })
    }
}
