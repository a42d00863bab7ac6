//! What is read from `tokenizer_config.json` and `special_tokens_map.json`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::MAX_TEMPLATE_BYTES;
use crate::error::{Error, Result};

const CONFIG_FILE: &str = "tokenizer_config.json";
const MAP_FILE: &str = "special_tokens_map.json";
/// The special tokens that every tokenizer of transformers has a place for (`SPECIAL_TOKENS_ATTRIBUTES`).
const NAMES: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// A special token as a file names it.
struct Named {
    /// `None`: the file says that there is none, and the tokenizer's class has no say.
    text: Option<String>,
    /// `None`: no file but the tokenizer's class.
    file: Option<&'static str>,
}

/// The fields of `tokenizer_config.json` that matter.
#[derive(Default)]
pub(super) struct TokenizerConfig {
    /// `bos_token`, `eos_token`, `unk_token`, …: by the name of the field. Templates see them too.
    special_tokens: BTreeMap<String, Named>,
    /// Whether `special_tokens_map.json` is superseded.
    has_added_tokens: bool,
    pub tokenizer_class: Option<String>,
    pub add_prefix_space: Option<bool>,
    pub legacy: Option<bool>,
    chat_template: Value,
}

impl TokenizerConfig {
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut fields = object(CONFIG_FILE, bytes)?;
        let flag = |name: &str| fields.get(name).and_then(Value::as_bool);
        let mut config = Self {
            special_tokens: BTreeMap::new(),
            has_added_tokens: fields.contains_key("added_tokens_decoder"),
            tokenizer_class: fields.get("tokenizer_class").and_then(Value::as_str).map(str::to_owned),
            add_prefix_space: flag("add_prefix_space"),
            legacy: flag("legacy"),
            chat_template: fields.remove("chat_template").unwrap_or_default(),
        };
        config.read_special_tokens(CONFIG_FILE, &fields)?;
        Ok(config)
    }

    /// What `special_tokens_map.json` says goes before what `tokenizer_config.json` says, but is not looked at where
    /// that has an `added_tokens_decoder` (`PreTrainedTokenizerBase._from_pretrained`).
    pub fn merge_map(&mut self, bytes: &[u8]) -> Result<()> {
        if self.has_added_tokens {
            return Ok(());
        }
        self.read_special_tokens(MAP_FILE, &object(MAP_FILE, bytes)?)
    }

    fn read_special_tokens(&mut self, file: &'static str, fields: &Map<String, Value>) -> Result<()> {
        // Names of a model's own stand among the others, or here.
        let extra = fields.get("extra_special_tokens").and_then(Value::as_object);
        let named = fields.iter().filter(|(name, _)| name.ends_with("_token"));
        for (name, value) in named.chain(extra.into_iter().flatten()) {
            // A token is its text, or an object that holds the text as "content" beside its flags.
            let text = match value {
                Value::Null => None,
                value => match value.as_str().or_else(|| value.get("content")?.as_str()) {
                    Some(text) => Some(text.to_owned()),
                    // Switches such as add_bos_token end like tokens.
                    None if !NAMES.contains(&name.as_str()) => continue,
                    None => {
                        return Err(Error::format(format!(
                            "{file}: {name} is {value}; expected a text, or an object with the text as \"content\""
                        )));
                    }
                },
            };
            self.special_tokens.insert(name.clone(), Named { text, file: Some(file) });
        }
        Ok(())
    }

    /// Adds the special tokens of the tokenizer's class where no file says anything of them.
    pub fn add_defaults(&mut self, defaults: &[(&str, &str)]) {
        for (name, text) in defaults {
            let default = || Named { text: Some((*text).to_owned()), file: None };
            self.special_tokens.entry((*name).to_owned()).or_insert_with(default);
        }
    }

    /// The text of a special token, by its field's name.
    pub fn special_token(&self, name: &str) -> Option<&str> {
        self.special_tokens.get(name)?.text.as_deref()
    }

    /// The file that names a special token; `None` where it is the class that does.
    pub fn file_of(&self, name: &str) -> Option<&'static str> {
        self.special_tokens.get(name)?.file
    }

    /// The texts of all special tokens.
    pub fn special_tokens(&self) -> impl Iterator<Item = &str> {
        self.special_tokens.values().filter_map(|named| named.text.as_deref())
    }

    pub fn into_special_tokens(self) -> BTreeMap<String, String> {
        let named = self.special_tokens.into_iter();
        named.filter_map(|(name, named)| Some((name, named.text?))).collect()
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

fn object(file: &str, bytes: &[u8]) -> Result<Map<String, Value>> {
    let error = |what: String| Error::format(format!("{file} cannot be read: {what}"));
    match serde_json::from_slice(bytes).map_err(|e| error(e.to_string()))? {
        Value::Object(fields) => Ok(fields),
        _ => Err(error("expected a JSON object".into())),
    }
}

/// The error for a template longer than [`MAX_TEMPLATE_BYTES`].
pub(super) fn too_long(bytes: usize) -> Error {
    Error::format(format!("the chat template has {bytes} bytes; at most {MAX_TEMPLATE_BYTES} are read"))
}
