//! Columns that are read without being mapped: the formats' own in other letters, and names that are known.

use postil::data::{Format, Record};

use crate::data::{open, read};
use crate::formats::{open_as, pair, refused};

/// How a data set of these columns is read: its description without the kind of file.
fn read_as(row: &str) -> String {
    let described = open(row.as_bytes(), "x.jsonl").map(|data| data.describe());
    described.map_or_else(|error| format!("error: {error}"), |text| text.replace("JSON Lines, ", ""))
}

/// A row with a text in each of these columns.
fn row(columns: &[&str]) -> String {
    let fields = columns.iter().map(|&name| (name.to_owned(), name.to_lowercase().into()));
    serde_json::Value::Object(fields.collect()).to_string()
}

#[test]
fn known_names_are_read() {
    for (columns, expected) in [
        (
            &["question", "answer"][..],
            "prompt/completion (prompt from \"question\", completion from \"answer\")",
        ),
        (
            &["id", "Question", "Answer"],
            "prompt/completion (prompt from \"Question\", completion from \"Answer\")",
        ),
        (&["input", "output"], "prompt/completion (prompt from \"input\", completion from \"output\")"),
        (&["prompt", "response"], "prompt/completion (completion from \"response\")"),
        (&["query", "response"], "prompt/completion (prompt from \"query\", completion from \"response\")"),
        (
            &["instruction", "context", "response", "category"],
            "Alpaca (output from \"response\", input from \"context\")",
        ),
        (&["instruction", "response"], "Alpaca (output from \"response\", input from \"context\")"),
        (&["instruction", "input", "response"], "Alpaca (output from \"response\")"),
        (&["title", "content"], "text (text from \"content\")"),
        // The formats' own names come first, in other letters or not.
        (
            &["Prompt", "COMPLETION"],
            "prompt/completion (prompt from \"Prompt\", completion from \"COMPLETION\")",
        ),
        (&["instruction", "Input", "output"], "Alpaca (input from \"Input\")"),
        (&["question", "answer", "Text"], "text (text from \"Text\")"),
        (&["Text", "text"], "text"),
    ] {
        assert_eq!(read_as(&row(columns)), expected, "{columns:?}");
    }
}

#[test]
fn what_is_ambiguous_is_not_guessed() {
    for columns in [
        &["question", "answer", "input", "output"][..],
        &["prompt", "query", "response"],
        // Something that means something would be left out.
        &["question", "answer", "context"],
        &["prompt", "response", "system"],
        &["instruction", "input", "context", "response"],
        &["question", "content"],
        // One message of a chat; two answers to choose from.
        &["role", "content"],
        &["prompt", "response", "rejected"],
        &["Question", "QUESTION", "answer"],
        &["TEXT", "Text"],
    ] {
        refused(
            row(columns).as_bytes(),
            "x.jsonl",
            "",
            "",
            &["no known format", columns[0], "can be mapped"],
        );
    }
    // A format that is named is the only one that is looked for, and what is mapped is not added to.
    let text = open_as(row(&["title", "content"]).as_bytes(), "x.jsonl", "jsonl,text", "").unwrap();
    assert_eq!(text.format(), Format::Text);
    refused(row(&["question", "answer"]).as_bytes(), "x.jsonl", "text", "", &["expected \"text\""]);
    refused(row(&["question", "answer"]).as_bytes(), "x.jsonl", "", "prompt=question", &["no known format"]);
}

#[test]
fn every_row_is_read_alike() {
    let lines = r#"{"instruction": "Do.", "response": "Done."}
{"instruction": "Do.", "context": "With.", "response": "Done."}
{"instruction": "Do.", "context": "", "response": "Done."}"#;
    let parsed = read(&open(lines.as_bytes(), "x.jsonl").unwrap());
    assert_eq!(parsed.records.len(), 3);
    let prompt = |record: &Record| match record {
        Record::PromptCompletion { prompt, completion } if completion == "Done." => prompt.clone(),
        other => panic!("{other:?}"),
    };
    assert!(prompt(&parsed.records[1]).contains("### Input:\nWith."));
    assert_eq!(parsed.records[0], parsed.records[2]);

    // A table's first line tells, whatever the file is called.
    let table = open(b"Question;Answer\na;b\n", "x").unwrap();
    assert_eq!(read(&table).records, [pair("a", "b")]);
    let messages = br#"{"Messages": [{"role": "user", "content": "a"}], "list": [1]}"#;
    assert_eq!(open(messages, "x.json").unwrap().format(), Format::Messages);
    let listed = br#"{"question": "a", "answer": "b", "tags": ["c"]}"#;
    assert_eq!(open(listed, "x.json").unwrap().format(), Format::PromptCompletion);
}
