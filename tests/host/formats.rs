//! Kinds of files and formats of records: what is detected, mapped, refused and numbered.

use postil::ErrorKind;
use postil::data::{Columns, DataFormat, Dataset, FileFormat, FirstRows, Format, Record, SkippedLine};

use crate::data::{Parsed, open, read};
use crate::tokenizer::message;

pub fn open_as(bytes: &[u8], name: &str, format: &str, columns: &str) -> postil::Result<Dataset> {
    let format = if format.is_empty() { DataFormat::default() } else { format.parse()? };
    let columns = if columns.is_empty() { Columns::default() } else { columns.parse()? };
    Dataset::from_bytes(bytes.to_vec(), name, format, columns)
}

pub fn parse(text: &str, name: &str) -> Parsed {
    read(&open(text.as_bytes(), name).unwrap())
}

fn kind(text: &str, name: &str) -> String {
    open(text.as_bytes(), name).map_or_else(|error| format!("error: {error}"), |data| data.describe())
}

pub fn skipped(line: usize, reason: &str) -> SkippedLine {
    SkippedLine { line, reason: reason.into() }
}

pub fn pair(prompt: &str, completion: &str) -> Record {
    Record::PromptCompletion { prompt: prompt.into(), completion: completion.into() }
}

#[track_caller]
pub fn refused(bytes: &[u8], name: &str, format: &str, columns: &str, parts: &[&str]) {
    let error = open_as(bytes, name, format, columns).expect_err("refused");
    for part in parts {
        assert!(error.to_string().contains(part), "\"{part}\" is not in: {error}");
    }
}

#[test]
fn content_tells_before_the_name() {
    let line = r#"{"text": "a"}"#;
    for (text, name, found) in [
        (line, "x.jsonl", "JSON Lines, text"),
        (line, "x.txt", "JSON Lines, text"),
        (line, "x.json", "JSON Lines, text"),
        ("[{\"text\": \"a\"}]", "x.jsonl", "JSON, text"),
        (" [\n {\"text\": \"a\"}\n]\n", "x", "JSON, text"),
        ("{\"version\": 1, \"data\": [{\"text\": \"a\"}]}", "x.txt", "JSON, text"),
        ("{\n \"data\": [\n  {\"text\": \"a\"},\n  {\"text\": \"b\"}\n ]\n}", "x.jsonl", "JSON, text"),
        // One chat is a line, not the holder of a list of records.
        (r#"{"messages": [{"role": "user", "content": "a"}]}"#, "x.json", "JSON Lines, messages"),
        (r#"{"conversations": [{"from": "human", "value": "a"}]}"#, "x.json", "JSON Lines, ShareGPT"),
        ("prompt,completion\na,b\n", "x.txt", "CSV, prompt/completion"),
        ("prompt\tcompletion\na\tb\n", "x.csv", "TSV, prompt/completion"),
        ("instruction;output\na;b\n", "x.csv", "CSV separated by \";\", Alpaca"),
        ("text\nabc\n", "x.csv", "CSV, text"),
        ("text\nabc\n", "x.txt", "plain text"),
        ("Once upon a time\n", "x.md", "plain text"),
        ("{ this is no JSON }\n", "x.txt", "plain text"),
        ("[Chapter 1]\nOnce\n", "x.txt", "plain text"),
        // A broken first line does not hide the others.
        ("{\"text\": \n{\"text\": \"a\"}\n", "x", "JSON Lines, text"),
        ("[1]\n{\"text\": \"a\"}\n", "x.jsonl", "JSON Lines, text"),
    ] {
        assert_eq!(kind(text, name), found, "{name}: {text}");
    }
    // A first record longer than what is looked at.
    let long = format!("{{\"text\": \"{}\"}}\n{line}\n", "word ".repeat(400_000));
    assert_eq!(parse(&long, "x").records.len(), 2);
    let long = format!("{{\"data\": [{}{line}]}}", format!("{line},").repeat(150_000));
    assert_eq!(parse(&long, "x").records.len(), 150_001);
}

#[test]
fn what_cannot_be_read_is_named() {
    refused(b"\x1F\x8B\x08abc", "x.jsonl.gz", "", "", &["x.jsonl.gz", "gzip", "unpack"]);
    refused(b"PK\x03\x04abc", "x.xlsx", "", "", &["ZIP", "CSV"]);
    refused(b"\xFF\xFEa\0", "x.txt", "", "", &["UTF-16"]);
    refused(b"ARROW1abc", "x.arrow", "", "", &["Arrow", "Parquet"]);
    refused(b"abc", "x.parquet", "", "", &["no Parquet", "PAR1"]);
    refused(b"some words", "x", "", "", &["x: ", "neither", "Parquet"]);
    refused(b"PAR1 and then nothing", "x", "", "", &["no valid Parquet"]);
    refused(b"a\xFFb", "x.txt", "", "", &["no UTF-8 from byte 2"]);
    refused(b"{\"a\": [], \"b\": []}", "x.json", "", "", &["\"a\" and \"b\" are both lists"]);
    refused(b"[3, {\"text\"]", "x.json", "json", "", &["x.json: no valid JSON after item 1"]);
    refused(b"[]", "x.json", "", "", &["there is no row"]);
    refused(b"text\n", "x.csv", "", "", &["there is no row"]);
    refused(b"a,b\n1,2\n", "x.csv", "", "", &["row 1: no known format", "\"a\", \"b\"", "mapped"]);
}

#[test]
fn columns_are_listed_as_the_file_names_them() {
    let columns = |bytes: &[u8], name: &str, format: &str| {
        let format = if format.is_empty() { DataFormat::default() } else { format.parse().unwrap() };
        Dataset::columns(bytes.to_vec(), name, format)
    };
    let json = br#"{"question": "a", "answer": "b"}"#;
    let grown = [&json[..], b"\n[1]\n", br#"{"question": "c", "source": 1}"#].concat();
    assert_eq!(columns(json, "x.jsonl", "").unwrap(), ["question", "answer"]);
    assert_eq!(columns(&grown, "x.jsonl", "").unwrap(), ["question", "answer", "source"]);
    assert_eq!(columns(b"[{\"a\": 1}, {\"b\": 2}]", "x", "").unwrap(), ["a", "b"]);
    assert_eq!(columns(b"question; answer\n1;2\n", "x.csv", "").unwrap(), ["question", "answer"]);
    assert_eq!(columns(b"a,b\n1,2\n", "x", "csv,text").unwrap(), ["a", "b"]);
    let parquet = include_bytes!("fixtures/pairs-none.parquet");
    assert_eq!(columns(parquet, "x", "").unwrap(), ["question", "answer", "score"]);
    assert_eq!(columns(b"Once upon a time", "x.txt", "").unwrap(), [""; 0]);
    assert!(columns(b"some words", "x", "").unwrap_err().to_string().starts_with("x: what kind"));
    // Rows past the first hundred are not looked at.
    let late = [json.to_vec(), b"\n{\"a\": 1}".repeat(99), b"\n{\"late\": 1}".to_vec()].concat();
    assert_eq!(columns(&late, "x.jsonl", "").unwrap(), ["question", "answer", "a"]);
}

#[test]
fn first_rows_are_shown_as_they_are() {
    let rows = |bytes: &[u8], name: &str, columns: &str, count| {
        let columns = if columns.is_empty() { Columns::default() } else { columns.parse().unwrap() };
        let FirstRows { columns, rows } =
            Dataset::first_rows(bytes.to_vec(), name, DataFormat::default(), &columns, count).unwrap();
        (columns, rows)
    };
    let json = b"{\"a\": \"x\", \"b\": [1, \"y\"]}\n[1]\n{\"a\": null, \"c\": 2}\n{\"late\": 1}";
    let (columns, cells) = rows(json, "x.jsonl", "", 2);
    assert_eq!(columns, ["a", "b", "c"]);
    assert_eq!(cells, [["x", "[1,\"y\"]", ""], ["", "", "2"]]);
    // A mapped column keeps its name.
    let (columns, cells) = rows(b"question; answer\n1;2\n3;4\n", "x.csv", "prompt=question", 9);
    assert_eq!((columns, cells.len()), (vec!["question".to_owned(), "answer".to_owned()], 2));
    assert_eq!(cells[1], ["3", "4"]);
    let parquet = include_bytes!("fixtures/pairs-none.parquet");
    assert_eq!(rows(parquet, "x", "prompt=question", 1).0, ["question"]);
    assert_eq!(
        rows(b"Once upon a time", "x.txt", "", 3),
        (vec!["text".into()], vec![vec!["Once upon a time".into()]])
    );
    assert_eq!(rows(json, "x.jsonl", "", 0), (vec![], vec![]));
    let none = Dataset::first_rows(b"words".to_vec(), "x", DataFormat::default(), &Columns::default(), 1);
    assert!(none.unwrap_err().to_string().starts_with("x: what kind"));
}

#[test]
fn forced_formats() {
    let json = br#"{"prompt": "p", "completion": "c", "text": "t"}"#;
    let text = open_as(json, "x.jsonl", "text", "").unwrap();
    assert_eq!(read(&text).records, [Record::Text("t".into())]);
    let plain = open_as(json, "x.jsonl", "txt", "").unwrap();
    assert_eq!((plain.file_format(), plain.format()), (FileFormat::PlainText, Format::Text));
    let csv = open_as(b"text\nabc\n", "x.txt", "csv,text", "").unwrap();
    assert_eq!(read(&csv).records, [Record::Text("abc".into())]);
    refused(json, "x", "alpaca", "", &["expected \"instruction\", \"output\"", "found \"prompt\""]);
    refused(b"abc", "x", "txt,alpaca", "", &["plain text has no columns"]);
    for (format, part) in
        [("xml", "xml"), ("csv,json", "kind of file"), ("text,alpaca", "records"), ("", "jsonl")]
    {
        let error = format.parse::<DataFormat>().unwrap_err();
        assert!(error.kind() == ErrorKind::Config && error.to_string().contains(part), "{error}");
    }
}

#[test]
fn columns_are_mapped_by_name() {
    let lines = b"{\"question\": \"q\", \"answer\": \"a\", \"text\": \"t\"}\n{\"question\": \"r\"}\n";
    let mapped = open_as(lines, "x.jsonl", "", "prompt=question,completion=answer").unwrap();
    assert_eq!(mapped.format(), Format::PromptCompletion);
    let parsed = read(&mapped);
    assert_eq!(parsed.records, [pair("q", "a")]);
    assert_eq!(parsed.skipped.len(), 1);
    // A format that reads none of the mapped fields is not meant, though its own are there.
    let both = br#"{"messages": [{"role": "user", "content": "a"}], "body": "b"}"#;
    let both = open_as(both, "x.jsonl", "", "text=body").unwrap();
    assert_eq!(read(&both).records, [Record::Text("b".into())]);
    // Names may be swapped, and a column of the field's name gives way.
    let swapped = open_as(b"prompt,completion\nq,a\n", "x.csv", "", "prompt=completion,completion=prompt");
    assert_eq!(read(&swapped.unwrap()).records, [pair("a", "q")]);
    let alpaca = b"task,input,solution\nDo.,With.,Done.\n";
    let alpaca = open_as(alpaca, "x", "", "instruction=task,output=solution").unwrap();
    assert_eq!(
        (alpaca.format(), alpaca.file_format()),
        (Format::Alpaca, FileFormat::Table { delimiter: b',' })
    );
    let chat = br#"{"chat": [{"from": "human", "value": "a"}], "rules": "Be kind."}"#;
    let chat = open_as(chat, "x.jsonl", "", "conversations=chat,system=rules").unwrap();
    assert_eq!(
        read(&chat).records,
        [Record::Messages(vec![message("system", "Be kind."), message("user", "a")])]
    );

    refused(lines, "x.jsonl", "", "prompt=ask", &["no column \"ask\"", "\"question\", \"answer\", \"text\""]);
    refused(b"abc", "x.txt", "", "text=a", &["plain text has no columns"]);
    for (columns, part) in [
        ("prompt", "no pair"),
        ("prompt=", "no pair"),
        ("question=a", "no field \"question\""),
        ("text=a,text=b", "given twice"),
    ] {
        let error = columns.parse::<Columns>().unwrap_err();
        assert!(error.kind() == ErrorKind::Config && error.to_string().contains(part), "{error}");
    }
    for text in ["text=a,system=b", "\"prompt=title, \"\"short\"\"\",completion=b", "\"text=a\nb\""] {
        assert_eq!(text.parse::<Columns>().unwrap().to_string(), text);
    }
    let columns: Columns = "\"prompt=title, short\",completion=5\" disk".parse().unwrap();
    assert_eq!(columns.pairs().collect::<Vec<_>>(), [("prompt", "title, short"), ("completion", "5\" disk")]);
    assert!("".parse::<Columns>().unwrap_err().to_string().contains("no pair"));
}

#[test]
fn share_gpt_names_become_roles() {
    let line = r#"{"system": "s", "conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}, {"from": "tool", "value": "c"}, {"role": "assistant", "content": "d"}]}"#;
    let parsed = parse(line, "x.jsonl");
    assert_eq!(parsed.format, Format::ShareGpt);
    let roles = [("system", "s"), ("user", "a"), ("assistant", "b"), ("tool", "c"), ("assistant", "d")];
    assert_eq!(parsed.records, [Record::Messages(roles.map(|(r, c)| message(r, c)).into())]);
    let own = r#"{"system": "s", "conversations": [{"from": "system", "value": "own"}]}"#;
    assert_eq!(parse(own, "x").records, [Record::Messages(vec![message("system", "own")])]);
    let bad = |entry: &str| {
        let good = r#"{"conversations": [{"from": "user", "value": "a"}]}"#;
        parse(&format!("{good}\n{{\"conversations\": [{entry}]}}"), "x").skipped[0].reason.clone()
    };
    assert!(
        bad(r#"{"from": "moon", "value": "a"}"#).contains("message 1: \"from\" is \"moon\"; expected human")
    );
    assert!(bad(r#"{"from": "function_call", "value": "a"}"#).contains("tool calls"));
    assert!(bad(r#"{"from": "gpt"}"#).contains("\"value\" is missing"));
}

#[test]
fn tables_give_strings_and_row_numbers() {
    let csv = "\u{FEFF}prompt,completion,n\n\"a, \"\"b\"\"\nc\",d,1\n\ne,f\ng,,2\n42,43,3\n";
    let parsed = parse(csv, "x.csv");
    assert_eq!(parsed.records, [pair("a, \"b\"\nc", "d"), pair("42", "43")]);
    assert_eq!(parsed.lines, [1, 4]);
    let expected = [skipped(2, "2 fields where the header has 3"), skipped(3, "\"completion\" is empty")];
    assert_eq!(parsed.skipped, expected);
    let data = open(b"text,n\na\xFF,1\nb,2\n", "x.csv").unwrap();
    assert_eq!(read(&data).skipped, [skipped(1, "\"text\" is no UTF-8")]);

    // A chat in a cell is JSON.
    let chat = "messages\n\"[{\"\"role\"\": \"\"user\"\", \"\"content\"\": \"\"a\"\"}]\"\n[no JSON\n";
    let parsed = parse(chat, "x.csv");
    assert_eq!(parsed.records, [Record::Messages(vec![message("user", "a")])]);
    assert_eq!(parsed.skipped, [skipped(2, "\"messages\" must be a list of messages, found a string")]);
    let alpaca = parse("instruction\tinput\toutput\thistory\nDo.\t\tDone.\t\n", "x.tsv");
    assert_eq!(alpaca.records.len(), 1);
}

#[test]
fn json_lists_number_their_entries() {
    let list = r#"{"about": {"data": [1]}, "rows": [{"text": "a"}, 3, {"text": ""}, {"text": "b"}], "n": 2}"#;
    let parsed = parse(list, "x.json");
    assert_eq!(parsed.records, [Record::Text("a".into()), Record::Text("b".into())]);
    assert_eq!(parsed.lines, [1, 4]);
    assert_eq!(parsed.skipped, [skipped(2, "no JSON object but a number"), skipped(3, "\"text\" is empty")]);
    // Nothing after a mistake can be told apart, so the file is refused there.
    let broken = open(b"[{\"text\": \"a\"}, {\"text\": \"b\"} {\"text\": \"c\"}]", "x.json").unwrap();
    let mut count = 0;
    let error = broken.read(&mut |_, _| {
        count += 1;
        Ok(())
    });
    let error = error.unwrap_err();
    assert_eq!((count, error.kind()), (2, ErrorKind::Format));
    assert!(error.to_string().starts_with("x.json: no valid JSON after item 2"), "{error}");
}

#[test]
fn a_repeated_column_is_refused() {
    let table = b"prompt,completion,prompt\na,b,c\n";
    refused(table, "x.csv", "", "", &["x.csv: no valid table", "two columns are called \"prompt\""]);
    refused(table, "x.csv", "", "text=completion", &["two columns are called \"prompt\""]);
    refused(b"text\ttext\na\tb\n", "x.tsv", "", "", &["two columns are called \"text\""]);
    // Names that differ, and columns that have none, as spreadsheets write them behind the last.
    let table = open(b"prompt,completion,Prompt,,\na,b,c,,\n", "x.csv").unwrap();
    assert_eq!(read(&table).records, [pair("a", "b")]);
}

#[test]
fn contents_in_parts_are_joined() {
    let chat =
        |content: &str| format!("{{\"messages\": [{{\"role\": \"user\", \"content\": {content}}}]}}\n");
    let lines = [
        chat(r#"[{"type": "text", "text": "One "}, {"type": "text", "text": "two"}]"#),
        chat(r#"[{"type": "text", "text": "What is it?"}, {"type": "image", "url": "a.png"}]"#),
        chat("[]"),
        chat(r#"["words"]"#),
        chat(r#"[{"text": "no type"}]"#),
        chat(r#"[{"type": "text", "text": null}]"#),
        chat("\"three\""),
    ];
    let parsed = parse(&lines.concat(), "x.jsonl");
    let user = |text: &str| Record::Messages(vec![message("user", text)]);
    assert_eq!(parsed.records, [user("One two"), user("three")]);
    let in_part = |line, part, reason: &str| {
        skipped(line, &format!("\"messages\", message 1: \"content\", part {part}: {reason}"))
    };
    let expected = [
        in_part(2, 2, "its type is \"image\", and only text can be trained on"),
        skipped(3, "\"messages\", message 1: \"content\" is an empty list"),
        in_part(4, 1, "no JSON object but a string"),
        in_part(5, 1, "\"type\" is missing"),
        in_part(6, 1, "\"text\" must be a string, found null"),
    ];
    assert_eq!(parsed.skipped, expected);
}

/// A few bytes of text a value, but a hundred in memory: without a bound these lines would take gigabytes.
#[test]
fn rows_of_very_many_or_deep_values_are_refused() {
    let list = |value: &str, n: usize| format!("[{}{value}]", format!("{value},").repeat(n - 1));
    let row = |value: &str| format!("{{\"text\": \"a\", \"more\": {value}}}\n");
    // With the row itself and its text.
    let most = (1 << 20) - 3;
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    let lines = [
        row(&list("{}", most)),
        row(&list("0", most + 1)),
        row(&list("{\"\":0}", most)),
        row(&deep),
        row("0"),
    ];
    let parsed = parse(&lines.concat(), "x.jsonl");
    assert_eq!(parsed.lines, [1, 5]);
    let many = "more than 1048576 values in one row";
    let expected = [
        skipped(2, many),
        skipped(3, many),
        skipped(4, "no valid JSON: recursion limit exceeded at character 149"),
    ];
    assert_eq!(parsed.skipped, expected);
    let whole = format!("[{{\"text\": \"a\"}}, {}]", lines[1].trim_end());
    let data = open(whole.as_bytes(), "x.json").unwrap();
    let error = data.read(&mut |_, _| Ok(())).unwrap_err();
    assert!(error.to_string().contains(many), "{error}");
    // A table's cell that holds a list.
    let cell = format!(
        "messages\n\"{}\"\n\"{}\"\n",
        list("{}", 1 << 20),
        r#"[{""role"": ""user"", ""content"": ""a""}]"#
    );
    let parsed = parse(&cell, "x.csv");
    assert_eq!((parsed.records.len(), parsed.skipped.len()), (1, 1));
}

#[test]
fn parquet_in_every_compression() {
    let chats = open(include_bytes!("fixtures/messages.parquet"), "x.parquet").unwrap();
    assert_eq!((chats.file_format(), chats.format()), (FileFormat::Parquet, Format::Messages));
    let parsed = read(&chats);
    let chat = |a: &str, b: &str| Record::Messages(vec![message("user", a), message("assistant", b)]);
    assert_eq!(parsed.records, [chat("Hello", "Hi 😀"), chat("One\ntwo?", "Three.")]);
    assert_eq!(parsed.lines, [1, 3]);
    assert_eq!(parsed.skipped, [skipped(2, "\"messages\" is empty")]);
    for file in [
        &include_bytes!("fixtures/pairs-none.parquet")[..],
        include_bytes!("fixtures/pairs-gzip.parquet"),
        include_bytes!("fixtures/pairs-brotli.parquet"),
        include_bytes!("fixtures/pairs-lz4.parquet"),
        include_bytes!("fixtures/pairs-zstd.parquet"),
    ] {
        let pairs = open_as(file, "x", "", "prompt=question,completion=answer").unwrap();
        let parsed = read(&pairs);
        let answers = [(0, "yes"), (1, "no"), (3, "yes"), (4, "no"), (5, "yes")];
        let expected = answers.map(|(i, answer)| pair(&format!("Question {i}?"), answer));
        assert_eq!(parsed.records, expected);
        assert_eq!(parsed.skipped, [skipped(3, "\"completion\" must be a string, found null")]);
        refused(file, "x", "", "prompt=ask", &["no column \"ask\"", "\"question\", \"answer\", \"score\""]);
        assert_eq!(read(&open(file, "x").unwrap()).records, expected, "by names that are known");
    }
}

/// Whatever byte is wrong, reading ends, with an error or without.
#[test]
fn damaged_parquet_files_do_not_panic() {
    for file in
        [&include_bytes!("fixtures/messages.parquet")[..], include_bytes!("fixtures/pairs-gzip.parquet")]
    {
        for at in 0..file.len() {
            for flip in [0xFF, 0x01, 0x80] {
                let mut damaged = file.to_vec();
                damaged[at] ^= flip;
                if let Ok(data) = open_as(&damaged, "x", "parquet", "") {
                    let _ = data.read(&mut |_, _| Ok(()));
                }
            }
        }
        for end in 0..file.len() {
            assert!(open_as(&file[..end], "x", "parquet", "").is_err());
        }
    }
}
