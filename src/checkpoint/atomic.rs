//! Writing files so that a killed process or a power cut leaves the old or the new ones, never half of
//! them.
//!
//! A file or a directory is written under a temporary name beside its place and then renamed. What a
//! killed run left is put right by [`clean_temporaries`]. On Unix each writer holds a shared lock on the
//! parent directory meanwhile, so that cleaning never takes a running writer's files.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::sink::FileSink;

/// How the name of something half-written ends.
const NEW: &str = ".postil-new";
/// How the name of something about to be replaced ends.
const OLD: &str = ".postil-old";

/// Writes `bytes` to the file at `path`: afterwards it holds all of them, or what it held before. Missing
/// parent directories are made.
///
/// # Errors
///
/// `Io`, naming the path.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let place = Place::of(path)?;
    let temporary = place.temporary(NEW);
    let write = || {
        fs::create_dir_all(&place.parent)?;
        let _lock = place.lock();
        write_synced(&temporary, bytes)?;
        fs::rename(&temporary, path)?;
        sync_dir(&place.parent)
    };
    write().map_err(|error| {
        // Ours alone, and there may be none: what failed is the news.
        let _ = fs::remove_file(&temporary);
        Error::io(format!("cannot write {}", path.display()), &error)
    })
}

/// Writes `files` (names and contents) as the directory at `path`: afterwards it is there with all of
/// them, or what was there before still is. Between the two renames that replace a directory, a power
/// cut leaves none at `path`, and [`clean_temporaries`] brings the old one back. Missing parent directories
/// are made.
///
/// # Errors
///
/// `Io`, naming the path; `Config` when there is a directory with other files, which would be lost.
pub fn write_dir(path: &Path, files: &[(&str, Vec<u8>)]) -> Result<()> {
    let names: Vec<_> = files.iter().map(|(name, _)| *name).collect();
    let dir = NewDir::begin(path, &names)?;
    for (name, bytes) in files {
        dir.write(name, bytes)?;
    }
    dir.commit()
}

/// A directory that is written under a temporary name until [`NewDir::commit`]: for files that are too large to be
/// held. Dropped before, it leaves nothing, and what was at its place stays.
pub struct NewDir {
    path: PathBuf,
    place: Place,
    new: PathBuf,
    /// Whether there is a directory at the place.
    replaces: bool,
    _lock: Option<File>,
}

impl NewDir {
    /// Begins a directory that is to be at `path` with files called `names`. Missing parent directories are made.
    ///
    /// # Errors
    ///
    /// `Io`, naming the path; `Config` for a name that is no plain file's, and when there is a directory with
    /// other files, which would be lost.
    pub fn begin(path: &Path, names: &[&str]) -> Result<Self> {
        for name in names {
            let mut components = Path::new(name).components();
            if !matches!((components.next(), components.next()), (Some(Component::Normal(_)), None)) {
                return Err(Error::config(format!(
                    "\"{name}\" cannot be the name of a file in {}",
                    path.display()
                )));
            }
        }
        let failed = |error: io::Error| Error::io(format!("cannot write {}", path.display()), &error);
        let place = Place::of(path)?;
        fs::create_dir_all(&place.parent).map_err(failed)?;
        let lock = place.lock();
        let replaces = check_replaceable(path, names)?;
        let new = place.temporary(NEW);
        fs::create_dir(&new).map_err(failed)?;
        Ok(Self { path: path.to_owned(), place, new, replaces, _lock: lock })
    }

    /// Writes one of the files.
    ///
    /// # Errors
    ///
    /// `Io`, naming the path.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        write_synced(&self.new.join(name), bytes).map_err(|error| self.failed(&error))
    }

    /// Begins one of the files, which is to be finished before [`NewDir::commit`].
    ///
    /// # Errors
    ///
    /// `Io`, naming the path.
    pub fn create(&self, name: &str) -> Result<FileSink> {
        FileSink::create(&self.new.join(name))
    }

    /// Puts the directory at its place.
    ///
    /// # Errors
    ///
    /// `Io`, naming the path.
    pub fn commit(self) -> Result<()> {
        let old = self.place.temporary(OLD);
        let put = || {
            sync_dir(&self.new)?;
            if self.replaces {
                fs::rename(&self.path, &old)?;
            }
            fs::rename(&self.new, &self.path).inspect_err(|_| {
                if self.replaces {
                    // If this fails too, the old directory is still there for `clean_temporaries`.
                    let _ = fs::rename(&old, &self.path);
                }
            })?;
            sync_dir(&self.place.parent)?;
            if self.replaces { fs::remove_dir_all(&old) } else { Ok(()) }
        };
        put().map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &io::Error) -> Error {
        Error::io(format!("cannot write {}", self.path.display()), error)
    }
}

impl Drop for NewDir {
    fn drop(&mut self) {
        // Not there any more once it was committed; otherwise what failed is the news.
        let _ = fs::remove_dir_all(&self.new);
    }
}

/// Puts right what killed runs left in the directory `parent`: brings back a directory that was being
/// replaced, and removes what was half-written. Does nothing while another process writes there (on
/// Unix; elsewhere, call it when none does).
///
/// # Errors
///
/// `Io`, naming the path. A `parent` that does not exist is no error.
pub fn clean_temporaries(parent: &Path) -> Result<()> {
    let clean = || -> io::Result<()> {
        let _lock = match exclusive_lock(parent) {
            Ok(lock) => lock,
            Err(fs::TryLockError::WouldBlock) => return Ok(()),
            Err(fs::TryLockError::Error(error)) => return Err(error),
        };
        let entries: Vec<_> = match fs::read_dir(parent) {
            Ok(entries) => entries.collect::<io::Result<_>>()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let name = entry.file_name();
            let Some((target, suffix)) = name.to_str().and_then(parse_temporary) else { continue };
            let (path, target) = (entry.path(), parent.join(target));
            if suffix == OLD && !target.try_exists()? {
                fs::rename(&path, &target)?;
            } else if entry.file_type()?.is_dir() {
                fs::remove_dir_all(&path)?;
            } else {
                fs::remove_file(&path)?;
            }
        }
        sync_dir(parent)
    };
    clean().map_err(|error| Error::io(format!("cannot clean up {}", parent.display()), &error))
}

/// Where something is to be written.
struct Place {
    parent: PathBuf,
    name: String,
}

impl Place {
    fn of(path: &Path) -> Result<Self> {
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(name) = name else {
            let path = path.display();
            return Err(Error::config(format!(
                "{path} cannot be written: expected a path that ends in a name"
            )));
        };
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        Ok(Self { parent, name: name.to_owned() })
    }

    /// A name that no other writer uses: `.{name}.{process}-{count}{suffix}`.
    fn temporary(&self, suffix: &str) -> PathBuf {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        self.parent.join(format!(".{}.{}-{count}{suffix}", self.name, process::id()))
    }

    /// Keeps [`clean_temporaries`] away while it lives. Some network file systems know no locks;
    /// writing goes on without one there.
    fn lock(&self) -> Option<File> {
        if !cfg!(unix) {
            return None;
        }
        let directory = File::open(&self.parent).ok()?;
        directory.lock_shared().ok()?;
        Some(directory)
    }
}

/// The name and the suffix that [`Place::temporary`] made a name of.
fn parse_temporary(name: &str) -> Option<(&str, &'static str)> {
    let suffix = [NEW, OLD].into_iter().find(|suffix| name.ends_with(suffix))?;
    let (target, ids) = name.strip_prefix('.')?.strip_suffix(suffix)?.rsplit_once('.')?;
    let (process, count) = ids.split_once('-')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (!target.is_empty() && is_number(process) && is_number(count)).then_some((target, suffix))
}

fn exclusive_lock(parent: &Path) -> Result<Option<File>, fs::TryLockError> {
    if !cfg!(unix) {
        return Ok(None);
    }
    let directory = match File::open(parent) {
        Ok(directory) => directory,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fs::TryLockError::Error(error)),
    };
    match directory.try_lock() {
        Ok(()) => Ok(Some(directory)),
        Err(fs::TryLockError::WouldBlock) => Err(fs::TryLockError::WouldBlock),
        // As in `Place::lock`.
        Err(fs::TryLockError::Error(_)) => Ok(None),
    }
}

/// Whether there is a directory at `path`, with nothing in it but files called one of `names`, so that
/// [`write_dir`] can replace it.
///
/// # Errors
///
/// `Config` when it holds something else, `Io` when it cannot be read.
pub fn check_replaceable(path: &Path, names: &[&str]) -> Result<bool> {
    let failed = |error: io::Error| Error::io(format!("cannot replace {}", path.display()), &error);
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let is_ours = names.iter().any(|name| entry.file_name() == *name);
        if !is_ours || entry.file_type().map_err(failed)?.is_dir() {
            return Err(Error::config(format!(
                "{} exists and holds {}, which would be lost; choose another directory",
                path.display(),
                entry.file_name().display()
            )));
        }
    }
    Ok(true)
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes renames in a directory last. Windows has no such call, and needs none.
fn sync_dir(path: &Path) -> io::Result<()> {
    if cfg!(unix) && path.is_dir() { File::open(path)?.sync_all() } else { Ok(()) }
}
