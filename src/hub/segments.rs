//! A large file in segments, several of which come at a time.
//!
//! What the cache calls the part of a file, `{etag}.incomplete`, is always its beginning, as Hugging Face's own
//! tools expect. A segment has a file of its own, `{etag}.{first byte}.incomplete`, until everything before it is
//! there; then it is added to the beginning and deleted. Lengths of files are the whole state, so that a program
//! that is killed at any moment loses nothing.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::{Seek, SeekFrom};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::download::{Download, Filled, Span};
use super::{in_parallel, io};
use crate::error::Result;

/// Bytes of a segment; a file of no more comes over one connection.
pub(super) const SEGMENT: u64 = 32 << 20;

pub(super) struct Segments<'a> {
    download: &'a Download<'a>,
    /// The file's beginning.
    first: Span,
    /// First byte and end of what is to come, in order.
    wanted: VecDeque<(u64, u64)>,
    /// First byte and end of what has come, but whose turn it is not yet.
    finished: BTreeMap<u64, u64>,
}

impl<'a> Segments<'a> {
    /// Finds out what is there and what is wanted. Segments are worth something only with ranges and where there is
    /// more than one; what other runs left is used all the same.
    pub(super) fn open(download: &'a Download<'a>) -> Result<Self> {
        let (etag, size) = (&download.found.etag, download.found.size);
        let partial = download.cache.partial(etag);
        let first = Span::open(partial.clone(), 0, size).map_err(|error| download.disk(&partial, &error))?;
        let mut all = Self { download, first, wanted: VecDeque::new(), finished: BTreeMap::new() };
        let (kept, useless) = sort(all.first.at, &download.cache.segments(etag), size);
        for begin in useless {
            all.delete(begin)?;
        }
        for &(begin, end) in &kept {
            if begin <= all.first.at {
                all.add(begin, end)?;
            }
        }
        let later: Vec<_> = kept.into_iter().filter(|&(begin, _)| begin > all.first.at).collect();
        for (begin, at, end) in plan(all.first.at, &later, size) {
            if at == end {
                all.finished.insert(begin, end);
            } else {
                all.wanted.push_back((begin, end));
            }
        }
        Ok(all)
    }

    /// Requests the segments; gives the file's beginning, which is all of it unless the server knows no ranges.
    pub(super) fn fill(self) -> Result<Span> {
        // What is left may be the end of a file that came over one connection.
        if self.wanted.len() + self.finished.len() < 2 {
            return Ok(self.first);
        }
        let (download, connections) = (self.download, self.download.connections);
        let (stop, no_ranges) = (AtomicBool::new(false), AtomicBool::new(false));
        let all = Mutex::new(self);
        let broken = || io("a download ended with an error of the program");
        let worker = || -> Result<()> {
            loop {
                let next = all.lock().map_err(|_| broken())?.wanted.pop_front();
                let Some((begin, end)) = next.filter(|_| !stop.load(Ordering::Relaxed)) else {
                    return Ok(());
                };
                let path = download.cache.segment(&download.found.etag, begin);
                let opened = Span::open(path.clone(), begin, end);
                let mut span = opened.map_err(|error| download.disk(&path, &error))?;
                match download.fill(&mut span, &stop)? {
                    Filled::Whole => all.lock().map_err(|_| broken())?.finish(begin, end)?,
                    Filled::Stopped => return Ok(()),
                    Filled::NoRanges => {
                        no_ranges.store(true, Ordering::Relaxed);
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            }
        };
        // One that fails ends the others at their next bytes, which are kept.
        in_parallel(connections, || worker().inspect_err(|_| stop.store(true, Ordering::Relaxed)))?;
        let all = all.into_inner().map_err(|_| broken())?;
        if no_ranges.into_inner() {
            all.forget()?;
        }
        Ok(all.first)
    }

    /// Adds a finished segment to the beginning, and those after it that waited for it.
    fn finish(&mut self, begin: u64, end: u64) -> Result<()> {
        self.finished.insert(begin, end);
        while let Some((&begin, &end)) =
            self.finished.first_key_value().filter(|(begin, _)| **begin <= self.first.at)
        {
            self.add(begin, end)?;
            self.finished.remove(&begin);
        }
        Ok(())
    }

    /// Adds the bytes of a segment that are not there yet to the beginning, which reaches it.
    fn add(&mut self, begin: u64, end: u64) -> Result<()> {
        let path = self.download.cache.segment(&self.download.found.etag, begin);
        if end > self.first.at {
            let copied = File::open(&path).and_then(|mut segment| {
                segment.seek(SeekFrom::Start(self.first.at - begin))?;
                std::io::copy(&mut segment, &mut self.first.file)
            });
            self.first.at += copied.map_err(|error| self.download.disk(&self.first.path, &error))?;
        }
        self.delete(begin)
    }

    /// Deletes all segments.
    fn forget(&self) -> Result<()> {
        let (cache, found) = (self.download.cache, self.download.found);
        let before = cache.bytes_of(&found.etag, found.size);
        cache.segments(&found.etag).iter().try_for_each(|&(begin, _)| self.delete(begin))?;
        let after = cache.bytes_of(&found.etag, found.size);
        (self.download.progress)(after.cast_signed() - before.cast_signed());
        Ok(())
    }

    fn delete(&self, begin: u64) -> Result<()> {
        let path = self.download.cache.segment(&self.download.found.etag, begin);
        fs::remove_file(&path).map_err(|error| self.download.disk(&path, &error))
    }
}

/// Of segments (first byte and length, in order): first byte and end of those that bring something, each beginning
/// where the one before ends or later, and the first bytes of the others. `at` is where the beginning ends.
fn sort(at: u64, segments: &[(u64, u64)], size: u64) -> (Vec<(u64, u64)>, Vec<u64>) {
    let (mut at, mut kept, mut useless) = (at, Vec::new(), Vec::new());
    let reached = at;
    for &(begin, len) in segments {
        match begin.checked_add(len).filter(|&end| len > 0 && end <= size && end > at) {
            Some(end) if begin >= at || begin <= reached => {
                kept.push((begin, end));
                at = end;
            }
            _ => useless.push(begin),
        }
    }
    (kept, useless)
}

/// The file from `at` on as segments: first byte, end of what is there, end. `kept` are those of which something is
/// there, as first byte and end.
fn plan(at: u64, kept: &[(u64, u64)], size: u64) -> Vec<(u64, u64, u64)> {
    let (mut at, mut planned) = (at, Vec::new());
    let gap = |at: &mut u64, end: u64, planned: &mut Vec<_>| {
        while *at < end {
            let next = end.min(*at + SEGMENT);
            planned.push((*at, *at, next));
            *at = next;
        }
    };
    for (i, &(begin, there)) in kept.iter().enumerate() {
        gap(&mut at, begin, &mut planned);
        let next = kept.get(i + 1).map_or(size, |&(begin, _)| begin);
        at = next.min(begin + SEGMENT).max(there);
        planned.push((begin, there, at));
    }
    gap(&mut at, size, &mut planned);
    planned
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = SEGMENT;

    #[test]
    fn what_is_missing_is_cut_into_segments() {
        let size = 3 * S + 7;
        assert_eq!(
            plan(0, &[], size),
            [(0, 0, S), (S, S, 2 * S), (2 * S, 2 * S, 3 * S), (3 * S, 3 * S, size)]
        );
        assert_eq!(plan(size, &[], size), []);
        // A beginning of any length, a whole segment, half of one, and one that another program made longer.
        let expected = [(5, 5, S), (S, 2 * S, 2 * S), (2 * S, 2 * S + 9, 3 * S), (3 * S, 3 * S, size)];
        assert_eq!(plan(5, &[(S, 2 * S), (2 * S, 2 * S + 9)], size), expected);
        assert_eq!(
            plan(5, &[(7, 2 * S)], size),
            [(5, 5, 7), (7, 2 * S, 2 * S), (2 * S, 2 * S, 3 * S), (3 * S, 3 * S, size)]
        );
    }

    #[test]
    fn segments_that_bring_nothing_are_told() {
        let size = 100;
        // Within the beginning, over its end, later, overlapping, empty, too long, beyond every number.
        let segments = [(0, 5), (5, 10), (40, 10), (45, 10), (60, 0), (70, 31), (u64::MAX, 9)];
        assert_eq!(sort(10, &segments, size), (vec![(5, 15), (40, 50)], vec![0, 45, 60, 70, u64::MAX]));
        assert_eq!(sort(0, &[(0, 100)], size), (vec![(0, 100)], vec![]));
        // Two that reach the beginning: the one that brings more is added after the other.
        assert_eq!(sort(10, &[(2, 20), (8, 30)], size), (vec![(2, 22), (8, 38)], vec![]));
    }
}
