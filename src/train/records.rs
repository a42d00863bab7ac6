//! A data set's records, and the examples that were last made of them.

use std::cell::RefCell;
use std::rc::Rc;

use crate::config::{ModelConfig, TrainConfig};
use crate::data::{Dataset, PrepareOptions, Prepared, prepare};
use crate::error::Result;
use crate::tokenizer::{Tokenizer, TokenizerId};

/// A data set that is tokenized as often as what its tokens depend on changes. Of two plans that differ in the
/// adapter, the second one does not read it again.
pub struct Records {
    dataset: Dataset,
    last: RefCell<Option<(Key, Prepared)>>,
}

/// What examples depend on, beside their data set.
#[derive(PartialEq, Eq)]
struct Key {
    options: PrepareOptions,
    vocab_size: usize,
    tokenizer: TokenizerId,
}

impl Records {
    /// Of a data set.
    pub fn new(dataset: Dataset) -> Rc<Self> {
        Rc::new(Self { dataset, last: RefCell::new(None) })
    }

    /// Examples for a model; the last ones, if they would be the same.
    ///
    /// # Errors
    /// Those of [`prepare`].
    pub fn prepare(
        &self,
        config: &ModelConfig,
        tokenizer: &Tokenizer,
        train: &TrainConfig,
    ) -> Result<Prepared> {
        let options = options_for(config, train);
        let key = Key { options, vocab_size: config.vocab_size, tokenizer: tokenizer.id() };
        if let Some((of, prepared)) = &*self.last.borrow()
            && *of == key
        {
            return Ok(prepared.clone());
        }
        // Before the new ones, which may be as many.
        self.last.take();
        let prepared = prepare_for(config, tokenizer, &self.dataset, train)?;
        self.last.replace(Some((key, prepared.clone())));
        Ok(prepared)
    }
}

/// Tokenizes records for a model.
///
/// # Errors
/// Those of [`prepare`].
pub fn prepare_for(
    config: &ModelConfig,
    tokenizer: &Tokenizer,
    data: &Dataset,
    train: &TrainConfig,
) -> Result<Prepared> {
    prepare(data, tokenizer, config.vocab_size, &options_for(config, train))
}

fn options_for(config: &ModelConfig, train: &TrainConfig) -> PrepareOptions {
    PrepareOptions {
        max_length: train.max_length,
        context: config.max_position_embeddings,
        assistant_only_loss: train.assistant_only_loss,
    }
}
