//! Tokenizer, chat templates and streaming. `fixtures/chat.json` is what transformers 5.23 makes of the same
//! tokenizer, templates and messages (`fixtures/make_chat.py`).

use postil::ErrorKind;
use postil::tokenizer::{Message, StreamDecoder, Tokenizer};
use serde::Deserialize;
use serde_json::json;

pub const BYTE_LEVEL: &[u8] = include_bytes!("fixtures/byte_level.json");
pub const SENTENCEPIECE: &[u8] = include_bytes!("fixtures/sentencepiece.json");

#[derive(Deserialize)]
struct Case {
    name: String,
    template: String,
    eos_token: String,
    messages: Vec<Message>,
    text: String,
    prompt: String,
    input_ids: Vec<u32>,
    /// Only for templates with generation tags: transformers has no mask for others.
    assistant: Option<Vec<u8>>,
}

fn cases() -> Vec<Case> {
    serde_json::from_slice(include_bytes!("fixtures/chat.json")).unwrap()
}

/// The byte-level tokenizer with `eos` as end-of-sequence token and a chat template.
pub fn byte_level(eos: &str, template: Option<&str>) -> Tokenizer {
    let config = json!({ "bos_token": "<|begin|>", "eos_token": { "content": eos, "lstrip": false } });
    Tokenizer::from_files(BYTE_LEVEL, Some(config.to_string().as_bytes()), template).unwrap()
}

/// The SentencePiece tokenizer with a post-processor that puts `<s>` before a text and `</s>` behind it.
pub fn bos_and_eos() -> Tokenizer {
    let mut file: serde_json::Value = serde_json::from_slice(SENTENCEPIECE).unwrap();
    let processor = &mut file["post_processor"];
    let eos = json!({ "SpecialToken": { "id": "</s>", "type_id": 0 } });
    processor["single"].as_array_mut().unwrap().push(eos);
    processor["special_tokens"]["</s>"] = json!({ "id": "</s>", "ids": [2], "tokens": ["</s>"] });
    let config = br#"{"bos_token": "<s>", "eos_token": "</s>"}"#;
    Tokenizer::from_files(file.to_string().as_bytes(), Some(config), None).unwrap()
}

pub fn message(role: &str, content: &str) -> Message {
    Message { role: role.into(), content: content.into() }
}

fn chat() -> Vec<Message> {
    vec![
        message("user", "Hello"),
        message("assistant", "Hi"),
        message("user", "How?"),
        message("assistant", "So."),
    ]
}

/// The text of the tokens that the mask picks, a `|` where it leaves some out.
pub fn masked_text(tokenizer: &Tokenizer, ids: &[u32], mask: &[bool]) -> String {
    let mut text = String::new();
    for run in (0..ids.len()).collect::<Vec<_>>().chunk_by(|&a, &b| mask[a] == mask[b]) {
        match mask[run[0]] {
            true => text += &tokenizer.decode(&ids[run[0]..run[0] + run.len()], false).unwrap(),
            false => text.push('|'),
        }
    }
    text
}

#[test]
fn chats_render_and_encode_as_in_transformers() {
    let cases = cases();
    assert_eq!(cases.len(), 32);
    for case in cases {
        let tokenizer = byte_level(&case.eos_token, Some(&case.template));
        let name = &case.name;
        assert_eq!(tokenizer.render_chat(&case.messages, false).unwrap(), case.text, "{name}");
        let before_last = &case.messages[..case.messages.len() - 1];
        assert_eq!(tokenizer.render_chat(before_last, true).unwrap(), case.prompt, "{name}");
        assert_eq!(tokenizer.encode_chat_all(&case.messages).unwrap(), case.input_ids, "{name}");
        if let Some(expected) = case.assistant {
            let tokens = tokenizer.encode_chat(&case.messages).unwrap();
            assert_eq!(tokens.input_ids, case.input_ids, "{name}");
            let expected: Vec<bool> = expected.iter().map(|&one| one == 1).collect();
            assert!(expected.contains(&true) && expected.contains(&false), "{name}");
            assert_eq!(tokens.assistant, expected, "{name}");
        }
    }
}

#[test]
fn assistant_turns_without_generation_tags() {
    // The long chat's turns with their end-of-turn token; the line break behind it is not the assistant's.
    for (name, turns) in [
        ("chatml", "|Hi, how are you? 😀<|im_end|>|Yes.\n\nIt is the case.<|im_end|>|"),
        ("llama", "|Hi, how are you? 😀<|eot|>|Yes.\n\nIt is the case.<|eot|>"),
        ("zephyr", "|Hi, how are you? 😀</s>|Yes.\n\nIt is the case.</s>|"),
        ("mistral", "|Hi, how are you? 😀</s>|Yes.\n\nIt is the case.</s>"),
    ] {
        let case = cases().into_iter().rfind(|case| case.name == name).unwrap();
        let tokenizer = byte_level(&case.eos_token, Some(&case.template));
        let tokens = tokenizer.encode_chat(&case.messages).unwrap();
        assert_eq!(tokens.input_ids, case.input_ids, "{name}");
        assert_eq!(masked_text(&tokenizer, &tokens.input_ids, &tokens.assistant), turns, "{name}");
    }
}

#[test]
fn thoughts_that_are_dropped_later_leave_the_answers() {
    // The same templates with the tags say what is expected: transformers' masks.
    let cases = cases();
    let of = |name: &str, i: usize| cases.iter().filter(|case| case.name == name).nth(i).unwrap();
    for i in 0..3 {
        let (plain, tagged) = (of("thinking", i), of("thinking, generation", i));
        assert_eq!(plain.messages, tagged.messages);
        let tokenizer = byte_level(&plain.eos_token, Some(&plain.template));
        let tokens = tokenizer.encode_chat(&plain.messages).unwrap();
        assert_eq!(tokens.input_ids, plain.input_ids);
        let expected: Vec<bool> = tagged.assistant.as_ref().unwrap().iter().map(|&one| one == 1).collect();
        assert_eq!(tokens.assistant, expected, "chat {i}");
    }
    // The last answer keeps its empty thought, the one before has lost it.
    let tokenizer = byte_level("<|im_end|>", Some(&of("thinking", 1).template));
    let tokens = tokenizer.encode_chat(&chat()).unwrap();
    let text = masked_text(&tokenizer, &tokens.input_ids, &tokens.assistant);
    assert_eq!(text, "|Hi<|im_end|>|<think>\n\n</think>\n\nSo.<|im_end|>|");
}

#[test]
fn a_template_that_rewrites_earlier_turns_is_refused() {
    let rewriting = "{% for m in messages %}<{{ m.role }}>{% if loop.last %}(now) {% endif %}{{ m.content }}\n{% endfor %}";
    let tokenizer = byte_level("</s>", Some(rewriting));
    let error = tokenizer.encode_chat(&chat()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    for part in ["message 2 of 4", "{% generation %}", "assistant_only_loss"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    assert!(tokenizer.encode_chat_all(&chat()).is_ok());
}

#[test]
fn data_cannot_write_the_generation_marks() {
    let template = "{% for m in messages %}[{{ m.role }}]{% if m.role == 'assistant' %}{% generation %}{{ m.content }}\
                    {% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}";
    let tokenizer = byte_level("</s>", Some(template));
    let plane_15: String = ('\u{F0000}'..='\u{F0010}').collect();
    let messages = [message("user", &plane_15), message("assistant", &format!("a{plane_15}"))];
    let expected = format!("[user]{plane_15}[assistant]a{plane_15}");
    assert_eq!(tokenizer.render_chat(&messages, false).unwrap(), expected);
    let tokens = tokenizer.encode_chat(&messages).unwrap();
    assert_eq!(masked_text(&tokenizer, &tokens.input_ids, &tokens.assistant), format!("|a{plane_15}"));
    let all: String = ('\u{F0000}'..='\u{FFFFD}').collect();
    assert_eq!(tokenizer.render_chat(&[message("user", &all)], false).unwrap_err().kind(), ErrorKind::Data);
}

#[test]
fn a_hostile_template_ends() {
    // As much stack as wasm has.
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(hostile_templates).unwrap();
    thread.join().unwrap();
}

fn hostile_templates() {
    let doubling =
        "{% set ns = namespace(x='ab') %}{% for i in range(100) %}{% set ns.x = ns.x + ns.x %}{% endfor %}";
    let nested = "{% set ns = namespace(x=[]) %}{% for i in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}";
    let loops = "{% for i in range(99999) %}{% for j in range(99999) %}{{ i }}{% endfor %}{% endfor %}";
    let chat: Vec<Message> = chat().into_iter().cycle().take(40).collect();
    for (template, too_long) in [
        (loops, true),
        (doubling, true),
        (nested, true),
        ("{{ 'a' * 100000000000 }}", true),
        ("{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}", false),
        ("{{ messages | tojson(indent=1000000000) }}", false),
        ("{{ range(1000000000) | list | tojson }}", false),
    ] {
        let started = std::time::Instant::now();
        let error = byte_level("</s>", Some(template)).render_chat(&chat, false).unwrap_err();
        assert!(started.elapsed().as_secs() < 5, "{template}: {:?}", started.elapsed());
        assert!(error.to_string().contains("template"), "{error}");
        assert_eq!(
            error.kind() == ErrorKind::Format && error.to_string().contains("too long"),
            too_long,
            "{error}"
        );
    }
}

#[test]
fn long_messages_get_more_fuel() {
    let case = cases().into_iter().find(|case| case.name == "methods").unwrap();
    let tokenizer = byte_level("</s>", Some(&case.template));
    let long = "words and words. ".repeat(200_000);
    assert!(tokenizer.render_chat(&[message("user", &long)], false).unwrap().len() > 2 * long.len());
}

#[test]
fn missing_and_broken_templates() {
    let none = byte_level("</s>", None);
    assert!(!none.has_chat_template());
    let error = none.render_chat(&chat(), false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(
        error.to_string().contains("no chat template") && error.to_string().contains("\"text\""),
        "{error}"
    );

    // Text needs no template, so a broken one is no error before it is used.
    let broken = byte_level("</s>", Some("{% for m in messages %}"));
    assert!(!broken.has_chat_template() && broken.encode("Hello", false).is_ok());
    assert_eq!(broken.encode_chat(&chat()).unwrap_err().kind(), ErrorKind::Format);

    let unknown = byte_level("</s>", Some("{{ messages | frobnicate }}"));
    assert_eq!(unknown.render_chat(&chat(), false).unwrap_err().kind(), ErrorKind::Unsupported);

    let raising = byte_level("</s>", Some("{{ raise_exception('only one turn') }}"));
    let error = raising.render_chat(&chat(), false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.to_string().ends_with(": only one turn"), "{error}");

    let crossed = byte_level("</s>", Some("{% generation %}{{ messages | length }}"));
    assert!(!crossed.has_chat_template());
}

#[test]
fn templates_in_the_configuration() {
    let from_config = |template: serde_json::Value, file: Option<&str>| {
        let config = json!({ "chat_template": template }).to_string();
        let tokenizer = Tokenizer::from_files(BYTE_LEVEL, Some(config.as_bytes()), file).unwrap();
        tokenizer.render_chat(&chat(), false)
    };
    assert_eq!(from_config(json!("config"), None).unwrap(), "config");
    assert_eq!(from_config(json!("config"), Some("file")).unwrap(), "file");
    let named =
        json!([{ "name": "tool_use", "template": "tools" }, { "name": "default", "template": "plain" }]);
    assert_eq!(from_config(named, None).unwrap(), "plain");
    let error = from_config(json!([{ "name": "rag", "template": "x" }]), None).unwrap_err();
    assert!(error.to_string().contains("rag"), "{error}");
    assert_eq!(from_config(json!(3), None).unwrap_err().kind(), ErrorKind::Format);
    let today = from_config(json!("{{ strftime_now('%Y') | int > 2024 }}"), None).unwrap();
    assert_eq!(today, "True");
}

#[test]
fn special_tokens() {
    let tokenizer = byte_level("<|im_end|>", None);
    assert_eq!(tokenizer.vocab_size(), 428);
    assert_eq!((tokenizer.bos_token_id(), tokenizer.eos_token_id()), (Some(423), Some(422)));
    // The file's own post-processor adds nothing, SentencePiece's adds <s>.
    assert_eq!(tokenizer.encode("Hello", true).unwrap(), tokenizer.encode("Hello", false).unwrap());
    let plain = Tokenizer::from_files(SENTENCEPIECE, None, None).unwrap();
    assert_eq!((plain.bos_token_id(), plain.eos_token_id()), (None, None));
    let with_bos = plain.encode("Hello", true).unwrap();
    assert_eq!(with_bos[0], 1);
    assert_eq!(with_bos[1..], plain.encode("Hello", false).unwrap());
    assert_eq!(plain.decode(&with_bos, true).unwrap(), "Hello");
    assert!(plain.decode(&with_bos, false).unwrap().starts_with("<s>"));

    // These switches were for making the file; transformers 5 leaves the file's post-processor as it is.
    let config =
        br#"{"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": false, "add_eos_token": true}"#;
    let switched = Tokenizer::from_files(SENTENCEPIECE, Some(config), None).unwrap();
    assert_eq!(switched.encode("Hello", true).unwrap(), with_bos);
    assert_eq!((switched.bos_token_id(), switched.eos_token_id()), (Some(1), Some(2)));
    let with_both = bos_and_eos().encode("Hello", true).unwrap();
    assert_eq!(with_both, [&with_bos[..], &[2]].concat());

    for (config, part) in
        [("[]", "JSON object"), ("{", "EOF"), (r#"{"eos_token": "<|nowhere|>"}"#, "<|nowhere|>")]
    {
        let error = Tokenizer::from_files(BYTE_LEVEL, Some(config.as_bytes()), None).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Format);
        assert!(error.to_string().contains(part), "{error}");
    }
    let error = Tokenizer::from_files(b"{\"version\": \"1.0\"}", None, None).err().unwrap();
    assert!(error.kind() == ErrorKind::Format && error.to_string().contains("tokenizer.json"), "{error}");
}

#[test]
fn truncation_and_padding_of_the_file_are_ignored() {
    let mut file: serde_json::Value = serde_json::from_slice(BYTE_LEVEL).unwrap();
    file["truncation"] =
        json!({ "direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0 });
    file["padding"] = json!({
        "strategy": { "Fixed": 64 }, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0,
        "pad_token": "<|endoftext|>"
    });
    let tokenizer = Tokenizer::from_files(file.to_string().as_bytes(), None, None).unwrap();
    let ids = tokenizer.encode("Hello there! How are you?", true).unwrap();
    assert!(ids.len() > 2 && ids.len() < 64);
    assert_eq!(ids, byte_level("</s>", None).encode("Hello there! How are you?", true).unwrap());
}

fn streamed(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<Option<String>> {
    let mut stream = StreamDecoder::new(tokenizer);
    let mut pieces: Vec<_> = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
    pieces.push(stream.finish().unwrap());
    pieces
}

fn concatenated(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    streamed(tokenizer, ids).into_iter().flatten().collect()
}

#[test]
fn streams_hold_back_parts_of_characters() {
    let tokenizer = byte_level("</s>", None);
    // 😀 is four bytes, none of which the vocabulary merges.
    let ids = tokenizer.encode("a😀é", false).unwrap();
    assert_eq!(ids.len(), 7);
    let pieces = streamed(&tokenizer, &ids);
    let expected = [Some("a"), None, None, None, Some("😀"), None, Some("é"), None];
    assert_eq!(pieces, expected.map(|piece| piece.map(str::to_owned)));
    // Cut off inside a character: what is there comes out in the end.
    assert_eq!(
        streamed(&tokenizer, &ids[..4]),
        [Some("a".to_owned()), None, None, None, Some("\u{FFFD}".to_owned())]
    );

    let sentencepiece = Tokenizer::from_files(SENTENCEPIECE, None, None).unwrap();
    let ids = sentencepiece.encode("Hello there 😀 é", true).unwrap();
    let pieces: Vec<String> = streamed(&sentencepiece, &ids).into_iter().flatten().collect();
    assert_eq!(pieces.concat(), "Hello there 😀 é");
    assert!(pieces.iter().all(|piece| !piece.contains('\u{FFFD}')), "{pieces:?}");
}

#[test]
fn streams_add_up_to_the_decoded_text() {
    let byte_level = byte_level("</s>", None);
    let sentencepiece = Tokenizer::from_files(SENTENCEPIECE, None, None).unwrap();
    for tokenizer in [&byte_level, &sentencepiece] {
        for text in
            ["", " ", "   x", "Hello there!\n\n  How are you?", "naïve 日本語 😀😀 \u{FFFD}x", "a  b\tc "]
        {
            for special in [true, false] {
                let ids = tokenizer.encode(text, special).unwrap();
                assert_eq!(concatenated(tokenizer, &ids), tokenizer.decode(&ids, true).unwrap(), "{text:?}");
            }
        }
        // Any ids, with special tokens, broken characters and ids that are not there.
        let mut state = 1u32;
        for length in 0..300 {
            let ids: Vec<u32> = std::iter::repeat_with(|| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 16) % (tokenizer.vocab_size() as u32 + 3)
            })
            .take(length % 40)
            .collect();
            assert_eq!(concatenated(tokenizer, &ids), tokenizer.decode(&ids, true).unwrap(), "{ids:?}");
        }
    }
}

#[test]
fn single_tokens_show_their_space() {
    let sentencepiece = Tokenizer::from_files(SENTENCEPIECE, None, None).unwrap();
    for tokenizer in [&byte_level("</s>", None), &sentencepiece] {
        let ids = tokenizer.encode("the user", false).unwrap();
        let texts: String = ids.iter().map(|&id| tokenizer.token_text(id)).collect();
        assert_eq!(texts.trim_start(), "the user");
        assert!(ids.iter().any(|&id| tokenizer.token_text(id).starts_with(' ')), "{texts:?}");
        assert_eq!(tokenizer.token_text(100_000), "[100000]");
        let ids = tokenizer.encode("the 😀 user", true).unwrap();
        let texts = tokenizer.token_texts(&ids).unwrap();
        assert_eq!(texts.len(), ids.len());
        assert_eq!(texts.concat(), tokenizer.decode(&ids, false).unwrap());
    }
    assert_eq!(byte_level("</s>", None).token_text(422), "<|im_end|>");
}

/// What the tokenizers crate panics on is refused before it sees it.
#[test]
fn hostile_tokenizers() {
    let file = include_str!("../../www/public/demo/tokenizer.json");
    let good: serde_json::Value = serde_json::from_str(file).expect("JSON");
    let refused = |change: &dyn Fn(&mut serde_json::Value), part: &str| {
        let mut file = good.clone();
        change(&mut file);
        let error = Tokenizer::from_files(file.to_string().as_bytes(), None, None).err().expect("refused");
        assert!(error.to_string().contains(part), "{error}");
    };
    let piece = |id: &str| serde_json::json!({ "SpecialToken": { "id": id, "type_id": 0 } });
    let template = |single: serde_json::Value| serde_json::json!({ "type": "TemplateProcessing", "single": [single], "pair": [], "special_tokens": {} });
    refused(&|f| f["post_processor"] = template(piece("<nowhere>")), "<nowhere>");
    refused(
        &|f| {
            let inner = serde_json::json!([template(piece("<deep>"))]);
            f["post_processor"] = serde_json::json!({ "type": "Sequence", "processors": inner });
        },
        "<deep>",
    );
    let map = serde_json::json!({ "type": "Precompiled", "precompiled_charsmap": "AAAA" });
    refused(&|f| f["normalizer"] = map.clone(), "Precompiled");
}
