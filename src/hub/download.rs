//! One file from the Hub into the cache's blobs, going on from what an earlier try left.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind as IoKind, Read, Write};

use ureq::Body;
use ureq::http::{HeaderMap, Response, StatusCode, header::CONTENT_RANGE};

use super::cache::{self, RepoCache};
use super::client::{Client, Failure, Found};
use super::{OnProgress, Progress, io};
use crate::error::{Error, Result};

/// Bytes read and written at a time.
const SLICE: usize = 256 << 10;

pub(super) struct Download<'a> {
    pub(super) client: &'a Client,
    pub(super) cache: &'a RepoCache,
    pub(super) repo: &'a str,
    pub(super) commit: &'a str,
    pub(super) name: &'a str,
    pub(super) found: &'a Found,
    /// Bytes that came, or, negative, that turned out to be worth nothing.
    pub(super) progress: &'a (dyn Fn(i64) + Sync),
    pub(super) on: OnProgress<'a>,
}

impl Download<'_> {
    /// Afterwards the blob is there and has its length.
    pub(super) fn run(&self) -> Result<()> {
        let (etag, size) = (&self.found.etag, self.found.size);
        let (blob, partial) = (self.cache.blob(etag), self.cache.partial(etag));
        let counted = self.cache.bytes_of(etag, size);
        let _lock = self.cache.lock(etag, || {
            (self.on)(Progress::Note(format!("waiting for another process that downloads {}", self.name)));
        })?;
        // What another process did in the meantime.
        (self.progress)(self.cache.bytes_of(etag, size).cast_signed() - counted.cast_signed());
        if std::fs::metadata(&blob).is_ok_and(|meta| meta.len() == size) {
            return Ok(());
        }
        cache::make_parent(&partial)?;
        let failed = |error: std::io::Error| self.disk(&partial, &error);
        let mut file = OpenOptions::new().append(true).create(true).open(&partial).map_err(failed)?;
        let mut at = file.metadata().map_err(failed)?.len();
        if at > size {
            file.set_len(0).map_err(failed)?;
            at = 0;
        }
        let mut tries = 0;
        while at < size {
            let before = at;
            match self.some(&mut file, &mut at) {
                Ok(()) => {}
                Err(failure) if failure.unreachable => {
                    tries = if at > before { 1 } else { tries + 1 };
                    self.client.wait(tries, failure, self.on).map_err(|failure| {
                        failure.error.context(format!(
                            "{} broke off after {at} of {size} bytes (they are kept; the same command goes on from there)",
                            self.name
                        ))
                    })?;
                }
                Err(failure) => return Err(failure.error),
            }
        }
        file.sync_all().map_err(failed)?;
        drop(file);
        std::fs::rename(&partial, &blob).map_err(|error| self.disk(&blob, &error))
    }

    /// One request, from `at` to the end or to where it breaks.
    fn some(&self, file: &mut File, at: &mut u64) -> Result<(), Failure> {
        let size = self.found.size;
        let response = self.client.open(self.repo, self.commit, self.name, *at)?;
        let begins = match response.status() {
            StatusCode::PARTIAL_CONTENT => self.begin(&response, *at)?,
            StatusCode::RANGE_NOT_SATISFIABLE => {
                self.restart(file, at)?;
                return Err(Failure::broken(io(format!(
                    "{}: the server does not have these bytes",
                    self.name
                ))));
            }
            // The whole file: this server does not know ranges.
            _ => 0,
        };
        if begins != *at {
            self.restart(file, at)?;
        }
        let mut body = response.into_body().into_reader();
        let mut slice = vec![0; SLICE];
        loop {
            let read = body.read(&mut slice).map_err(|error| {
                Failure::broken(io(format!("{}: the connection broke: {error}", self.name)))
            })?;
            if read == 0 {
                break;
            }
            if read as u64 > size - *at {
                self.restart(file, at)?;
                return Err(Failure::fatal(Error::format(format!(
                    "{}: the server sends more than the {size} bytes that it promised",
                    self.name
                ))));
            }
            file.write_all(&slice[..read])
                .map_err(|error| Failure::fatal(self.disk(&self.cache.partial(&self.found.etag), &error)))?;
            *at += read as u64;
            (self.progress)(read as i64);
        }
        if *at < size {
            let text = format!("{}: the connection ended after {at} of {size} bytes", self.name);
            return Err(Failure::broken(io(text)));
        }
        Ok(())
    }

    /// The first byte of a part, which has to be the one that was asked for, of a file of the right length.
    fn begin(&self, response: &Response<Body>, at: u64) -> Result<u64, Failure> {
        let range = content_range(response.headers());
        match range {
            Some((begin, total)) if begin == at && total.is_none_or(|total| total == self.found.size) => {
                Ok(at)
            }
            _ => Err(Failure::fatal(Error::format(format!(
                "{}: asked for bytes {at} to the end of {}, the server sent \"{}\"",
                self.name,
                self.found.size,
                response.headers().get(CONTENT_RANGE).and_then(|v| v.to_str().ok()).unwrap_or_default()
            )))),
        }
    }

    fn restart(&self, file: &File, at: &mut u64) -> Result<(), Failure> {
        let partial = self.cache.partial(&self.found.etag);
        file.set_len(0).map_err(|error| Failure::fatal(self.disk(&partial, &error)))?;
        (self.progress)(-at.cast_signed());
        *at = 0;
        Ok(())
    }

    fn disk(&self, path: &std::path::Path, error: &std::io::Error) -> Error {
        let full = matches!(error.kind(), IoKind::StorageFull | IoKind::QuotaExceeded);
        let hint = match full {
            true => ". Free some space and run the same command: it goes on from there",
            false => "",
        };
        io(format!("{}: {error}{hint}", path.display()))
    }
}

/// First byte and, unless it is unknown, the total of `bytes first-last/total`.
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    Some((range.split_once('-')?.0.parse().ok()?, total))
}
