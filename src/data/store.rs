//! Tokenised examples: four bytes a token, in memory or, when they are many, in a temporary file.

use std::cell::RefCell;
use std::fmt;
use std::io::{Read, Seek, SeekFrom, Write};
use std::rc::Rc;

use crate::error::{Error, Result};

/// One tokenised record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// At least two token ids, each below 2³¹.
    pub input_ids: Vec<u32>,
    /// Per token: whether it is a label, that is, predicted from the position before it. Never so for the first.
    pub trained: Vec<bool>,
}

/// Bytes of tokens that are kept in memory; more go to a file in the folder for temporary files (`TMPDIR`).
#[cfg(not(target_arch = "wasm32"))]
const IN_MEMORY: usize = 64 << 20;

#[cfg(not(target_arch = "wasm32"))]
type Spool = tempfile::SpooledTempFile;
/// A browser's worker has no file to write to before one is asked for.
#[cfg(target_arch = "wasm32")]
type Spool = std::io::Cursor<Vec<u8>>;

fn spool() -> Spool {
    #[cfg(not(target_arch = "wasm32"))]
    return tempfile::spooled_tempfile(IN_MEMORY);
    #[cfg(target_arch = "wasm32")]
    return Spool::default();
}

fn failed(error: &std::io::Error) -> Error {
    #[cfg(not(target_arch = "wasm32"))]
    let place = std::env::temp_dir().display().to_string();
    #[cfg(target_arch = "wasm32")]
    let place = "memory";
    Error::io(format!("the tokens kept in {place}"), error)
}

/// Examples as they are added.
pub(super) struct ExampleWriter {
    tokens: Spool,
    ends: Vec<u64>,
    encoded: Vec<u8>,
}

impl ExampleWriter {
    pub fn new() -> Self {
        Self { tokens: spool(), ends: Vec::new(), encoded: Vec::new() }
    }

    /// Adds an example; a token is its id and, as the lowest bit, whether it is trained on.
    pub fn push(&mut self, input_ids: &[u32], trained: &[bool]) -> Result<()> {
        self.encoded.clear();
        for (&id, &trained) in input_ids.iter().zip(trained) {
            self.encoded.extend((id << 1 | u32::from(trained)).to_le_bytes());
        }
        self.tokens.write_all(&self.encoded).map_err(|error| failed(&error))?;
        self.ends.push(self.ends.last().copied().unwrap_or(0) + input_ids.len() as u64);
        Ok(())
    }

    pub fn finish(self) -> Examples {
        let store = Store { tokens: RefCell::new(self.tokens), ends: self.ends };
        Examples { store: Rc::new(store), chosen: None }
    }
}

struct Store {
    tokens: RefCell<Spool>,
    /// One past each example's last token.
    ends: Vec<u64>,
}

impl Store {
    fn start(&self, i: usize) -> u64 {
        if i == 0 { 0 } else { self.ends[i - 1] }
    }
}

/// Examples by index: all that were stored, or some of them. Cloning shares them.
#[derive(Clone)]
pub struct Examples {
    store: Rc<Store>,
    chosen: Option<Rc<[usize]>>,
}

impl Examples {
    /// Stores examples that are at hand.
    ///
    /// # Errors
    ///
    /// `Io` when there are so many that they go to a temporary file, and that cannot be written.
    pub fn new(examples: impl IntoIterator<Item = Example>) -> Result<Self> {
        let mut writer = ExampleWriter::new();
        for example in examples {
            writer.push(&example.input_ids, &example.trained)?;
        }
        Ok(writer.finish())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.chosen.as_ref().map_or(self.store.ends.len(), |chosen| chosen.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn stored(&self, i: usize) -> usize {
        self.chosen.as_ref().map_or(i, |chosen| chosen[i])
    }

    /// Tokens of example `i`.
    pub fn tokens(&self, i: usize) -> usize {
        let i = self.stored(i);
        // An example was in memory at once, so its length fits.
        (self.store.ends[i] - self.store.start(i)) as usize
    }

    /// Example `i`.
    ///
    /// # Errors
    ///
    /// `Io` when they are in a temporary file and that cannot be read.
    pub fn get(&self, i: usize) -> Result<Example> {
        let mut bytes = vec![0; 4 * self.tokens(i)];
        let mut tokens = self.store.tokens.borrow_mut();
        tokens
            .seek(SeekFrom::Start(4 * self.store.start(self.stored(i))))
            .and_then(|_| tokens.read_exact(&mut bytes))
            .map_err(|error| failed(&error))?;
        let (input_ids, trained) = bytes
            .chunks_exact(4)
            .map(|bytes| {
                let token = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                (token >> 1, token & 1 == 1)
            })
            .unzip();
        Ok(Example { input_ids, trained })
    }

    /// All of them in their order.
    pub fn iter(&self) -> impl Iterator<Item = Result<Example>> {
        (0..self.len()).map(|i| self.get(i))
    }

    /// Trained tokens of all of them.
    ///
    /// # Errors
    ///
    /// As [`Examples::get`].
    pub fn target_tokens(&self) -> Result<u64> {
        let targets = |example: Example| example.trained.iter().filter(|&&trained| trained).count() as u64;
        self.iter().map(|example| example.map(targets)).sum()
    }

    /// Those with these indices, in this order.
    pub fn choose(&self, indices: impl IntoIterator<Item = usize>) -> Self {
        let chosen = indices.into_iter().map(|i| self.stored(i)).collect();
        Self { store: Rc::clone(&self.store), chosen: Some(chosen) }
    }
}

impl fmt::Debug for Examples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} examples", self.len())
    }
}
