//! Records into examples: token ids, and which of them are trained on.

use serde::{Deserialize, Serialize};

use super::dataset::Dataset;
use super::records::Record;
use super::report::{DataReport, Tally};
use super::store::{ExampleWriter, Examples};
use crate::error::{Error, ErrorKind, Result};
use crate::tokenizer::{Message, Tokenizer};

/// How [`prepare`] makes examples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrepareOptions {
    /// Longest example in tokens; what is longer loses its end. At least 2.
    pub max_length: usize,
    /// The model's `max_position_embeddings`, in tokens: no example may be longer.
    pub context: usize,
    /// Chats: train on the assistant's turns only, not on every token.
    pub assistant_only_loss: bool,
}

/// A data set ready for training.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// In the order of the data set; each has at least one trained token.
    pub examples: Examples,
    /// What became of the data set's rows.
    pub report: DataReport,
}

/// Tokenises a data set and decides which tokens are trained on. Records pass through a few at a time; what stays
/// in memory is [`Examples`], or less where those go to a temporary file.
///
/// - Text: every token; the end-of-sequence token is put behind it.
/// - Plain-text files: the same, cut into examples of the greatest length.
/// - Prompt and completion: the completion and the end-of-sequence token behind it. Both are tokenised as one
///   text; a token that begins in the prompt is not trained on.
/// - Messages: what the assistant writes, or every token when `assistant_only_loss` is off.
///
/// `vocab_size` is the model's.
///
/// # Errors
///
/// `Config` for a length limit below 2, or for a token that the model does not have; `Data` when no example has
/// a trained token; and what [`Tokenizer::encode_chat`] and [`Dataset::read`] report.
pub fn prepare(
    dataset: &Dataset,
    tokenizer: &Tokenizer,
    vocab_size: usize,
    options: &PrepareOptions,
) -> Result<Prepared> {
    let limit = options.max_length.min(options.context);
    if limit < 2 {
        return Err(Error::config(format!(
            "max_length {} and the model's context of {} tokens leave no room: an example has at least 2 tokens",
            options.max_length, options.context
        )));
    }
    let mut preparation = Preparation {
        tokenizer,
        vocab_size,
        options,
        limit,
        unit: dataset.file_format().unit(),
        examples: ExampleWriter::new(),
        tally: Tally::default(),
        waiting: Vec::new(),
        waiting_bytes: 0,
    };
    dataset.read(&mut |number, record| preparation.add(number, record))?;
    preparation.tokenize_waiting()?;
    let Preparation { examples, tally, .. } = preparation;
    if tally.examples == 0 {
        return Err(tally.nothing_left(dataset, limit).context(dataset.name()));
    }
    let report = tally.report(dataset, tokenizer.eos_token_id().is_some(), options);
    Ok(Prepared { examples: examples.finish(), report })
}

/// Bytes of text that are tokenised at once, by all processors.
const BATCH_BYTES: usize = 1 << 20;

/// A data set on its way.
struct Preparation<'a> {
    tokenizer: &'a Tokenizer,
    vocab_size: usize,
    options: &'a PrepareOptions,
    limit: usize,
    unit: &'static str,
    examples: ExampleWriter,
    tally: Tally,
    waiting: Vec<(usize, Record)>,
    waiting_bytes: usize,
}

impl Preparation<'_> {
    fn add(&mut self, number: usize, record: Result<Record, String>) -> Result<()> {
        match record {
            Err(reason) => self.tally.skipped.add(number, reason),
            Ok(record) => {
                self.waiting_bytes += record.bytes();
                self.waiting.push((number, record));
                if self.waiting_bytes >= BATCH_BYTES {
                    self.tokenize_waiting()?;
                }
            }
        }
        Ok(())
    }

    fn tokenize_waiting(&mut self) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        let (tokenizer, only_assistant) = (self.tokenizer, self.options.assistant_only_loss);
        let tokenized = in_parallel(&waiting, |(_, record)| tokenize(record, tokenizer, only_assistant));
        for ((number, record), tokens) in waiting.iter().zip(tokenized) {
            self.tally.records += 1;
            self.tally.chats +=
                usize::from(matches!(record, Record::Messages(_) | Record::ChatCompletion { .. }));
            match tokens {
                Ok(tokens) => self.keep(*number, tokens, matches!(record, Record::Passage { .. }))?,
                Err(error) if error.kind() == ErrorKind::Data => {
                    self.tally.refused.add(*number, error.to_string());
                }
                // A matter of the model, not of this record: the others would fail alike.
                Err(error) => return Err(error.context(format!("{} {number}", self.unit))),
            }
        }
        Ok(())
    }

    /// Cuts a record's tokens to the limit, or into several examples, and stores what has a target.
    fn keep(&mut self, number: usize, tokens: Tokens, is_passage: bool) -> Result<()> {
        check_vocabulary(&tokens.input_ids, self.tokenizer, self.vocab_size, self.unit, number)?;
        self.tally.joined += usize::from(tokens.joined);
        let pieces = tokens.input_ids.chunks(self.limit).zip(tokens.trained.chunks(self.limit));
        for (ids, trained) in pieces.take(if is_passage { usize::MAX } else { 1 }) {
            // The last piece of a text may be a single token, which nothing predicts.
            if is_passage && ids.len() < 2 {
                continue;
            }
            let mut trained = trained.to_vec();
            trained[0] = false;
            let is_cut = !is_passage && tokens.input_ids.len() > self.limit;
            let had_targets = trained.contains(&true) || tokens.trained[1..].contains(&true);
            let full_length = if is_passage { ids.len() } else { tokens.input_ids.len() };
            if self.tally.example(full_length, is_cut, ids, &trained, had_targets) {
                self.examples.push(ids, &trained)?;
            }
        }
        if tokens.input_ids.is_empty() {
            self.tally.without_targets += 1;
        }
        Ok(())
    }
}

/// `work` on every item, in their order, on as many threads as there are processors.
#[cfg(not(target_arch = "wasm32"))]
fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = items.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let work = &work;
        let parts: Vec<_> = items
            .chunks(share)
            .map(|part| scope.spawn(move || part.iter().map(work).collect::<Vec<_>>()))
            .collect();
        parts
            .into_iter()
            .flat_map(|part| part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

/// A browser's worker is one thread.
#[cfg(target_arch = "wasm32")]
fn in_parallel<T, R>(items: &[T], work: impl Fn(&T) -> R) -> Vec<R> {
    items.iter().map(work).collect()
}

#[derive(Default)]
struct Tokens {
    input_ids: Vec<u32>,
    trained: Vec<bool>,
    /// One token holds the prompt's end and the completion's beginning.
    joined: bool,
}

fn tokenize(record: &Record, tokenizer: &Tokenizer, assistant_only_loss: bool) -> Result<Tokens> {
    match record {
        Record::Text(text) => {
            let input_ids = tokenizer.encode(text, true)?;
            Ok(end_sequence(
                Tokens { trained: vec![true; input_ids.len()], input_ids, joined: false },
                tokenizer,
            ))
        }
        Record::Passage { text, ends } => {
            let input_ids = tokenizer.encode(text, true)?;
            let tokens = Tokens { trained: vec![true; input_ids.len()], input_ids, joined: false };
            Ok(if *ends { end_sequence(tokens, tokenizer) } else { tokens })
        }
        Record::PromptCompletion { prompt, completion } => {
            let tokens = after_prompt(&format!("{prompt}{completion}"), prompt.len(), tokenizer, true)?;
            Ok(end_sequence(tokens, tokenizer))
        }
        Record::ChatCompletion { prompt, completion } => {
            let prompt_text = tokenizer.render_chat(prompt, true)?;
            let all: Vec<Message> = prompt.iter().chain(completion).cloned().collect();
            let text = tokenizer.render_chat(&all, false)?;
            if !text.starts_with(&prompt_text) {
                return Err(Error::unsupported(
                    "the chat template writes the prompt differently when the completion follows, so the completion's \
                     tokens cannot be told; use \"messages\" with a template that has {% generation %} tags, or give \
                     \"prompt\" and \"completion\" as strings",
                ));
            }
            after_prompt(&text, prompt_text.len(), tokenizer, false)
        }
        Record::Messages(messages) if assistant_only_loss => {
            let chat = tokenizer.encode_chat(messages)?;
            Ok(Tokens { input_ids: chat.input_ids, trained: chat.assistant, joined: false })
        }
        Record::Messages(messages) => {
            let input_ids = tokenizer.encode_chat_all(messages)?;
            Ok(Tokens { trained: vec![true; input_ids.len()], input_ids, joined: false })
        }
    }
}

/// Tokens of `text`, trained from the first that begins at or after byte `prompt_len`.
fn after_prompt(
    text: &str,
    prompt_len: usize,
    tokenizer: &Tokenizer,
    add_special_tokens: bool,
) -> Result<Tokens> {
    let encoded = tokenizer.encode_spans(text, add_special_tokens)?;
    let mut tokens = Tokens { input_ids: encoded.ids, ..Tokens::default() };
    // Tokens that the post-processor added are masked before the text and trained on behind it.
    let mut reached_end = text.is_empty();
    for span in encoded.spans {
        tokens.trained.push(span.as_ref().map_or(reached_end, |span| span.start >= prompt_len));
        if let Some(span) = span {
            reached_end |= span.end > prompt_len;
            tokens.joined |= span.start < prompt_len && span.end > prompt_len;
        }
    }
    Ok(tokens)
}

/// Puts the end-of-sequence token behind `tokens` if it is not there yet.
fn end_sequence(mut tokens: Tokens, tokenizer: &Tokenizer) -> Tokens {
    if let Some(eos) = tokenizer.eos_token_id()
        && tokens.input_ids.last() != Some(&eos)
    {
        tokens.input_ids.push(eos);
        tokens.trained.push(true);
    }
    tokens
}

fn check_vocabulary(
    ids: &[u32],
    tokenizer: &Tokenizer,
    vocab_size: usize,
    unit: &str,
    number: usize,
) -> Result<()> {
    // The highest bit of a stored token is its mask.
    match ids.iter().find(|&&id| id as usize >= vocab_size || id > u32::MAX >> 1) {
        None => Ok(()),
        Some(&id) => Err(Error::config(format!(
            "{unit} {number}: the tokenizer gives token {id} ({:?}), but the model's vocab_size is {vocab_size}: tokenizer \
             and model do not belong together; use the tokenizer files of the model's own repository",
            tokenizer.token_text(id)
        ))),
    }
}
