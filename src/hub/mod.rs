//! Models by name from the Hugging Face Hub, or a server that answers as it does, kept in the cache
//! directory that Hugging Face's own tools share (`models--owner--name/{blobs,refs,snapshots}`,
//! <https://huggingface.co/docs/huggingface_hub/guides/manage-cache>).
//!
//! The environment variables are theirs: `HF_ENDPOINT`, `HF_HOME`, `HF_HUB_CACHE`, `HF_TOKEN`,
//! `HF_TOKEN_PATH`, `HF_HUB_OFFLINE`. The `hf-hub` crate is not used: its version 1 neither resumes a
//! download nor checks its length, and the versions before send the token on to the storage server.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::checkpoint::{INDEX_FILE, MAX_INDEX_BYTES, MODEL_FILE, PICKLED, ShardIndex, pickled};
use crate::error::{Error, ErrorKind, Result};
use crate::source::{ByteSource, FileSource};

mod cache;
mod client;
mod download;
mod name;
mod remote;
mod segments;

use cache::RepoCache;
use client::{Client, Found};
pub use name::HubModel;
pub use remote::Outline;
use remote::RemoteFile;

/// Files of a model beside its weights; the first two are required.
const SMALL_FILES: [&str; 6] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "generation_config.json",
];
const REQUIRED: usize = 2;
/// Requests for files at a time.
const CONNECTIONS: usize = 4;

/// How a download goes on.
pub enum Progress {
    /// Bytes on disk and bytes wanted, of the files that were not in the cache.
    Bytes {
        /// On disk.
        done: u64,
        /// Wanted.
        total: u64,
    },
    /// Something that a person should know, such as a connection that is tried again.
    Note(String),
}

/// Called from several threads.
pub type OnProgress<'a> = &'a (dyn Fn(Progress) + Sync);

/// What of a model is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `config.json` alone.
    Config,
    /// Everything but the weights; of a model in one `.gguf` file that file.
    Text,
    /// Everything that training and generating need.
    All,
}

/// A Hub and the cache for what it gives.
pub struct Hub {
    client: Arc<Client>,
    cache: PathBuf,
    offline: bool,
}

/// A file that is not in the cache.
struct Missing {
    name: String,
    found: Found,
}

impl Hub {
    /// The Hub that the environment describes.
    ///
    /// # Errors
    /// `Config` when `HF_ENDPOINT` is no address, or when there is no home directory for the cache.
    pub fn from_env() -> Result<Self> {
        let offline = env("HF_HUB_OFFLINE").is_some_and(|value| is_true(&value));
        Ok(Self { client: Arc::new(Client::from_env()?), cache: cache::directory()?, offline })
    }

    /// Puts `part` of `model` into the cache, as far as it is not there yet, and gives the folder of its
    /// files or, for a model in one `.gguf` file, that file.
    ///
    /// # Errors
    /// `Io` when the Hub cannot be reached, refuses, or has no such repository, revision or file; when the
    /// disk is full; and, offline, when the cache lacks something. An interrupted download leaves what it
    /// has, and the same call goes on from there. `Format` for answers that are not a Hub's.
    pub fn fetch(&self, model: &HubModel, part: Part, on: OnProgress<'_>) -> Result<PathBuf> {
        let cache = RepoCache::new(&self.cache, &model.repo);
        let first = model.file.as_deref().unwrap_or(SMALL_FILES[0]);
        let (commit, online) = self.commit(model, first, &cache, on)?;
        let snapshot = cache.snapshot(&commit);
        let run = Run { hub: self, model, cache: &cache, commit: &commit, online, on };

        if let Some(file) = &model.file {
            run.required(file)?;
            cache.write_ref(&model.revision, &commit)?;
            return Ok(snapshot.join(file));
        }
        if part == Part::Config {
            run.required(SMALL_FILES[0])?;
            cache.write_ref(&model.revision, &commit)?;
            return Ok(snapshot);
        }
        let mut missing = run.small_files()?;
        if part == Part::All {
            run.weights(&mut missing)?;
        }
        run.download(missing)?;
        cache.write_ref(&model.revision, &commit)?;
        Ok(snapshot)
    }

    /// Puts everything but the weights of `model` into the cache, and makes the headers of those readable: enough to
    /// plan a run before gigabytes are downloaded.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    pub fn outline(&self, model: &HubModel, on: Arc<dyn Fn(Progress) + Send + Sync>) -> Result<Outline> {
        let cache = RepoCache::new(&self.cache, &model.repo);
        let first = model.file.as_deref().unwrap_or(SMALL_FILES[0]);
        let (commit, online) = self.commit(model, first, &cache, &*on)?;
        let folder = cache.snapshot(&commit);
        let run = Run { hub: self, model, cache: &cache, commit: &commit, online, on: &*on };

        let (mut missing, mut index) = (Vec::new(), None);
        let names = match &model.file {
            Some(file) if !run.look(file, &mut missing)? => return Err(run.lacks(file)),
            Some(file) => vec![file.clone()],
            None => {
                run.download(run.small_files()?)?;
                let names = run.weights(&mut missing)?;
                if names != [MODEL_FILE] {
                    index = Some(read_index(&folder.join(INDEX_FILE))?);
                }
                names
            }
        };
        cache.write_ref(&model.revision, &commit)?;
        let source = |name: String| -> Result<(String, Rc<dyn ByteSource>)> {
            let source: Rc<dyn ByteSource> = match missing.iter().find(|file| file.name == name) {
                None => Rc::new(FileSource::open(&folder.join(&name))?),
                Some(file) => Rc::new(RemoteFile {
                    client: Arc::clone(&self.client),
                    repo: model.repo.clone(),
                    commit: commit.clone(),
                    name: name.clone(),
                    size: file.found.size,
                    on: Arc::clone(&on),
                    head: RefCell::default(),
                }),
            };
            Ok((name, source))
        };
        let weights = names.into_iter().map(source).collect::<Result<_>>()?;
        let at_commit = || HubModel { revision: commit.clone(), ..model.clone() };
        let missing = (!missing.is_empty()).then(at_commit);
        Ok(Outline { folder, weights, index, missing })
    }

    /// The commit that the revision stands for, and whether the Hub may be asked for files of it.
    fn commit(
        &self,
        model: &HubModel,
        first: &str,
        cache: &RepoCache,
        on: OnProgress<'_>,
    ) -> Result<(String, bool)> {
        let known = match is_commit(&model.revision) {
            true => Some(model.revision.clone()),
            false => cache.read_ref(&model.revision)?,
        };
        if self.offline {
            return known.map(|commit| (commit, false)).ok_or_else(|| {
                io(format!(
                    "{model} is not in the cache ({}), and HF_HUB_OFFLINE forbids to download it",
                    cache.root().display()
                ))
            });
        }
        if is_commit(&model.revision) {
            return Ok((model.revision.clone(), true));
        }
        match self.client.look(&model.repo, &model.revision, first, on) {
            Ok(Some(found)) => Ok((found.commit, true)),
            Ok(None) => Err(io(format!("{}@{} has no file {first}", model.repo, model.revision))),
            Err(error) if error.unreachable && known.is_some() => {
                on(Progress::Note(format!("{}; using the copy in the cache", error.error)));
                Ok((known.unwrap_or_default(), false))
            }
            Err(error) => Err(error.of(model)),
        }
    }
}

/// One call of [`Hub::fetch`], from the moment that the commit is known.
struct Run<'a> {
    hub: &'a Hub,
    model: &'a HubModel,
    cache: &'a RepoCache,
    commit: &'a str,
    online: bool,
    on: OnProgress<'a>,
}

impl Run<'_> {
    fn lacks(&self, name: &str) -> Error {
        if self.online {
            return io(format!("{} has no {name}; a model needs it", self.model));
        }
        let why = if self.hub.offline { "HF_HUB_OFFLINE is set" } else { "the Hub cannot be reached" };
        io(format!(
            "{name} of {} is not in the cache ({}), and {why}",
            self.model,
            self.cache.root().display()
        ))
    }

    /// Looks for the files beside the weights; those that the cache lacks.
    fn small_files(&self) -> Result<Vec<Missing>> {
        let mut missing = Vec::new();
        for (i, name) in SMALL_FILES.iter().enumerate() {
            let there = self.look(name, &mut missing)?;
            if !there && i < REQUIRED {
                return Err(self.lacks(name));
            }
        }
        Ok(missing)
    }

    /// Looks for the files of weights, adds those that the cache lacks to `missing` and gives the names of all. An
    /// index, which names the others, is downloaded.
    fn weights(&self, missing: &mut Vec<Missing>) -> Result<Vec<String>> {
        if self.look(MODEL_FILE, missing)? {
            return Ok(vec![MODEL_FILE.to_owned()]);
        }
        let mut index = Vec::new();
        if !self.look(INDEX_FILE, &mut index)? {
            for name in PICKLED {
                if self.look(name, &mut Vec::new())? {
                    return Err(Error::unsupported(format!("{} {}", self.model, pickled(name))));
                }
            }
            return Err(self.lacks(&format!("{MODEL_FILE} and {INDEX_FILE}")));
        }
        self.download(index)?;
        let index = read_index(&self.cache.snapshot(self.commit).join(INDEX_FILE))?;
        let shards = ShardIndex::parse(&index)?;
        let names = shards.files().into_iter().map(|name| match self.look(name, missing)? {
            true => Ok(name.to_owned()),
            false => Err(self.lacks(name)),
        });
        names.collect()
    }

    /// Whether the repository has the file; noted in `missing` when the cache has not.
    fn look(&self, name: &str, missing: &mut Vec<Missing>) -> Result<bool> {
        if self.cache.has(self.commit, name) {
            return Ok(true);
        }
        if !self.online || self.cache.is_known_absent(self.commit, name) {
            return Ok(false);
        }
        let found = self.hub.client.look(&self.model.repo, self.commit, name, self.on);
        match found.map_err(|failed| failed.of(self.model))? {
            Some(found) => {
                missing.push(Missing { name: name.to_owned(), found });
                Ok(true)
            }
            None => {
                self.cache.note_absent(self.commit, name);
                Ok(false)
            }
        }
    }

    fn required(&self, name: &str) -> Result<()> {
        let mut missing = Vec::new();
        if !self.look(name, &mut missing)? {
            return Err(self.lacks(name));
        }
        self.download(missing)
    }

    /// Downloads `files`: small ones several at a time, then each large one over several connections.
    fn download(&self, mut files: Vec<Missing>) -> Result<()> {
        let here = |file: &Missing| self.cache.bytes_of(&file.found.etag, file.found.size);
        let total = files.iter().try_fold(0u64, |sum, file| sum.checked_add(file.found.size));
        let total = total.ok_or_else(|| {
            Error::format(format!("{}: the server gives files sizes that no disk could hold", self.model))
        })?;
        // At most `total`, file by file.
        let done = AtomicU64::new(files.iter().map(here).sum());
        let wanted = total - done.load(Ordering::Relaxed);
        // A segment is there twice while it is added to the others.
        let is_large = |file: &Missing| file.found.size > segments::SEGMENT;
        let twice = if wanted > 0 && files.iter().any(is_large) { segments::SEGMENT } else { 0 };
        self.cache.check_room(wanted.saturating_add(twice), &self.model.to_string())?;
        let progress = |more: i64| {
            let before = done.fetch_add(more.cast_unsigned(), Ordering::Relaxed);
            (self.on)(Progress::Bytes { done: before.wrapping_add_signed(more), total });
        };
        progress(0);
        files.sort_by_key(|file| file.found.size);
        let (large, small): (Vec<_>, Vec<_>) = files.into_iter().partition(is_large);
        let queue = Mutex::new(small);
        in_parallel(CONNECTIONS, || {
            loop {
                // A worker that fails empties the queue, so that the others end with their file.
                let next = queue.lock().map_or(None, |mut queue| queue.pop());
                let Some(file) = next else { return Ok(()) };
                let done = self.one(&file, 1, &progress);
                if done.is_err()
                    && let Ok(mut queue) = queue.lock()
                {
                    queue.clear();
                }
                done?;
            }
        })?;
        large.iter().rev().try_for_each(|file| self.one(file, CONNECTIONS, &progress))
    }

    fn one(&self, file: &Missing, connections: usize, progress: &(dyn Fn(i64) + Sync)) -> Result<()> {
        let download = download::Download {
            client: &self.hub.client,
            cache: self.cache,
            repo: &self.model.repo,
            commit: self.commit,
            name: &file.name,
            found: &file.found,
            connections,
            progress,
            on: self.on,
        };
        download.run()?;
        self.cache.link(self.commit, &file.name, &file.found.etag)
    }
}

/// `work` on `threads` threads at once; the first error of any.
fn in_parallel(threads: usize, work: impl Fn() -> Result<()> + Sync) -> Result<()> {
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(&work)).collect();
        let ends = workers.into_iter().map(|worker| {
            worker.join().unwrap_or_else(|_| Err(io("a download ended with an error of the program")))
        });
        ends.collect::<Vec<_>>().into_iter().collect()
    })
}

fn read_index(index: &std::path::Path) -> Result<Vec<u8>> {
    let size = std::fs::metadata(index).map_err(|error| Error::io(index.display(), &error))?.len();
    if size > MAX_INDEX_BYTES {
        return Err(Error::format(format!("{}: {size} bytes are too many for an index", index.display())));
    }
    std::fs::read(index).map_err(|error| Error::io(index.display(), &error))
}

fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn io(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Io, message)
}

/// A variable of the environment that is set to something.
fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

fn is_true(value: &str) -> bool {
    ["1", "on", "yes", "true"].contains(&value.to_ascii_lowercase().as_str())
}
