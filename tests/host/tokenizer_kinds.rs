//! Tokenizers of each family's kind. `fixtures/tokenizers.json` is what transformers' `AutoTokenizer` makes of
//! model folders with these files (`fixtures/make_tokenizers.py`).

use postil::tokenizer::Tokenizer;
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
    model_type: String,
    tokenizer: usize,
    tokenizer_config: Value,
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

/// Every kind with its tokenizer.
fn kinds() -> Vec<(Kind, Tokenizer)> {
    let Fixture { tokenizers, kinds } = serde_json::from_slice(FIXTURE).unwrap();
    let load = |kind: Kind| {
        let config = bytes(&json!({ "model_type": kind.model_type }));
        let file = bytes(&tokenizers[kind.tokenizer]);
        let tokenizer = Tokenizer::for_model(&config, &file, Some(&bytes(&kind.tokenizer_config)), None);
        (kind, tokenizer.unwrap())
    };
    kinds.into_iter().map(load).collect()
}

#[test]
fn ids_are_those_of_transformers() {
    let kinds = kinds();
    assert_eq!(kinds.len(), 14);
    for (kind, tokenizer) in &kinds {
        assert!(kind.cases.len() > 20, "{}", kind.name);
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
        let mut config = kind.tokenizer_config.clone();
        config["tokenizer_class"] = class.into();
        let (file, config) = (bytes(&tokenizers[kind.tokenizer]), bytes(&config));
        let model = bytes(&json!({ "model_type": model_type }));
        Tokenizer::for_model(&model, &file, Some(&config), None).unwrap()
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
    assert!(Tokenizer::for_model(b"[", &bytes(&tokenizers[0]), None, None).is_err());
}
