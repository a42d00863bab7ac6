//! `--log`: a run's steps as JSON Lines.

use std::io::Write;
use std::path::{Path, PathBuf};

use postil::checkpoint::atomic;
use postil::train::StepReport;
use postil::{Error, Result};

/// One JSON object per step, in a file.
pub struct Log {
    path: PathBuf,
    file: std::fs::File,
}

impl Log {
    /// Refuses to overwrite a file that is no log: one of the run's `data`, above all.
    pub fn check(path: &Path, data: [Option<&Path>; 2]) -> Result<()> {
        let same = |other: &Path| match (path.canonicalize(), other.canonicalize()) {
            (Ok(path), Ok(other)) => path == other,
            _ => false,
        };
        if data.into_iter().flatten().any(same) {
            return Err(Error::config(format!(
                "--log {} is the data set, which the log would overwrite. Name another file",
                path.display()
            )));
        }
        if Self::read(path)?.lines().any(|line| Self::step_of(line).is_none()) {
            return Err(Error::config(format!(
                "--log {} exists and is no log of a run; it would be overwritten. Name another file",
                path.display()
            )));
        }
        Ok(())
    }

    fn step_of(line: &str) -> Option<u64> {
        serde_json::from_str::<serde_json::Value>(line).ok()?["step"].as_u64()
    }

    /// The file's text. A killed run may have left half a line, which need not be UTF-8.
    fn read(path: &Path) -> Result<String> {
        match std::fs::read(path) {
            Ok(bytes) => {
                let mut text = String::from_utf8_lossy(&bytes).into_owned();
                if let Some(end) = text.rfind('\n')
                    && Self::step_of(&text[end + 1..]).is_none()
                {
                    text.truncate(end + 1);
                }
                Ok(text)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(Error::io(path.display(), &error)),
        }
    }

    /// Opens the file; of an interrupted run's lines those up to `step` stay.
    pub fn open(path: &Path, step: usize) -> Result<Self> {
        let io = |error: &std::io::Error| Error::io(path.display(), error);
        let kept: String = Self::read(path)?
            .lines()
            .filter(|line| step > 0 && Self::step_of(line).is_some_and(|logged| logged <= step as u64))
            .flat_map(|line| [line, "\n"])
            .collect();
        atomic::write_file(path, kept.as_bytes())?;
        let file = std::fs::OpenOptions::new().append(true).open(path).map_err(|error| io(&error))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Adds a step's line.
    pub fn add(&mut self, report: &StepReport) -> Result<()> {
        let line = serde_json::to_string(report)
            .map_err(|error| Error::config(format!("a step's report cannot be written: {error}")))?;
        writeln!(self.file, "{line}").map_err(|error| Error::io(self.path.display(), &error))
    }
}
