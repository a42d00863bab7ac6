//! Text to token ids and back, chat templates, and text that streams out token by token.
//!
//! The vocabulary and its rules are `tokenizer.json`'s, read by the `tokenizers` crate; names of special
//! tokens and, in older repositories, the chat template are `tokenizer_config.json`'s. Where the files differ or
//! say nothing it goes as in transformers 5.23: what is put around a text is the file's post-processor's, whatever
//! `add_bos_token` and `add_eos_token` say; special tokens are named, in this order, by `special_tokens_map.json`
//! (unless the configuration has an `added_tokens_decoder`), by `tokenizer_config.json` and by the tokenizer's
//! class; `class` has the classes and what they override.

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
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Result};
use class::Class;
use config::TokenizerConfig;
use template::ChatTemplate;

/// Largest chat template that is read, in bytes; the longest in use have some 20 KB.
const MAX_TEMPLATE_BYTES: usize = 1 << 20;

/// Tells tokenizers apart, also those of the same files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenizerId(usize);

impl TokenizerId {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A model's tokenizer with its special tokens and its chat template.
pub struct Tokenizer {
    id: TokenizerId,
    inner: tokenizers::Tokenizer,
    vocab_size: usize,
    bos_token_id: Option<u32>,
    eos_token_id: Option<u32>,
    /// The error says why no chat can be rendered: text without a chat needs no template, so a missing or
    /// broken one is reported when it is asked for.
    chat: Result<ChatTemplate>,
}

/// What of a `config.json` tells how its tokenizer is to be read.
#[derive(Default, serde::Deserialize)]
struct ModelFields {
    #[serde(default)]
    model_type: String,
    tokenizer_class: Option<String>,
}

/// Token ids with the bytes of the text that each stands for.
pub(crate) struct Encoded {
    pub ids: Vec<u32>,
    /// `None` for tokens that the post-processor put in. The others tile the text: white space that the
    /// tokenizer trimmed off or dropped belongs to the token after it. Tokens that share one character (byte-level
    /// pieces of it) share its span.
    pub spans: Vec<Option<Range<usize>>>,
}

/// The files that make up a tokenizer.
#[derive(Debug, Clone, Default)]
pub struct TokenizerFiles {
    /// `tokenizer.json`.
    pub tokenizer: Vec<u8>,
    /// `tokenizer_config.json`.
    pub tokenizer_config: Option<Vec<u8>>,
    /// `special_tokens_map.json`.
    pub special_tokens_map: Option<Vec<u8>>,
    /// `chat_template.jinja`, which replaces the template in the configuration.
    pub chat_template: Option<String>,
    /// Whether the files say everything, as those made from a GGUF file do: no tokenizer class has a say then.
    pub is_complete: bool,
}

impl Tokenizer {
    /// A tokenizer from the bytes of `tokenizer.json`, of `tokenizer_config.json` if there is one, and from
    /// `chat_template.jinja` if there is one; of no model, so that only the configuration can name a class.
    ///
    /// # Errors
    ///
    /// `Format` when a file cannot be parsed, or when a file names an end-of-sequence token that the vocabulary
    /// lacks. A missing or broken chat template is no error here but in the calls that need it.
    pub fn from_files(
        tokenizer_json: &[u8],
        tokenizer_config: Option<&[u8]>,
        chat_template: Option<&str>,
    ) -> Result<Self> {
        let files = TokenizerFiles {
            tokenizer: tokenizer_json.to_vec(),
            tokenizer_config: tokenizer_config.map(<[u8]>::to_vec),
            chat_template: chat_template.map(str::to_owned),
            ..TokenizerFiles::default()
        };
        Self::build(&ModelFields::default(), &files)
    }

    /// The tokenizer of the model with this `config.json`, whose `model_type` and `tokenizer_class` have a say in
    /// what transformers makes of the files.
    ///
    /// # Errors
    ///
    /// As [`from_files`](Self::from_files); also `Format` when `config.json` is no JSON object.
    pub fn for_model(config_json: &[u8], files: &TokenizerFiles) -> Result<Self> {
        let model = serde_json::from_slice(config_json)
            .map_err(|error| Error::format(format!("config.json cannot be read: {error}")))?;
        Self::build(&model, files)
    }

    fn build(model: &ModelFields, files: &TokenizerFiles) -> Result<Self> {
        vetted::check(&files.tokenizer)?;
        let mut inner = tokenizers::Tokenizer::from_bytes(&files.tokenizer).map_err(|error| {
            Error::format(format!(
                "tokenizer.json cannot be read: {error}; it must be a file of the Hugging Face tokenizers library \
                 (download it again, or save it with `tokenizer.save_pretrained`)"
            ))
        })?;
        let failed = |error: tokenizers::Error| Error::format(format!("tokenizer.json: {error}"));
        // Settings of whoever saved the file; they would cut or pad every text behind the caller's back.
        inner.with_truncation(None).map_err(failed)?.with_padding(None);

        let mut config = match &files.tokenizer_config {
            Some(bytes) => TokenizerConfig::parse(bytes)?,
            None => TokenizerConfig::default(),
        };
        if let Some(bytes) = &files.special_tokens_map {
            config.merge_map(bytes)?;
        }
        if !files.is_complete {
            let declared = config.tokenizer_class.as_deref().or(model.tokenizer_class.as_deref());
            let class = Class::of(&model.model_type, declared, &inner);
            class.apply(&mut inner, &config)?;
            config.add_defaults(class.special_tokens());
            // A special token is one wherever it stands in a text, also where the file lists it among the others.
            let added = inner.get_added_tokens_decoder();
            let is_listed = |token: &str| added.values().any(|added| added.content == token);
            let named: Vec<_> = (config.special_tokens())
                .filter(|token| !is_listed(token) && inner.token_to_id(token).is_some())
                .map(|token| tokenizers::AddedToken::from(token, true))
                .collect();
            inner.add_special_tokens(named).map_err(failed)?;
        }
        let bos_token_id = config.special_token("bos_token").and_then(|token| inner.token_to_id(token));
        let eos_token_id = config.special_token("eos_token").and_then(|token| inner.token_to_id(token));
        // A class's own token may be one that this vocabulary does not have.
        if let (None, Some(token), Some(file)) =
            (eos_token_id, config.special_token("eos_token"), config.file_of("eos_token"))
        {
            return Err(Error::format(format!(
                "{file} names {token:?} as eos_token, but tokenizer.json has no such token; the two files must come \
                 from the same model"
            )));
        }

        let vocab_size =
            inner.get_vocab(true).into_values().max().map_or(0, |id| (id as usize).saturating_add(1));
        let chat = match &files.chat_template {
            Some(source) => Ok(source.clone()),
            None => config.chat_template(),
        }
        .and_then(|source| ChatTemplate::new(source, config.into_special_tokens()));
        let id = TokenizerId::new();
        Ok(Self { id, inner, vocab_size, bos_token_id, eos_token_id, chat })
    }

    /// Of this one alone.
    pub fn id(&self) -> TokenizerId {
        self.id
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

    /// The beginning-of-sequence token that the files or the tokenizer's class name.
    pub fn bos_token_id(&self) -> Option<u32> {
        self.bos_token_id
    }

    /// The end-of-sequence token that the files or the tokenizer's class name.
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
