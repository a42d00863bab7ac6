//! One file from the Hub into the cache's blobs, going on from what an earlier try left.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind as IoKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use ureq::Body;
use ureq::http::{HeaderMap, Response, StatusCode, header::CONTENT_RANGE};

use super::cache::{self, RepoCache};
use super::client::{Client, Failure, Found};
use super::segments::Segments;
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
    /// Requests for parts of the file at a time.
    pub(super) connections: usize,
    /// Bytes that came, or, negative, that turned out to be worth nothing.
    pub(super) progress: &'a (dyn Fn(i64) + Sync),
    pub(super) on: OnProgress<'a>,
}

/// The bytes from `begin` to `end` of the file, of which those before `at` are in a file of their own.
pub(super) struct Span {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) begin: u64,
    pub(super) at: u64,
    pub(super) end: u64,
}

impl Span {
    /// Goes on with what is at `path`, which holds the bytes from `begin`.
    pub(super) fn open(path: PathBuf, begin: u64, end: u64) -> std::io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(&path)?;
        let at = begin.saturating_add(file.metadata()?.len());
        let mut span = Self { file, path, begin, at, end };
        if at > end {
            span.file.set_len(0)?;
            span.at = begin;
        }
        Ok(span)
    }
}

/// How a [`Span`] was filled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Filled {
    Whole,
    /// As far as it was when it was to stop.
    Stopped,
    /// Not at all: the server knows no ranges.
    NoRanges,
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
        let is_here = std::fs::metadata(&blob).is_ok_and(|meta| meta.len() == size);
        let mut segments = None;
        if !is_here {
            cache::make_parent(&partial)?;
            segments = Some(Segments::open(self)?);
        }
        // What another process did in the meantime.
        (self.progress)(self.cache.bytes_of(etag, size).cast_signed() - counted.cast_signed());
        let Some(segments) = segments else { return Ok(()) };
        let mut whole = segments.fill()?;
        self.fill(&mut whole, &AtomicBool::new(false))?;
        whole.file.sync_all().map_err(|error| self.disk(&partial, &error))?;
        drop(whole);
        std::fs::rename(&partial, &blob).map_err(|error| self.disk(&blob, &error))
    }

    /// Requests what `span` lacks until it is there, or until `stop` is set.
    pub(super) fn fill(&self, span: &mut Span, stop: &AtomicBool) -> Result<Filled> {
        let mut tries = 0;
        while span.at < span.end {
            let before = span.at;
            match self.some(span, stop) {
                Ok(Filled::Whole) => {}
                Ok(ended) => return Ok(ended),
                Err(_) if stop.load(Ordering::Relaxed) => return Ok(Filled::Stopped),
                Err(failure) if failure.unreachable => {
                    tries = if span.at > before { 1 } else { tries + 1 };
                    self.client.wait(tries, failure, self.on).map_err(|failure| {
                        failure.error.context(format!(
                            "{}/{} broke off after {} of {} bytes (they are kept; the same command goes on from there)",
                            self.repo,
                            self.name,
                            self.cache.bytes_of(&self.found.etag, self.found.size),
                            self.found.size
                        ))
                    })?;
                }
                Err(failure) => return Err(failure.error),
            }
        }
        Ok(Filled::Whole)
    }

    /// One request, from `at` to the span's end or to where it breaks.
    fn some(&self, span: &mut Span, stop: &AtomicBool) -> Result<Filled, Failure> {
        let size = self.found.size;
        let range = match (span.at, span.end) {
            (0, end) if end == size => None,
            (at, end) if end == size => Some(format!("bytes={at}-")),
            (at, end) => Some(format!("bytes={at}-{}", end - 1)),
        };
        let response = self.client.open(self.repo, self.commit, self.name, range.as_deref())?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT => self.check_range(&response, span)?,
            StatusCode::RANGE_NOT_SATISFIABLE => {
                self.restart(span)?;
                return Err(Failure::broken(io(format!(
                    "{}: the server does not have these bytes",
                    self.name
                ))));
            }
            // The whole file: this server does not know ranges.
            _ if span.begin > 0 || span.end < size => return Ok(Filled::NoRanges),
            _ if span.at > 0 => self.restart(span)?,
            _ => {}
        }
        let mut body = response.into_body().into_reader();
        let mut slice = vec![0; SLICE];
        while !stop.load(Ordering::Relaxed) {
            let read = body.read(&mut slice).map_err(|error| {
                Failure::broken(io(format!("{}: the connection broke: {error}", self.name)))
            })?;
            if read == 0 {
                break;
            }
            if read as u64 > span.end - span.at {
                self.restart(span)?;
                return Err(Failure::fatal(Error::format(format!(
                    "{}: the server sends more than the {} bytes that it promised",
                    self.name,
                    span.end - span.begin
                ))));
            }
            let written = span.file.write_all(&slice[..read]);
            written.map_err(|error| Failure::fatal(self.disk(&span.path, &error)))?;
            span.at += read as u64;
            (self.progress)(read as i64);
        }
        if span.at == span.end {
            return Ok(Filled::Whole);
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(Filled::Stopped);
        }
        let text = format!("{}: the connection ended after {} of {size} bytes", self.name, span.at);
        Err(Failure::broken(io(text)))
    }

    /// A part has to begin with the byte that was asked for, of a file of the right length.
    fn check_range(&self, response: &Response<Body>, span: &Span) -> Result<(), Failure> {
        let size = self.found.size;
        match content_range(response.headers()) {
            Some((begin, total)) if begin == span.at && total.is_none_or(|total| total == size) => Ok(()),
            _ => Err(Failure::fatal(Error::format(format!(
                "{}: asked for bytes {} to {} of {size}, the server sent \"{}\"",
                self.name,
                span.at,
                span.end - 1,
                response.headers().get(CONTENT_RANGE).and_then(|v| v.to_str().ok()).unwrap_or_default()
            )))),
        }
    }

    fn restart(&self, span: &mut Span) -> Result<(), Failure> {
        span.file.set_len(0).map_err(|error| Failure::fatal(self.disk(&span.path, &error)))?;
        (self.progress)(-(span.at - span.begin).cast_signed());
        span.at = span.begin;
        Ok(())
    }

    pub(super) fn disk(&self, path: &Path, error: &std::io::Error) -> Error {
        let full = matches!(error.kind(), IoKind::StorageFull | IoKind::QuotaExceeded);
        let hint = match full {
            true => ". Free some space and run the same command: it goes on from there",
            false => "",
        };
        io(format!("{}: {error}{hint}", path.display()))
    }
}

/// First byte and, unless it is unknown, the total of `bytes first-last/total`.
pub(super) fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    Some((range.split_once('-')?.0.parse().ok()?, total))
}
