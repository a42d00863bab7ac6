//! Weights that stay on the Hub: what is needed of them to plan a run is read in ranges.

use std::cell::RefCell;
use std::io::{self, Read};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use ureq::http::StatusCode;

use super::client::{Client, Failure};
use super::download::content_range;
use super::{HubModel, OnProgress, Progress, io as io_error};
use crate::error::{Error, Result};
use crate::source::{BoxFuture, ByteSource, buffer, check_range};

/// Bytes from a file's beginning that come with the first request: most headers are shorter.
const HEAD: u64 = 256 << 10;

/// A model of which everything is here but, perhaps, its weights.
pub struct Outline {
    /// The folder of its files or, of a model in one `.gguf` file, the folder of that.
    pub folder: PathBuf,
    /// The files of weights by their names: those in the cache are read there, the others on the Hub.
    pub weights: Vec<(String, Rc<dyn ByteSource>)>,
    /// `model.safetensors.index.json`, if the weights are in several files.
    pub index: Option<Vec<u8>>,
    /// What is still to be [fetched](super::Hub::fetch): the model at the commit that was looked at.
    pub missing: Option<HubModel>,
}

/// A file on the Hub. Reads block.
pub(super) struct RemoteFile {
    pub(super) client: Arc<Client>,
    pub(super) repo: String,
    pub(super) commit: String,
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) on: Arc<dyn Fn(Progress) + Send + Sync>,
    /// The first [`HEAD`] bytes, once they have been asked for.
    pub(super) head: RefCell<Vec<u8>>,
}

impl RemoteFile {
    fn get(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let end = check_range(self, offset, len)?.end;
        let head_len = HEAD.min(self.size);
        if end > head_len {
            return self.request(offset, len);
        }
        let mut head = self.head.borrow_mut();
        if head.is_empty() && len > 0 {
            // At most `HEAD`.
            *head = self.request(0, head_len as usize)?;
        }
        Ok(head[offset as usize..end as usize].to_vec())
    }

    /// At least one byte.
    fn request(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let mut failed = 0;
        loop {
            let on: OnProgress<'_> = &*self.on;
            let failure = match self.try_request(offset, len) {
                Ok(bytes) => return Ok(bytes),
                Err(failure) => failure,
            };
            if !failure.unreachable {
                return Err(failure.error);
            }
            failed += 1;
            self.client.wait(failed, failure, on).map_err(|failure| {
                failure.error.context(format!("the header of {}/{}", self.repo, self.name))
            })?;
        }
    }

    fn try_request(&self, offset: u64, len: usize) -> Result<Vec<u8>, Failure> {
        let last = offset + len as u64 - 1;
        let range = format!("bytes={offset}-{last}");
        let response = self.client.open(&self.repo, &self.commit, &self.name, Some(&range))?;
        let skipped = match (response.status(), content_range(response.headers())) {
            (StatusCode::PARTIAL_CONTENT, Some((begin, total)))
                if begin == offset && total.is_none_or(|total| total == self.size) =>
            {
                0
            }
            (StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE, _) => {
                return Err(Failure::fatal(Error::format(format!(
                    "{}: asked for bytes {offset} to {last} of {}, and the server sent others",
                    self.name, self.size
                ))));
            }
            // The whole file comes: this server does not know ranges. What is not wanted of it is not waited for.
            _ => offset,
        };
        let mut body = response.into_body().into_reader();
        let mut bytes = buffer(&self.name, len).map_err(Failure::fatal)?;
        io::copy(&mut body.by_ref().take(skipped), &mut io::sink())
            .and_then(|_| body.read_exact(&mut bytes))
            .map_err(|error| {
                Failure::broken(io_error(format!("{}: the connection broke: {error}", self.name)))
            })?;
        Ok(bytes)
    }
}

impl ByteSource for RemoteFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.size
    }

    fn read(&self, offset: u64, len: usize) -> BoxFuture<'_, Result<Vec<u8>>> {
        Box::pin(async move { self.get(offset, len) })
    }
}
