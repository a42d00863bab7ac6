//! Byte sources: what is read, and reading past the end.

use std::path::Path;

use pollster::block_on;
use postil::ErrorKind;
use postil::source::{ByteSource, FileSource, MemorySource};

fn check(source: &dyn ByteSource) {
    assert_eq!(source.len(), 5);
    assert!(!source.is_empty());
    assert_eq!(block_on(source.read(1, 3)).expect("bytes"), b"ell");
    assert_eq!(block_on(source.read(0, 5)).expect("bytes"), b"hello");
    assert_eq!(block_on(source.read(5, 0)).expect("bytes"), b"");
    for (offset, len) in [(0, 6), (3, 3), (6, 0), (u64::MAX, 1), (1, usize::MAX), (0, usize::MAX)] {
        let error = block_on(source.read(offset, len)).expect_err("past the end");
        assert_eq!(error.kind(), ErrorKind::Format, "{error}");
        assert!(error.to_string().contains("truncated"), "{error}");
        assert!(error.to_string().contains(source.name()), "{error}");
    }
}

#[test]
fn memory() {
    check(&MemorySource::new("greeting", b"hello".to_vec()));
    check(&MemorySource::new("greeting", &b"hello"[..]));
    assert!(MemorySource::new("nothing", Vec::new()).is_empty());
}

#[test]
fn file() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("greeting");
    std::fs::write(&path, "hello").expect("a file");
    check(&FileSource::open(&path).expect("the file"));
    for path in [dir.path(), Path::new("/no/such/file")] {
        let error = FileSource::open(path).err().expect("no file");
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
}

/// Long reads run beside each other, each where it was asked for.
#[test]
fn long_reads_of_a_file_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("long");
    let bytes: Vec<u8> = (0..1_000_000u32).map(|i| (i * 7 / 3) as u8).collect();
    std::fs::write(&path, &bytes).expect("a file");
    let file = FileSource::open(&path).expect("the file");
    let offsets = [500_000, 3, 700_001, 0, 250_000];
    let reads = futures_util::future::join_all(offsets.map(|offset| file.read(offset, 200_000)));
    for (offset, found) in offsets.iter().zip(block_on(reads)) {
        let at = *offset as usize;
        assert!(found.expect("bytes") == bytes[at..at + 200_000], "{offset}");
    }
    // The file becomes shorter after it was opened.
    std::fs::write(&path, &bytes[..600_000]).expect("a file");
    for len in [100_000, 1000] {
        let error = block_on(file.read(600_000 - 500, len)).expect_err("past the end");
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
}
