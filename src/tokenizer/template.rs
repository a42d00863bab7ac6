//! Chat templates: Jinja as transformers runs it, on minijinja.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::LazyLock;

use fancy_regex::Regex;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{AutoEscape, Environment, ErrorKind, State, Value, escape_formatter};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::chat::Message;
use super::{MAX_TEMPLATE_BYTES, config, json, strftime};
use crate::error::{Error, Result};

/// Deepest macro recursion; wasm has a small stack.
const RECURSION: usize = 50;

const NAME: &str = "chat_template";
/// The block that stands in for `{% generation %}`.
const FILTER: &str = "__generation";
const START: &str = "__generation_start";
const END: &str = "__generation_end";

/// `{% generation %}` and `{% endgeneration %}` with their white-space control.
static GENERATION_TAG: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}").expect("the expression is constant")
});

/// What a template may spend on a chat of `count` messages with `bytes` bytes, in minijinja's units: about one
/// instruction, or 64 bytes made. Templates in use spend some hundreds a message, a few look at every other
/// message for each, and they copy the text a few times. It is no more than that because lists can be nested as
/// deep as the fuel lasts, and freeing those takes stack, of which wasm has 1 MiB.
fn fuel(count: usize, bytes: usize) -> u64 {
    let count = count as u64;
    30_000 + 300 * count + 10 * count * count + bytes as u64 / 4
}

/// A parsed chat template.
pub(super) struct ChatTemplate {
    env: Environment<'static>,
    special_tokens: BTreeMap<String, String>,
    source: String,
    has_generation_tags: bool,
}

/// A rendered chat.
pub(super) struct Rendered {
    pub text: String,
    /// Byte ranges of `text` that `{% generation %}` blocks wrote, in order.
    pub generated: Vec<Range<usize>>,
}

impl ChatTemplate {
    /// Parses `source`; `special_tokens` (`bos_token`, …) are variables of the template.
    pub fn new(source: String, special_tokens: BTreeMap<String, String>) -> Result<Self> {
        if source.len() > MAX_TEMPLATE_BYTES {
            return Err(config::too_long(source.len()));
        }
        let rewritten = GENERATION_TAG.replace_all(&source, |tag: &fancy_regex::Captures<'_, str>| {
            let part = |i| tag.get(i).map_or("", |m| m.as_str());
            // A filter block is a tag like the one it replaces, so that white space around it is treated alike.
            let block = if part(2).is_empty() { format!("filter {FILTER}") } else { "endfilter".to_owned() };
            format!("{{%{} {block} {}%}}", part(1), part(3))
        });
        let has_generation_tags = matches!(rewritten, Cow::Owned(_));
        let mut env = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        env.set_syntax(syntax.map_err(|error| Error::format(format!("chat template syntax: {error}")))?);
        env.set_auto_escape_callback(|_| AutoEscape::None);
        env.set_recursion_limit(RECURSION);
        env.set_unknown_method_callback(unknown_method_callback);
        env.set_formatter(|out, state, value| match value.kind() {
            ValueKind::None => Ok(out.write_str("None")?),
            ValueKind::Bool => Ok(out.write_str(if value.is_true() { "True" } else { "False" })?),
            _ => escape_formatter(out, state, value),
        });
        env.add_filter("tojson", json::tojson);
        env.add_filter(FILTER, mark_generated);
        env.add_function("raise_exception", |message: String| -> Result<Value, minijinja::Error> {
            let error = minijinja::Error::new(ErrorKind::InvalidOperation, message.clone());
            Err(error.with_source(Raised(message)))
        });
        env.add_function("strftime_now", |format: String| {
            strftime::now(&format).map_err(|error| minijinja::Error::new(ErrorKind::InvalidOperation, error))
        });
        env.add_template_owned(NAME, rewritten.into_owned()).map_err(|error| {
            Error::format(format!(
                "the chat template cannot be parsed: {error}; give another as chat_template.jinja, or use data with \
                 \"text\" or \"prompt\" and \"completion\""
            ))
        })?;
        Ok(Self { env, special_tokens, source, has_generation_tags })
    }

    /// Whether the template marks by `{% generation %}` what the model writes.
    pub fn has_generation_tags(&self) -> bool {
        self.has_generation_tags
    }

    /// Renders `messages`.
    ///
    /// # Errors
    ///
    /// `Data` when the template refuses these messages, `Unsupported` when it needs a function that is not
    /// there, `Format` when it runs too long.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<Rendered> {
        let (start, end) = self.sentinels(messages)?;
        let messages_value: Vec<Value> = (messages.iter())
            .map(|message| Value::from_pairs([("role", &*message.role), ("content", &*message.content)]))
            .collect();
        let special_tokens =
            self.special_tokens.iter().map(|(name, text)| (name.as_str(), Value::from(text.as_str())));
        let context = Value::from_pairs(special_tokens.chain([
            ("messages", Value::from(messages_value)),
            ("add_generation_prompt", Value::from(add_generation_prompt)),
            ("tools", Value::from(())),
            ("documents", Value::from(())),
            (START, Value::from(start.to_string())),
            (END, Value::from(end.to_string())),
        ]));
        let bytes: usize = messages.iter().map(|message| message.role.len() + message.content.len()).sum();
        let mut env = self.env.clone();
        env.set_fuel(Some(fuel(messages.len(), bytes)));
        let marked =
            env.get_template(NAME).and_then(|template| template.render(context)).map_err(render_error)?;
        split_marks(&marked, start, end)
    }

    /// Two characters that occur neither in the messages nor in the template or its variables, so that nothing
    /// but the generation blocks can write them.
    fn sentinels(&self, messages: &[Message]) -> Result<(char, char)> {
        let texts = (messages.iter().flat_map(|message| [message.role.as_str(), message.content.as_str()]))
            .chain([self.source.as_str()])
            .chain(self.special_tokens.values().map(String::as_str));
        let private_use = '\u{F0000}'..='\u{FFFFD}';
        let used: std::collections::BTreeSet<char> =
            texts.flat_map(str::chars).filter(|c| private_use.contains(c)).collect();
        let mut free = private_use.filter(|c| !used.contains(c));
        (free.next().zip(free.next()))
            .ok_or_else(|| Error::data("the messages use up all of Unicode's private-use plane 15"))
    }
}

/// The body of a generation block between the two sentinels.
fn mark_generated(state: &State<'_, '_>, body: String) -> Result<String, minijinja::Error> {
    let sentinel = |name| match state.lookup(name).as_ref().and_then(Value::as_str) {
        Some(text) => Ok(text.to_owned()),
        None => {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, format!("the template overwrote {name}")))
        }
    };
    Ok(sentinel(START)? + &body + &sentinel(END)?)
}

/// Takes the sentinels out of `marked` and notes where they were.
fn split_marks(marked: &str, start: char, end: char) -> Result<Rendered> {
    let mut text = String::with_capacity(marked.len());
    let mut generated = Vec::new();
    let (mut depth, mut from) = (0usize, 0);
    let broken = || Error::format("the chat template takes its own {% generation %} blocks apart");
    for c in marked.chars() {
        if c == start {
            if depth == 0 {
                from = text.len();
            }
            depth += 1;
        } else if c == end {
            depth = depth.checked_sub(1).ok_or_else(broken)?;
            if depth == 0 {
                generated.push(from..text.len());
            }
        } else {
            text.push(c);
        }
    }
    if depth == 0 { Ok(Rendered { text, generated }) } else { Err(broken()) }
}

/// What a template said by `raise_exception`.
#[derive(Debug)]
struct Raised(String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

fn render_error(error: minijinja::Error) -> Error {
    if let Some(raised) = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<Raised>())
    {
        return Error::data(format!("the chat template refuses these messages: {raised}"));
    }
    match error.kind() {
        ErrorKind::OutOfFuel => Error::format(
            "the chat template runs too long (an endless loop?); use another as chat_template.jinja",
        ),
        ErrorKind::UnknownFilter
        | ErrorKind::UnknownFunction
        | ErrorKind::UnknownMethod
        | ErrorKind::UnknownTest
        | ErrorKind::TemplateNotFound => Error::unsupported(format!(
            "the chat template uses something that is not known here: {error}; give a simpler one as chat_template.jinja"
        )),
        _ => Error::data(format!("the chat template fails on these messages: {error}")),
    }
}
