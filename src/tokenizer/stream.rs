//! Text that appears while tokens are generated.

use super::Tokenizer;
use crate::error::Result;

/// Turns a stream of token ids into text, holding back what later tokens may still change: bytes of a character
/// spread over tokens, and the spaces that some decoders drop at the beginning of a text.
///
/// The pieces put together are what [`Tokenizer::decode`] makes of all ids.
pub struct StreamDecoder<'a> {
    tokenizer: &'a Tokenizer,
    skip_special_tokens: bool,
    /// Ids whose text is out already, kept since decoding depends on what stands before, then ids that wait.
    ids: Vec<u32>,
    /// How many of `ids` are out.
    shown: usize,
    /// The decoded text of those.
    shown_text: String,
}

impl<'a> StreamDecoder<'a> {
    /// A decoder at the beginning of a text; special tokens give no text.
    pub fn new(tokenizer: &'a Tokenizer) -> Self {
        Self { tokenizer, skip_special_tokens: true, ids: Vec::new(), shown: 0, shown_text: String::new() }
    }

    /// The same with special tokens shown.
    pub(crate) fn with_special_tokens(tokenizer: &'a Tokenizer) -> Self {
        Self { skip_special_tokens: false, ..Self::new(tokenizer) }
    }

    /// Takes the next id and returns the text that is now certain, if there is any.
    pub fn push(&mut self, id: u32) -> Result<Option<String>> {
        let tokenizer = &self.tokenizer.inner;
        let Some(token) = tokenizer.id_to_token(id) else { return Ok(None) };
        if self.skip_special_tokens && tokenizer.get_added_vocabulary().is_special_token(&token) {
            return Ok(None);
        }
        self.ids.push(id);
        // Byte tokens (`<0xE2>`) are decoded run by run, so a run is certain only when it is over.
        if is_byte_token(&token) {
            return Ok(None);
        }
        let text = self.tokenizer.decode(&self.ids, self.skip_special_tokens)?;
        if text.ends_with('\u{FFFD}') {
            return Ok(None);
        }
        let Some(new) = text.strip_prefix(&self.shown_text).filter(|new| !new.is_empty()) else {
            return Ok(None);
        };
        let new = new.to_owned();
        // Forget what is out but for the last batch. A batch that gives no text by itself would make the next
        // token look like the first of the text.
        let batch = self.tokenizer.decode(&self.ids[self.shown..], self.skip_special_tokens)?;
        if batch.is_empty() {
            self.shown_text = text;
        } else {
            self.ids.drain(..self.shown);
            self.shown_text = batch;
        }
        self.shown = self.ids.len();
        Ok(Some(new))
    }

    /// Ends the text and returns what was still held back.
    pub fn finish(self) -> Result<Option<String>> {
        let text = self.tokenizer.decode(&self.ids, self.skip_special_tokens)?;
        Ok(text.strip_prefix(&self.shown_text).filter(|rest| !rest.is_empty()).map(str::to_owned))
    }
}

fn is_byte_token(token: &str) -> bool {
    let hex = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    hex.is_some_and(|hex| hex.len() == 2 && u8::from_str_radix(hex, 16).is_ok())
}
