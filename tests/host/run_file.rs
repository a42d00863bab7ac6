//! Run files: what is read, what is refused, and that what is written is read again.

use postil::ErrorKind;
use postil::config::{RunFile, Schedule, TargetModules};
use serde_json::{Value, json};

fn read(json: &Value) -> Result<RunFile, postil::Error> {
    RunFile::from_json(json.to_string().as_bytes(), "run.json")
}

fn full() -> Value {
    json!({
        "postil": 1,
        "model": "owner/name@main",
        "data": {
            "train": "train.csv", "eval": "eval.csv", "format": "csv,text", "columns": { "text": "body" }
        },
        "lora": {
            "r": 8, "lora_alpha": 4, "lora_dropout": 0.1, "target_modules": ["q_proj", "v_proj"],
            "rank_pattern": { "layers.0.self_attn.q_proj": 2 }, "alpha_pattern": { "v_proj": 1.5 }
        },
        "train": { "max_steps": 7, "learning_rate": 1e-3, "lr_scheduler_type": "linear" }
    })
}

#[test]
fn every_field_arrives() {
    let run = read(&full()).expect("a run file");
    assert_eq!(run.model, "owner/name@main");
    assert_eq!((run.data.train.as_str(), run.data.eval.as_deref()), ("train.csv", Some("eval.csv")));
    assert_eq!((run.data.format.as_deref(), run.data.columns["text"].as_str()), (Some("csv,text"), "body"));
    let lora = run.lora.clone().expect("settings").config().expect("a configuration");
    assert_eq!((lora.r, lora.lora_alpha, lora.lora_dropout), (8, 4.0, 0.1));
    assert_eq!(lora.target_modules, TargetModules::List(vec!["q_proj".to_owned(), "v_proj".to_owned()]));
    assert_eq!(lora.rank_pattern["layers.0.self_attn.q_proj"], 2);
    assert_eq!(lora.alpha_pattern["v_proj"], 1.5);
    assert_eq!((run.train.max_steps, run.train.learning_rate), (Some(7), 1e-3));
    assert_eq!(run.train.lr_scheduler_type, Schedule::Linear);
    // Left out: the default.
    assert_eq!(run.train.per_device_train_batch_size, 4);

    let written = run.to_json().expect("JSON");
    assert_eq!(RunFile::from_json(&written, "run.json").expect("what was written"), run);
}

#[test]
fn the_shortest_is_the_demo() {
    let run = read(&json!({ "postil": 1 })).expect("a run file");
    assert_eq!(run, RunFile::default());
    assert_eq!((run.model.as_str(), run.data.train.as_str()), ("demo", "demo"));
    let lora = read(&json!({ "postil": 1, "lora": { "r": 4 } })).expect("a run file").lora.expect("settings");
    assert_eq!(lora.config().expect("a configuration").lora_alpha, 8.0, "twice the rank");
    let init = read(&json!({ "postil": 1, "init_adapter": "adapter" })).expect("a run file");
    assert!(init.lora.is_none());
}

#[test]
fn what_cannot_be_used_is_named() {
    let with = |path: &str, value: Value| {
        let mut run = full();
        let (place, key) = path.rsplit_once('/').expect("a place");
        run.pointer_mut(place).expect("an object")[key] = value;
        read(&run)
    };
    let cases = [
        ("/postil", json!(2), ErrorKind::Unsupported, "version 2"),
        ("/postil", json!("1"), ErrorKind::Unsupported, "version \"1\""),
        ("/out", json!("folder"), ErrorKind::Config, "`out`"),
        ("/data/evaluation", json!("x"), ErrorKind::Config, "`evaluation`"),
        ("/lora/rank", json!(4), ErrorKind::Config, "`rank`"),
        ("/lora/use_dora", json!(true), ErrorKind::Config, "`use_dora`"),
        ("/train/lr", json!(1), ErrorKind::Config, "`lr`"),
        ("/lora/r", json!(0), ErrorKind::Config, "r is 0"),
        ("/lora/rank_pattern", json!({ "q_proj": 5000 }), ErrorKind::Config, "rank_pattern \"q_proj\""),
        ("/lora/target_modules", json!([]), ErrorKind::Config, "target_modules"),
        ("/train/max_steps", json!(-1), ErrorKind::Config, "-1"),
        ("/train/learning_rate", json!(-1), ErrorKind::Config, "learning_rate"),
        ("/data/eval_split", json!(0.5), ErrorKind::Config, "eval_split"),
        ("/init_adapter", json!("adapter"), ErrorKind::Config, "init_adapter"),
    ];
    for (path, value, kind, said) in cases {
        let error = with(path, value).expect_err(path);
        assert_eq!(error.kind(), kind, "{path}: {error}");
        let message = error.to_string();
        assert!(message.contains(said) && message.contains("run.json"), "{path}: {message}");
    }
    let mut split = full();
    split["data"] = json!({ "train": "a.jsonl", "eval_split": 1.0 });
    assert!(read(&split).expect_err("all held out").to_string().contains("eval_split is 1"));
    for text in ["", "[]", "{}", "{\"postil\": 1", "1"] {
        let error = RunFile::from_json(text.as_bytes(), "run.json").expect_err(text);
        assert_eq!(error.kind(), ErrorKind::Format, "{text}: {error}");
    }
}
