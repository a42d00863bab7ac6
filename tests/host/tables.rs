//! Tables: quotes that are never closed, by the rules of the parser below.

use postil::ErrorKind;
use postil::data::Record;

use crate::data::{open, read};
use crate::formats::{pair, parse, refused, skipped};

/// Rows that came before the error, and the error.
fn broken(text: &str, name: &str) -> (Vec<Record>, String) {
    let data = open(text.as_bytes(), name).unwrap();
    let mut records = Vec::new();
    let read = data.read(&mut |_, record| {
        records.extend(record);
        Ok(())
    });
    let error = read.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Format);
    (records, error.to_string())
}

#[test]
fn a_quote_that_is_never_closed_is_an_error_at_its_line() {
    let rest = "c,d\n".repeat(5000);
    for (text, line, before) in [
        (format!("prompt,completion\na,b\nx,\"y\n{rest}"), 3, 1),
        // Lines in a field that is closed, and all ends of lines.
        (format!("prompt,completion\r\n\"a\r\nb\",c\r\n\"x,y\r\n{rest}"), 4, 1),
        (format!("prompt,completion\ra,b\r\"x,y\r{rest}"), 3, 1),
        // A doubled quote is one of the text, also as the last thing that there is.
        ("prompt,completion\na,b\nx,\"y\"\"".to_owned(), 3, 1),
        ("prompt,completion\na,b\nx,\"".to_owned(), 3, 1),
    ] {
        let (records, error) = broken(&text, "x.csv");
        assert_eq!(records.len(), before, "{error}");
        for part in ["x.csv: no valid table", &format!("opens in line {line} "), "Close it", "written twice"]
        {
            assert!(error.contains(part), "\"{part}\" is not in: {error}");
        }
    }
    let (records, error) = broken("prompt\tcompletion\na,\"b\tc\nd\t\"e\n", "x.tsv");
    assert_eq!(records, [pair("a,\"b", "c")], "a quote inside a field is one");
    assert!(error.contains("line 3 "), "{error}");
    // In the header, too.
    refused(b"\"prompt,completion\na,b\n", "x.csv", "", "", &["the quote that opens in line 1 "]);
    // A row that would grow past every bound is told by its quote.
    let long = format!("prompt,completion\na,b\nx,\"y\n{}", "c,d\n".repeat(17 << 20));
    let (records, error) = broken(&long, "x.csv");
    assert_eq!(records.len(), 1);
    assert!(error.contains("opens in line 3 ") && error.contains("64 MiB"), "{error}");
}

#[test]
fn quotes_that_are_closed_are_none() {
    for (text, expected) in [
        ("prompt,completion\na,\"b\"", pair("a", "b")),
        ("prompt,completion\na,\"b\"\"\"\n", pair("a", "b\"")),
        ("prompt,completion\na,\"\"\"b\"\"\"\n", pair("a", "\"b\"")),
        // What follows a closed quote belongs to the field, another quote with it.
        ("prompt,completion\na,\"b\"c\"\n", pair("a", "bc\"")),
        ("prompt,completion\na,b\"\n", pair("a", "b\"")),
        ("prompt,completion\na, \"b\n", pair("a", " \"b")),
        ("prompt,completion\n\n\r\n\"a\",b", pair("a", "b")),
    ] {
        let parsed = parse(text, "x.csv");
        assert_eq!((&parsed.records[..], &parsed.skipped[..]), (&[expected][..], &[][..]), "{text:?}");
    }
    let parsed = read(&open(b"prompt,completion\na\nb,c\n", "x.csv").unwrap());
    assert_eq!(parsed.skipped, [skipped(1, "1 field where the header has 2")]);
}
