//! The tokenizer classes of transformers (5.23): which of them `AutoTokenizer` takes, the special tokens that each
//! has where the files name none, and what it sets whatever `tokenizer.json` says.

use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::decoders::strip::Strip;
use tokenizers::normalizers::{NFC, Replace};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;
use tokenizers::{DecoderWrapper, NormalizerWrapper, PreTokenizerWrapper, Tokenizer};

use super::config::TokenizerConfig;
use crate::error::{Error, Result};

/// Stands for a space in vocabularies of the SentencePiece kind.
const SPACE: char = '▁';
/// `PRETOKENIZE_REGEX` of `models/qwen2/tokenization_qwen2.py`.
const QWEN2_PARTS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// A tokenizer class. All but `Backend` take vocabulary, merges, added tokens and post-processor from
/// `tokenizer.json` and build the rest anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Gpt2,
    Llama,
    Gemma,
    Qwen2,
    /// `TokenizersBackend`: the file as it is, no special tokens of its own. Also what other classes come to.
    Backend,
}

impl Class {
    /// The class that `AutoTokenizer` takes (`models/auto/tokenization_auto.py`). `declared` is `tokenizer_class` of
    /// `tokenizer_config.json` or, if it is not there, of `config.json`.
    pub fn of(model_type: &str, declared: Option<&str>, inner: &Tokenizer) -> Self {
        let registered = match model_type {
            "gpt2" => Some(Self::Gpt2),
            "gemma3_text" => Some(Self::Gemma),
            "qwen2" | "qwen3" => Some(Self::Qwen2),
            "mistral" | "phi3" => Some(Self::Backend),
            _ => None,
        };
        let named = declared.map(Self::named);
        match (registered, named) {
            // What repositories of these types say is known to be wrong.
            (Some(Self::Backend), _) => Self::Backend,
            _ if model_type == "qwen2" => Self::Qwen2,
            // Llama 3 files name the class too, but are of the other kind.
            (_, Some(Self::Llama)) if is_byte_level(inner) => Self::Backend,
            (_, Some(named)) => named,
            (registered, None) => registered.unwrap_or(Self::Backend),
        }
    }

    fn named(name: &str) -> Self {
        match name.strip_suffix("Fast").unwrap_or(name) {
            "GPT2Tokenizer" => Self::Gpt2,
            "LlamaTokenizer" => Self::Llama,
            "GemmaTokenizer" => Self::Gemma,
            "Qwen2Tokenizer" => Self::Qwen2,
            _ => Self::Backend,
        }
    }

    /// The defaults of the class's arguments (`models/*/tokenization_*.py`): field and text.
    pub fn special_tokens(self) -> &'static [(&'static str, &'static str)] {
        const END: &str = "<|endoftext|>";
        match self {
            Self::Gpt2 => &[("unk_token", END), ("bos_token", END), ("eos_token", END)],
            Self::Llama => &[("unk_token", "<unk>"), ("bos_token", "<s>"), ("eos_token", "</s>")],
            Self::Gemma => &[
                ("unk_token", "<unk>"),
                ("bos_token", "<bos>"),
                ("eos_token", "<eos>"),
                ("pad_token", "<pad>"),
                ("mask_token", "<mask>"),
            ],
            Self::Qwen2 => &[("unk_token", END), ("eos_token", END), ("pad_token", END)],
            Self::Backend => &[],
        }
    }

    /// Builds anew what the class builds anew.
    pub fn apply(self, inner: &mut Tokenizer, config: &TokenizerConfig) -> Result<()> {
        let failed = |error: tokenizers::Error| Error::format(format!("tokenizer.json: {error}"));
        let bytes = |use_regex| ByteLevel::new(config.add_prefix_space.unwrap_or(false), true, use_regex);
        let (normalizer, pre_tokenizer, decoder): (_, PreTokenizerWrapper, DecoderWrapper) = match self {
            Self::Backend => return Ok(()),
            Self::Gpt2 => (None, bytes(true).into(), ByteLevel::default().into()),
            Self::Qwen2 => {
                let pattern = SplitPattern::Regex(QWEN2_PARTS.to_owned());
                let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(failed)?;
                let parts = Sequence::new(vec![split.into(), bytes(false).into()]);
                (Some(NormalizerWrapper::from(NFC)), parts.into(), ByteLevel::default().into())
            }
            Self::Gemma => {
                let replace = Replace::new(" ", SPACE.to_string()).map_err(failed)?;
                let pattern = SplitPattern::String(" ".to_owned());
                let split = Split::new(pattern, SplitDelimiterBehavior::MergedWithPrevious, false);
                (Some(replace.into()), split.map_err(failed)?.into(), spaces(false).map_err(failed)?.into())
            }
            Self::Llama => {
                // A space comes before the text (with `legacy`, before each part between special tokens).
                let adds_space = config.add_prefix_space.unwrap_or(true);
                let scheme = match (adds_space, config.legacy.unwrap_or(false)) {
                    (false, _) => PrependScheme::Never,
                    (true, true) => PrependScheme::Always,
                    (true, false) => PrependScheme::First,
                };
                let words = Metaspace::new(SPACE, scheme, false);
                (None, words.into(), spaces(adds_space).map_err(failed)?.into())
            }
        };
        inner.with_normalizer(normalizer).map_err(failed)?;
        inner.with_pre_tokenizer(Some(pre_tokenizer));
        inner.with_decoder(Some(decoder));
        Ok(())
    }
}

fn is_byte_level(inner: &Tokenizer) -> bool {
    fn has(pre_tokenizer: &PreTokenizerWrapper) -> bool {
        match pre_tokenizer {
            PreTokenizerWrapper::ByteLevel(_) => true,
            PreTokenizerWrapper::Sequence(parts) => parts.as_ref().iter().any(has),
            _ => false,
        }
    }
    inner.get_pre_tokenizer().is_some_and(has)
        || matches!(inner.get_decoder(), Some(DecoderWrapper::ByteLevel(_)))
}

/// Pieces of the SentencePiece kind back to text; `strips` drops the space that was put before it.
fn spaces(strips: bool) -> tokenizers::Result<Decoders> {
    let replace = Replace::new(SPACE.to_string(), " ")?;
    let mut steps: Vec<DecoderWrapper> = vec![replace.into(), ByteFallback::new().into(), Fuse::new().into()];
    if strips {
        steps.push(Strip::new(' ', 1, 0).into());
    }
    Ok(Decoders::new(steps))
}
