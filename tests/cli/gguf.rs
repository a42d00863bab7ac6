//! A GGUF file in place of a folder.

use std::path::Path;

use super::common::*;

#[test]
fn every_command_takes_one() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/host/fixtures/gguf/llama-llama-bpe.gguf");
    let (dir, file) = (folder(), arg(&file));
    let rows = arg(&write_data(dir.path()));
    let params = postil(&["params", "--model", &file, "--rank", "4", "--json"]).json();
    // One layer of hidden size 32: q 32 x 32, k and v 32 x 16, o 32 x 32; gate and up 32 x 64, down 64 x 32.
    assert_eq!(params["trainable"], 4 * (64 + 48 + 48 + 64 + 96 + 96 + 96));
    let loss = |more: &[&str]| {
        let mut args = vec!["eval", "--model", &file, "--data", &rows, "--json"];
        args.extend(more);
        postil(&args).json()["loss"].as_f64().expect("a loss")
    };
    let before = loss(&[]);
    // Random weights know nothing of the 602 tokens.
    assert!((before - 602f64.ln()).abs() < 1.0, "{before}");
    let out = arg(&dir.path().join("out"));
    let train =
        ["train", "--model", &file, "--data", &rows, "--out", &out, "--rank", "8", "--max-steps", "30"];
    postil(&[&train[..], &["--lr", "0.02", "--json"]].concat()).expect_ok();
    let after = loss(&["--adapter", &out]);
    assert!(after < before - 0.5, "{before} to {after}");
    let generate =
        ["generate", "--model", &file, "--prompt", "Word", "--chat", "--max-new-tokens", "4", "--json"];
    assert!(postil(&generate).json()["tokens"].as_u64().expect("a count") > 0);
}

#[test]
fn a_damaged_one_is_refused() {
    let dir = folder();
    let file = dir.path().join("model.gguf");
    let bytes =
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/host/fixtures/gguf/llama-spm.gguf"));
    let bytes = bytes.expect("a fixture");
    std::fs::write(&file, &bytes[..bytes.len() - 100]).expect("writable");
    postil(&["params", "--model", &arg(&file)]).expect_error(&["model.gguf", "truncated"]);
    std::fs::write(&file, b"PK\x03\x04").expect("writable");
    postil(&["params", "--model", &arg(&file)]).expect_error(&["model.gguf", "not a GGUF file"]);
    postil(&["params", "--model", &arg(&dir.path().join("none.gguf"))]).expect_error(&["none.gguf"]);
}

#[test]
fn its_name_says_nothing() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/host/fixtures/gguf");
    let (dir, named) = (folder(), fixtures.join("llama-spm.gguf"));
    // As Ollama keeps them.
    let blob = dir.path().join("sha256-8eeb52dfb3bb9aefdf9d1ef24b3bdbcfbe82238798c4b918278320b6fcef18fe");
    std::fs::copy(&named, &blob).expect("a fixture");
    let params = |path: &Path| postil(&["params", "--model", &arg(path), "--json"]);
    assert_eq!(params(&blob).json(), params(&named).json());
    std::fs::write(&blob, b"GGU").expect("writable");
    params(&blob).expect_error(&["sha256-", "not a GGUF file"]);
}
