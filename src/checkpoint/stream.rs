//! Many tensors, slice by slice, with several reads under way.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use web_time::Instant;

use super::tensors::{TensorSource, no_tensor};
use crate::error::{Error, Result};
use crate::source::BoxFuture;

/// The most bytes of a tensor that one read asks for.
pub const SLICE: u64 = 4 << 20;
/// The most reads under way at a time. Host memory holds at most this many slices of a model, and what the
/// source keeps below them while it decodes ([`TensorSource::read`]).
pub const IN_FLIGHT: usize = 4;

/// A part of a tensor.
pub struct Slice {
    /// Which of the names given to [`Slices::new`].
    pub tensor: usize,
    /// Where it starts, in bytes from the tensor's start.
    pub offset: u64,
    /// What is there.
    pub bytes: Vec<u8>,
}

/// The slices of some tensors in order, read ahead by up to [`IN_FLIGHT`] slices of [`SLICE`] bytes.
pub struct Slices<'a> {
    source: &'a dyn TensorSource,
    names: &'a [String],
    next: (usize, u64),
    reads: FuturesOrdered<BoxFuture<'a, Result<Slice>>>,
}

impl<'a> Slices<'a> {
    /// The slices of the tensors called `names`.
    pub fn new(source: &'a dyn TensorSource, names: &'a [String]) -> Self {
        Self { source, names, next: (0, 0), reads: FuturesOrdered::new() }
    }

    /// The next slice; `None` after the last.
    ///
    /// # Errors
    ///
    /// `Format` for a name that the source does not have, or a read that gives more or fewer bytes than asked
    /// for; what reading gives.
    pub async fn next(&mut self) -> Result<Option<Slice>> {
        while self.reads.len() < IN_FLIGHT {
            let Some(read) = self.start()? else { break };
            self.reads.push_back(read);
        }
        self.reads.next().await.transpose()
    }

    fn start(&mut self) -> Result<Option<BoxFuture<'a, Result<Slice>>>> {
        let (tensor, offset) = self.next;
        let Some(name) = self.names.get(tensor) else { return Ok(None) };
        let source = self.source;
        let info = source.info(name).ok_or_else(|| no_tensor(source.name(), name))?;
        let end = info.bytes().min(offset + slice_bytes(source.granule(name)));
        self.next = if end == info.bytes() { (tensor + 1, 0) } else { (tensor, end) };
        Ok(Some(Box::pin(async move {
            let bytes = source.read(name, offset..end).await?;
            if bytes.len() as u64 != end - offset {
                return Err(Error::format(format!(
                    "{}: tensor {name}: expected {} bytes at offset {offset}, found {}. Is the file complete?",
                    source.name(),
                    end - offset,
                    bytes.len()
                )));
            }
            Ok(Slice { tensor, offset, bytes })
        })))
    }
}

/// The largest multiple of `granule` that is no more than a slice. Multiples of four come out for tensors of
/// 16-bit elements too, so that each slice can be uploaded where it belongs.
fn slice_bytes(granule: u64) -> u64 {
    let granule = granule.max(1).checked_next_multiple_of(4).filter(|&g| g <= SLICE).unwrap_or(4);
    SLICE / granule * granule
}

/// How far loading is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Bytes loaded.
    pub done: u64,
    /// Bytes to load.
    pub total: u64,
    /// Bytes a second, over the last seconds; 0 until there is something to measure.
    pub bytes_per_second: f64,
}

impl Progress {
    /// Seconds until the rest is loaded at this speed, if there is a speed.
    pub fn seconds_left(&self) -> Option<f64> {
        (self.bytes_per_second > 0.0)
            .then(|| self.total.saturating_sub(self.done) as f64 / self.bytes_per_second)
    }
}

/// Counts bytes and measures their speed.
pub struct Meter {
    total: u64,
    done: u64,
    /// When how many bytes were there, oldest first.
    marks: VecDeque<(Instant, u64)>,
}

/// A speed is measured over this much time, so that it follows a line that becomes slower.
const WINDOW: Duration = Duration::from_secs(5);
/// Marks are at least this far apart.
const MARK: Duration = Duration::from_millis(100);

impl Meter {
    /// A meter for `total` bytes that starts `now`.
    pub fn new(total: u64, now: Instant) -> Self {
        Self { total, done: 0, marks: VecDeque::from([(now, 0)]) }
    }

    /// Counts `bytes` more that are there `now`.
    pub fn add(&mut self, bytes: u64, now: Instant) -> Progress {
        self.done += bytes;
        // The second mark becomes the first once it alone spans the window.
        while self.marks.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW) {
            self.marks.pop_front();
        }
        let (start, before) = self.marks[0];
        let seconds = now.duration_since(start).as_secs_f64();
        let bytes_per_second = if seconds > 0.0 { (self.done - before) as f64 / seconds } else { 0.0 };
        if self.marks.back().is_some_and(|(at, _)| now.duration_since(*at) >= MARK) {
            self.marks.push_back((now, self.done));
        }
        Progress { done: self.done, total: self.total, bytes_per_second }
    }
}
