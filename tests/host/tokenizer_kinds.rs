//! Tokenizers of each family's kind. `fixtures/tokenizers.json` is what transformers' `AutoTokenizer` makes of
//! model folders with these files (`fixtures/make_tokenizers.py`).

use std::collections::BTreeMap;

use postil::ErrorKind;
use postil::tokenizer::{Message, Tokenizer, TokenizerFiles};
use serde::Deserialize;
use serde_json::{Value, json};

const FIXTURE: &[u8] = include_bytes!("fixtures/tokenizers.json");

#[derive(Deserialize)]
struct Fixture {
    tokenizers: Vec<Value>,
    kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    name: String,
    model: Value,
    tokenizer: usize,
    tokenizer_config: Option<Value>,
    special_tokens_map: Option<Value>,
    special_tokens: BTreeMap<String, String>,
    bos_token_id: Option<u32>,
    eos_token_id: Option<u32>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
    with_special: Vec<u32>,
    decoded: String,
}

fn bytes(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

impl Kind {
    fn files(&self, tokenizers: &[Value]) -> TokenizerFiles {
        TokenizerFiles {
            tokenizer: bytes(&tokenizers[self.tokenizer]),
            tokenizer_config: self.tokenizer_config.as_ref().map(bytes),
            special_tokens_map: self.special_tokens_map.as_ref().map(bytes),
            ..TokenizerFiles::default()
        }
    }
}

/// Every kind with its tokenizer.
fn kinds() -> Vec<(Kind, Tokenizer)> {
    let Fixture { tokenizers, kinds } = serde_json::from_slice(FIXTURE).unwrap();
    let load = |kind: Kind| {
        // The template writes down every special token that it sees.
        let names =
            ["bos_token", "eos_token", "unk_token", "pad_token", "mask_token", "image_token", "end_of_turn"];
        let template = names.map(|name| format!("{{% if {name} %}}{name}={{{{ {name} }}}};{{% endif %}}"));
        let files = TokenizerFiles { chat_template: Some(template.concat()), ..kind.files(&tokenizers) };
        let tokenizer = Tokenizer::for_model(&bytes(&kind.model), &files);
        (kind, tokenizer.unwrap())
    };
    kinds.into_iter().map(load).collect()
}

#[test]
fn ids_are_those_of_transformers() {
    let kinds = kinds();
    assert_eq!(kinds.len(), 41);
    for (kind, tokenizer) in &kinds {
        assert!(kind.cases.len() >= 7, "{}", kind.name);
        for Case { text, ids, with_special, .. } in &kind.cases {
            assert_eq!(tokenizer.encode(text, false).unwrap(), *ids, "{}: {text:?}", kind.name);
            assert_eq!(tokenizer.encode(text, true).unwrap(), *with_special, "{}: {text:?}", kind.name);
        }
    }
    // The texts tell the kinds apart: bos, bos and eos, and none; a space before the text, or before each part.
    let ids = |name: &str, text: &str| {
        let (_, tokenizer) = kinds.iter().find(|(kind, _)| kind.name == name).unwrap();
        tokenizer.encode(text, true).unwrap()
    };
    assert_eq!(ids("llama2", "")[..], [1]);
    assert_eq!(ids("llama2, eos", "")[..], [1, 2]);
    assert_eq!(ids("gemma3", "")[..], [2]);
    assert!(ids("qwen2", "").is_empty() && ids("phi3", "").is_empty());
    assert_eq!(ids("llama3", "").len(), 1);
    assert_ne!(ids("llama2", "</s>a")[1..], ids("llama2, legacy", "</s>a")[1..]);
    assert_ne!(ids("llama2", "a")[1..], ids("llama2, no prefix", "a")[1..]);
    assert_ne!(ids("gpt2", "a"), ids("gpt2, prefix space", "a"));
    assert_ne!(ids("qwen2", "1234"), ids("llama3", "1234")[1..]);
    assert_ne!(ids("smollm2", "x  12"), ids("smollm3", "x  12"));
    assert_ne!(ids("llama2, class only", "</s>a"), ids("llama2, nothing", "</s>a"));
}

#[test]
fn special_tokens_are_those_of_transformers() {
    let kinds = kinds();
    for (kind, tokenizer) in &kinds {
        assert_eq!(tokenizer.bos_token_id(), kind.bos_token_id, "{}", kind.name);
        assert_eq!(tokenizer.eos_token_id(), kind.eos_token_id, "{}", kind.name);
        let chat = [Message { role: "user".into(), content: String::new() }];
        let seen = tokenizer.render_chat(&chat, false).unwrap();
        let seen: BTreeMap<_, _> =
            seen.split_terminator(';').filter_map(|pair| pair.split_once('=')).collect();
        let expected: BTreeMap<_, _> =
            kind.special_tokens.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        assert_eq!(seen, expected, "{}", kind.name);
    }
    // The kinds tell apart who names the token: class, map, configuration, nobody.
    let eos = |name: &str| kinds.iter().find(|(kind, _)| kind.name == name).unwrap().1.eos_token_id();
    assert!(eos("gpt2, empty").is_some() && eos("gpt2, null").is_none() && eos("gpt2, no class's").is_none());
    assert_eq!(eos("llama2, map and config"), Some(2));
    assert_eq!(eos("llama2, map passed over"), Some(1));
    assert_eq!(eos("llama2, nothing"), None);
}

/// A class's own token need not be in the vocabulary; transformers makes up an id for it that the model has no
/// embedding for. A token that a file names must be there.
#[test]
fn tokens_that_the_vocabulary_lacks() {
    let Fixture { tokenizers, kinds } = serde_json::from_slice(FIXTURE).unwrap();
    let llama3 = kinds.iter().find(|kind| kind.name == "llama3").unwrap();
    let load = |config: Value, map: Option<&str>| {
        let files = TokenizerFiles {
            tokenizer_config: Some(bytes(&config)),
            special_tokens_map: map.map(|map| map.as_bytes().to_vec()),
            ..llama3.files(&tokenizers)
        };
        Tokenizer::for_model(&bytes(&llama3.model), &files)
    };
    let gpt2 = load(json!({ "tokenizer_class": "GPT2Tokenizer" }), None).unwrap();
    assert_eq!((gpt2.bos_token_id(), gpt2.eos_token_id()), (None, None));
    assert_eq!(gpt2.vocab_size(), load(json!({}), None).unwrap().vocab_size());
    for (map, part) in [
        (r#"{"eos_token": "<|nowhere|>"}"#, "special_tokens_map.json names \"<|nowhere|>\""),
        (r#"{"eos_token": 3}"#, "special_tokens_map.json: eos_token is 3"),
        ("[]", "special_tokens_map.json cannot be read: expected a JSON object"),
        ("{", "special_tokens_map.json cannot be read: EOF"),
    ] {
        let error = load(json!({}), Some(map)).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Format);
        assert!(error.to_string().contains(part), "{error}");
        // Where it is superseded it is not even read.
        assert!(load(json!({ "added_tokens_decoder": {} }), Some(map)).is_ok());
    }
}

/// The files that stand for a GGUF file's metadata are complete: no class adds or changes anything.
#[test]
fn complete_files_stay_as_they_are() {
    let Fixture { tokenizers, kinds } = serde_json::from_slice(FIXTURE).unwrap();
    let kind = kinds.iter().find(|kind| kind.name == "qwen2, another file").unwrap();
    let files = TokenizerFiles { is_complete: true, ..kind.files(&tokenizers) };
    let tokenizer = Tokenizer::for_model(&bytes(&kind.model), &files).unwrap();
    assert_eq!(tokenizer.eos_token_id(), None);
    let plain = Tokenizer::from_files(&files.tokenizer, None, None).unwrap();
    assert!(kind.cases.iter().any(|case| plain.encode(&case.text, false).unwrap() != case.ids));
    for case in &kind.cases {
        assert_eq!(tokenizer.encode(&case.text, false).unwrap(), plain.encode(&case.text, false).unwrap());
    }
}

#[test]
fn texts_come_back_as_in_transformers() {
    for (kind, tokenizer) in kinds() {
        for Case { text, ids, decoded, .. } in &kind.cases {
            assert_eq!(tokenizer.decode(ids, false).unwrap(), *decoded, "{}: {text:?}", kind.name);
            assert_eq!(tokenizer.token_texts(ids).unwrap().concat(), *decoded, "{}: {text:?}", kind.name);
        }
    }
}

/// The class acts for its own models only, and a Llama 3 file that names Llama 2's class stays as it is.
#[test]
fn the_class_is_not_applied_to_others() {
    let Fixture { tokenizers, kinds } = serde_json::from_slice(FIXTURE).unwrap();
    let find = |name: &str| kinds.iter().find(|kind| kind.name == name).unwrap();
    let load = |model_type: &str, kind: &Kind, class: &str| {
        let mut config = kind.tokenizer_config.clone().unwrap();
        config["tokenizer_class"] = class.into();
        let files = TokenizerFiles { tokenizer_config: Some(bytes(&config)), ..kind.files(&tokenizers) };
        Tokenizer::for_model(&bytes(&json!({ "model_type": model_type })), &files).unwrap()
    };
    let text = "a</s>b";
    let llama2 = find("llama2");
    let as_is = load("llama", llama2, "PreTrainedTokenizerFast").encode(text, false).unwrap();
    assert_eq!(load("phi3", llama2, "LlamaTokenizerFast").encode(text, false).unwrap(), as_is);
    assert_ne!(load("llama", llama2, "LlamaTokenizerFast").encode(text, false).unwrap(), as_is);
    let llama3 = find("llama3");
    for case in &llama3.cases {
        let tokenizer = load("llama", llama3, "LlamaTokenizerFast");
        assert_eq!(tokenizer.encode(&case.text, false).unwrap(), case.ids);
    }
    assert!(Tokenizer::for_model(b"[", &llama3.files(&tokenizers)).is_err());
}
