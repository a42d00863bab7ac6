//! Bad input: one clear error each, or a warning where the run can go on.

use std::path::Path;

use super::common::*;

/// Trains one step of `model` on `data` with further arguments.
fn train(dir: &Path, model: &str, data: &str, more: &[&str]) -> Finished {
    let out = arg(&dir.join("out"));
    let mut args = vec!["train", "--model", model, "--data", data, "--out", &out, "--max-steps", "1"];
    args.extend(more);
    postil(&args)
}

fn data(dir: &Path, text: &str) -> String {
    let path = dir.join("given.jsonl");
    std::fs::write(&path, text).expect("writable");
    arg(&path)
}

/// The demo's config with one field changed.
fn with_config(model: &Path, key: &str, value: serde_json::Value) {
    let path = model.join("config.json");
    let mut config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).expect("readable")).expect("JSON");
    config[key] = value;
    std::fs::write(&path, config.to_string()).expect("writable");
}

#[test]
fn weights_that_are_missing_truncated_or_lying() {
    let dir = folder();
    let rows = arg(&write_data(dir.path()));
    let model = copy_of_demo(dir.path());
    let weights = model.join("model.safetensors");
    let bytes = std::fs::read(&weights).expect("readable");
    let name = arg(&model);
    let fails = |parts: &[&str]| train(dir.path(), &name, &rows, &[]).expect_error(parts);

    std::fs::write(&weights, &bytes[..bytes.len() - 1000]).expect("writable");
    fails(&["model.safetensors", "truncated"]);
    std::fs::write(&weights, &bytes[..5]).expect("writable");
    fails(&["model.safetensors"]);
    // A header longer than the file, and one that promises more bytes than there are.
    let mut lying = bytes.clone();
    lying[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    std::fs::write(&weights, &lying).expect("writable");
    fails(&["model.safetensors", "header"]);
    let header_len = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")) as usize;
    let header = String::from_utf8(bytes[8..8 + header_len].to_vec()).expect("JSON");
    let wider = header.replacen("[192]", "[193]", 1);
    assert_ne!(header, wider);
    let mut lying = bytes.clone();
    lying[8..8 + header_len].copy_from_slice(wider.as_bytes());
    std::fs::write(&weights, &lying).expect("writable");
    fails(&["model.safetensors", "[193]"]);
    std::fs::remove_file(&weights).expect("removable");
    fails(&["model.safetensors is missing"]);
    std::fs::remove_file(model.join("tokenizer.json")).expect("removable");
    std::fs::write(&weights, &bytes).expect("writable");
    fails(&["tokenizer.json is missing"]);
    train(dir.path(), "no/such/folder", &rows, &[]).expect_error(&["no/such/folder", "not a folder"]);
}

#[test]
fn configurations_that_do_not_fit() {
    let dir = folder();
    let rows = arg(&write_data(dir.path()));
    let cases = [
        ("model_type", serde_json::json!("mamba"), &["model_type", "mamba"][..]),
        ("intermediate_size", serde_json::json!(513), &["gate_proj.weight", "513"]),
        ("vocab_size", serde_json::json!(2047), &["embed_tokens", "[2047, 192]"]),
        // Too small for the tokenizer, which is known before a weight is looked at.
        ("vocab_size", serde_json::json!(100), &["vocab_size is 100", "do not belong together"]),
        ("num_hidden_layers", serde_json::json!(5), &["model.layers.4", "missing"]),
        ("num_key_value_heads", serde_json::json!(4), &["num_key_value_heads"]),
        ("hidden_act", serde_json::json!("gelu"), &["hidden_act", "gelu"]),
    ];
    for (i, (key, value, parts)) in cases.into_iter().enumerate() {
        let here = dir.path().join(i.to_string());
        std::fs::create_dir(&here).expect("writable");
        let model = copy_of_demo(&here);
        with_config(&model, key, value);
        train(&here, &arg(&model), &rows, &[]).expect_error(parts);
    }
}

#[test]
fn data_that_cannot_be_trained_on() {
    let dir = folder();
    let fails = |text: &str, more: &[&str], parts: &[&str]| {
        train(dir.path(), "demo", &data(dir.path(), text), more).expect_error(parts);
    };
    fails("", &[], &["given.jsonl"]);
    fails("{\"question\": \"?\"}\nnot json\n", &[], &["given.jsonl", "messages"]);
    // Every target is cut away.
    let long = format!("{{\"prompt\": \"{}\", \"completion\": \"yes\"}}", "word ".repeat(50));
    fails(&long, &["--max-length", "8"], &["1 begins with", "raise --max-length"]);
    fails("{\"question\": \"?\"}", &[], &["no known format", "--columns"]);
    let gone = arg(&dir.path().join("gone.jsonl"));
    let missing = train(dir.path(), "demo", &gone, &[]);
    missing.expect_error(&["gone.jsonl"]);
    assert_eq!(missing.stderr.matches("gone.jsonl").count(), 1, "{}", missing.stderr);
    train(dir.path(), "demo", "demo:poems", &[]).expect_error(&["poems", "pirate"]);
}

#[test]
fn settings_that_cannot_be_used() {
    let dir = folder();
    let rows = arg(&write_data(dir.path()));
    let fails = |more: &[&str], parts: &[&str]| train(dir.path(), "demo", &rows, more).expect_error(parts);
    fails(&["--rank", "0"], &["--rank is 0"]);
    fails(&["--target-modules", "q_proj,w_proj"], &["w_proj", "q_proj"]);
    fails(&["--dropout", "1"], &["--dropout is 1"]);
    fails(&["--lr", "-1"], &["--lr is -1"]);
    fails(&["--batch-size", "0"], &["--batch-size is 0"]);
    fails(&["--eval-split", "1.5"], &["--eval-split", "1.5"]);
    fails(&["--device", "no such gpu"], &["no such gpu"]);
    assert!(!postil(&["train", "--out", "x", "--precision", "f64"]).ok);
    assert!(!dir.path().join("out").exists(), "nothing is left of a run that failed");
    let deep = arg(&dir.path().join("out/of/this"));
    let more = ["--data", &rows, "--device", "no such gpu"];
    postil(&[&["train", "--out", &deep][..], &more].concat()).expect_error(&["no such gpu"]);
    assert!(!dir.path().join("out").exists());
    // A folder that was there stays.
    std::fs::create_dir(dir.path().join("out")).expect("writable");
    fails(&more[2..], &["no such gpu"]);
    assert!(dir.path().join("out").exists());
}

#[test]
fn no_gpu() {
    let dir = folder();
    let rows = arg(&write_data(dir.path()));
    let mut without = command(&["train", "--data", &rows, "--out", &arg(&dir.path().join("out"))]);
    without.env("VK_DRIVER_FILES", "/nonexistent.json").env("VK_ICD_FILENAMES", "/nonexistent.json");
    finish(without).expect_error(&["no GPU found", "driver"]);
}

#[test]
fn what_is_only_warned_about() {
    let dir = folder();
    let model = copy_of_demo(dir.path());
    with_config(&model, "max_position_embeddings", serde_json::json!(32));
    let long = format!("{{\"text\": \"{}\"}}\n{{\"text\": \"short\"}}", "word ".repeat(60));
    let run = train(dir.path(), &arg(&model), &data(dir.path(), &long), &[]);
    run.expect_ok().expect_warning("32").expect_warning("1 of 2 examples was cut");

    let alike = "{\"text\": \"the same\"}\nnot json\n{\"text\": \"the same\"}\n{\"text\": 5}";
    let here = dir.path().join("alike");
    std::fs::create_dir(&here).expect("writable");
    let run = train(
        &here,
        "demo",
        &data(dir.path(), alike),
        &["--rank", "64", "--target-modules", "k_proj", "--lr", "0"],
    );
    run.expect_ok()
        .expect_warning("line 2")
        .expect_warning("line 4")
        .expect_warning("are the same")
        .expect_warning("k_proj")
        .expect_warning("--lr is 0");
    for line in ["line 2", "line 4"] {
        assert_eq!(run.stderr.matches(line).count(), 1, "said once: {}", run.stderr);
    }
}

#[test]
fn adapters_that_do_not_fit() {
    let dir = folder();
    let rows = arg(&write_data(dir.path()));
    train(dir.path(), "demo", &rows, &[]).expect_ok();
    let adapter = dir.path().join("out");
    let eval = |parts: &[&str]| {
        postil(&["eval", "--data", &rows, "--adapter", &arg(&adapter)]).expect_error(parts);
    };
    let weights = adapter.join("adapter_model.safetensors");
    let bytes = std::fs::read(&weights).expect("readable");
    std::fs::write(&weights, &bytes[..bytes.len() / 2]).expect("writable");
    eval(&["adapter_model.safetensors"]);
    std::fs::remove_file(&weights).expect("removable");
    eval(&["adapter_model.safetensors"]);
    std::fs::write(&weights, &bytes).expect("writable");
    let config = adapter.join("adapter_config.json");
    let text = std::fs::read_to_string(&config).expect("readable");
    std::fs::write(&config, text.replace("\"r\": 16", "\"r\": 8")).expect("writable");
    eval(&["lora_A", "16"]);
}

#[test]
fn a_log_overwrites_no_other_file() {
    let dir = folder();
    let rows = arg(&write_data(dir.path()));
    let before = std::fs::read(&rows).expect("readable");
    train(dir.path(), "demo", &rows, &["--log", &rows]).expect_error(&["--log", "data set"]);
    assert_eq!(std::fs::read(&rows).expect("readable"), before);
    let notes = arg(&dir.path().join("notes.txt"));
    std::fs::write(&notes, "something to keep").expect("writable");
    train(dir.path(), "demo", &rows, &["--log", &notes]).expect_error(&["notes.txt", "no log"]);
    assert_eq!(std::fs::read_to_string(&notes).expect("readable"), "something to keep");
}

#[test]
fn chats_without_an_answer_and_a_folder_that_cannot_be_replaced() {
    let dir = folder();
    let masked = "{\"messages\": [{\"role\": \"user\", \"content\": \"Hello?\"}]}";
    train(dir.path(), "demo", &data(dir.path(), masked), &[]).expect_error(&[
        "none of 1 record has",
        "1 has no assistant turn",
        "--train-on-all",
        "assistant",
    ]);
    let best = dir.path().join("out/best");
    std::fs::create_dir_all(&best).expect("writable");
    std::fs::write(best.join("mine.txt"), "kept").expect("writable");
    let rows = arg(&write_data(dir.path()));
    train(dir.path(), "demo", &rows, &[]).expect_error(&["best", "mine.txt"]);
}

#[test]
fn pickled_weights_are_named() {
    let dir = folder();
    let model = copy_of_demo(dir.path());
    std::fs::rename(model.join("model.safetensors"), model.join("pytorch_model.bin")).expect("writable");
    let finished = postil(&["generate", "--model", &arg(&model), "--prompt", "a"]);
    finished.expect_error(&["pytorch_model.bin", "not read", "save_pretrained"]);
}
