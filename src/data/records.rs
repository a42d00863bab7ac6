//! JSON Lines files into records.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::tokenizer::Message;

/// The shape of a data set's records. Where a record fits several, the first in the order of
/// [`Format::ALL`] counts (the original Alpaca file, for one, has a `text` beside its other fields).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// `{"messages": [{"role", "content"}, …]}`
    Messages,
    /// `{"prompt", "completion"}`, both strings or both lists of messages.
    PromptCompletion,
    /// `{"instruction", "input", "output"}`, with `system` and `history` if there are any.
    Alpaca,
    /// `{"text"}`
    Text,
}

impl Format {
    /// Every format, in the order in which they are tried.
    pub const ALL: [Self; 4] = [Self::Messages, Self::PromptCompletion, Self::Alpaca, Self::Text];

    /// The fields that a record must have.
    fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Messages => &["messages"],
            Self::PromptCompletion => &["prompt", "completion"],
            Self::Alpaca => &["instruction", "output"],
            Self::Text => &["text"],
        }
    }

    fn detect(record: &Map<String, Value>) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.matches(record))
    }

    fn matches(self, record: &Map<String, Value>) -> bool {
        self.fields().iter().all(|&field| record.contains_key(field))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Messages => "messages",
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
}

/// A line that gave no record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedLine {
    /// The line's number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// The records of one file, all of one format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// The format of the file's first valid record, and so of all.
    pub format: Format,
    /// In the order of the file.
    pub records: Vec<Record>,
    /// The line that each record came from, from 1.
    pub lines: Vec<usize>,
    /// The lines that gave none; blank lines are not among them.
    pub skipped: Vec<SkippedLine>,
}

impl Dataset {
    /// Reads JSON Lines: one JSON object a line, UTF-8, with or without a byte order mark. The first valid
    /// record decides on the format; lines that do not fit are skipped with a reason. `name` is for messages.
    ///
    /// # Errors
    ///
    /// `Data` when no line gives a record.
    pub fn parse_jsonl(text: &[u8], name: &str) -> Result<Self> {
        let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
        let mut format = None;
        let (mut records, mut lines, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
        for (i, bytes) in text.split(|&byte| byte == b'\n').enumerate() {
            if bytes.trim_ascii().is_empty() {
                continue;
            }
            match parse_line(bytes, format) {
                Ok((found, record)) => {
                    format = Some(found);
                    records.push(record);
                    lines.push(i + 1);
                }
                Err(reason) => skipped.push(SkippedLine { line: i + 1, reason }),
            }
        }
        let Some(format) = format else {
            let found = match skipped.first() {
                Some(SkippedLine { line, reason }) => format!("line {line}: {reason}"),
                None => "the file is empty".to_owned(),
            };
            return Err(Error::data(format!(
                "{name} has no record that can be trained on ({found}). Expected JSON Lines, one object a line, with \
                 \"messages\" (a list of {{\"role\", \"content\"}}), or \"prompt\" and \"completion\", or \"instruction\" and \
                 \"output\" (Alpaca, \"input\" if there is one), or \"text\""
            )));
        };
        Ok(Self { format, records, lines, skipped })
    }
}

type LineResult<T> = Result<T, String>;

fn parse_line(bytes: &[u8], format: Option<Format>) -> LineResult<(Format, Record)> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| format!("no UTF-8 from byte {} on", error.valid_up_to() + 1))?;
    if text.trim_start().starts_with('[') {
        return Err("a JSON list where one JSON object a line is expected".to_owned());
    }
    // serde_json counts lines of its own input, which is always the first.
    let value: Value = serde_json::from_str(text).map_err(|error| {
        format!("no valid JSON: {}", error.to_string().replace(" at line 1 column ", " at column "))
    })?;
    let Value::Object(record) = value else {
        return Err(format!("no JSON object but {}", kind(&value)));
    };
    let format = match format {
        Some(format) if format.matches(&record) => format,
        Some(format) => {
            let expected = quoted(format.fields().iter().copied());
            return Err(format!(
                "expected {expected} as in the records before, found {}",
                field_names(&record)
            ));
        }
        None => Format::detect(&record)
            .ok_or_else(|| format!("no known format, found {}", field_names(&record)))?,
    };
    let parsed = match format {
        Format::Messages => {
            refuse_tools(&record)?;
            Record::Messages(messages(&record, "messages")?)
        }
        Format::PromptCompletion => prompt_completion(&record)?,
        Format::Alpaca => alpaca(&record)?,
        Format::Text => Record::Text(not_blank(string(&record, "text")?, "text")?),
    };
    Ok((format, parsed))
}

fn prompt_completion(record: &Map<String, Value>) -> LineResult<Record> {
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
fn alpaca(record: &Map<String, Value>) -> LineResult<Record> {
    let optional = |name| match record.get(name) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(_) => string(record, name),
    };
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
        None | Some(Value::Null) => &[],
        Some(Value::Array(pairs)) => pairs.as_slice(),
        Some(_) => return Err("\"history\" must be a list of pairs of strings".to_owned()),
    };
    for pair in history {
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

fn messages(record: &Map<String, Value>, field: &str) -> LineResult<Vec<Message>> {
    let Some(entries) = record[field].as_array() else {
        return Err(format!("\"{field}\" must be a list of messages, found {}", kind(&record[field])));
    };
    if entries.is_empty() {
        return Err(format!("\"{field}\" is empty"));
    }
    let message = |(i, entry): (usize, &Value)| {
        let at = |reason: String| format!("\"{field}\", message {}: {reason}", i + 1);
        let entry = entry.as_object().ok_or_else(|| at(format!("no JSON object but {}", kind(entry))))?;
        if entry.get("tool_calls").is_some_and(is_set) {
            return Err(at("tool calls cannot be trained on".to_owned()));
        }
        let role = not_blank(string(entry, "role").map_err(at)?, "role").map_err(at)?;
        Ok(Message { role, content: string(entry, "content").map_err(at)? })
    };
    entries.iter().enumerate().map(message).collect()
}

/// Tools change what the template writes, so leaving them out without a word would train something else.
fn refuse_tools(record: &Map<String, Value>) -> LineResult<()> {
    if record.get("tools").is_some_and(is_set) {
        Err("tools cannot be trained on".to_owned())
    } else {
        Ok(())
    }
}

fn is_set(value: &Value) -> bool {
    !value.is_null() && value.as_array().is_none_or(|entries| !entries.is_empty())
}

fn string(record: &Map<String, Value>, field: &str) -> LineResult<String> {
    match record.get(field) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Err(format!("\"{field}\" must be a string, found {}", kind(other))),
        None => Err(format!("\"{field}\" is missing")),
    }
}

fn not_blank(text: String, field: &str) -> LineResult<String> {
    if text.trim().is_empty() { Err(format!("\"{field}\" is empty")) } else { Ok(text) }
}

fn kind(value: &Value) -> &'static str {
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
    if record.is_empty() {
        return "an empty object".to_owned();
    }
    let names = record.keys().take(8).map(|name| name.get(..40).unwrap_or(name));
    quoted(names) + if record.len() > 8 { ", …" } else { "" }
}

fn quoted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}
