//! GGUF files that lie.

use std::cell::Cell;
use std::rc::Rc;

use pollster::block_on;
use postil::checkpoint::GgufFile;
use postil::source::{BoxFuture, ByteSource, MemorySource};
use postil::{ErrorKind, Result};

use super::gguf_writer::{F32, Gguf, Q8_0, Value, text};

fn good() -> Gguf {
    let mut gguf = Gguf::new([
        ("general.architecture", Value::Text("llama".into())),
        ("llama.attention.head_count", Value::U32(2)),
        ("llama.test", Value::Floats(vec![1.0; 5])),
    ]);
    for name in ["token_embd.weight", "output.weight"] {
        gguf.tensors.push((name.into(), vec![3, 4], F32, vec![0; 48]));
    }
    gguf
}

fn refused(bytes: Vec<u8>, kind: ErrorKind, parts: &[&str]) {
    let opened = block_on(GgufFile::open(Rc::new(MemorySource::new("model.gguf", bytes))));
    let error = opened.err().unwrap_or_else(|| panic!("{parts:?}: accepted"));
    assert_eq!(error.kind(), kind, "{error}");
    for part in parts.iter().chain(&["model.gguf"]) {
        assert!(error.to_string().contains(part), "{part:?} is not in: {error}");
    }
}

#[test]
fn wrong_magic_and_versions() {
    let good = good();
    assert!(block_on(GgufFile::open(Rc::new(MemorySource::new("model.gguf", good.bytes())))).is_ok());
    let two = Gguf { version: 2, ..good.clone() };
    assert!(block_on(GgufFile::open(Rc::new(MemorySource::new("model.gguf", two.bytes())))).is_ok());
    refused(b"".to_vec(), ErrorKind::Format, &["not a GGUF file"]);
    refused(b"ggjt\x03\0\0\0".to_vec(), ErrorKind::Format, &["not a GGUF file"]);
    for version in [0, 1, 4] {
        let bytes = Gguf { version, ..good.clone() }.bytes();
        refused(bytes, ErrorKind::Unsupported, &[&format!("version {version}"), "expected 2 or 3"]);
    }
    let big_endian = Gguf { version: 3u32.swap_bytes(), ..good };
    refused(big_endian.bytes(), ErrorKind::Unsupported, &["big-endian"]);
}

/// Wherever the file ends, it is an error and nothing else.
#[test]
fn truncated_anywhere() {
    let bytes = good().bytes();
    for len in 0..bytes.len() {
        let cut = bytes[..len].to_vec();
        let error = block_on(GgufFile::open(Rc::new(MemorySource::new("model.gguf", cut)))).err();
        let error = error.unwrap_or_else(|| panic!("{len} of {} bytes: accepted", bytes.len()));
        assert_eq!(error.kind(), ErrorKind::Format, "{len}: {error}");
    }
}

#[test]
fn lying_counts_and_lengths() {
    let header = |tensors: u64, keys: u64| {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(tensors.to_le_bytes());
        bytes.extend(keys.to_le_bytes());
        bytes
    };
    refused(header(0, u64::MAX), ErrorKind::Format, &["truncated"]);
    refused(header(u64::MAX, 0), ErrorKind::Format, &["truncated"]);
    for length in [1 << 20, 1 << 40, u64::MAX] {
        let mut key = header(0, 1);
        key.extend(length.to_le_bytes());
        key.extend([b'a'; 64]);
        refused(key, ErrorKind::Format, &["truncated", &length.to_string()]);
    }
    // Lists of numbers (u8, f64) and of texts that claim more than the file has.
    for kind in [0u32, 12, 8] {
        for count in [1 << 32, u64::MAX / 8 + 1, u64::MAX] {
            let mut list = header(0, 1);
            text(&mut list, "list");
            list.extend(9u32.to_le_bytes());
            list.extend(kind.to_le_bytes());
            list.extend(count.to_le_bytes());
            refused(list, ErrorKind::Format, &["list", "truncated"]);
        }
    }
    let mut long = header(0, 1);
    text(&mut long, &"k".repeat(1 << 16));
    long.extend([0; 64]);
    refused(long, ErrorKind::Format, &["key", "65536"]);
    let mut nested = header(0, 1);
    text(&mut nested, "list");
    nested.extend([9u32, 9].map(u32::to_le_bytes).concat());
    nested.extend(1u64.to_le_bytes());
    refused(nested, ErrorKind::Unsupported, &["list", "type 9"]);
    let mut unknown = header(0, 1);
    text(&mut unknown, "odd");
    unknown.extend(13u32.to_le_bytes());
    refused(unknown, ErrorKind::Format, &["odd", "type 13"]);
    let mut latin = header(0, 1);
    latin.extend(1u64.to_le_bytes());
    latin.extend([0xE9, 0, 0, 0, 0]);
    refused(latin, ErrorKind::Format, &["UTF-8"]);
}

/// A source that claims to be large and counts what is read of it.
struct Claims {
    start: Vec<u8>,
    read: Cell<usize>,
}

impl ByteSource for Claims {
    fn name(&self) -> &str {
        "model.gguf"
    }

    fn len(&self) -> u64 {
        1 << 40
    }

    fn read(&self, offset: u64, len: usize) -> BoxFuture<'_, Result<Vec<u8>>> {
        self.read.set(self.read.get() + len);
        let mut bytes = self.start.get(offset as usize..).unwrap_or_default().to_vec();
        bytes.resize(len, 0);
        Box::pin(async move { Ok(bytes) })
    }
}

#[test]
fn takes_no_memory_for_a_header_over_the_limit() {
    let mut start = b"GGUF\x03\0\0\0".to_vec();
    start.extend([0u64, 1].map(u64::to_le_bytes).concat());
    text(&mut start, "huge");
    start.extend(8u32.to_le_bytes());
    start.extend((1u64 << 33).to_le_bytes());
    let source = Rc::new(Claims { start, read: Cell::new(0) });
    let error = block_on(GgufFile::open(source.clone())).err().expect("over the limit");
    assert_eq!(error.kind(), ErrorKind::Format, "{error}");
    assert!(source.read.get() <= 1 << 20, "{}", source.read.get());
    // Without end: stops at the limit of a header.
    let mut start = b"GGUF\x03\0\0\0".to_vec();
    start.extend([u64::MAX, 0].map(u64::to_le_bytes).concat());
    let source = Rc::new(Claims { start, read: Cell::new(0) });
    assert!(block_on(GgufFile::open(source.clone())).is_err());
    assert!(source.read.get() <= 65 << 20, "{}", source.read.get());
}

#[test]
fn lying_tensors() {
    let good = good();
    let changed = |change: &dyn Fn(&mut Gguf)| {
        let mut gguf = good.clone();
        change(&mut gguf);
        gguf.bytes()
    };
    refused(good.with_offset(1, 16), ErrorKind::Format, &["output.weight", "alignment 32"]);
    refused(good.with_offset(1, 32), ErrorKind::Format, &["output.weight", "token_embd.weight", "overlap"]);
    refused(good.with_offset(1, 96), ErrorKind::Format, &["output.weight", "truncated"]);
    refused(good.with_offset(1, u64::MAX - 31), ErrorKind::Format, &["output.weight", "truncated"]);
    refused(changed(&|g| g.tensors[1].0 = "token_embd.weight".into()), ErrorKind::Format, &["appears twice"]);
    refused(
        changed(&|g| g.metadata.push(g.metadata[1].clone())),
        ErrorKind::Format,
        &["head_count", "twice"],
    );
    refused(changed(&|g| g.tensors[0].1 = vec![]), ErrorKind::Format, &["token_embd.weight", "0 dimensions"]);
    refused(
        changed(&|g| g.tensors[0].1 = vec![1; 5]),
        ErrorKind::Format,
        &["token_embd.weight", "5 dimensions"],
    );
    refused(
        changed(&|g| g.tensors[0].1 = vec![usize::MAX, 8]),
        ErrorKind::Format,
        &["token_embd.weight", "overflows"],
    );
    refused(
        changed(&|g| g.tensors[0].1 = vec![1 << 40, 4]),
        ErrorKind::Format,
        &["token_embd.weight", "truncated"],
    );
    refused(
        changed(&|g| g.tensors[0].2 = 16),
        ErrorKind::Unsupported,
        &["token_embd.weight", "IQ2_XXS", "Q4_K"],
    );
    refused(changed(&|g| g.tensors[0].2 = 4711), ErrorKind::Unsupported, &["token_embd.weight", "4711"]);
    refused(
        changed(&|g| g.tensors[0].2 = Q8_0),
        ErrorKind::Format,
        &["token_embd.weight", "rows of 4", "32"],
    );
    for name in [
        "blk.0.attn_qkv.weight",
        "blk.x.attn_q.weight",
        "blk.00.attn_q.weight",
        "blk.0.attn_norm.bias",
        "v.blk.0",
    ] {
        refused(changed(&|g| g.tensors[0].0 = name.into()), ErrorKind::Unsupported, &[name, "llama"]);
    }
    // Three rows do not make two heads.
    let query = |g: &mut Gguf| g.tensors[0].0 = "blk.0.attn_q.weight".into();
    refused(changed(&query), ErrorKind::Format, &["blk.0.attn_q.weight", "3 rows", "head_count"]);
    let no_heads = |g: &mut Gguf| {
        query(g);
        g.metadata[1].1 = Value::U32(0);
    };
    refused(changed(&no_heads), ErrorKind::Format, &["blk.0.attn_q.weight", "head_count"]);
    for alignment in [0, 7, 1 << 30] {
        let key = ("general.alignment".into(), Value::U32(alignment));
        refused(changed(&|g| g.metadata.push(key.clone())), ErrorKind::Format, &["general.alignment"]);
    }
}

#[test]
fn other_kinds_of_files() {
    let with = |key: &str, value: Value| {
        let mut gguf = good();
        gguf.metadata.retain(|(found, _)| found != key);
        gguf.metadata.push((key.into(), value));
        gguf.bytes()
    };
    let text = |text: &str| Value::Text(text.into());
    refused(with("general.architecture", text("mamba")), ErrorKind::Unsupported, &["mamba", "gemma3"]);
    refused(
        with("general.architecture", Value::U32(1)),
        ErrorKind::Format,
        &["general.architecture", "a text"],
    );
    refused(with("general.type", text("adapter")), ErrorKind::Unsupported, &["adapter"]);
    refused(with("split.count", Value::U32(3)), ErrorKind::Unsupported, &["llama-gguf-split"]);
    let mut none = good();
    none.metadata.remove(0);
    refused(none.bytes(), ErrorKind::Format, &["general.architecture is missing"]);
}
