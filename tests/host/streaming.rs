//! Large data sets: read as they are needed, kept as tokens, in a file when they are many; and what is said of them.

use std::io::Write;

use postil::ErrorKind;
use postil::data::{Bar, Columns, DataFormat, Dataset, Example, Examples, PrepareOptions};

use crate::data::{OPTIONS, chatml, open, prepare, trained};

#[test]
fn examples_survive_the_temporary_file() {
    // Some 17 million tokens of four bytes are more than what is kept in memory.
    let example = |i: u32| {
        let len = 2 + i % 6000;
        let ids = (0..len).map(|at| i.wrapping_mul(31).wrapping_add(at) % (1 << 31)).collect();
        Example { input_ids: ids, trained: (0..len).map(|at| at > 0 && (at + i).is_multiple_of(3)).collect() }
    };
    let stored = Examples::new((0..7000).map(example)).unwrap();
    assert_eq!(stored.len(), 7000);
    let tokens: usize = (0..7000).map(|i| stored.tokens(i)).sum();
    assert!(tokens * 4 > 64 << 20, "{tokens} tokens fit into memory");
    for i in [6999, 0, 5999, 6000, 17, 6998] {
        assert_eq!(stored.get(i).unwrap(), example(i as u32));
    }
    let some = stored.choose([5, 3, 6000]).choose([2, 0]);
    let found: Vec<_> = some.iter().map(|example| example.unwrap()).collect();
    assert_eq!(found, [example(6000), example(5)]);
    assert_eq!(some.tokens(1), 7);
}

#[test]
fn a_file_is_read_in_order_by_all_processors() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    // More than is tokenised at once, with bad lines between.
    for i in 0..40_000 {
        let line = match i % 1000 {
            999 => "{\"text\": 3}".to_owned(),
            _ => format!("{{\"text\": \"Hello there, number {i} of the lines!\"}}"),
        };
        writeln!(file, "{line}").unwrap();
    }
    let path = file.into_temp_path();
    let data = Dataset::open(&path, DataFormat::default(), Columns::default()).unwrap();
    let done = prepare(&data, &chatml(), 428, &OPTIONS).unwrap();
    assert_eq!((done.report.records, done.skipped.count), (39_960, 40));
    assert_eq!(done.skipped.first[1].line, 2000);
    assert_eq!((done.report.examples, done.duplicates), (39_960, 0));
    for (i, number) in [(0, 0), (998, 998), (999, 1000), (39_959, 39_998)] {
        let text = format!("Hello there, number {number} of the lines!<|im_end|>");
        assert_eq!(chatml().decode(&done.examples[i].input_ids, false).unwrap(), text);
    }
    // What is wrong with it is told where it is wrong, also when the file changes in between.
    std::fs::write(&path, "").unwrap();
    assert_eq!(prepare(&data, &chatml(), 428, &OPTIONS).err().unwrap().kind(), ErrorKind::Data);
    std::fs::remove_file(&path).unwrap();
    let error = prepare(&data, &chatml(), 428, &OPTIONS).err().unwrap();
    assert!(error.kind() == ErrorKind::Io && error.to_string().contains(path.to_str().unwrap()), "{error}");
    let error = Dataset::open(std::env::temp_dir().as_path(), DataFormat::default(), Columns::default());
    assert!(error.unwrap_err().to_string().contains("a folder"));
}

#[test]
fn plain_text_becomes_full_pieces() {
    let tokenizer = chatml();
    let text = "Hello there! How are you today?\n\nI am fine, thank you. ".repeat(20);
    let data = open(text.as_bytes(), "book.txt").unwrap();
    let done = prepare(&data, &tokenizer, 428, &PrepareOptions { max_length: 32, ..OPTIONS }).unwrap();
    let whole = [tokenizer.encode(&text, true).unwrap(), vec![422]].concat();
    let pieces: Vec<_> = done.examples.iter().map(|example| example.input_ids.clone()).collect();
    assert_eq!(pieces.concat(), whole);
    assert!(pieces[..pieces.len() - 1].iter().all(|piece| piece.len() == 32));
    assert_eq!((done.truncated, done.without_targets, done.warnings.len()), (0, 0, 0));
    assert_eq!(done.target_tokens, done.total_tokens - pieces.len() as u64);

    // Parts of a long file end at line breaks; one without any is cut between characters.
    for line in ["é one two three\n", "é one two "] {
        let text = line.repeat(150_000);
        let data = open(text.as_bytes(), "book.txt").unwrap();
        let mut parts = Vec::new();
        data.read(&mut |number, record| {
            let Ok(postil::data::Record::Passage { text, ends }) = record else { panic!("a passage") };
            parts.push((number, text, ends));
            Ok(())
        })
        .unwrap();
        assert!(parts.len() > 1 && parts.iter().all(|(_, text, _)| text.len() <= 1 << 20));
        assert_eq!(parts.iter().map(|part| part.1.as_str()).collect::<String>(), text);
        assert_eq!(parts.iter().filter(|part| part.2).count(), 1);
        assert!(parts.last().unwrap().2);
    }
    let mut broken = vec![b'a'; (1 << 20) + 7];
    broken.push(0xFF);
    let error = open(&broken, "book.txt").unwrap().read(&mut |_, _| Ok(())).unwrap_err();
    assert!(error.to_string().contains("no UTF-8 from byte 1048584 on"), "{error}");
}

#[test]
fn reports_count_and_measure() {
    let mut lines = String::new();
    for i in 1..=100 {
        let words = "word ".repeat(i);
        lines += &format!("{{\"prompt\": \"{words}\", \"completion\": \" end\"}}\n");
    }
    lines += "{\"prompt\": \"word \", \"completion\": \" end\"}\nnothing\n";
    let data = open(lines.as_bytes(), "x.jsonl").unwrap();
    let all = prepare(&data, &chatml(), 428, &OPTIONS).unwrap();
    let lengths: Vec<usize> = all.examples.iter().map(|example| example.input_ids.len()).collect();
    let mut sorted = lengths.clone();
    sorted.sort_unstable();
    let at = |rank: usize| sorted[rank - 1];
    // The shortest length that p % of 101 examples do not exceed: rank ⌈1.01 p⌉.
    let l = all.lengths;
    assert_eq!(
        [l.min, l.p5, l.p25, l.p50, l.p75, l.p95, l.p99, l.max],
        [1, 6, 26, 51, 76, 96, 100, 101].map(at)
    );
    let mean = lengths.iter().sum::<usize>() as f64 / 101.0;
    assert!((l.mean - mean).abs() < 1e-9);
    let counted: usize = all.histogram.iter().map(|bar| bar.examples).sum();
    assert_eq!(counted, 101);
    for (i, &Bar { from, to, examples }) in all.histogram.iter().enumerate() {
        assert_eq!(examples, lengths.iter().filter(|&&len| (from..=to).contains(&len)).count());
        assert!(i == 0 || from == all.histogram[i - 1].to + 1);
    }
    assert!(all.histogram.len() <= 16 && all.histogram.len() > 4, "{:?}", all.histogram);
    assert_eq!((all.duplicates, all.skipped.count, all.unit), (1, 1, "line"));
    assert_eq!((all.file_format.as_str(), all.format.as_str()), ("JSON Lines", "prompt/completion"));

    let max_length = at(50);
    let cut = prepare(&data, &chatml(), 428, &PrepareOptions { max_length, ..OPTIONS }).unwrap();
    // Lengths are those before the cut, so that they tell which limit would do.
    assert_eq!(cut.lengths, all.lengths);
    assert_eq!((cut.limit, all.limit), (max_length, 512));
    let longer = lengths.iter().filter(|&&len| len > max_length).count();
    assert_eq!((cut.truncated, cut.report.examples + cut.without_targets), (longer, 101));
    assert!(cut.without_targets > 0);
    assert_eq!(cut.cut_away, cut.without_targets);
    let rows = postil::data::Rows::packed(cut.stored.clone(), max_length);
    assert_eq!((cut.packing.rows, cut.packing.max_length), (rows.len(), max_length));
    let efficiency = cut.total_tokens as f64 / (rows.len() * max_length) as f64;
    assert!((cut.packing.efficiency - efficiency).abs() < 1e-12 && efficiency > 0.9);
    assert!(trained(&chatml(), &cut).iter().all(|text| text.contains("end")));
}
