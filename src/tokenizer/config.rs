//! What is read from `tokenizer_config.json`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::MAX_TEMPLATE_BYTES;
use crate::error::{Error, Result};

/// The fields of `tokenizer_config.json` that matter.
#[derive(Default)]
pub(super) struct TokenizerConfig {
    /// `bos_token`, `eos_token`, `unk_token`, …: name of the field to text of the token. Templates see them too.
    special_tokens: BTreeMap<String, String>,
    pub tokenizer_class: Option<String>,
    pub add_prefix_space: Option<bool>,
    pub legacy: Option<bool>,
    chat_template: Value,
}

impl TokenizerConfig {
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let error = |what: String| Error::format(format!("tokenizer_config.json cannot be read: {what}"));
        let value: Value = serde_json::from_slice(bytes).map_err(|e| error(e.to_string()))?;
        let Value::Object(mut fields) = value else {
            return Err(error("expected a JSON object".into()));
        };
        // A token is its text, or an object that holds the text as "content" beside its flags.
        let special_tokens = (fields.iter())
            .filter(|(name, _)| name.ends_with("_token"))
            .filter_map(|(name, value)| {
                let text = value.as_str().or_else(|| value.get("content")?.as_str())?;
                Some((name.clone(), text.to_owned()))
            })
            .collect();
        let flag = |name: &str| fields.get(name).and_then(Value::as_bool);
        let (add_prefix_space, legacy) = (flag("add_prefix_space"), flag("legacy"));
        let tokenizer_class = fields.get("tokenizer_class").and_then(Value::as_str).map(str::to_owned);
        let chat_template = fields.remove("chat_template").unwrap_or_default();
        Ok(Self { special_tokens, tokenizer_class, add_prefix_space, legacy, chat_template })
    }

    /// The text of a special token, by its field's name.
    pub fn special_token(&self, name: &str) -> Option<&str> {
        self.special_tokens.get(name).map(String::as_str)
    }

    pub fn into_special_tokens(self) -> BTreeMap<String, String> {
        self.special_tokens
    }

    /// The chat template: a string, or of a list of `{"name", "template"}` the one named "default".
    pub fn chat_template(&self) -> Result<String> {
        let template = match &self.chat_template {
            Value::Array(templates) => {
                let default = templates.iter().find(|entry| entry["name"] == "default");
                &default.ok_or_else(|| {
                    let names: Vec<_> = templates.iter().filter_map(|entry| entry["name"].as_str()).collect();
                    Error::unsupported(format!(
                        "the model has chat templates named {} but none named default; give one of them as \
                         chat_template.jinja, or use data with \"text\" or \"prompt\" and \"completion\"",
                        names.join(", ")
                    ))
                })?["template"]
            }
            single => single,
        };
        match template {
            Value::Null => Err(Error::unsupported(
                "the model has no chat template, so messages cannot be turned into text; use a model tuned for chat, \
                 give its template as chat_template.jinja, or use data with \"text\" or \"prompt\" and \"completion\"",
            )),
            Value::String(source) if source.len() <= MAX_TEMPLATE_BYTES => Ok(source.clone()),
            Value::String(source) => Err(too_long(source.len())),
            _ => Err(Error::format("tokenizer_config.json: chat_template is no string")),
        }
    }
}

/// The error for a template longer than [`MAX_TEMPLATE_BYTES`].
pub(super) fn too_long(bytes: usize) -> Error {
    Error::format(format!("the chat template has {bytes} bytes; at most {MAX_TEMPLATE_BYTES} are read"))
}
