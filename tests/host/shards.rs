//! Models in several safetensors files, and names with and without their prefix.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;

use pollster::block_on;
use postil::base::read_model;
use postil::checkpoint::{
    Canonical, INDEX_FILE, SafetensorsFile, ShardIndex, TensorSource, open_weights, write_safetensors,
};
use postil::source::{ByteSource, MemorySource};
use postil::{Error, ErrorKind, Result, demo};
use safetensors::Dtype;
use serde_json::{Value, json};

const FILES: [&str; 2] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];

fn shard(tensors: &[(&str, &[u8])]) -> Vec<u8> {
    let tensors: Vec<_> = tensors
        .iter()
        .map(|&(name, bytes)| (name, Dtype::U8, vec![bytes.len()], Cow::Borrowed(bytes)))
        .collect();
    write_safetensors(&tensors, &BTreeMap::new()).expect("a file")
}

/// Two shards: `a` and `b`, then `c`.
fn shards() -> Vec<(String, Rc<dyn ByteSource>)> {
    let files = [shard(&[("a", &[1, 2]), ("b", &[3])]), shard(&[("c", &[4, 5, 6])])];
    let source = |name: &str, bytes| Rc::new(MemorySource::new(name, bytes)) as Rc<dyn ByteSource>;
    FILES.iter().zip(files).map(|(&name, bytes)| (name.to_owned(), source(name, bytes))).collect()
}

fn index() -> Value {
    json!({
        "metadata": { "total_size": 6 },
        "weight_map": { "a": FILES[0], "b": FILES[0], "c": FILES[1] },
    })
}

fn open(index: &Value) -> Result<Rc<dyn TensorSource>> {
    block_on(open_weights(&shards(), Some(index.to_string().as_bytes())))
}

fn refused(result: Result<Rc<dyn TensorSource>>, kind: ErrorKind, parts: &[&str]) {
    let error: Error = result.err().unwrap_or_else(|| panic!("{parts:?}: accepted"));
    assert_eq!(error.kind(), kind, "{error}");
    for part in parts {
        assert!(error.to_string().contains(part), "{part:?} is not in: {error}");
    }
}

#[test]
fn shards_are_one_source() {
    let source = open(&index()).expect("good shards");
    assert_eq!(source.name(), INDEX_FILE);
    assert_eq!(source.names().collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(block_on(source.read("c", 1..3)).expect("bytes"), [5, 6]);
    assert_eq!(block_on(source.read("b", 0..1)).expect("bytes"), [3]);
    assert!(block_on(source.read("d", 0..0)).is_err());
    // In any order, with a total that is wrong or missing, beside files that are not named.
    let mut files = shards();
    files.reverse();
    files.push(("other.safetensors".into(), Rc::new(MemorySource::new("other", Vec::new()))));
    for metadata in [json!({ "total_size": 7 }), json!({}), json!({ "total_size": null, "x": 1 })] {
        let mut index = index();
        index["metadata"] = metadata;
        assert!(block_on(open_weights(&files, Some(index.to_string().as_bytes()))).is_ok());
    }
}

#[test]
fn files_that_do_not_fit_the_index() {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut index = index();
        change(&mut index);
        open(&index)
    };
    let missing = with(&|i| i["weight_map"]["d"] = "model-00003-of-00002.safetensors".into());
    refused(missing, ErrorKind::Io, &["model-00003-of-00002.safetensors", "missing"]);
    refused(with(&|i| i["weight_map"]["d"] = FILES[1].into()), ErrorKind::Format, &[FILES[1], "no tensor d"]);
    refused(
        with(&|i| i["weight_map"]["b"] = FILES[1].into()),
        ErrorKind::Format,
        &["tensor b", FILES[0], FILES[1]],
    );
    let unnamed = with(&|i| drop(i["weight_map"].as_object_mut().expect("a map").remove("b")));
    refused(unnamed, ErrorKind::Format, &["tensor b", FILES[0]]);
    refused(block_on(open_weights(&shards(), None)), ErrorKind::Io, &[INDEX_FILE, "2 files"]);
    refused(block_on(open_weights(&[], None)), ErrorKind::Io, &["no file"]);
}

#[test]
fn hostile_indexes() {
    for name in [
        "../model.safetensors",
        "/etc/model.safetensors",
        "sub/model.safetensors",
        r"..\model.safetensors",
        r"C:model.safetensors",
        ".safetensors",
        "..",
        "",
        "model.bin",
        "a\0.safetensors",
        "a\n.safetensors",
    ] {
        let json = json!({ "weight_map": { "a": name } }).to_string();
        let error = ShardIndex::parse(json.as_bytes()).expect_err(name);
        assert_eq!(error.kind(), ErrorKind::Format);
        assert!(
            error.to_string().contains("tensor a") && error.to_string().contains("plain name"),
            "{error}"
        );
    }
    for json in ["", "{}", "[]", r#"{"weight_map":{}}"#, r#"{"weight_map":{"a":1}}"#, r#"{"weight_map":[]}"#]
    {
        let error = ShardIndex::parse(json.as_bytes()).expect_err(json);
        assert!(error.to_string().contains(INDEX_FILE), "{error}");
    }
}

/// The built-in model, cut in two on disk.
#[test]
fn a_folder_of_shards() {
    let demo = block_on(demo::base_files()).expect("the files");
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).expect("a file");
    write("config.json", &demo.text.config);
    write("tokenizer.json", &demo.text.tokenizer.tokenizer);
    let mut halves = [Vec::new(), Vec::new()];
    let mut map = serde_json::Map::new();
    for (at, name) in demo.weights.names().enumerate() {
        let info = demo.weights.info(name).expect("named");
        let bytes = block_on(demo.weights.read(name, 0..info.bytes())).expect("bytes");
        halves[at % 2].push((name, info.dtype, info.shape.clone(), Cow::Owned(bytes)));
        map.insert(name.to_owned(), FILES[at % 2].into());
    }
    for (file, tensors) in FILES.iter().zip(&halves) {
        write(file, &write_safetensors(tensors, &BTreeMap::new()).expect("a file"));
    }
    let missing = block_on(read_model(dir.path())).err().expect("no weights yet");
    assert!(missing.to_string().contains("model.safetensors"), "{missing}");
    write(INDEX_FILE, json!({ "weight_map": map }).to_string().as_bytes());
    let files = block_on(read_model(dir.path())).expect("a folder");
    assert!(files.weights.names().eq(demo.weights.names()));
    let read = |source: &dyn TensorSource, name: &str| block_on(source.read(name, 0..8)).expect("bytes");
    for name in demo.weights.names() {
        assert_eq!(read(&*files.weights, name), read(&*demo.weights, name), "{name}");
    }
    std::fs::remove_file(dir.path().join(FILES[1])).expect("a file");
    let error = block_on(read_model(dir.path())).err().expect("a shard is missing");
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains(FILES[1]), "{error}");
}

#[test]
fn names_have_one_spelling() {
    let canonical = |names: &[&str]| -> Result<Vec<String>> {
        let bytes = shard(&names.iter().map(|&name| (name, name.as_bytes())).collect::<Vec<_>>());
        let file = block_on(SafetensorsFile::open(Rc::new(MemorySource::new("model.safetensors", bytes))))?;
        let source = Canonical::new(&file)?;
        for name in source.names() {
            let bytes = block_on(source.read(name, 0..source.info(name).expect("named").bytes()))?;
            assert!(names.contains(&str::from_utf8(&bytes).expect("a name")));
        }
        assert!(block_on(source.read("x", 0..0)).is_err() && source.info("x").is_none());
        Ok(source.names().map(str::to_owned).collect())
    };
    let llama = [
        "lm_head.weight",
        "model.embed_tokens.weight",
        "model.layers.0.mlp.up_proj.weight",
        "model.norm.weight",
    ];
    assert_eq!(canonical(&llama).expect("names"), llama);
    let bare = ["embed_tokens.weight", "layers.0.mlp.up_proj.weight", "norm.weight"];
    assert_eq!(canonical(&bare).expect("names"), llama[1..]);
    let gpt2 = ["h.0.ln_1.weight", "ln_f.weight", "wpe.weight", "wte.weight"];
    assert_eq!(canonical(&gpt2).expect("names"), gpt2.map(|name| format!("transformer.{name}")));
    let four = llama.map(|name| format!("language_model.{name}"));
    assert_eq!(canonical(&four.each_ref().map(String::as_str)).expect("names"), llama);
    let five = [
        "lm_head.weight",
        "model.language_model.embed_tokens.weight",
        "model.language_model.layers.0.mlp.up_proj.weight",
        "model.language_model.norm.weight",
    ];
    assert_eq!(canonical(&five).expect("names"), llama);
    let error = canonical(&["norm.weight", "model.norm.weight"]).expect_err("twice the same");
    assert!(error.to_string().contains("model.norm.weight and norm.weight"), "{error}");
}
