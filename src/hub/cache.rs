//! The cache directory of Hugging Face's tools: contents under `blobs/` by their ETag, `snapshots/` of
//! links to them by commit, `refs/` from branches to commits, and `.no_exist/` for files that a commit lacks.

use std::fs;
use std::path::{Path, PathBuf};

use super::{env, io};
use crate::error::{Error, Result};
use crate::gpu::human_bytes;

/// `HF_HUB_CACHE`, or `hub` in Hugging Face's home.
pub(super) fn directory() -> Result<PathBuf> {
    match env("HF_HUB_CACHE").or_else(|| env("HUGGINGFACE_HUB_CACHE")) {
        Some(path) => Ok(path.into()),
        None => Ok(home()?.join("hub")),
    }
}

/// `HF_HOME`, or `~/.cache/huggingface`.
pub(super) fn home() -> Result<PathBuf> {
    if let Some(path) = env("HF_HOME") {
        return Ok(path.into());
    }
    if let Some(path) = env("XDG_CACHE_HOME") {
        return Ok(PathBuf::from(path).join("huggingface"));
    }
    let home = std::env::home_dir().filter(|path| !path.as_os_str().is_empty());
    home.map(|path| path.join(".cache/huggingface"))
        .ok_or_else(|| Error::config("there is no home directory for downloaded models: set HF_HOME"))
}

/// The part of the cache that belongs to one repository.
pub(super) struct RepoCache {
    root: PathBuf,
    locks: PathBuf,
}

impl RepoCache {
    pub(super) fn new(cache: &Path, repo: &str) -> Self {
        let folder = format!("models--{}", repo.replace('/', "--"));
        Self { root: cache.join(&folder), locks: cache.join(".locks").join(folder) }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.root.join("snapshots").join(commit)
    }

    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.root.join("blobs").join(etag)
    }

    pub(super) fn partial(&self, etag: &str) -> PathBuf {
        self.root.join("blobs").join(format!("{etag}.incomplete"))
    }

    /// A part of a content that does not begin at its first byte, until it is added to [`partial`](Self::partial).
    pub(super) fn segment(&self, etag: &str, begin: u64) -> PathBuf {
        self.root.join("blobs").join(format!("{etag}.{begin}.incomplete"))
    }

    /// First byte and length of each of those parts, in order.
    pub(super) fn segments(&self, etag: &str) -> Vec<(u64, u64)> {
        let begin = |name: &str| {
            let begin = name.strip_prefix(etag)?.strip_prefix('.')?.strip_suffix(".incomplete")?;
            begin.parse::<u64>().ok()
        };
        let entries = fs::read_dir(self.root.join("blobs")).into_iter().flatten().flatten();
        let mut found: Vec<_> = entries
            .filter_map(|entry| Some((begin(entry.file_name().to_str()?)?, entry.metadata().ok()?.len())))
            .collect();
        found.sort_unstable();
        found
    }

    pub(super) fn has(&self, commit: &str, name: &str) -> bool {
        self.snapshot(commit).join(name).is_file()
    }

    /// Bytes of a content that are on disk, at most `size`.
    pub(super) fn bytes_of(&self, etag: &str, size: u64) -> u64 {
        let len = |path: PathBuf| fs::metadata(path).map(|meta| meta.len());
        match len(self.blob(etag)) {
            Ok(bytes) if bytes == size => size,
            // More than the whole is not a part of it: the download begins again.
            _ => {
                let first = len(self.partial(etag)).ok().filter(|&bytes| bytes <= size).unwrap_or(0);
                let mut at = first;
                let further = self.segments(etag).into_iter().map(|(begin, len)| {
                    let end = begin.saturating_add(len);
                    let new = if end > size { 0 } else { end.saturating_sub(begin.max(at)) };
                    at += if new > 0 { end - at } else { 0 };
                    new
                });
                further.sum::<u64>() + first
            }
        }
    }

    /// The commit that a branch or tag stood for when it was last asked about.
    pub(super) fn read_ref(&self, revision: &str) -> Result<Option<String>> {
        let path = self.root.join("refs").join(revision);
        match fs::read_to_string(&path) {
            Ok(text) if super::name::is_word(text.trim()) => Ok(Some(text.trim().to_owned())),
            Ok(_) => Err(Error::format(format!("{}: not a commit; delete the file", path.display()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(path.display(), &error)),
        }
    }

    /// Remembers what a branch or tag stands for.
    pub(super) fn write_ref(&self, revision: &str, commit: &str) -> Result<()> {
        if revision == commit {
            return Ok(());
        }
        let path = self.root.join("refs").join(revision);
        if fs::read_to_string(&path).is_ok_and(|text| text.trim() == commit) {
            return Ok(());
        }
        make_parent(&path)?;
        fs::write(&path, commit).map_err(|error| Error::io(path.display(), &error))
    }

    pub(super) fn is_known_absent(&self, commit: &str, name: &str) -> bool {
        self.no_exist(commit, name).exists()
    }

    /// Remembers that a commit lacks a file. Without the note it is merely asked about again.
    pub(super) fn note_absent(&self, commit: &str, name: &str) {
        let path = self.no_exist(commit, name);
        if make_parent(&path).is_ok() {
            let _ = fs::write(path, "");
        }
    }

    fn no_exist(&self, commit: &str, name: &str) -> PathBuf {
        self.root.join(".no_exist").join(commit).join(name)
    }

    /// Puts a content under its name into a commit's folder.
    pub(super) fn link(&self, commit: &str, name: &str, etag: &str) -> Result<()> {
        let link = self.snapshot(commit).join(name);
        make_parent(&link)?;
        if link.is_file() {
            return Ok(());
        }
        // A link to a blob that was deleted.
        let _ = fs::remove_file(&link);
        make_link(&link, name, &self.blob(etag), etag).map_err(|error| Error::io(link.display(), &error))
    }

    /// Keeps other processes from downloading the same content while the result lives.
    pub(super) fn lock(&self, etag: &str, wait: impl FnOnce()) -> Result<fs::File> {
        let path = self.locks.join(format!("{etag}.lock"));
        make_parent(&path)?;
        let failed = |error: std::io::Error| Error::io(format!("cannot lock {}", path.display()), &error);
        let file = fs::File::create(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(fs::TryLockError::Error(error)) => Err(failed(error)),
            Err(fs::TryLockError::WouldBlock) => {
                wait();
                file.lock().map_err(failed)?;
                Ok(file)
            }
        }
    }

    /// Checks that the disk has `bytes` free.
    pub(super) fn check_room(&self, bytes: u64, what: &str) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        let blobs = self.root.join("blobs");
        fs::create_dir_all(&blobs).map_err(|error| Error::io(blobs.display(), &error))?;
        let free = fs4::available_space(&blobs).map_err(|error| Error::io(blobs.display(), &error))?;
        if bytes <= free {
            return Ok(());
        }
        Err(io(format!(
            "{what} needs {} more on the disk of {}, which has {} free. Free some, or set HF_HUB_CACHE to a folder \
             on another disk",
            human_bytes(bytes),
            self.root.display(),
            human_bytes(free)
        )))
    }
}

pub(super) fn make_parent(path: &Path) -> Result<()> {
    let Some(parent) = path.parent() else { return Ok(()) };
    fs::create_dir_all(parent).map_err(|error| Error::io(parent.display(), &error))
}

/// A relative link, so that the cache can be moved.
#[cfg(unix)]
fn make_link(link: &Path, name: &str, _blob: &Path, etag: &str) -> std::io::Result<()> {
    let up = "../".repeat(2 + name.matches('/').count());
    std::os::unix::fs::symlink(format!("{up}blobs/{etag}"), link)
}

/// Symbolic links need a privilege on Windows; a hard link needs none, and a copy works on every file system.
#[cfg(not(unix))]
fn make_link(link: &Path, _name: &str, blob: &Path, _etag: &str) -> std::io::Result<()> {
    fs::hard_link(blob, link).or_else(|_| fs::copy(blob, link).map(|_| ()))
}
