//! Records, and the examples that are made of them.

use postil::data::{
    Columns, DataFormat, DataReport, Dataset, Example, Examples, Format, PrepareOptions, Record, SkippedLine,
    preview,
};
use postil::tokenizer::Tokenizer;
use postil::{ErrorKind, Result};

use crate::tokenizer::{SENTENCEPIECE, bos_and_eos, byte_level, masked_text, message};

const CHATML: &str = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}\
                      {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

pub const OPTIONS: PrepareOptions =
    PrepareOptions { max_length: 512, context: 512, assistant_only_loss: true };

/// A data set in memory, everything detected.
pub fn open(bytes: &[u8], name: &str) -> Result<Dataset> {
    Dataset::from_bytes(bytes.to_vec(), name, DataFormat::default(), Columns::default())
}

/// What reading a data set gives.
pub struct Parsed {
    pub format: Format,
    pub records: Vec<Record>,
    /// Of the records.
    pub lines: Vec<usize>,
    pub skipped: Vec<SkippedLine>,
}

pub fn read(dataset: &Dataset) -> Parsed {
    let mut parsed =
        Parsed { format: dataset.format(), records: Vec::new(), lines: Vec::new(), skipped: Vec::new() };
    let mut on_record = |line, record| {
        match record {
            Ok(record) => {
                parsed.records.push(record);
                parsed.lines.push(line);
            }
            Err(reason) => parsed.skipped.push(SkippedLine { line, reason }),
        }
        Ok(())
    };
    dataset.read(&mut on_record).unwrap();
    parsed
}

fn parse(text: &str) -> Parsed {
    read(&jsonl(text))
}

fn jsonl(text: &str) -> Dataset {
    open(text.as_bytes(), "data.jsonl").unwrap()
}

/// A prepared data set with its examples at hand.
#[derive(Debug)]
pub struct Prepared {
    pub examples: Vec<Example>,
    pub stored: Examples,
    pub report: DataReport,
}

impl std::ops::Deref for Prepared {
    type Target = DataReport;

    fn deref(&self) -> &DataReport {
        &self.report
    }
}

pub fn prepare(
    dataset: &Dataset,
    tokenizer: &Tokenizer,
    vocab_size: usize,
    options: &PrepareOptions,
) -> Result<Prepared> {
    let postil::data::Prepared { examples, report } =
        postil::data::prepare(dataset, tokenizer, vocab_size, options)?;
    Ok(Prepared { examples: examples.iter().collect::<Result<_>>()?, stored: examples, report })
}

pub fn chatml() -> Tokenizer {
    byte_level("<|im_end|>", Some(CHATML))
}

fn prepared(text: &str) -> Prepared {
    prepare(&jsonl(text), &chatml(), 428, &OPTIONS).unwrap()
}

/// Each example's trained text, `|` for what is masked.
pub fn trained(tokenizer: &Tokenizer, prepared: &Prepared) -> Vec<String> {
    (prepared.examples.iter()).map(|e| masked_text(tokenizer, &e.input_ids, &e.trained)).collect()
}

fn skipped(line: usize, reason: &str) -> SkippedLine {
    SkippedLine { line, reason: reason.into() }
}

#[test]
fn every_format_is_detected() {
    let text = parse("{\"text\": \"a\", \"id\": 3}\n");
    assert_eq!((text.format, text.format.to_string().as_str()), (Format::Text, "text"));
    assert_eq!(text.records, [Record::Text("a".into())]);

    let pair = parse(r#"{"prompt": "a ", "completion": "b"}"#);
    assert_eq!(pair.format, Format::PromptCompletion);
    assert_eq!(pair.records, [Record::PromptCompletion { prompt: "a ".into(), completion: "b".into() }]);

    let line = r#"{"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]}"#;
    let chat = parse(line);
    assert_eq!(chat.format, Format::PromptCompletion);
    let (prompt, completion) = (vec![message("user", "a")], vec![message("assistant", "b")]);
    assert_eq!(chat.records, [Record::ChatCompletion { prompt, completion }]);

    let chat =
        parse(r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}]}"#);
    assert_eq!(chat.format, Format::Messages);
    assert_eq!(chat.records, [Record::Messages(vec![message("user", "a"), message("assistant", "")])]);

    // The original Alpaca file has a "text" too.
    assert_eq!(parse(r#"{"text": "t", "instruction": "a", "output": "b"}"#).format, Format::Alpaca);
    for format in Format::ALL {
        let json = serde_json::to_string(&format).unwrap();
        assert_eq!(serde_json::from_str::<Format>(&json).unwrap(), format);
    }
    assert_eq!(serde_json::to_string(&Format::PromptCompletion).unwrap(), "\"prompt_completion\"");
}

#[test]
fn alpaca_prompts() {
    let prompt = |line: &str| match &parse(line).records[0] {
        Record::PromptCompletion { prompt, completion } => {
            assert_eq!(completion, "Out");
            prompt.clone()
        }
        other => panic!("{other:?}"),
    };
    // As in Stanford Alpaca's train.py.
    assert_eq!(
        prompt(r#"{"instruction": "Do it.", "input": "", "output": "Out"}"#),
        "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n\
         ### Instruction:\nDo it.\n\n### Response:"
    );
    assert_eq!(
        prompt(r#"{"instruction": "Do it.", "input": "With this.", "output": "Out"}"#),
        "Below is an instruction that describes a task, paired with an input that provides further context. Write a \
         response that appropriately completes the request.\n\n### Instruction:\nDo it.\n\n### Input:\nWith this.\n\n\
         ### Response:"
    );
    assert_eq!(
        prompt(r#"{"instruction": "B", "output": "Out", "system": "Be kind.", "history": [["A", "X"]]}"#),
        "Be kind.\n\n### Instruction:\nA\n\n### Response:X\n\n### Instruction:\nB\n\n### Response:"
    );
}

#[test]
fn bad_lines_are_skipped_with_number_and_reason() {
    let mut text = b"\xEF\xBB\xBF\n{\"text\": \"one\"}\r\n  \r\n".to_vec();
    text.extend(b"{\"text\": \"\xFF\"}\n{\"text\": 3}\n{\"text\": \" \"}\n{\"prompt\": \"a\"}\n{}\n[1]\n\"x\"\n{\"text\": \"cut");
    let data = read(&open(&text, "data.jsonl").unwrap());
    assert_eq!(data.records, [Record::Text("one".into())]);
    assert_eq!(data.lines, [2]);
    let expected = [
        skipped(4, "no UTF-8 from byte 11 on"),
        skipped(5, "\"text\" must be a string, found a number"),
        skipped(6, "\"text\" is empty"),
        skipped(7, "expected \"text\" as in the records before, found \"prompt\""),
        skipped(8, "expected \"text\" as in the records before, found an empty object"),
        skipped(9, "a JSON list where one JSON object a line is expected"),
        skipped(10, "no JSON object but a string"),
        skipped(11, "no valid JSON: EOF while parsing a string at character 13"),
    ];
    assert_eq!(data.skipped, expected);

    let good = r#"{"messages": [{"role": "user", "content": "a"}]}"#;
    for (line, reason) in [
        (r#"{"messages": []}"#, "\"messages\" is empty"),
        (r#"{"messages": "a"}"#, "\"messages\" must be a list of messages, found a string"),
        (r#"{"messages": ["a"]}"#, "\"messages\", message 1: no JSON object but a string"),
        (r#"{"messages": [{"role": "user"}]}"#, "\"messages\", message 1: \"content\" is missing"),
        (r#"{"messages": [{"content": "a", "role": ""}]}"#, "\"messages\", message 1: \"role\" is empty"),
        (
            r#"{"messages": [{"role": "user", "content": null}]}"#,
            "\"messages\", message 1: \"content\" must be a string, found null",
        ),
        (
            r#"{"messages": [{"role": "assistant", "content": "", "tool_calls": [{}]}]}"#,
            "\"messages\", message 1: tool calls cannot be trained on",
        ),
        (r#"{"messages": [{"role": "user", "content": "a"}], "tools": [{}]}"#, "tools cannot be trained on"),
    ] {
        let data = parse(&format!("{line}\n{good}"));
        assert_eq!(data.skipped, [skipped(1, reason)]);
        assert_eq!(data.records.len(), 1);
    }
    for (line, reason) in [
        (r#"{"prompt": "a", "completion": ""}"#, "\"completion\" is empty"),
        (r#"{"prompt": "a", "completion": []}"#, "must both be strings"),
        (r#"{"instruction": "a", "output": "b", "history": [["q"]]}"#, "pairs of strings"),
        (r#"{"instruction": "a", "output": "b", "input": 1}"#, "\"input\" must be a string"),
        (r#"{"ask": "a", "reply": "b"}"#, "no known format, found \"ask\", \"reply\""),
    ] {
        let error = open(line.as_bytes(), "my.jsonl").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data);
        for part in ["my.jsonl", "line 1: ", reason, "\"messages\"", "\"instruction\""] {
            assert!(error.to_string().contains(part), "{error}");
        }
    }
    assert!(open(b" \n", "x").unwrap_err().to_string().contains("the file is empty"));
}

#[test]
fn text_is_trained_whole_with_the_end_of_sequence() {
    let tokenizer = chatml();
    let plain = prepared(r#"{"text": "Hello there!"}"#);
    let ids = [tokenizer.encode("Hello there!", false).unwrap(), vec![422]].concat();
    assert_eq!(plain.examples[0].input_ids, ids);
    let mut mask = vec![true; ids.len()];
    mask[0] = false;
    assert_eq!(plain.examples[0].trained, mask);
    assert_eq!((plain.target_tokens, plain.total_tokens), (ids.len() as u64 - 1, ids.len() as u64));
    assert_eq!(plain.warnings, [""; 0]);
    // An end that is there already is not put twice.
    assert_eq!(prepared(r#"{"text": "Hello there!<|im_end|>"}"#).examples, plain.examples);

    // Without a configuration there is no eos; the post-processor's <s> comes first.
    let sentencepiece = Tokenizer::from_files(SENTENCEPIECE, None, None).unwrap();
    let data = prepare(&jsonl(r#"{"text": "Hello"}"#), &sentencepiece, 400, &OPTIONS).unwrap();
    assert_eq!(data.examples[0].input_ids, sentencepiece.encode("Hello", true).unwrap());
    assert_eq!(trained(&sentencepiece, &data), ["|Hello"]);
    assert!(data.warnings.len() == 1 && data.warnings[0].contains("eos_token"), "{:?}", data.warnings);
}

#[test]
fn completions_are_trained_and_prompts_are_not() {
    let data = prepared(r#"{"prompt": "What is it?", "completion": " It is fine."}"#);
    assert_eq!(trained(&chatml(), &data), ["| It is fine.<|im_end|>"]);
    assert_eq!(data.warnings, [""; 0]);

    let data = prepared(r#"{"instruction": "Say é 😀.", "output": "😀 é"}"#);
    assert_eq!(trained(&chatml(), &data), ["|😀 é<|im_end|>"]);

    // "Q: " and "the": the space and the word are one token, which begins in the prompt.
    let data = prepared(r#"{"prompt": "Is it: ", "completion": "the user"}"#);
    assert_eq!(trained(&chatml(), &data), ["| user<|im_end|>"]);
    assert!(data.warnings[0].contains("In 1 of 1 example one token holds"), "{:?}", data.warnings);

    // With tokens that the post-processor adds at both ends.
    let tokenizer = bos_and_eos();
    let pair = jsonl(
        "{\"prompt\": \"Is it?\", \"completion\": \" It is 😀\"}\n{\"prompt\": \"\", \"completion\": \"It\"}",
    );
    let data = prepare(&pair, &tokenizer, 400, &OPTIONS).unwrap();
    assert_eq!(trained(&tokenizer, &data), ["|It is 😀</s>", "|It</s>"]);
    assert_eq!(data.examples[1].input_ids.first(), Some(&1));
    assert_eq!(data.examples[1].input_ids.iter().filter(|&&id| id == 2).count(), 1);
}

const CHAT: &str = r#"{"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "How?"}, {"role": "assistant", "content": "So."}]}"#;

#[test]
fn chats_train_the_assistants_turns_or_everything() {
    let tokenizer = chatml();
    let data = prepared(CHAT);
    assert_eq!(trained(&tokenizer, &data), ["|Hi<|im_end|>|So.<|im_end|>|"]);

    let all =
        prepare(&jsonl(CHAT), &tokenizer, 428, &PrepareOptions { assistant_only_loss: false, ..OPTIONS })
            .unwrap();
    assert_eq!(all.examples[0].input_ids, data.examples[0].input_ids);
    assert_eq!(all.target_tokens, all.total_tokens - 1);
    assert!(!all.examples[0].trained[0]);

    let line = r#"{"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]}"#;
    assert_eq!(trained(&tokenizer, &prepared(line)), ["|b<|im_end|>\n"]);

    // No template: said at once, with what to do.
    let error = prepare(&jsonl(CHAT), &byte_level("</s>", None), 428, &OPTIONS).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("no chat template"), "{error}");
}

#[test]
fn chats_that_the_template_refuses_are_left_out() {
    let template = format!(
        "{{% if messages[0].role != 'user' %}}{{{{ raise_exception('user first') }}}}{{% endif %}}{CHATML}"
    );
    let tokenizer = byte_level("<|im_end|>", Some(&template));
    // The prompt before an assistant turn is rendered too, so this template must refuse only what comes first.
    let refused =
        r#"{"messages": [{"role": "system", "content": "a"}, {"role": "assistant", "content": "b"}]}"#;
    let data = prepare(&jsonl(&format!("{CHAT}\n\n{refused}")), &tokenizer, 428, &OPTIONS).unwrap();
    assert_eq!(data.examples.len(), 1);
    assert_eq!(data.refused.first[0].line, 3);
    assert!(data.warnings[0].contains("1 of 2 records was left out (line 3: "), "{:?}", data.warnings);
    let error = prepare(&jsonl(refused), &tokenizer, 428, &OPTIONS).unwrap_err();
    assert!(error.kind() == ErrorKind::Data && error.to_string().contains("user first"), "{error}");
}

#[test]
fn long_examples_are_cut_and_counted() {
    let long = r#"{"text": "One two three four five six seven eight nine ten."}"#;
    let data = jsonl(&format!("{long}\n{{\"text\": \"One\"}}\n{long}"));
    let options = PrepareOptions { max_length: 5, ..OPTIONS };
    let cut = prepare(&data, &chatml(), 428, &options).unwrap();
    assert_eq!(cut.examples.iter().map(|e| e.input_ids.len()).max(), Some(5));
    assert_eq!((cut.truncated, cut.without_targets), (2, 0));
    assert_eq!(cut.warnings, ["2 of 3 examples were cut to 5 tokens, max_length."]);

    let short_context = prepare(&data, &chatml(), 428, &PrepareOptions { context: 5, ..OPTIONS }).unwrap();
    assert_eq!(short_context.examples, cut.examples);
    assert_eq!(short_context.warnings, ["2 of 3 examples were cut to 5 tokens, the model's context."]);

    // The cut takes the whole completion of the second.
    let pairs = "{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\": \"One two three four five\", \"completion\": \"b\"}";
    let cut = prepare(&jsonl(pairs), &chatml(), 428, &options).unwrap();
    assert_eq!((cut.examples.len(), cut.truncated, cut.without_targets), (1, 1, 1));
    assert!(cut.warnings.iter().any(|w| w.starts_with("1 of 2 examples has no token")), "{:?}", cut.warnings);

    for (max_length, context) in [(1, 512), (512, 0)] {
        let options = PrepareOptions { max_length, context, ..OPTIONS };
        assert_eq!(prepare(&data, &chatml(), 428, &options).unwrap_err().kind(), ErrorKind::Config);
    }
}

#[test]
fn nothing_to_train_on_is_an_error_that_says_why() {
    let pair = jsonl(r#"{"prompt": "One two three four five", "completion": "b"}"#);
    let error = prepare(&pair, &chatml(), 428, &PrepareOptions { max_length: 4, ..OPTIONS }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(
        error.to_string().contains("more than 4 tokens") && error.to_string().contains("max_length"),
        "{error}"
    );

    let no_answer = jsonl(r#"{"messages": [{"role": "user", "content": "a"}]}"#);
    let error = prepare(&no_answer, &chatml(), 428, &OPTIONS).unwrap_err();
    assert!(error.kind() == ErrorKind::Data && error.to_string().contains("no assistant turn"), "{error}");
}

#[test]
fn tokens_that_the_model_lacks_are_refused() {
    let error = prepare(&jsonl("\n{\"text\": \"Hello\"}"), &chatml(), 400, &OPTIONS).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    for part in ["line 2", "token 403", "\"Hello\"", "vocab_size is 400", "do not belong together"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    assert!(prepare(&jsonl(r#"{"text": "Hello"}"#), &chatml(), 423, &OPTIONS).is_ok());
    assert!(prepare(&jsonl(r#"{"text": "Hello"}"#), &chatml(), 422, &OPTIONS).is_err());
}

#[test]
fn warnings_of_equal_examples() {
    let same = prepared("{\"text\": \"a\"}\n{\"text\": \"a\"}\nx\n");
    // Skipped lines are listed apart.
    assert_eq!(same.warnings, ["All 2 examples are the same."]);
    assert_eq!(prepared("{\"text\": \"a\"}\n{\"text\": \"b\"}\n{\"text\": \"a\"}").warnings, [""; 0]);
}

#[test]
fn previews_show_each_token() {
    let tokenizer = chatml();
    let data = prepared(
        "{\"prompt\": \"Say é:\", \"completion\": \" 😀\"}\n{\"prompt\": \"a\", \"completion\": \"b\"}",
    );
    let shown = preview(&data.stored, &tokenizer, 1).unwrap();
    assert_eq!(shown.len(), 1);
    assert_eq!(preview(&data.stored, &tokenizer, 9).unwrap().len(), 2);
    let text = |wanted: bool| {
        shown[0].iter().filter(|t| t.trained == wanted).map(|t| t.text.as_str()).collect::<String>()
    };
    assert_eq!((text(false).as_str(), text(true).as_str()), ("Say é:", " 😀<|im_end|>"));
    assert_eq!(shown[0].len(), data.examples[0].input_ids.len());
    let json = serde_json::to_value(&shown[0][0]).unwrap();
    assert_eq!(json, serde_json::json!({ "text": "S", "trained": false }));
}
