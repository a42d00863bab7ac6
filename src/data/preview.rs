//! Examples as text, to show what is trained on before training starts.

use serde::Serialize;

use super::store::{Example, Examples};
use crate::error::Result;
use crate::tokenizer::Tokenizer;

/// One token of an example.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PreviewToken {
    /// The text that the token adds; of tokens that share a character the last has it.
    pub text: String,
    /// Whether it is trained on.
    pub trained: bool,
}

/// The first `count` examples, token by token.
///
/// # Errors
///
/// As [`Examples::get`].
pub fn preview(examples: &Examples, tokenizer: &Tokenizer, count: usize) -> Result<Vec<Vec<PreviewToken>>> {
    let shown = |example: Example| {
        let one_by_one = || example.input_ids.iter().map(|&id| tokenizer.token_text(id)).collect();
        let texts: Vec<String> = tokenizer.token_texts(&example.input_ids).unwrap_or_else(|_| one_by_one());
        (texts.into_iter().zip(&example.trained))
            .map(|(text, &trained)| PreviewToken { text, trained })
            .collect()
    };
    examples.iter().take(count).map(|example| example.map(shown)).collect()
}
