//! Text to token ids and back, chat templates, and text that streams out token by token.
//!
//! The vocabulary and its rules are `tokenizer.json`'s, read by the `tokenizers` crate; names of special
//! tokens and, in older repositories, the chat template are `tokenizer_config.json`'s. Where the two differ it
//! goes as in transformers 5.23: what is put around a text is the file's post-processor's, whatever
//! `add_bos_token` and `add_eos_token` say; `class` has what a tokenizer's class overrides.

mod chat;
mod class;
mod config;
mod json;
mod stream;
mod strftime;
mod template;
mod vetted;

pub use chat::{ChatTokens, Message};
pub use stream::StreamDecoder;

use std::ops::Range;

use crate::error::{Error, Result};
use config::TokenizerConfig;
use template::ChatTemplate;

/// Largest chat template that is read, in bytes; the longest in use have some 20 KB.
const MAX_TEMPLATE_BYTES: usize = 1 << 20;

/// A model's tokenizer with its special tokens and its chat template.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    vocab_size: usize,
    bos_token_id: Option<u32>,
    eos_token_id: Option<u32>,
    /// The error says why no chat can be rendered: text without a chat needs no template, so a missing or
    /// broken one is reported when it is asked for.
    chat: Result<ChatTemplate>,
}

/// Token ids with the bytes of the text that each stands for.
pub(crate) struct Encoded {
    pub ids: Vec<u32>,
    /// `None` for tokens that the post-processor put in. The others tile the text: white space that the
    /// tokenizer trimmed off or dropped belongs to the token after it. Tokens that share one character (byte-level
    /// pieces of it) share its span.
    pub spans: Vec<Option<Range<usize>>>,
}

impl Tokenizer {
    /// A tokenizer from the bytes of `tokenizer.json`, of `tokenizer_config.json` if there is one, and from
    /// `chat_template.jinja` if there is one, which then replaces the template in the configuration.
    ///
    /// # Errors
    ///
    /// `Format` when a file cannot be parsed, or when the configuration names an end-of-sequence token that
    /// the vocabulary lacks. A missing or broken chat template is no error here but in the calls that need it.
    pub fn from_files(
        tokenizer_json: &[u8],
        tokenizer_config: Option<&[u8]>,
        chat_template: Option<&str>,
    ) -> Result<Self> {
        Self::build("", tokenizer_json, tokenizer_config, chat_template)
    }

    /// [`from_files`](Self::from_files) for the model with this `config.json`, whose `model_type` has a say in
    /// what transformers makes of the files.
    ///
    /// # Errors
    ///
    /// Also `Format` when `config.json` is no JSON object.
    pub fn for_model(
        config_json: &[u8],
        tokenizer_json: &[u8],
        tokenizer_config: Option<&[u8]>,
        chat_template: Option<&str>,
    ) -> Result<Self> {
        #[derive(serde::Deserialize)]
        struct Config {
            #[serde(default)]
            model_type: String,
        }
        let config: Config = serde_json::from_slice(config_json)
            .map_err(|error| Error::format(format!("config.json cannot be read: {error}")))?;
        Self::build(&config.model_type, tokenizer_json, tokenizer_config, chat_template)
    }

    fn build(
        model_type: &str,
        tokenizer_json: &[u8],
        tokenizer_config: Option<&[u8]>,
        chat_template: Option<&str>,
    ) -> Result<Self> {
        vetted::check(tokenizer_json)?;
        let mut inner = tokenizers::Tokenizer::from_bytes(tokenizer_json).map_err(|error| {
            Error::format(format!(
                "tokenizer.json cannot be read: {error}; it must be a file of the Hugging Face tokenizers library \
                 (download it again, or save it with `tokenizer.save_pretrained`)"
            ))
        })?;
        // Settings of whoever saved the file; they would cut or pad every text behind the caller's back.
        inner
            .with_truncation(None)
            .map_err(|error| Error::format(format!("tokenizer.json: {error}")))?
            .with_padding(None);

        let config = match tokenizer_config {
            Some(bytes) => TokenizerConfig::parse(bytes)?,
            None => TokenizerConfig::default(),
        };
        let bos_token_id = config.special_token("bos_token").and_then(|token| inner.token_to_id(token));
        let eos_token_id = match config.special_token("eos_token") {
            None => None,
            Some(token) => Some(inner.token_to_id(token).ok_or_else(|| {
                Error::format(format!(
                    "tokenizer_config.json names {token:?} as eos_token, but tokenizer.json has no such token; the two \
                     files must come from the same model"
                ))
            })?),
        };
        class::apply(&mut inner, &config, model_type)?;

        let vocab_size =
            inner.get_vocab(true).into_values().max().map_or(0, |id| (id as usize).saturating_add(1));
        let chat = match chat_template {
            Some(source) => Ok(source.to_owned()),
            None => config.chat_template(),
        }
        .and_then(|source| ChatTemplate::new(source, config.into_special_tokens()));
        Ok(Self { inner, vocab_size, bos_token_id, eos_token_id, chat })
    }

    /// Token ids of `text`. `add_special_tokens` adds what the tokenizer's post-processor puts around a text
    /// (for many models a beginning-of-sequence token); special tokens written out in the text become their ids
    /// either way.
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>> {
        Ok(self.encoding(text, add_special_tokens)?.get_ids().to_vec())
    }

    /// [`encode`](Self::encode) with the span of every token.
    pub(crate) fn encode_spans(&self, text: &str, add_special_tokens: bool) -> Result<Encoded> {
        let encoding = self.encoding(text, add_special_tokens)?;
        let mut end_before = 0;
        let added = encoding.get_special_tokens_mask();
        let spans = (encoding.get_offsets().iter().zip(added))
            .map(|(&(start, end), &added)| {
                if added == 1 {
                    return None;
                }
                let start = start.min(end_before);
                end_before = end_before.max(end);
                Some(start..end_before)
            })
            .collect();
        Ok(Encoded { ids: encoding.get_ids().to_vec(), spans })
    }

    fn encoding(&self, text: &str, add_special_tokens: bool) -> Result<tokenizers::Encoding> {
        self.inner
            .encode(text, add_special_tokens)
            .map_err(|error| Error::format(format!("the tokenizer cannot encode a text: {error}")))
    }

    /// The text of `ids`; ids outside the vocabulary give no text, and bytes that are no UTF-8 give U+FFFD.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String> {
        self.inner
            .decode(ids, skip_special_tokens)
            .map_err(|error| Error::format(format!("the tokenizer cannot decode token ids: {error}")))
    }

    /// The highest token id plus one, added tokens included. A model's vocabulary is at least as large, often
    /// rounded up.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The beginning-of-sequence token that `tokenizer_config.json` names.
    pub fn bos_token_id(&self) -> Option<u32> {
        self.bos_token_id
    }

    /// The end-of-sequence token that `tokenizer_config.json` names.
    pub fn eos_token_id(&self) -> Option<u32> {
        self.eos_token_id
    }

    /// One token as a person should see it, with its leading space; part of a character is U+FFFD.
    pub fn token_text(&self, id: u32) -> String {
        if self.inner.id_to_token(id).is_none() {
            return format!("[{id}]");
        }
        // Decoders of the SentencePiece kind drop the space before the first token: put another before it.
        let in_context = || {
            let anchor = self.encode("a", false).ok()?;
            let before = self.decode(&anchor, false).ok()?;
            let both = self.decode(&[anchor.as_slice(), &[id]].concat(), false).ok()?;
            both.strip_prefix(&before).map(str::to_owned)
        };
        in_context().or_else(|| self.decode(&[id], false).ok()).unwrap_or_else(|| format!("[{id}]"))
    }

    /// The text that each token adds, special tokens included, so that the pieces make up the decoded text. Of
    /// tokens that share a character the last has it and the others are empty.
    pub fn token_texts(&self, ids: &[u32]) -> Result<Vec<String>> {
        let mut stream = StreamDecoder::with_special_tokens(self);
        let mut pieces = Vec::with_capacity(ids.len());
        for &id in ids {
            pieces.push(stream.push(id)?.unwrap_or_default());
        }
        if let (Some(last), Some(rest)) = (pieces.last_mut(), stream.finish()?) {
            last.push_str(&rest);
        }
        Ok(pieces)
    }

    /// Whether chats can be rendered, that is, whether there is a chat template without syntax errors.
    pub fn has_chat_template(&self) -> bool {
        self.chat.is_ok()
    }

    fn template(&self) -> Result<&ChatTemplate> {
        self.chat.as_ref().map_err(Clone::clone)
    }

    /// Whether `text` ends in a token that the vocabulary marks as special.
    fn ends_with_special_token(&self, text: &str) -> bool {
        let added = self.inner.get_added_tokens_decoder();
        added.values().any(|token| token.special && text.ends_with(token.content.as_str()))
    }
}
