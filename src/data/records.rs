//! The fields of a row into a record.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::read::parse_list;
use crate::tokenizer::Message;

/// The shape of a data set's records. Where a record fits several, the first in the order of
/// [`Format::ALL`] counts (the original Alpaca file, for one, has a `text` beside its other fields).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// `{"messages": [{"role", "content"}, …]}`
    Messages,
    /// `{"conversations": [{"from", "value"}, …]}` (ShareGPT), the speakers by their names there.
    #[serde(rename = "sharegpt")]
    ShareGpt,
    /// `{"prompt", "completion"}`, both strings or both lists of messages.
    PromptCompletion,
    /// `{"instruction", "input", "output"}`, with `system` and `history` if there are any.
    Alpaca,
    /// `{"text"}`
    Text,
}

impl Format {
    /// Every format, in the order in which they are tried.
    pub const ALL: [Self; 5] =
        [Self::Messages, Self::ShareGpt, Self::PromptCompletion, Self::Alpaca, Self::Text];

    /// The fields that a record must have.
    pub(super) fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Messages => &["messages"],
            Self::ShareGpt => &["conversations"],
            Self::PromptCompletion => &["prompt", "completion"],
            Self::Alpaca => &["instruction", "output"],
            Self::Text => &["text"],
        }
    }

    /// The other fields that it reads.
    pub(super) fn optional_fields(self) -> &'static [&'static str] {
        match self {
            Self::Messages | Self::ShareGpt => &["system", "tools"],
            Self::PromptCompletion => &["tools"],
            Self::Alpaca => &["input", "system", "history"],
            Self::Text => &[],
        }
    }

    pub(super) fn matches(self, record: &Map<String, Value>) -> bool {
        self.fields().iter().all(|&field| record.contains_key(field))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Messages => "messages",
            Self::ShareGpt => "ShareGPT",
            Self::PromptCompletion => "prompt/completion",
            Self::Alpaca => "Alpaca",
            Self::Text => "text",
        })
    }
}

/// One record, as what it is trained as.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Record {
    /// Plain text, all of it trained on.
    Text(String),
    /// A text to go on from and how it goes on.
    PromptCompletion {
        /// Not trained on.
        prompt: String,
        /// Trained on, with the end of sequence after it.
        completion: String,
    },
    /// The same as turns of a chat.
    ChatCompletion {
        /// Not trained on.
        prompt: Vec<Message>,
        /// Trained on.
        completion: Vec<Message>,
    },
    /// A chat.
    Messages(Vec<Message>),
    /// Part of a plain-text file, all of it trained on; what is longer than an example may be becomes several.
    Passage {
        /// The text.
        text: String,
        /// Whether the file ends here.
        ends: bool,
    },
}

impl Record {
    /// Bytes of its texts.
    pub(super) fn bytes(&self) -> usize {
        let chat = |messages: &[Message]| messages.iter().map(|m| m.content.len()).sum::<usize>();
        match self {
            Self::Text(text) | Self::Passage { text, .. } => text.len(),
            Self::PromptCompletion { prompt, completion } => prompt.len() + completion.len(),
            Self::ChatCompletion { prompt, completion } => chat(prompt) + chat(completion),
            Self::Messages(messages) => chat(messages),
        }
    }
}

/// A row that gave no record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedLine {
    /// The number of the line, row or item ([`FileFormat::unit`](super::FileFormat::unit)), from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// What a row gives, or what is wrong with it.
pub(super) type RowResult<T> = Result<T, String>;

/// A row's fields as the record that it is; `format` is that of the rows before it, if there were any.
pub(super) fn to_record(
    fields: &Map<String, Value>,
    format: Option<Format>,
    detect: impl Fn(&Map<String, Value>) -> Option<Format>,
) -> RowResult<(Format, Record)> {
    let format = match format {
        Some(format) if format.matches(fields) => format,
        Some(format) => {
            let expected = quoted(format.fields().iter().copied());
            return Err(format!(
                "expected {expected} as in the records before, found {}",
                field_names(fields)
            ));
        }
        None => detect(fields).ok_or_else(|| format!("no known format, found {}", field_names(fields)))?,
    };
    let record = match format {
        Format::Messages => chat(fields, "messages")?,
        Format::ShareGpt => chat(fields, "conversations")?,
        Format::PromptCompletion => prompt_completion(fields)?,
        Format::Alpaca => alpaca(fields)?,
        Format::Text => Record::Text(not_blank(string(fields, "text")?, "text")?),
    };
    Ok((format, record))
}

fn prompt_completion(record: &Map<String, Value>) -> RowResult<Record> {
    refuse_tools(record)?;
    match (record["prompt"].is_array(), record["completion"].is_array()) {
        (false, false) => Ok(Record::PromptCompletion {
            prompt: string(record, "prompt")?,
            completion: not_blank(string(record, "completion")?, "completion")?,
        }),
        (true, true) => Ok(Record::ChatCompletion {
            prompt: messages(record, "prompt")?,
            completion: messages(record, "completion")?,
        }),
        _ => Err("\"prompt\" and \"completion\" must both be strings or both lists of messages".to_owned()),
    }
}

/// The prompt of Stanford Alpaca's training code (github.com/tatsu-lab/stanford_alpaca, `PROMPT_DICT`), which the
/// completion follows at once. `system` takes the place of its first paragraph and `history`, pairs of
/// instruction and response, comes before the instruction.
fn alpaca(record: &Map<String, Value>) -> RowResult<Record> {
    let optional = |name| optional(record, name);
    let instruction = not_blank(string(record, "instruction")?, "instruction")?;
    let output = not_blank(string(record, "output")?, "output")?;
    let (input, system) = (optional("input")?, optional("system")?);

    let mut prompt = match (system.is_empty(), input.is_empty()) {
        (false, _) => system,
        (true, true) => "Below is an instruction that describes a task. Write a response that appropriately \
                         completes the request."
            .to_owned(),
        (true, false) => {
            "Below is an instruction that describes a task, paired with an input that provides further \
                          context. Write a response that appropriately completes the request."
                .to_owned()
        }
    };
    let history = match record.get("history") {
        None | Some(Value::Null) => Cow::Owned(Vec::new()),
        Some(value) => {
            list(value).ok_or_else(|| "\"history\" must be a list of pairs of strings".to_owned())?
        }
    };
    for pair in history.iter() {
        let pair = pair.as_array().map(Vec::as_slice);
        let Some([Value::String(asked), Value::String(answered)]) = pair else {
            return Err("\"history\" must be a list of pairs of strings".to_owned());
        };
        prompt += &format!("\n\n### Instruction:\n{asked}\n\n### Response:{answered}");
    }
    prompt += &format!("\n\n### Instruction:\n{instruction}");
    if !input.is_empty() {
        prompt += &format!("\n\n### Input:\n{input}");
    }
    prompt += "\n\n### Response:";
    Ok(Record::PromptCompletion { prompt, completion: output })
}

/// A chat, with the row's `system` as its first message unless it has one.
fn chat(record: &Map<String, Value>, field: &str) -> RowResult<Record> {
    refuse_tools(record)?;
    let mut messages = messages(record, field)?;
    let system = optional(record, "system")?;
    if !system.is_empty() && messages[0].role != "system" {
        messages.insert(0, Message { role: "system".to_owned(), content: system });
    }
    Ok(Record::Messages(messages))
}

fn messages(record: &Map<String, Value>, field: &str) -> RowResult<Vec<Message>> {
    let Some(entries) = list(&record[field]) else {
        return Err(format!("\"{field}\" must be a list of messages, found {}", kind(&record[field])));
    };
    if entries.is_empty() {
        return Err(format!("\"{field}\" is empty"));
    }
    (entries.iter().enumerate())
        .map(|(i, entry)| {
            message(entry).map_err(|reason| format!("\"{field}\", message {}: {reason}", i + 1))
        })
        .collect()
}

/// A message in either spelling: `role` and `content`, or ShareGPT's `from` and `value`.
fn message(entry: &Value) -> RowResult<Message> {
    let entry = entry.as_object().ok_or_else(|| format!("no JSON object but {}", kind(entry)))?;
    if entry.get("tool_calls").is_some_and(is_set) {
        return Err("tool calls cannot be trained on".to_owned());
    }
    if !entry.contains_key("role") && entry.contains_key("from") {
        let from = not_blank(string(entry, "from")?, "from")?;
        return Ok(Message { role: share_gpt_role(&from)?.to_owned(), content: string(entry, "value")? });
    }
    let role = not_blank(string(entry, "role")?, "role")?;
    let content = match entry.get("content") {
        Some(Value::Array(parts)) => joined(parts)?,
        _ => string(entry, "content")?,
    };
    Ok(Message { role, content })
}

/// The text of a `content` that is a list of parts: chat templates write the text of one after the other with
/// nothing between them.
fn joined(parts: &[Value]) -> RowResult<String> {
    if parts.is_empty() {
        return Err("\"content\" is an empty list".to_owned());
    }
    let text = |(i, part): (usize, &Value)| {
        let of_content = |reason| format!("\"content\", part {}: {reason}", i + 1);
        let fields =
            part.as_object().ok_or_else(|| of_content(format!("no JSON object but {}", kind(part))))?;
        match string(fields, "type").map_err(of_content)?.as_str() {
            "text" => string(fields, "text").map_err(of_content),
            other => {
                let other: String = other.chars().take(40).collect();
                Err(of_content(format!("its type is \"{other}\", and only text can be trained on")))
            }
        }
    };
    parts.iter().enumerate().map(text).collect()
}

/// The names of speakers in ShareGPT files, as the tools that read them know them.
fn share_gpt_role(from: &str) -> RowResult<&'static str> {
    match from {
        "human" | "user" => Ok("user"),
        "gpt" | "assistant" | "chatgpt" | "bard" | "bing" | "model" => Ok("assistant"),
        "system" => Ok("system"),
        "tool" | "observation" | "function_response" => Ok("tool"),
        "function_call" => Err("tool calls cannot be trained on".to_owned()),
        other => Err(format!(
            "\"from\" is \"{}\"; expected human, user, gpt, assistant, chatgpt, bard, bing, model, system, tool, \
             observation or function_response",
            other.chars().take(40).collect::<String>()
        )),
    }
}

/// Tools change what the template writes, so leaving them out without a word would train something else.
fn refuse_tools(record: &Map<String, Value>) -> RowResult<()> {
    if record.get("tools").is_some_and(is_set) {
        Err("tools cannot be trained on".to_owned())
    } else {
        Ok(())
    }
}

fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !matches!(text.trim(), "" | "[]"),
        Value::Array(entries) => !entries.is_empty(),
        _ => true,
    }
}

/// A list, or the JSON text of one, as tables hold it in a cell; an empty cell is an empty list.
fn list(value: &Value) -> Option<Cow<'_, [Value]>> {
    match value {
        Value::Array(entries) => Some(Cow::Borrowed(entries)),
        Value::String(text) if text.trim().is_empty() => Some(Cow::Owned(Vec::new())),
        Value::String(text) if text.trim_start().starts_with('[') => parse_list(text).ok().map(Cow::Owned),
        _ => None,
    }
}

fn string(record: &Map<String, Value>, field: &str) -> RowResult<String> {
    match record.get(field) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Err(format!("\"{field}\" must be a string, found {}", kind(other))),
        None => Err(format!("\"{field}\" is missing")),
    }
}

/// A string that need not be there.
fn optional(record: &Map<String, Value>, field: &str) -> RowResult<String> {
    match record.get(field) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(_) => string(record, field),
    }
}

fn not_blank(text: String, field: &str) -> RowResult<String> {
    if text.trim().is_empty() { Err(format!("\"{field}\" is empty")) } else { Ok(text) }
}

pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The first few field names of a record, for messages.
fn field_names(record: &Map<String, Value>) -> String {
    if record.is_empty() { "an empty object".to_owned() } else { few(record.keys().map(String::as_str)) }
}

/// The first few of some names, for messages.
pub(super) fn few<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names = names.peekable();
    let shown = quoted(names.by_ref().take(12).map(|name| name.get(..40).unwrap_or(name)));
    shown + if names.peek().is_some() { ", …" } else { "" }
}

pub(super) fn quoted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}
