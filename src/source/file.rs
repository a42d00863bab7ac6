//! A file on disk.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use futures_channel::oneshot;

use super::{BoxFuture, ByteSource, buffer, check_range};
use crate::error::{Error, ErrorKind, Result};

/// Reads of more bytes than this go to a thread of their own, so that several can be under way.
const INLINE: usize = 64 << 10;

/// A file on disk. Large reads run on a thread each; small ones block.
pub struct FileSource {
    name: String,
    file: Arc<File>,
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
        Ok(Self { name, file: Arc::new(file), len: metadata.len() })
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
            let failed = |error: &std::io::Error| Error::io(format!("cannot read {}", self.name), error);
            let mut bytes = buffer(&self.name, len)?;
            if len <= INLINE {
                read_at(&self.file, offset, &mut bytes).map_err(|error| failed(&error))?;
                return Ok(bytes);
            }
            let (sender, read) = oneshot::channel();
            let file = Arc::clone(&self.file);
            let work = move || {
                let result = read_at(&file, offset, &mut bytes).map(|()| bytes);
                // The receiver is gone only when nobody waits any more.
                let _ = sender.send(result);
            };
            std::thread::Builder::new()
                .name("read".to_owned())
                .spawn(work)
                .map_err(|error| failed(&error))?;
            match read.await {
                Ok(result) => result.map_err(|error| failed(&error)),
                Err(_) => {
                    Err(Error::new(ErrorKind::Io, format!("cannot read {}: the read ended", self.name)))
                }
            }
        })
    }
}

/// Fills `bytes` from `offset` on, whatever other threads read of the same file.
fn read_at(file: &File, offset: u64, bytes: &mut [u8]) -> std::io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset);
    #[cfg(windows)]
    {
        let (mut offset, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            match std::os::windows::fs::FileExt::seek_read(file, rest, offset)? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                read => (offset, rest) = (offset + read as u64, &mut rest[read..]),
            }
        }
        Ok(())
    }
}
