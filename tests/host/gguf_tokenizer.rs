//! Tokenizers from GGUF files against the models' own (`tests/golden/make_gguf.py` writes the fixtures).

use postil::base::BaseFiles;
use postil::tokenizer::{Message, Tokenizer};
use postil::{Error, ErrorKind};

use super::gguf::{fixtures, llama, load, open, with_table};
use super::gguf_writer::{Gguf, Value};

fn tokenizer(files: &BaseFiles) -> Tokenizer {
    Tokenizer::for_model(&files.text.config, &files.text.tokenizer).expect("a tokenizer")
}

#[test]
fn tokenizers_are_the_models_own() {
    #[derive(serde::Deserialize)]
    struct Case {
        text: String,
        ids: Vec<u32>,
        decoded: String,
    }
    let json = std::fs::read(fixtures().join("tokenizers.json")).expect("a fixture");
    let golden: std::collections::BTreeMap<String, Vec<Case>> = serde_json::from_slice(&json).expect("JSON");
    assert_eq!(golden.len(), 7);
    for (name, cases) in golden {
        let tokenizer = tokenizer(&load(&name));
        for case in cases {
            let ids = tokenizer.encode(&case.text, true).expect("ids");
            assert_eq!(ids, case.ids, "{name}: {:?}", case.text);
            assert_eq!(tokenizer.decode(&ids, true).expect("text"), case.decoded, "{name}: {:?}", case.text);
        }
    }
}

#[test]
fn chat_template_and_special_tokens_come_along() {
    let tokenizer = tokenizer(&load("llama-llama-bpe"));
    assert_eq!((tokenizer.bos_token_id(), tokenizer.eos_token_id()), (Some(0), Some(1)));
    let message = Message { role: "user".into(), content: "Ahoy".into() };
    let ids = tokenizer.encode_chat_all(&[message]).expect("a chat");
    assert_eq!((ids.first(), ids.last()), (Some(&0), Some(&1)));
}

#[test]
fn unknown_tokenizers_are_refused_by_name() {
    let base = |model: &str, pre: Option<&str>| {
        let mut gguf = with_table(llama());
        let text = |text: &str| Value::Text(text.into());
        gguf.metadata.push(("tokenizer.ggml.model".into(), text(model)));
        gguf.metadata.extend(pre.map(|pre| ("tokenizer.ggml.pre".into(), text(pre))));
        gguf.metadata
            .push(("tokenizer.ggml.tokens".into(), Value::Texts(vec!["a".into(), "b".into(), "ab".into()])));
        gguf.metadata.push(("tokenizer.ggml.token_type".into(), Value::Ints(vec![1, 1, 1])));
        gguf.metadata.push(("tokenizer.ggml.merges".into(), Value::Texts(vec!["a b".into()])));
        gguf
    };
    let error = |gguf: &Gguf, kind: ErrorKind, parts: &[&str]| {
        let error: Error = open(gguf.bytes()).expect("a good file").tokenizer().expect_err("refused");
        assert_eq!(error.kind(), kind, "{error}");
        for part in parts.iter().chain(&["model.gguf"]) {
            assert!(error.to_string().contains(part), "{part} is not in: {error}");
        }
    };
    assert!(open(base("gpt2", Some("gpt-2")).bytes()).expect("a good file").tokenizer().is_ok());
    error(&base("bert", None), ErrorKind::Unsupported, &["tokenizer.ggml.model", "bert"]);
    error(&base("gpt2", None), ErrorKind::Unsupported, &["tokenizer.ggml.pre"]);
    error(
        &base("gpt2", Some("chatglm-bpe")),
        ErrorKind::Unsupported,
        &["tokenizer.ggml.pre", "chatglm-bpe", "qwen2"],
    );
    error(&with_table(llama()), ErrorKind::Format, &["tokenizer.ggml.model"]);
    let with = |key: &str, value: Value| {
        let mut gguf = base("gpt2", Some("gpt-2"));
        gguf.metadata.retain(|(found, _)| found != key);
        gguf.metadata.push((key.into(), value));
        gguf
    };
    let texts = |texts: &[&str]| Value::Texts(texts.iter().map(|text| (*text).to_owned()).collect());
    error(&with("tokenizer.ggml.tokens", texts(&["a", "a", "b"])), ErrorKind::Format, &["0 and 1", "\"a\""]);
    error(&with("tokenizer.ggml.token_type", Value::Ints(vec![1])), ErrorKind::Format, &["1 entries for 3"]);
    error(&with("tokenizer.ggml.token_type", Value::U32(1)), ErrorKind::Format, &["token_type", "found 1"]);
    error(&with("tokenizer.ggml.merges", texts(&["ab"])), ErrorKind::Format, &["merges", "\"ab\""]);
    error(&with("tokenizer.ggml.bos_token_id", Value::U32(3)), ErrorKind::Format, &["bos_token_id 3"]);
    let mut trimming = base("llama", None);
    trimming.metadata.push(("tokenizer.ggml.remove_extra_whitespaces".into(), Value::Bool(true)));
    error(&trimming, ErrorKind::Unsupported, &["remove_extra_whitespaces"]);
    let mut long = base("llama", None);
    long.metadata.retain(|(key, _)| key != "tokenizer.ggml.merges" && key != "tokenizer.ggml.tokens");
    long.metadata.push(("tokenizer.ggml.tokens".into(), texts(&["a", "b", &"a".repeat(513)])));
    long.metadata.push(("tokenizer.ggml.scores".into(), Value::Floats(vec![0.0; 3])));
    error(&long, ErrorKind::Format, &["token 2", "513"]);
}
