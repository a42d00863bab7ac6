//! `postil train --run`: a run from one file, and the file that repeats a run.

use std::path::Path;

use serde_json::{Value, json};

use super::common::*;

fn write(path: &Path, run: &Value) {
    std::fs::write(path, run.to_string()).expect("writable");
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON")
}

fn run(file: &Path, out: &Path, more: &[&str]) -> Finished {
    let (file, out) = (arg(file), arg(out));
    postil(&[&["train", "--run", &file, "--out", &out], more].concat())
}

fn adapter(out: &Path) -> Vec<u8> {
    std::fs::read(out.join("adapter_model.safetensors")).expect("an adapter")
}

fn settings(out: &Path) -> Value {
    read(&out.join("adapter_config.json"))
}

#[test]
fn a_run_is_repeated_from_its_file() {
    let dir = folder();
    let inputs = dir.path().join("inputs");
    std::fs::create_dir(&inputs).expect("writable");
    let data = write_data(&inputs);
    let text = std::fs::read_to_string(&data).expect("readable").replace("prompt", "question");
    std::fs::write(&data, text).expect("writable");
    let path = |name: &str| dir.path().join(name);
    // Everything by options, with another rank in one layer and two settings that have a default elsewhere.
    let (data, out) = (arg(&data), arg(&path("options")));
    postil(&[
        "train",
        "--data",
        &data,
        "--columns",
        "prompt=question",
        "--data-format",
        "jsonl",
        "--eval-split",
        "0.25",
        "--out",
        &out,
        "--max-steps",
        "3",
        "--batch-size",
        "2",
        "--rank",
        "4",
        "--dropout",
        "0.1",
        "--target-modules",
        "q_proj,v_proj",
        "--rank-pattern",
        "layers.0.self_attn.q_proj=2",
        "--alpha-pattern",
        "v_proj=3",
        "--lr",
        "1e-3",
        "--no-shuffle",
        "--gradient-checkpointing",
    ])
    .expect_ok();
    let config = settings(&path("options"));
    assert_eq!(config["rank_pattern"], json!({ "layers.0.self_attn.q_proj": 2 }));
    assert_eq!(config["alpha_pattern"], json!({ "v_proj": 3 }));

    let file = path("options/run.json");
    let written = read(&file);
    assert_eq!(written["postil"], 1);
    assert_eq!(written["data"]["train"], "../inputs/data.jsonl", "relative to its folder");
    assert_eq!(written["lora"]["r"], 4);
    assert_eq!(written["train"]["max_steps"], 3);
    run(&file, &path("again"), &[]).expect_ok();
    assert_eq!(adapter(&path("again")), adapter(&path("options")));
    assert_eq!(settings(&path("again")), settings(&path("options")));
    assert_eq!(read(&path("again/run.json")), written);

    // Options come before the file's values, and those left alone stay.
    run(&file, &path("other"), &["--max-steps", "1", "--rank", "8"]).expect_ok();
    let (config, changed) = (settings(&path("other")), read(&path("other/run.json")));
    assert_eq!(
        (&config["r"], &config["rank_pattern"]),
        (&json!(8), &json!({ "layers.0.self_attn.q_proj": 2 }))
    );
    assert_eq!((&changed["train"]["max_steps"], &changed["train"]["shuffle"]), (&json!(1), &json!(false)));
    run(&file, &path("epochs"), &["--epochs", "0.5"]).expect_ok();
    assert_eq!(read(&path("epochs/run.json"))["train"]["max_steps"], Value::Null);

    // A run that began so goes on so.
    run(&file, &path("options"), &["--resume"]).expect_ok();
    assert_eq!(adapter(&path("options")), adapter(&path("again")));

    // It may start from an adapter, which brings its settings.
    run(&file, &path("tuned"), &["--init-adapter", &out, "--max-steps", "1"]).expect_ok();
    let written = read(&path("tuned/run.json"));
    assert_eq!((&written["init_adapter"], &written["lora"]), (&json!("../options"), &Value::Null));
    run(&path("tuned/run.json"), &path("tuned again"), &[]).expect_ok();
    assert_eq!(adapter(&path("tuned again")), adapter(&path("tuned")));
}

#[test]
fn paths_are_relative_to_the_file() {
    let dir = folder();
    let path = |name: &str| dir.path().join(name);
    std::fs::create_dir(path("runs")).expect("writable");
    copy_of_demo(&path("runs"));
    write_data(&path("runs"));
    let file = path("runs/run.json");
    let mut described = json!({
        "postil": 1, "model": "model", "data": { "train": "data.jsonl", "eval": "data.jsonl" },
        "lora": { "r": 2 }, "train": { "max_steps": 1 }
    });
    write(&file, &described);
    run(&file, &path("out"), &[]).expect_ok();
    let written = read(&path("out/run.json"));
    assert_eq!(
        (&written["model"], &written["data"]["train"]),
        (&json!("../runs/model"), &json!("../runs/data.jsonl"))
    );
    assert_eq!(written["data"]["eval"], "../runs/data.jsonl");
    // Built-in held-out rows for data of one's own; the plan takes no step.
    described["data"]["eval"] = json!("demo:headline");
    write(&file, &described);
    run(&file, &path("plan"), &["--plan"]).expect_ok();

    described["data"] = json!({ "train": "missing.jsonl" });
    write(&file, &described);
    run(&file, &path("missing"), &[]).expect_error(&["runs/missing.jsonl"]);
    described["data"] = json!({ "train": "data.jsonl" });
    described["model"] = json!("no model");
    write(&file, &described);
    run(&file, &path("missing"), &[]).expect_error(&["runs/no model"]);
}

#[test]
fn bad_run_files_are_refused() {
    let dir = folder();
    let (file, out) = (dir.path().join("run.json"), dir.path().join("out"));
    run(&file, &out, &[]).expect_error(&["run.json"]);
    for (described, said) in [
        (json!({ "postil": 1, "lora": { "rank": 4 } }), "`rank`"),
        (json!({ "postil": 1, "learning_rate": 1 }), "`learning_rate`"),
        (json!({ "postil": 2 }), "version 2"),
        (json!({ "model": "demo" }), "not a run file"),
        (json!({ "postil": 1, "data": { "train": "d", "format": "xml" } }), "xml"),
        (json!({ "postil": 1, "data": { "train": "demo:no" } }), "no built-in data"),
        (json!({ "postil": 1, "data": { "train": "d", "columns": { "no": "x" } } }), "\"no\""),
    ] {
        write(&file, &described);
        run(&file, &out, &[]).expect_error(&[said]);
    }
    write(&file, &json!({ "postil": 1, "init_adapter": "adapter" }));
    run(&file, &out, &["--rank", "4"]).expect_error(&["--rank"]);
    assert!(!out.exists(), "nothing was begun");
}
