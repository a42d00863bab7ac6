//! Chats: messages rendered by the model's template, and which of the tokens the assistant wrote.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::Tokenizer;
use super::template::{ChatTemplate, Rendered};
use crate::error::{Context, Error, Result};

/// One turn of a chat.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, or what else the model's template knows.
    pub role: String,
    /// What was said.
    pub content: String,
}

/// The tokens of a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatTokens {
    /// The whole rendered chat.
    pub input_ids: Vec<u32>,
    /// Per token: whether the assistant writes it, its end-of-turn token included.
    pub assistant: Vec<bool>,
}

impl Tokenizer {
    /// The text of a chat by the model's template; `add_generation_prompt` ends it with the beginning of an
    /// answer, for the model to go on from.
    ///
    /// # Errors
    ///
    /// `Unsupported` without a template, `Format` for one that is broken or runs too long, `Data` when it
    /// refuses the messages.
    pub fn render_chat(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        Ok(self.template()?.render(messages, add_generation_prompt)?.text)
    }

    /// Tokens of a whole chat. The template writes the special tokens itself, so none are added.
    pub fn encode_chat_all(&self, messages: &[Message]) -> Result<Vec<u32>> {
        self.encode(&self.render_chat(messages, false)?, false)
    }

    /// Tokens of a whole chat, and which of them the assistant writes: what stands between the template's
    /// `{% generation %}` tags as in transformers' `return_assistant_tokens_mask`; in a template without them
    /// what an assistant turn adds to the prompt before it.
    ///
    /// # Errors
    ///
    /// As [`render_chat`](Self::render_chat); `Unsupported` too when the template has no generation tags and
    /// rewrites earlier turns otherwise than by dropping their beginnings, so that the assistant's share cannot be
    /// told.
    pub fn encode_chat(&self, messages: &[Message]) -> Result<ChatTokens> {
        let template = self.template()?;
        let Rendered { text, mut generated } = template.render(messages, false)?;
        if !template.has_generation_tags() {
            generated = self.assistant_ranges(template, messages, &text)?;
        }
        let encoded = self.encode_spans(&text, false)?;
        let is_generated = |span: &Range<usize>| {
            // The first range that ends after the token starts is the only one that may hold it.
            let i = generated.partition_point(|range| range.end <= span.start);
            generated.get(i).is_some_and(|range| range.start < span.end && !range.is_empty())
        };
        let assistant = encoded.spans.iter().map(|span| span.as_ref().is_some_and(is_generated)).collect();
        Ok(ChatTokens { input_ids: encoded.ids, assistant })
    }

    /// Byte ranges of `text`, the rendered `messages`, that assistant turns add to the prompts before them.
    fn assistant_ranges(
        &self,
        template: &ChatTemplate,
        messages: &[Message],
        text: &str,
    ) -> Result<Vec<Range<usize>>> {
        let mut ranges = Vec::new();
        for (i, _) in messages.iter().enumerate().filter(|(_, message)| message.role == "assistant") {
            let at = || format!("message {} of {}", i + 1, messages.len());
            let prompt = template.render(&messages[..i], true).context(at)?.text;
            let turn = template.render(&messages[..=i], false).context(at)?.text;
            let written = match turn.strip_prefix(prompt.as_str()) {
                Some(written) if text.starts_with(&prompt) => self.as_in(written, &text[prompt.len()..]),
                _ => None,
            };
            let Some(written) = written else {
                return Err(Error::unsupported(format!(
                    "{}: the chat template writes earlier turns differently once later ones follow, and it has no \
                     {{% generation %}} tags, so the assistant's tokens cannot be told from the others; put the tags \
                     around the assistant's part of the template (chat_template.jinja), train on all tokens \
                     (assistant_only_loss off), or use data with \"prompt\" and \"completion\"",
                    at()
                )));
            };
            // The line break that templates put behind the end-of-turn token is never generated.
            let trimmed = written.trim_end();
            let written = if self.ends_with_special_token(trimmed) { trimmed } else { written };
            ranges.push(prompt.len()..prompt.len() + written.len());
        }
        Ok(ranges)
    }

    /// The assistant's turn as it stands at the beginning of `rest`: all of `turn`, which is what the template
    /// writes while nothing follows, or its end. Templates of reasoning models drop the thoughts before an answer
    /// once another question follows. What is left must reach to an end-of-turn token: less could be chance.
    fn as_in<'t>(&self, turn: &'t str, rest: &str) -> Option<&'t str> {
        if rest.starts_with(turn) {
            return Some(turn);
        }
        if !self.ends_with_special_token(turn.trim_end()) {
            return None;
        }
        let starts = turn.char_indices().map(|(start, _)| start).skip(1);
        starts.map(|start| &turn[start..]).find(|end| !end.trim().is_empty() && rest.starts_with(end))
    }
}
