//! Safetensors headers, good and hostile.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use pollster::block_on;
use postil::checkpoint::{SafetensorsFile, TensorSource, write_safetensors};
use postil::source::{BoxFuture, ByteSource, MemorySource};
use postil::{ErrorKind, Result};
use safetensors::Dtype;

/// A file with this header and `data_bytes` bytes 0, 1, 2 … after it.
fn file(header: &str, data_bytes: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend((0..data_bytes).map(|index| index as u8));
    bytes
}

fn open(bytes: Vec<u8>) -> Result<SafetensorsFile> {
    block_on(SafetensorsFile::open(Rc::new(MemorySource::new("model.safetensors", bytes))))
}

fn refused(bytes: Vec<u8>, texts: &[&str]) {
    let error = open(bytes).err().unwrap_or_else(|| panic!("{texts:?}: accepted"));
    assert_eq!(error.kind(), ErrorKind::Format, "{error}");
    let message = error.to_string();
    for text in texts.iter().chain(&["model.safetensors"]) {
        assert!(message.contains(text), "{text:?} is not in: {message}");
    }
}

#[test]
fn reads_tensors_in_slices() {
    let header = r#"{"b":{"dtype":"F16","shape":[2,2],"data_offsets":[0,8]},"__metadata__":{"format":"pt"},
        "a":{"dtype":"BF16","shape":[3],"data_offsets":[8,14]},"empty":{"dtype":"F32","shape":[0,7],"data_offsets":[8,8]},
        "scalar":{"dtype":"F32","shape":[],"data_offsets":[14,18]}}   "#;
    let file = open(file(header, 18)).expect("a good file");
    assert_eq!(file.names().collect::<Vec<_>>(), ["a", "b", "empty", "scalar"]);
    assert_eq!(file.metadata(), &BTreeMap::from([("format".to_owned(), "pt".to_owned())]));
    let a = file.info("a").expect("a tensor");
    assert_eq!((a.dtype, a.shape.as_slice(), a.bytes()), (Dtype::BF16, &[3][..], 6));
    assert!(file.info("c").is_none());
    let read = |name, range| block_on(file.read(name, range));
    assert_eq!(read("a", 0..6).expect("bytes"), [8, 9, 10, 11, 12, 13]);
    assert_eq!(read("a", 2..4).expect("bytes"), [10, 11]);
    assert_eq!(read("b", 7..8).expect("bytes"), [7]);
    assert!(read("empty", 0..0).expect("bytes").is_empty());
    #[expect(clippy::reversed_empty_ranges, reason = "a caller's mistake")]
    for (name, range) in [("a", 0..7), ("a", 4..2), ("a", 0..u64::MAX), ("empty", 0..1), ("c", 0..0)] {
        let error = read(name, range).expect_err(name);
        assert_eq!(error.kind(), ErrorKind::Format);
        assert!(error.to_string().contains("model.safetensors"), "{error}");
    }
}

#[test]
fn refuses_hostile_lengths() {
    refused(Vec::new(), &["truncated"]);
    refused(vec![1, 0, 0], &["truncated"]);
    refused(u64::MAX.to_le_bytes().to_vec(), &["18446744073709551615", "at most 0"]);
    let mut huge = (1u64 << 40).to_le_bytes().to_vec();
    huge.extend(b"{}");
    refused(huge, &["1099511627776"]);
    let mut beyond = 3u64.to_le_bytes().to_vec();
    beyond.extend(b"{}");
    refused(beyond, &["3 bytes", "at most 2"]);
}

/// A source that claims to be large and counts what is read of it.
struct Claims {
    header_bytes: u64,
    read: Cell<usize>,
}

impl ByteSource for Claims {
    fn name(&self) -> &str {
        "model.safetensors"
    }

    fn len(&self) -> u64 {
        1 << 40
    }

    fn read(&self, _: u64, len: usize) -> BoxFuture<'_, Result<Vec<u8>>> {
        self.read.set(self.read.get() + len);
        Box::pin(async move { Ok(self.header_bytes.to_le_bytes()[..len].to_vec()) })
    }
}

#[test]
fn takes_no_memory_for_a_header_over_the_limit() {
    let source = Rc::new(Claims { header_bytes: 100_000_001, read: Cell::new(0) });
    let error = block_on(SafetensorsFile::open(source.clone())).err().expect("over the limit");
    assert_eq!(error.kind(), ErrorKind::Format);
    assert_eq!(source.read.get(), 8);
}

#[test]
fn refuses_hostile_headers() {
    let one = |dtype: &str, shape: &str, begin: u64, end: u64| {
        format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{begin},{end}]}}}}"#)
    };
    refused(file("{", 0), &["not valid"]);
    refused(file("[]", 0), &["not valid"]);
    refused(file("\u{1}", 0), &["not valid"]);
    refused(file(r#"{"w":{"dtype":"F32"}}"#, 0), &["shape"]);
    refused(file(&one("F33", "[1]", 0, 4), 4), &["F33"]);
    refused(file(&one("F32", "[-1]", 0, 4), 4), &["-1"]);
    refused(file(&one("F32", "[2]", 0, 4), 4), &["tensor w", "needs 8 bytes", "0 to 4"]);
    refused(file(&one("F32", "[1]", 4, 0), 4), &["tensor w", "4 to 0"]);
    refused(file(&one("F4", "[3]", 0, 2), 2), &["tensor w", "whole byte"]);
    refused(file(&one("F32", "[4294967296,4294967296]", 0, 4), 4), &["tensor w", "overflows"]);
    refused(file(&one("F32", "[9223372036854775807,2,2]", 0, 0), 4), &["tensor w", "overflows"]);
    refused(file(&one("F32", "[2]", 0, 8), 7), &["tensor w", "truncated"]);
    refused(file(&one("F32", "[1]", 4, 8), 8), &["tensor w", "gap"]);
    refused(file(&one("F32", "[1]", 0, 4), 5), &["has"]);
    refused(file(&one("F32", "[1]", 18446744073709551612, u64::MAX), 8), &["tensor w"]);
    let overlap = r#"{"v":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"w":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#;
    refused(file(overlap, 12), &["tensor w", "overlaps"]);
    let twice = r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#;
    refused(file(twice, 8), &["w appears twice"]);
    refused(file(r#"{"__metadata__":{"a":1}}"#, 0), &["not valid"]);
}

#[test]
fn writes_what_the_crate_and_we_read() {
    let tensors = [
        ("x", Dtype::F16, vec![2, 2], Cow::Borrowed(&[1u8, 2, 3, 4, 5, 6, 7, 8][..])),
        ("y", Dtype::F32, vec![1], Cow::Borrowed(&[9u8, 9, 9, 9][..])),
    ];
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let bytes = write_safetensors(&tensors, &metadata).expect("a file");
    let theirs = safetensors::SafeTensors::deserialize(&bytes).expect("a good file");
    assert_eq!(theirs.tensor("x").expect("a tensor").data(), [1, 2, 3, 4, 5, 6, 7, 8]);
    let ours = open(bytes).expect("a good file");
    assert_eq!(block_on(ours.read("y", 0..4)).expect("bytes"), [9; 4]);
    assert_eq!(ours.metadata(), &metadata);

    let short = [("x", Dtype::F32, vec![2], Cow::Borrowed(&[0u8; 4][..]))];
    assert!(write_safetensors(&short, &metadata).is_err());
    let twice = [tensors[1].clone(), tensors[1].clone()];
    assert!(write_safetensors(&twice, &metadata).expect_err("two of a name").to_string().contains('y'));
}
