//! Generation: a key-value cache, sampling, and text as it comes.

mod adapted;
mod decoder;
mod merged;
mod sampler;
mod tokens;

pub use adapted::{Adapted, logit_difference};
pub use decoder::{Chosen, Decoder, MAX_AT_ONCE};
pub use merged::{MergeCheck, MergeProbe};
pub use sampler::{Sampler, SamplingOptions};
pub use tokens::Tokens;

use web_time::Instant;

use crate::base::Base;
use crate::config::{ModelConfig, Precision};
use crate::error::{Error, Result};
use crate::tokenizer::{Message, StreamDecoder, Tokenizer};

/// What to go on from.
#[derive(Debug, Clone)]
pub enum Prompt {
    /// Text as it stands.
    Text(String),
    /// A conversation, put into the model's chat template.
    Chat(Vec<Message>),
}

impl Prompt {
    /// Its tokens.
    ///
    /// # Errors
    /// Those of the tokenizer and of the chat template.
    pub fn encode(&self, tokenizer: &Tokenizer) -> Result<Vec<u32>> {
        match self {
            Self::Text(text) => tokenizer.encode(text, true),
            Self::Chat(messages) => tokenizer.encode(&tokenizer.render_chat(messages, true)?, false),
        }
    }
}

/// Tokens that a generation has room for: those of the prompt, and as many new ones as are asked for and the
/// model's context still holds.
///
/// # Errors
/// An empty prompt, or one that leaves no room.
pub fn capacity(config: &ModelConfig, prompt_tokens: usize, options: &SamplingOptions) -> Result<usize> {
    let context = config.max_position_embeddings;
    if prompt_tokens == 0 {
        return Err(Error::data("the prompt is empty; give the model at least one token to go on from"));
    }
    if prompt_tokens >= context {
        return Err(Error::data(format!(
            "the prompt has {prompt_tokens} tokens, but the model's context (max_position_embeddings) holds \
             {context}. Shorten the prompt"
        )));
    }
    Ok(prompt_tokens.saturating_add(options.max_new_tokens).min(context))
}

/// Why generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stopped {
    /// The model ended its text.
    Eos,
    /// `max_new_tokens`, or the end of the model's context.
    Length,
    /// The caller asked for it.
    Caller,
}

/// A finished generation.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Generated {
    /// The new text.
    pub text: String,
    /// Number of new tokens.
    pub tokens: usize,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// New tokens by the time since the prompt was read.
    pub tokens_per_second: f64,
    /// Why it ended.
    pub stopped: Stopped,
}

/// Continues `prompt`, with the adapter if one is given. `on_text` gets text as soon as it is complete
/// (a character may take several tokens) and returns false to stop.
///
/// # Errors
/// Those of [`Prompt::encode`], or bad options.
pub async fn generate(
    base: &Base,
    adapter: Option<Adapted<'_>>,
    prompt: &Prompt,
    options: &SamplingOptions,
    on_text: &mut dyn FnMut(&str) -> bool,
) -> Result<Generated> {
    options.check()?;
    let ids = prompt.encode(&base.tokenizer)?;
    base.check_ids(&ids)?;
    let capacity = capacity(base.model.config(), ids.len(), options)?;
    let room = capacity - ids.len();
    let make = || Adapted::decoder(adapter, base, capacity);
    let gpu = base.model.gpu();
    let mut decoder = gpu.make_room("generating text", make).await?;
    decoder.set_arithmetic(gpu.arithmetic(Precision::Auto)?);
    let mut chosen = Tokens::new(decoder, &ids, options, room).await?;
    let start = Instant::now();
    let mut stream = StreamDecoder::new(&base.tokenizer);
    let mut text = String::new();
    let mut tokens = 0;
    let mut stopped = Stopped::Length;
    while let Some(id) = chosen.next().await? {
        tokens += 1;
        if base.stop.contains(&id) {
            stopped = Stopped::Eos;
            break;
        }
        if let Some(piece) = stream.push(id)? {
            text.push_str(&piece);
            if !on_text(&piece) {
                stopped = Stopped::Caller;
                break;
            }
        }
    }
    if let Some(piece) = stream.finish()? {
        text.push_str(&piece);
        on_text(&piece);
    }
    let tokens_per_second = tokens as f64 / start.elapsed().as_secs_f64().max(1e-9);
    Ok(Generated { text, tokens, prompt_tokens: ids.len(), tokens_per_second, stopped })
}
