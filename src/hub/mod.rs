//! Models by name from the Hugging Face Hub, or a server that answers as it does, kept in the cache
//! directory that Hugging Face's own tools share (`models--owner--name/{blobs,refs,snapshots}`,
//! <https://huggingface.co/docs/huggingface_hub/guides/manage-cache>).
//!
//! The environment variables are theirs: `HF_ENDPOINT`, `HF_HOME`, `HF_HUB_CACHE`, `HF_TOKEN`,
//! `HF_TOKEN_PATH`, `HF_HUB_OFFLINE`. The `hf-hub` crate is not used: its version 1 neither resumes a
//! download nor checks its length, and the versions before send the token on to the storage server.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::checkpoint::{INDEX_FILE, MAX_INDEX_BYTES, MODEL_FILE, ShardIndex};
use crate::error::{Error, ErrorKind, Result};

mod cache;
mod client;
mod download;
mod name;
mod segments;

use cache::RepoCache;
use client::{Client, Found};
pub use name::HubModel;

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
    client: Client,
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
        Ok(Self { client: Client::from_env()?, cache: cache::directory()?, offline })
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
        let mut missing = Vec::new();
        for (i, name) in SMALL_FILES.iter().enumerate() {
            let there = run.look(name, &mut missing)?;
            if !there && i < REQUIRED {
                return Err(run.lacks(name));
            }
        }
        if part == Part::All && !run.look(MODEL_FILE, &mut missing)? {
            if !run.look(INDEX_FILE, &mut missing)? {
                return Err(run.lacks(&format!("{MODEL_FILE} and {INDEX_FILE}")));
            }
            // The index names the rest, so it comes first.
            let (index, others) = missing.into_iter().partition(|file: &Missing| file.name == INDEX_FILE);
            run.download(index)?;
            missing = others;
            for shard in shards(&snapshot.join(INDEX_FILE))? {
                if !run.look(&shard, &mut missing)? {
                    return Err(run.lacks(&shard));
                }
            }
        }
        run.download(missing)?;
        cache.write_ref(&model.revision, &commit)?;
        Ok(snapshot)
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

/// The files that an index names, each once.
fn shards(index: &std::path::Path) -> Result<Vec<String>> {
    let size = std::fs::metadata(index).map_err(|error| Error::io(index.display(), &error))?.len();
    if size > MAX_INDEX_BYTES {
        return Err(Error::format(format!("{}: {size} bytes are too many for an index", index.display())));
    }
    let json = std::fs::read(index).map_err(|error| Error::io(index.display(), &error))?;
    Ok(ShardIndex::parse(&json)?.files().into_iter().map(str::to_owned).collect())
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
