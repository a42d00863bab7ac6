//! Records into examples: token ids, and which of them are trained on.

use serde::{Deserialize, Serialize};

use super::records::{Dataset, Record, SkippedLine};
use crate::error::{Error, ErrorKind, Result};
use crate::tokenizer::{Message, Tokenizer};

/// One tokenised record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// At least two token ids.
    pub input_ids: Vec<u32>,
    /// Per token: whether it is a label, that is, predicted from the position before it. Never so for the first.
    pub trained: Vec<bool>,
}

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// In the order of the data set; each has at least one trained token.
    pub examples: Vec<Example>,
    /// How many examples lost tokens to the length limit, those left without targets included.
    pub truncated: usize,
    /// How many examples were left out since no token of theirs is trained on.
    pub without_targets: usize,
    /// Records that the model's chat template refused.
    pub refused: Vec<SkippedLine>,
    /// Trained tokens of all examples.
    pub target_tokens: u64,
    /// Tokens of all examples.
    pub total_tokens: u64,
    /// What a person should know before training, one sentence each.
    pub warnings: Vec<String>,
}

/// Tokenises a data set and decides which tokens are trained on.
///
/// - Text: every token; the end-of-sequence token is put behind it.
/// - Prompt and completion: the completion and the end-of-sequence token behind it. Both are tokenised as one
///   text; a token that begins in the prompt is not trained on.
/// - Messages: what the assistant writes, or every token when `assistant_only_loss` is off.
///
/// `vocab_size` is the model's.
///
/// # Errors
///
/// `Config` for a length limit below 2, or for a token that the model does not have; `Data` when no example has
/// a trained token; and what [`Tokenizer::encode_chat`] reports of the chat template.
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
    let mut prepared = Prepared {
        examples: Vec::with_capacity(dataset.records.len()),
        truncated: 0,
        without_targets: 0,
        refused: Vec::new(),
        target_tokens: 0,
        total_tokens: 0,
        warnings: Vec::new(),
    };
    let mut joined = 0;
    let mut emptied_by_truncation = 0;
    for (record, &line) in dataset.records.iter().zip(&dataset.lines) {
        let mut tokens = match tokenize(record, tokenizer, options.assistant_only_loss) {
            Ok(tokens) => tokens,
            Err(error) if error.kind() == ErrorKind::Data => {
                prepared.refused.push(SkippedLine { line, reason: error.to_string() });
                continue;
            }
            // A matter of the model, not of this record: the others would fail alike.
            Err(error) => return Err(error.context(format!("line {line}"))),
        };
        check_vocabulary(&tokens.input_ids, tokenizer, vocab_size, line)?;
        joined += usize::from(tokens.joined);
        if let Some(first) = tokens.trained.first_mut() {
            *first = false;
        }
        let had_targets = tokens.trained.contains(&true);
        if tokens.input_ids.len() > limit {
            tokens.input_ids.truncate(limit);
            tokens.trained.truncate(limit);
            prepared.truncated += 1;
        }
        let targets = tokens.trained.iter().filter(|&&trained| trained).count();
        if targets == 0 {
            prepared.without_targets += 1;
            emptied_by_truncation += usize::from(had_targets);
            continue;
        }
        prepared.target_tokens += targets as u64;
        prepared.total_tokens += tokens.input_ids.len() as u64;
        prepared.examples.push(Example { input_ids: tokens.input_ids, trained: tokens.trained });
    }
    if prepared.examples.is_empty() {
        return Err(nothing_left(dataset, &prepared, emptied_by_truncation, limit));
    }
    prepared.warnings = warnings(dataset, tokenizer, options, &prepared, joined);
    Ok(prepared)
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

fn check_vocabulary(ids: &[u32], tokenizer: &Tokenizer, vocab_size: usize, line: usize) -> Result<()> {
    match ids.iter().find(|&&id| id as usize >= vocab_size) {
        None => Ok(()),
        Some(&id) => Err(Error::config(format!(
            "line {line}: the tokenizer gives token {id} ({:?}), but the model's vocab_size is {vocab_size}: tokenizer \
             and model do not belong together; use the tokenizer files of the model's own repository",
            tokenizer.token_text(id)
        ))),
    }
}

fn nothing_left(dataset: &Dataset, prepared: &Prepared, emptied_by_truncation: usize, limit: usize) -> Error {
    let mut reasons = Vec::new();
    if emptied_by_truncation > 0 {
        reasons.push(format!(
            "{emptied_by_truncation} begin with more than {limit} tokens that are not trained on, so that nothing is left \
             when they are cut (raise max_length or shorten the prompts)"
        ));
    }
    let masked = prepared.without_targets - emptied_by_truncation;
    if masked > 0 {
        reasons.push(match &dataset.records[0] {
            Record::Messages(_) => format!(
                "{masked} have no assistant turn, or a chat template whose {{% generation %}} tags mark none (turn \
                 assistant_only_loss off to train on all tokens)"
            ),
            _ => format!("{masked} are too short, or their completion is part of the prompt's last token"),
        });
    }
    if let Some(SkippedLine { line, reason }) = prepared.refused.first() {
        reasons.push(format!("{} were refused (line {line}: {reason})", prepared.refused.len()));
    }
    let total = dataset.records.len();
    Error::data(format!("none of the {total} records has a token to train on: {}", reasons.join("; ")))
}

fn warnings(
    dataset: &Dataset,
    tokenizer: &Tokenizer,
    options: &PrepareOptions,
    prepared: &Prepared,
    joined: usize,
) -> Vec<String> {
    let total = dataset.records.len();
    let mut warnings = Vec::new();
    if let Some(SkippedLine { line, reason }) = dataset.skipped.first() {
        warnings.push(format!("{} lines were skipped (line {line}: {reason}).", dataset.skipped.len()));
    }
    if let Some(SkippedLine { line, reason }) = prepared.refused.first() {
        warnings.push(format!(
            "{} of {total} records were left out (line {line}: {reason}).",
            prepared.refused.len()
        ));
    }
    if prepared.truncated > 0 {
        let (limit, whose) = if options.max_length > options.context {
            (options.context, "the model's context")
        } else {
            (options.max_length, "max_length")
        };
        warnings
            .push(format!("{} of {total} examples were cut to {limit} tokens, {whose}.", prepared.truncated));
    }
    if prepared.without_targets > 0 {
        let n = prepared.without_targets;
        warnings.push(format!("{n} of {total} examples have no token to train on and were left out."));
    }
    if joined > 0 {
        warnings.push(format!(
            "In {joined} of {total} examples one token holds the prompt's end and the completion's beginning; it is not \
             trained on. A space or line break between the two belongs at the beginning of the completion."
        ));
    }
    if prepared.examples.len() > 1 && prepared.examples.iter().all(|example| *example == prepared.examples[0])
    {
        warnings.push(format!("All {} examples are the same.", prepared.examples.len()));
    }
    let is_chat = matches!(dataset.records[0], Record::Messages(_) | Record::ChatCompletion { .. });
    if !is_chat && tokenizer.eos_token_id().is_none() {
        warnings.push(
            "The tokenizer names no eos_token, so none was put behind the examples; generation may not stop by itself."
                .to_owned(),
        );
    }
    warnings
}
