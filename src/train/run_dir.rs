//! A run's folder: the adapter, the best one so far, and checkpoints. Whatever is in it is complete.

use std::path::{Path, PathBuf};

use super::state::Checkpoint;
use crate::checkpoint::atomic::{check_replaceable, clean_temporaries, write_dir, write_file};
use crate::checkpoint::{ADAPTER_CONFIG_FILE, ADAPTER_MODEL_FILE, Adapter};
use crate::config::{RUN_FILE, RunFile};
use crate::error::{Error, Result};

/// Checkpoints kept: the newest, and the one before it should that be damaged.
const KEEP: usize = 2;
const PREFIX: &str = "checkpoint-";
const BEST: &str = "best";
const ADAPTER_FILES: [&str; 2] = [ADAPTER_CONFIG_FILE, ADAPTER_MODEL_FILE];

/// The folder that `--out` names.
pub struct RunDir {
    path: PathBuf,
    made: Made,
}

/// Folders that a run made, the outermost first. They go with it unless something was written.
#[derive(Clone, Default)]
pub struct Made(Vec<PathBuf>);

impl Made {
    fn dirs(path: &Path) -> Result<Self> {
        let missing = path.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists());
        let mut missing: Vec<_> = missing.map(Path::to_owned).collect();
        missing.reverse();
        std::fs::create_dir_all(path)
            .map_err(|error| Error::io(format!("{}: cannot be made", path.display()), &error))?;
        Ok(Self(missing))
    }

    /// Removes those that are empty.
    pub fn remove_empty(&self) {
        // A folder that holds something is not removed: that is an error of the system's.
        let _ = self.0.iter().rev().try_for_each(std::fs::remove_dir);
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        self.made.remove_empty();
    }
}

impl RunDir {
    /// Makes the folder, which is removed again if nothing is written to it. One that already holds a run is refused
    /// unless that run is to be resumed.
    pub fn open(path: &Path, resume: bool) -> Result<Self> {
        let made = Made::dirs(path)?;
        clean_temporaries(path)?;
        let holds_run = path.join(ADAPTER_MODEL_FILE).exists() || !checkpoints(path)?.is_empty();
        if holds_run && !resume {
            return Err(Error::config(format!(
                "{} already holds a run. Continue it with --resume, or name another folder with --out",
                path.display()
            )));
        }
        if holds_run && checkpoints(path)?.is_empty() {
            return Err(Error::config(format!(
                "{} holds an adapter but no checkpoint to go on from. Start from it with --init-adapter and \
                 another --out",
                path.display()
            )));
        }
        // What cannot be written later is better known now.
        check_replaceable(&path.join(BEST), &ADAPTER_FILES)?;
        Ok(Self { path: path.to_owned(), made })
    }

    /// For whoever ends the program without dropping this.
    pub fn made(&self) -> Made {
        self.made.clone()
    }

    /// Writes the run's adapter.
    pub fn save_adapter(&self, adapter: &Adapter) -> Result<()> {
        adapter.save(&self.path)
    }

    /// Replaces the best adapter, in `best/`.
    pub fn save_best(&self, adapter: &Adapter) -> Result<()> {
        let files = adapter.to_files()?;
        let files = [(ADAPTER_CONFIG_FILE, files.config), (ADAPTER_MODEL_FILE, files.model)];
        write_dir(&self.path.join(BEST), &files)
    }

    /// Writes what repeats the run; its paths are relative to the folder.
    pub fn save_run(&self, run: &RunFile) -> Result<()> {
        write_file(&self.path.join(RUN_FILE), &run.to_json()?)
    }

    /// Adds `checkpoint-N/`, then removes all but the newest.
    pub fn save_checkpoint(&self, checkpoint: &Checkpoint) -> Result<PathBuf> {
        let path = self.path.join(format!("{PREFIX}{}", checkpoint.state.global_step));
        write_dir(&path, &checkpoint.to_files()?)?;
        for (_, old) in checkpoints(&self.path)?.into_iter().rev().skip(KEEP) {
            std::fs::remove_dir_all(&old)
                .map_err(|error| Error::io(format!("{}: cannot be removed", old.display()), &error))?;
        }
        Ok(path)
    }
}

/// Checkpoint folders by step, lowest first.
fn checkpoints(path: &Path) -> Result<Vec<(usize, PathBuf)>> {
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        entries => entries.map_err(|error| Error::io(path.display(), &error))?,
    };
    for entry in entries {
        let entry = entry.map_err(|error| Error::io(path.display(), &error))?;
        let name = entry.file_name();
        if let Some(step) = name.to_str().and_then(|n| n.strip_prefix(PREFIX)).and_then(|n| n.parse().ok()) {
            found.push((step, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// The newest checkpoint in a run's folder; `None` if it has none.
///
/// # Errors
/// A checkpoint with a file missing or damaged, by name.
pub async fn latest_checkpoint(path: &Path) -> Result<Option<(PathBuf, Checkpoint)>> {
    let Some((_, dir)) = checkpoints(path)?.pop() else { return Ok(None) };
    let read = |name: &str| {
        let file = dir.join(name);
        std::fs::read(&file).map_err(|error| Error::io(file.display(), &error))
    };
    match Checkpoint::from_files(read).await {
        Ok(checkpoint) => Ok(Some((dir, checkpoint))),
        Err(error) => Err(error.context(format!(
            "{} (delete this folder to go on from the checkpoint before it)",
            dir.display()
        ))),
    }
}
