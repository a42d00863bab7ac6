//! `tokenizer.json` and `tokenizer_config.json` from a GGUF file's metadata, as transformers builds a tokenizer from
//! the same (`integrations/gguf`).

use std::collections::HashMap;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value, json};

use super::architecture::Architecture;
use super::merges;
use super::metadata::Metadata;
use crate::error::{Error, Result};

const TOKENS: &str = "tokenizer.ggml.tokens";
const PRE: &str = "tokenizer.ggml.pre";

/// Kinds of tokens, in `tokenizer.ggml.token_type`.
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;

/// How text is split before merges apply to each part.
struct Splitting {
    /// Names in `tokenizer.ggml.pre`.
    names: &'static [&'static str],
    /// The regular expression of the model's own tokenizer.json; without it GPT-2's, inside `ByteLevel`.
    regex: Option<&'static str>,
    /// Each digit by itself, before the rest.
    digits: bool,
    /// Text is put into normal form C first.
    nfc: bool,
    /// A part that is a token is taken whole, whatever the merges say.
    ignore_merges: bool,
    /// Texts begin with the beginning-of-sequence token where the file does not say.
    add_bos: bool,
}

const GPT2: Splitting = Splitting {
    names: &["gpt-2"],
    regex: None,
    digits: false,
    nfc: false,
    ignore_merges: false,
    add_bos: false,
};

const SPLITTINGS: [Splitting; 6] = [
    GPT2,
    Splitting { names: &["smollm"], digits: true, ..GPT2 },
    Splitting {
        names: &["llama-bpe", "llama3", "llama-v3"],
        regex: Some(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
        ignore_merges: true,
        add_bos: true,
        ..GPT2
    },
    Splitting { names: &["qwen2"], regex: Some(QWEN2), nfc: true, ..GPT2 },
    Splitting { names: &["deepseek-r1-qwen"], regex: Some(QWEN2), ..GPT2 },
    Splitting {
        names: &["tekken"],
        regex: Some(concat!(
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|",
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|",
            r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )),
        ignore_merges: true,
        add_bos: true,
        ..GPT2
    },
];

const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The two files' bytes.
pub(super) fn synthesize(metadata: &Metadata, architecture: Architecture) -> Result<(Vec<u8>, Vec<u8>)> {
    let missing = |key: &str| Error::format(format!("{key} is missing: the file has no tokenizer"));
    let model = metadata.string("tokenizer.ggml.model")?.ok_or_else(|| missing("tokenizer.ggml.model"))?;
    let tokens = metadata.strings(TOKENS)?.ok_or_else(|| missing(TOKENS))?;
    let vocabulary = Vocabulary { metadata, tokens };
    let tokenizer = match model {
        "gpt2" => vocabulary.byte_level()?,
        "llama" if architecture == Architecture::Gemma3 => vocabulary.gemma()?,
        "llama" => vocabulary.sentencepiece()?,
        other => {
            return Err(Error::unsupported(format!(
                "tokenizer.ggml.model {other:?}; expected \"gpt2\" (byte-level BPE) or \"llama\" (sentencepiece)"
            )));
        }
    };
    Ok((tokenizer, vocabulary.config()?))
}

struct Vocabulary<'a> {
    metadata: &'a Metadata,
    tokens: &'a [String],
}

/// The parts of a `tokenizer.json` around its model.
struct Parts {
    normalizer: Value,
    pre_tokenizer: Value,
    decoder: Value,
    /// Texts begin with the beginning-of-sequence token where the file does not say.
    add_bos: bool,
}

impl Vocabulary<'_> {
    /// The ids by text.
    fn ids<'t>(&self, tokens: &'t [String]) -> Result<HashMap<&'t str, usize>> {
        let mut ids = HashMap::with_capacity(tokens.len());
        for (id, token) in tokens.iter().enumerate() {
            if let Some(other) = ids.insert(token.as_str(), id) {
                return Err(Error::format(format!(
                    "{TOKENS}: the tokens {other} and {id} are both {token:?}"
                )));
            }
        }
        Ok(ids)
    }

    /// The id that a key names, checked, with its text.
    fn special(&self, name: &str) -> Result<Option<(usize, &str)>> {
        let key = format!("tokenizer.ggml.{name}_token_id");
        let Some(id) = self.metadata.unsigned(&key)? else { return Ok(None) };
        match usize::try_from(id).ok().and_then(|id| Some((id, self.tokens.get(id)?))) {
            Some((id, token)) => Ok(Some((id, token))),
            None => Err(Error::format(format!("{key} {id} is outside the {} tokens", self.tokens.len()))),
        }
    }

    fn types(&self) -> Result<Vec<i32>> {
        let key = "tokenizer.ggml.token_type";
        match self.metadata.integers(key)? {
            Some(types) if types.len() == self.tokens.len() => Ok(types),
            Some(types) => Err(Error::format(format!(
                "{key} has {} entries for {} tokens",
                types.len(),
                self.tokens.len()
            ))),
            None => Err(Error::format(format!("{key} is missing: it says which tokens are special"))),
        }
    }

    /// The merges that the file lists.
    fn listed_merges(&self) -> Result<Option<Vec<(&str, &str)>>> {
        let key = "tokenizer.ggml.merges";
        let Some(merges) = self.metadata.strings(key)? else { return Ok(None) };
        let pair = |merge: &'_ String| Error::format(format!("{key}: expected two parts, found {merge:?}"));
        // The first part may itself begin with a space.
        let split = |merge: &str| {
            let first = merge.chars().next()?.len_utf8();
            let at = first + merge[first..].find(' ')?;
            (at + 1 < merge.len()).then_some(at)
        };
        merges
            .iter()
            .map(|merge| split(merge).map(|at| (&merge[..at], &merge[at + 1..])).ok_or_else(|| pair(merge)))
            .collect::<Result<_>>()
            .map(Some)
    }

    fn byte_level(&self) -> Result<Vec<u8>> {
        let pre = self.metadata.string(PRE)?.ok_or_else(|| {
            Error::unsupported(format!(
                "{PRE} is missing, so it is not known how text is split; convert the model again with a current llama.cpp"
            ))
        })?;
        let splitting = SPLITTINGS.iter().find(|known| known.names.contains(&pre)).ok_or_else(|| {
            let known: Vec<&str> = SPLITTINGS.iter().flat_map(|known| known.names.iter().copied()).collect();
            Error::unsupported(format!("{PRE} {pre:?}; expected one of {}", known.join(", ")))
        })?;
        let mut steps = Vec::new();
        if splitting.digits {
            steps.push(json!({ "type": "Digits", "individual_digits": true }));
        }
        if let Some(regex) = splitting.regex {
            let pattern = json!({ "Regex": regex });
            steps.push(
                json!({ "type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false }),
            );
        }
        let byte_level = |use_regex: bool| json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex });
        steps.push(byte_level(splitting.regex.is_none()));
        let parts = Parts {
            normalizer: if splitting.nfc { json!({ "type": "NFC" }) } else { Value::Null },
            pre_tokenizer: json!({ "type": "Sequence", "pretokenizers": steps }),
            decoder: byte_level(true),
            add_bos: splitting.add_bos,
        };
        let merges = self.listed_merges()?.ok_or_else(|| {
            Error::format("tokenizer.ggml.merges is missing, which byte-level BPE cannot do without")
        })?;
        self.ids(self.tokens)?;
        let model = Bpe {
            vocab: Vocab(self.tokens),
            merges: &merges,
            ignore_merges: splitting.ignore_merges,
            ..Bpe::default()
        };
        self.write(parts, &model)
    }

    /// Llama's kind: a space before the first word, pieces ranked by their scores.
    fn sentencepiece(&self) -> Result<Vec<u8>> {
        let prefix = self.metadata.bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
        let scheme = if prefix { "first" } else { "never" };
        let metaspace =
            json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": false });
        let strip = json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 });
        let parts = Parts {
            normalizer: Value::Null,
            pre_tokenizer: metaspace,
            decoder: decoder(prefix.then_some(strip)),
            add_bos: true,
        };
        let key = "tokenizer.ggml.scores";
        let scores = self.metadata.floats(key)?.filter(|scores| scores.len() == self.tokens.len());
        let merges = match (self.listed_merges()?, scores) {
            (Some(merges), _) => merges,
            (None, Some(scores)) => {
                merges::generate(self.tokens, &self.ids(self.tokens)?, |id| f64::from(scores[id]))?
            }
            (None, None) => {
                return Err(Error::format(format!("{key} is missing or has not one entry for each token")));
            }
        };
        self.write_pieces(parts, self.tokens, &merges)
    }

    /// Gemma's kind: no space before the first word, and pieces ranked by their places (its scores say nothing
    /// about merges). Runs of spaces are listed as spaces, though text has them as `▁`.
    fn gemma(&self) -> Result<Vec<u8>> {
        let spaces = |token: &String| token.contains(' ') && token.trim().is_empty();
        let respelled: Vec<String> = (self.tokens.iter())
            .map(|token| if spaces(token) { "▁".repeat(token.chars().count()) } else { token.clone() })
            .collect();
        let parts = Parts {
            normalizer: json!({ "type": "Replace", "pattern": { "String": " " }, "content": "▁" }),
            pre_tokenizer: json!({
                "type": "Split", "pattern": { "String": " " }, "behavior": "MergedWithPrevious", "invert": false,
            }),
            decoder: decoder(None),
            add_bos: true,
        };
        let merges = match self.listed_merges()? {
            Some(merges) => merges,
            None => merges::generate(&respelled, &self.ids(&respelled)?, |id| -(id as f64))?,
        };
        self.write_pieces(parts, &respelled, &merges)
    }

    /// What only models of another kind do to text first.
    fn refuse_trimming(&self) -> Result<()> {
        let key = "tokenizer.ggml.remove_extra_whitespaces";
        match self.metadata.bool(key)? {
            Some(true) => Err(Error::unsupported(format!("{key} true; only texts as they are can be split"))),
            _ => Ok(()),
        }
    }

    fn write_pieces(&self, parts: Parts, tokens: &[String], merges: &[(&str, &str)]) -> Result<Vec<u8>> {
        self.refuse_trimming()?;
        self.ids(tokens)?;
        let unk_token = self.special("unknown")?.map(|(id, _)| tokens[id].as_str());
        let model = Bpe {
            vocab: Vocab(tokens),
            merges,
            unk_token,
            fuse_unk: true,
            byte_fallback: true,
            ..Bpe::default()
        };
        self.write(parts, &model)
    }

    /// A whole `tokenizer.json`.
    fn write(&self, parts: Parts, model: &Bpe<'_>) -> Result<Vec<u8>> {
        #[derive(serde::Serialize)]
        struct File<'a> {
            version: &'static str,
            added_tokens: Vec<Value>,
            normalizer: Value,
            pre_tokenizer: Value,
            post_processor: Value,
            decoder: Value,
            model: &'a Bpe<'a>,
        }
        let mut special: Vec<usize> = Vec::new();
        for name in ["bos", "eos", "unknown", "padding", "eot", "eom"] {
            special.extend(self.special(name)?.map(|(id, _)| id));
        }
        let types = self.types()?;
        let added = types.iter().enumerate().filter_map(|(id, &kind)| {
            let is_special = kind == CONTROL || kind == UNKNOWN || special.contains(&id);
            (is_special || kind == USER_DEFINED).then(|| {
                json!({
                    "id": id, "content": model.vocab.0[id], "special": is_special, "normalized": false,
                    "single_word": false, "lstrip": false, "rstrip": false,
                })
            })
        });
        let file = File {
            version: "1.0",
            added_tokens: added.collect(),
            normalizer: parts.normalizer,
            pre_tokenizer: parts.pre_tokenizer,
            post_processor: self.post_processor(parts.add_bos, model.vocab.0)?,
            decoder: parts.decoder,
            model,
        };
        serde_json::to_vec(&file).map_err(|error| Error::format(error.to_string()))
    }

    /// What is put around a text.
    fn post_processor(&self, add_bos: bool, tokens: &[String]) -> Result<Value> {
        let flag = |key: &str| self.metadata.bool(key);
        let token = |is_added: bool, name: &str| -> Result<Option<(usize, &String)>> {
            let found = if is_added { self.special(name)? } else { None };
            Ok(found.map(|(id, _)| (id, &tokens[id])))
        };
        let bos = token(flag("tokenizer.ggml.add_bos_token")?.unwrap_or(add_bos), "bos")?;
        let eos = token(flag("tokenizer.ggml.add_eos_token")?.unwrap_or(false), "eos")?;
        let mut special_tokens = Map::new();
        for (id, text) in bos.into_iter().chain(eos) {
            special_tokens.insert(text.clone(), json!({ "id": text, "ids": [id], "tokens": [text] }));
        }
        let around = |sequence: &str, type_id: u32| {
            let special =
                |(_, text): (usize, &String)| json!({ "SpecialToken": { "id": text, "type_id": type_id } });
            let text = json!({ "Sequence": { "id": sequence, "type_id": type_id } });
            bos.map(special).into_iter().chain([text]).chain(eos.map(special)).collect::<Vec<_>>()
        };
        let pair = [around("A", 0), around("B", 1)].concat();
        Ok(json!({
            "type": "TemplateProcessing",
            "single": around("A", 0),
            "pair": pair,
            "special_tokens": special_tokens,
        }))
    }

    fn config(&self) -> Result<Vec<u8>> {
        let mut config = Map::new();
        for (field, name) in
            [("bos_token", "bos"), ("eos_token", "eos"), ("unk_token", "unknown"), ("pad_token", "padding")]
        {
            if let Some((_, token)) = self.special(name)? {
                config.insert(field.to_owned(), token.into());
            }
        }
        if let Some(template) = self.metadata.string("tokenizer.chat_template")? {
            config.insert("chat_template".to_owned(), template.into());
        }
        serde_json::to_vec(&config).map_err(|error| Error::format(error.to_string()))
    }
}

/// Pieces back to text; `last` drops the space that was put before the first word.
fn decoder(last: Option<Value>) -> Value {
    let mut steps = vec![
        json!({ "type": "Replace", "pattern": { "String": "▁" }, "content": " " }),
        json!({ "type": "ByteFallback" }),
        json!({ "type": "Fuse" }),
    ];
    steps.extend(last);
    json!({ "type": "Sequence", "decoders": steps })
}

/// Token texts as an object of ids, written without a copy of either.
#[derive(Default)]
struct Vocab<'a>(&'a [String]);

impl Serialize for Vocab<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (id, token) in self.0.iter().enumerate() {
            map.serialize_entry(token, &id)?;
        }
        map.end()
    }
}

/// The model of a `tokenizer.json`.
#[derive(Default, serde::Serialize)]
struct Bpe<'a> {
    #[serde(rename = "type")]
    kind: BpeType,
    dropout: Option<f32>,
    unk_token: Option<&'a str>,
    continuing_subword_prefix: Option<&'a str>,
    end_of_word_suffix: Option<&'a str>,
    fuse_unk: bool,
    byte_fallback: bool,
    ignore_merges: bool,
    vocab: Vocab<'a>,
    merges: &'a [(&'a str, &'a str)],
}

#[derive(Default, serde::Serialize)]
enum BpeType {
    #[default]
    #[serde(rename = "BPE")]
    Bpe,
}
