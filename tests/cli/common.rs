//! Running the binary.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// How long to wait for what comes at some time even on a busy machine.
pub const LONG: Duration = Duration::from_secs(300);

/// What a finished command left.
pub struct Finished {
    pub ok: bool,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// Stdout, which is one line of JSON and nothing else.
    #[track_caller]
    pub fn json(&self) -> Value {
        self.expect_ok();
        assert_eq!(self.stdout.lines().count(), 1, "{}", self.stdout);
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e} in {}", self.stdout))
    }

    #[track_caller]
    pub fn expect_ok(&self) -> &Self {
        assert!(self.ok, "failed: {}", self.stderr);
        self
    }

    /// Panics unless the command failed with exactly one error line that holds all of `parts`.
    #[track_caller]
    pub fn expect_error(&self, parts: &[&str]) {
        assert!(!self.ok, "should have failed: {}", self.stdout);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        let errors: Vec<_> = self.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(errors.len(), 1, "{}", self.stderr);
        for part in parts {
            assert!(errors[0].contains(part), "\"{part}\" is not in: {}", errors[0]);
        }
    }

    /// Panics unless a warning holds `part`.
    #[track_caller]
    pub fn expect_warning(&self, part: &str) -> &Self {
        let found = self.stderr.lines().any(|line| line.starts_with("warning: ") && line.contains(part));
        assert!(found, "no warning with \"{part}\" in: {}", self.stderr);
        self
    }
}

/// The command, to be started.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postil"));
    // Without it Mesa complains on stderr.
    command.env("XDG_RUNTIME_DIR", std::env::temp_dir());
    // Compiled pipelines, which would otherwise be kept in the home directory.
    command.env("XDG_CACHE_HOME", std::env::temp_dir().join("postil-test-cache"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a command to its end.
pub fn postil(args: &[&str]) -> Finished {
    finish(command(args))
}

pub fn finish(mut command: Command) -> Finished {
    let output = command.output().expect("the binary runs");
    Finished {
        ok: output.status.success(),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// A folder for one test.
pub fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// A path as an argument.
pub fn arg(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}

/// Writes a small data set: short questions and answers, so that steps are quick.
pub fn write_data(dir: &Path) -> PathBuf {
    let words = ["red", "blue", "green", "old", "new", "big", "small", "warm"];
    let lines: Vec<_> = words
        .iter()
        .enumerate()
        .flat_map(|(i, word)| {
            (0..2).map(move |j| {
                let (prompt, completion) =
                    (format!("Word {i} of {j}: "), format!("{word} {word} number {j}"));
                serde_json::json!({ "prompt": prompt, "completion": completion }).to_string()
            })
        })
        .collect();
    let path = dir.join("data.jsonl");
    std::fs::write(&path, lines.join("\n")).expect("writable");
    path
}

/// The objects of a JSONL file.
pub fn read_log(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect()
}

/// The built-in model's folder.
pub fn demo_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("www/public/demo")
}

/// A copy of the built-in model's files, to be damaged.
pub fn copy_of_demo(dir: &Path) -> PathBuf {
    let copy = dir.join("model");
    std::fs::create_dir(&copy).expect("writable");
    for name in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(demo_folder().join(name), copy.join(name)).expect("the demo's file");
    }
    copy
}
