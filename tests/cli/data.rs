//! `postil data`, and data of every kind in `postil train`.

use std::path::Path;

use super::common::*;

fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).expect("writable");
    arg(&path)
}

const ROWS: &str = "question,answer\nWord 1?,red one\nWord 2?,blue two\nWord 1?,red one\nno answer,\n";
const COLUMNS: &str = "prompt=question,completion=answer";

#[test]
fn counts_lengths_and_marked_tokens() {
    let dir = folder();
    let data = write(dir.path(), "rows.csv", ROWS);
    let args = ["data", "--data", &data, "--columns", COLUMNS, "--rows", "2"];
    let shown = postil(&args);
    shown.expect_ok().expect_warning("row 4 is left out: \"completion\" is empty");
    assert!(shown.stderr.contains("rows.csv: CSV, prompt/completion"), "{}", shown.stderr);
    for part in [
        "format           CSV, prompt/completion (prompt from \"question\"",
        "records          3",
        "skipped          1 row that cannot be used",
        "truncated        0 cut to 512 tokens, the model's context (--max-length is 1024)",
        "duplicates       1",
        "with --packing   1 row of up to 1024 tokens (--max-length), ",
        "% full",
        "95 %",
        "█",
        "example 2 of 3",
    ] {
        assert!(shown.stdout.contains(part), "no {part} in: {}", shown.stdout);
    }
    // Not a terminal: brackets around what is trained on, no colours.
    let last = shown.stdout.lines().last().expect("a row").replace('|', "");
    assert_eq!(last, "Word 2?[blue two<endoftext>]", "{}", shown.stdout);
    let short = postil(&["data", "--data", &data, "--columns", COLUMNS, "--max-length", "64"]);
    assert!(short.stdout.contains("0 cut to 64 tokens, --max-length\n"), "{}", short.stdout);
    assert!(!shown.stdout.contains('\u{1B}'));
    let mut coloured = command(&args);
    coloured.env("CLICOLOR_FORCE", "1");
    assert!(finish(coloured).expect_ok().stdout.contains("\u{1B}[32m"));
    let mut plain = command(&args);
    plain.env("NO_COLOR", "1");
    assert_eq!(finish(plain).stdout, shown.stdout);

    let mut json = args.to_vec();
    json.push("--json");
    let report = postil(&json).json();
    assert_eq!((&report["records"], &report["examples"]), (&3.into(), &3.into()));
    assert_eq!(report["skipped"]["first"][0]["line"], 4);
    assert_eq!(report["preview"].as_array().map(Vec::len), Some(2));
    let tokens = report["preview"][0].as_array().expect("tokens").len() as u64;
    assert!(report["lengths"]["max"].as_u64().is_some_and(|max| max >= tokens));
    let counted = report["histogram"].as_array().expect("bars").iter().map(|bar| bar["examples"].as_u64());
    assert_eq!(counted.sum::<Option<u64>>(), Some(3));
}

#[test]
fn every_kind_of_file_trains_alike() {
    let dir = folder();
    let csv = write(dir.path(), "rows.csv", ROWS);
    let json: String = ["Word 1?|red one", "Word 2?|blue two", "Word 1?|red one"]
        .map(|row| row.split_once('|').expect("two parts"))
        .map(|(question, answer)| format!("{{\"question\": \"{question}\", \"answer\": \"{answer}\"}}"))
        .join(",");
    let json = write(dir.path(), "rows", &format!("{{\"version\": \"1\", \"data\": [{json}]}}"));
    let losses = [csv.as_str(), &json].map(|data| {
        let out = arg(&dir.path().join(format!("{}-out", Path::new(data).file_name().unwrap().display())));
        let mut args = vec!["train", "--data", data, "--columns", COLUMNS, "--out", &out, "--json"];
        args.extend(["--max-steps", "2", "--packing", "--batch-size", "1", "--max-length", "64"]);
        postil(&args).json()["loss"].as_f64().expect("a loss")
    });
    assert_eq!(losses[0].to_bits(), losses[1].to_bits());
    let text = write(dir.path(), "book.txt", &"Once upon a time there was a word. ".repeat(20));
    let out = arg(&dir.path().join("text-out"));
    let args = ["train", "--data", &text, "--out", &out, "--max-steps", "1", "--max-length", "32"];
    let run = postil(&args);
    assert!(run.expect_ok().stderr.contains("book.txt: plain text"), "{}", run.stderr);
    // What is counted are the parts that are read at once.
    let shown = postil(&["data", "--data", &text]);
    assert!(shown.expect_ok().stdout.contains("\nparts            1\n"), "{}", shown.stdout);
}

/// What a pipe gives is read more than once all the same.
#[cfg(unix)]
#[test]
fn pipes_lose_nothing() {
    use std::io::Write;
    use std::process::Stdio;

    let dir = folder();
    // More than is looked at to tell the format.
    let rows =
        format!("{{\"prompt\": \"Why?\", \"completion\": \"{}\"}}\n", "word ".repeat(20)).repeat(12_000);
    let through_pipe = |args: &[&str], text: &str| {
        let mut command = command(args);
        command.stdin(Stdio::piped()).env("TMPDIR", dir.path());
        let mut child = command.spawn().expect("the binary runs");
        let mut pipe = child.stdin.take().expect("a pipe");
        let text = text.to_owned();
        let writer = std::thread::spawn(move || pipe.write_all(text.as_bytes()));
        let output = child.wait_with_output().expect("it ends");
        writer.join().expect("no panic").expect("all was read");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (String::from_utf8(output.stdout).expect("UTF-8"), String::from_utf8(output.stderr).expect("UTF-8"))
    };
    let (shown, _) = through_pipe(&["data", "--data", "/dev/stdin", "--json"], &rows);
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!((&shown["records"], &shown["file_format"]), (&12_000.into(), &"JSON Lines".into()));

    let out = arg(&dir.path().join("out"));
    let args = ["train", "--data", "-", "--max-steps", "1", "--max-length", "16", "--out", &out, "--json"];
    let (first, said) = through_pipe(&args, &write_rows());
    assert!(
        said.contains("standard input is no file, so that the run file cannot repeat this run"),
        "{said}"
    );
    // Given the data again, it can.
    let (file, again) = (format!("{out}/run.json"), arg(&dir.path().join("again")));
    let (second, _) = through_pipe(&["train", "--run", &file, "--out", &again, "--json"], &write_rows());
    let loss = |said: &str| serde_json::from_str::<serde_json::Value>(said).expect("JSON")["loss"].clone();
    assert_eq!(loss(&first), loss(&second));
    let left: Vec<_> = std::fs::read_dir(dir.path()).expect("a folder").flatten().collect();
    assert_eq!(left.len(), 2, "the temporary files are gone: {left:?}");
    postil(&["train", "--data", "-", "--eval-data", "-", "--out", &arg(&dir.path().join("both"))])
        .expect_error(&["--data and --eval-data are both standard input"]);
    postil(&["data", "--data", "-"]).expect_error(&["standard input: the file is empty"]);
}

#[cfg(unix)]
fn write_rows() -> String {
    let dir = folder();
    std::fs::read_to_string(write_data(dir.path())).expect("the data set")
}

#[test]
fn what_cannot_be_read_is_one_error() {
    let dir = folder();
    let csv = write(dir.path(), "rows.csv", ROWS);
    let data = |more: &[&str]| postil(&[&["data", "--data", &csv], more].concat());
    let unknown = write(dir.path(), "unknown.csv", "ask,reply\na,b\n");
    let unknown = postil(&["data", "--data", &unknown]);
    unknown.expect_error(&["unknown.csv", "\"ask\", \"reply\"", "with --columns"]);
    data(&["--columns", "prompt=ask,completion=answer"])
        .expect_error(&["there is no column \"ask\"; the columns are \"question\", \"answer\""]);
    data(&["--columns", "prompt=ask"]).expect_error(&["no column \"ask\"", "\"question\", \"answer\""]);
    data(&["--columns", "prompt"]).expect_error(&["--columns", "field=column"]);
    data(&["--data-format", "xml"]).expect_error(&["--data-format", "parquet"]);
    data(&["--data-format", "parquet"]).expect_error(&["rows.csv", "no valid Parquet"]);
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/host/fixtures/messages.parquet");
    let mut damaged = std::fs::read(fixture).expect("the fixture");
    // Here the crate that reads Parquet panics.
    damaged[1122] ^= 1;
    let path = dir.path().join("damaged.parquet");
    std::fs::write(&path, damaged).expect("writable");
    postil(&["data", "--data", &arg(&path)]).expect_error(&["damaged.parquet", "damaged Parquet"]);
    let broken = write(dir.path(), "broken.parquet", "nothing");
    postil(&["data", "--data", &broken]).expect_error(&["broken.parquet", "PAR1"]);
    postil(&["data", "--columns", COLUMNS]).expect_error(&["--columns", "built in"]);
    let out = arg(&dir.path().join("out"));
    let args =
        ["train", "--data", &csv, "--columns", COLUMNS, "--out", &out, "--packing", "--group-by-length"];
    assert!(postil(&args).stderr.contains("cannot be used with"));
}
