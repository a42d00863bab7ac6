//! One error type for the whole crate.
//!
//! A message says what failed, where, what was expected and found, and what to do about it; callers
//! that must react differently (the command line's exit code, the page's badges) look at
//! [`Error::kind`].

use std::fmt;

/// `Result` with the crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What sort of thing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Reading or writing bytes failed.
    Io,
    /// A file is not what it claims to be: truncated, malformed, or of the wrong shape.
    Format,
    /// A configuration or an option has a value that cannot be used.
    Config,
    /// A valid request for something that this version does not do.
    Unsupported,
    /// The data set cannot be trained on.
    Data,
    /// No GPU could be opened.
    NoGpu,
    /// The device has too little memory, or a limit is too small, for what was asked.
    OutOfMemory,
    /// A memory plan needs more than the budget; nothing was done.
    OverBudget,
    /// The device was lost or reported an error of its own.
    Device,
    /// Training produced a value that is not finite.
    NotFinite,
}

/// An error with its kind and a message that is complete in itself.
#[derive(Debug, Clone)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

impl Error {
    /// An error of `kind` with a complete message.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// What sort of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The same error, with where it happened put before its message: `"{context}: {message}"`.
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }

    /// [`ErrorKind::Io`]; `what` names the file and the attempt.
    pub fn io(what: impl fmt::Display, error: &std::io::Error) -> Self {
        Self::new(ErrorKind::Io, format!("{what}: {error}"))
    }

    /// [`ErrorKind::Format`].
    pub fn format(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Format, message)
    }

    /// [`ErrorKind::Config`].
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    /// [`ErrorKind::Unsupported`].
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// [`ErrorKind::Data`].
    pub fn data(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Data, message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// `1 row`, `2 rows`: for messages.
pub fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// Puts where it happened before the message of a `Result`'s error.
pub trait Context<T> {
    /// See [`Error::context`]; the closure runs only for an error.
    fn context<D: fmt::Display>(self, context: impl FnOnce() -> D) -> Result<T>;
}

impl<T> Context<T> for Result<T> {
    fn context<D: fmt::Display>(self, context: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|error| error.context(context()))
    }
}
