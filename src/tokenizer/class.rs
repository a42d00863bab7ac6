//! What transformers (5.23) sets by a tokenizer's class, whatever `tokenizer.json` says.
//!
//! `AutoTokenizer` builds two classes anew around the file's vocabulary: `LlamaTokenizer` for models of type
//! `llama` (`models/llama/tokenization_llama.py`; for others it takes the file as it is), and those of the GPT-2
//! kind, of which `add_prefix_space` is the only thing that a file and its configuration can differ in.

use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence;
use tokenizers::decoders::strip::Strip;
use tokenizers::normalizers::Replace;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::{DecoderWrapper, NormalizerWrapper, PreTokenizerWrapper, Tokenizer};

use super::config::TokenizerConfig;
use crate::error::{Error, Result};

/// Stands for a space in vocabularies of the SentencePiece kind.
const SPACE: char = '▁';

/// Applies the class that `config` names to a tokenizer of a model of `model_type`.
pub(super) fn apply(inner: &mut Tokenizer, config: &TokenizerConfig, model_type: &str) -> Result<()> {
    let class = config.tokenizer_class.as_deref().map(|name| name.strip_suffix("Fast").unwrap_or(name));
    match class {
        Some("LlamaTokenizer") if model_type == "llama" && !is_byte_level(inner) => llama(inner, config),
        Some("GPT2Tokenizer" | "Qwen2Tokenizer") => {
            if let Some(mut pre_tokenizer) = inner.get_pre_tokenizer().cloned() {
                set_prefix_space(&mut pre_tokenizer, config.add_prefix_space.unwrap_or(false));
                inner.with_pre_tokenizer(Some(pre_tokenizer));
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Llama 3 files name the class too, but are of the other kind.
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

/// A space comes before the text (with `legacy`, before each part between special tokens).
fn llama(inner: &mut Tokenizer, config: &TokenizerConfig) -> Result<()> {
    let adds_space = config.add_prefix_space.unwrap_or(true);
    let scheme = match (adds_space, config.legacy.unwrap_or(false)) {
        (false, _) => PrependScheme::Never,
        (true, true) => PrependScheme::Always,
        (true, false) => PrependScheme::First,
    };
    let failed = |error: tokenizers::Error| Error::format(format!("tokenizer.json: {error}"));
    let replace = Replace::new(SPACE.to_string(), " ").map_err(failed)?;
    let mut decoders: Vec<DecoderWrapper> =
        vec![replace.into(), ByteFallback::new().into(), Fuse::new().into()];
    if adds_space {
        decoders.push(Strip::new(' ', 1, 0).into());
    }
    inner.with_normalizer(None::<NormalizerWrapper>).map_err(failed)?;
    inner.with_pre_tokenizer(Some(Metaspace::new(SPACE, scheme, false)));
    inner.with_decoder(Some(Sequence::new(decoders)));
    Ok(())
}

fn set_prefix_space(pre_tokenizer: &mut PreTokenizerWrapper, add_prefix_space: bool) {
    match pre_tokenizer {
        PreTokenizerWrapper::ByteLevel(bytes) => bytes.add_prefix_space = add_prefix_space,
        PreTokenizerWrapper::Sequence(parts) => {
            parts.as_mut().iter_mut().for_each(|part| set_prefix_space(part, add_prefix_space));
        }
        _ => {}
    }
}
