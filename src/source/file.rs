//! A file on disk.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use super::{BoxFuture, ByteSource, buffer, check_range};
use crate::error::{Error, Result};

/// A file on disk. Reads block.
pub struct FileSource {
    name: String,
    file: File,
    len: u64,
}

impl FileSource {
    /// Opens the file at `path`.
    ///
    /// # Errors
    ///
    /// `Io` when it cannot be opened or is no file.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
        let (metadata, file) = opened.map_err(|error| Error::io(format!("cannot open {name}"), &error))?;
        if !metadata.is_file() {
            let error = std::io::Error::other("not a file");
            return Err(Error::io(format!("cannot open {name}"), &error));
        }
        Ok(Self { name, file, len: metadata.len() })
    }
}

impl ByteSource for FileSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, offset: u64, len: usize) -> BoxFuture<'_, Result<Vec<u8>>> {
        Box::pin(async move {
            check_range(self, offset, len)?;
            let mut bytes = buffer(&self.name, len)?;
            let mut file = &self.file;
            file.seek(SeekFrom::Start(offset))
                .and_then(|_| file.read_exact(&mut bytes))
                .map_err(|error| Error::io(format!("cannot read {}", self.name), &error))?;
            Ok(bytes)
        })
    }
}
