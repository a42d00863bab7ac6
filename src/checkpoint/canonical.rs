//! One spelling of tensors' names for all the ways in which models are saved.

use std::collections::BTreeMap;
use std::ops::Range;

use super::tensors::{TensorInfo, TensorSource, no_tensor};
use crate::error::{Error, Result};
use crate::source::BoxFuture;

/// What stands before the names of the decoder's own parts in a file, and in a causal language model.
///
/// A model that was saved without its head (`AutoModel`) lacks the first part of the names; one with a vision
/// tower has more of it (`Gemma3ForConditionalGeneration` of transformers 4 and 5).
const PREFIXES: [(&str, &str); 10] = [
    ("language_model.model.", "model."),
    ("language_model.lm_head.", "lm_head."),
    ("model.language_model.", "model."),
    ("layers.", "model.layers."),
    ("embed_tokens.", "model.embed_tokens."),
    ("norm.", "model.norm."),
    ("h.", "transformer.h."),
    ("wte.", "transformer.wte."),
    ("wpe.", "transformer.wpe."),
    ("ln_f.", "transformer.ln_f."),
];

/// A source seen under the names that a causal language model of transformers has: `model.layers.0…`,
/// `transformer.h.0…`, `lm_head.weight`. Other names stay.
pub struct Canonical<'a> {
    inner: &'a dyn TensorSource,
    /// The file's name by the canonical one.
    stored: BTreeMap<String, String>,
}

impl<'a> Canonical<'a> {
    /// Looks at the names of `inner`.
    ///
    /// # Errors
    ///
    /// `Format` when two tensors would have one name.
    pub fn new(inner: &'a dyn TensorSource) -> Result<Self> {
        let mut stored = BTreeMap::new();
        for name in inner.names() {
            if let Some(other) = stored.insert(canonical(name), name.to_owned()) {
                return Err(Error::format(format!(
                    "{}: the tensors {other} and {name} are the same part of a model; expected one of them",
                    inner.name()
                )));
            }
        }
        Ok(Self { inner, stored })
    }
}

/// The name that a causal language model of transformers has for the tensor called `name`.
pub(super) fn canonical(name: &str) -> String {
    let renamed =
        PREFIXES.iter().find_map(|(found, wanted)| Some(format!("{wanted}{}", name.strip_prefix(found)?)));
    renamed.unwrap_or_else(|| name.to_owned())
}

impl TensorSource for Canonical<'_> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.stored.keys().map(String::as_str))
    }

    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.inner.info(self.stored.get(name)?)
    }

    fn granule(&self, name: &str) -> u64 {
        self.stored.get(name).map_or(1, |stored| self.inner.granule(stored))
    }

    fn shard(&self, name: &str) -> Option<&str> {
        self.inner.shard(self.stored.get(name)?)
    }

    fn is_decoded(&self) -> bool {
        self.inner.is_decoded()
    }

    fn read<'a>(&'a self, name: &'a str, bytes: Range<u64>) -> BoxFuture<'a, Result<Vec<u8>>> {
        match self.stored.get(name) {
            Some(stored) => self.inner.read(stored, bytes),
            None => Box::pin(async move { Err(no_tensor(self.name(), name)) }),
        }
    }
}
