//! The engine as the page's worker calls it, on the built-in model.

use js_sys::{Array, Function, JSON, Object, Reflect, Uint8Array};
use postil::web::Engine;
use serde_json::{Value, json};
use wasm_bindgen::prelude::*;
use wasm_bindgen_test::wasm_bindgen_test;
use web_sys::Blob;

macro_rules! demo {
    ($name:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/www/public/demo/", $name)).as_slice()
    };
}

/// Four rows of a few tokens: a step takes no time.
const ROWS: &str = r#"{"prompt": "red", "completion": " rose"}
{"prompt": "blue", "completion": " sky"}
{"prompt": "green", "completion": " leaf"}
{"prompt": "grey", "completion": " rain"}"#;

fn js(value: &Value) -> JsValue {
    JSON::parse(&value.to_string()).expect("JSON")
}

fn plain(value: &JsValue) -> Value {
    let text = JSON::stringify(value).expect("a plain object").as_string().expect("text");
    serde_json::from_str(&text).expect("JSON")
}

fn with(object: JsValue, name: &str, value: impl Into<JsValue>) -> JsValue {
    Reflect::set(&object, &name.into(), &value.into()).expect("an object");
    object
}

fn get(object: &JsValue, name: &str) -> JsValue {
    Reflect::get(object, &name.into()).expect("an object")
}

fn file_bytes(object: &JsValue, name: &str) -> Vec<u8> {
    get(object, name).dyn_into::<Uint8Array>().expect(name).to_vec()
}

/// The error's kind and message.
fn failure<T>(result: Result<T, JsValue>) -> (String, String) {
    let error = result.err().expect("an error");
    (get(&error, "kind").as_string().expect("a kind"), get(&error, "message").as_string().expect("a message"))
}

async fn engine() -> Engine {
    engine_with(&Array::of(&[Uint8Array::from(demo!("model.safetensors"))])).await
}

/// The files of the built-in model with these pieces of weights.
fn files_with(weights: &JsValue) -> JsValue {
    let weights = Blob::new_with_u8_array_sequence(weights).expect("a Blob");
    let weights = with(js(&json!({ "name": "model.safetensors" })), "blob", weights);
    let mut files = with(js(&json!({ "name": "demo" })), "weights", Array::of(&[weights]));
    for (name, bytes) in [
        ("config", demo!("config.json")),
        ("tokenizer", demo!("tokenizer.json")),
        ("tokenizer_config", demo!("tokenizer_config.json")),
    ] {
        files = with(files, name, Uint8Array::from(bytes));
    }
    files
}

/// The built-in model with these pieces of weights.
async fn engine_with(weights: &JsValue) -> Engine {
    let mut engine = Engine::create().await.expect("these tests need a browser with WebGPU");
    let info = plain(&engine.load_model(files_with(weights), None).await.expect("the built-in model"));
    assert_eq!(info["refused_formats"], json!({}));
    let data = with(js(&json!({ "name": "rows.jsonl" })), "data", Uint8Array::from(ROWS.as_bytes()));
    engine.put_data(rows(), data).expect("a file");
    engine
}

/// The rows' id; every engine of these tests has them.
fn rows() -> String {
    "rows".to_owned()
}

/// A run with dropout and another rank in one layer.
fn options(adapter: &str, max_steps: usize) -> JsValue {
    js(&json!({
        "adapter": adapter,
        "lora": {
            "r": 4, "lora_alpha": 8, "lora_dropout": 0.1, "target_modules": ["q_proj", "v_proj"],
            "rank_pattern": { "layers.0.self_attn.q_proj": 2 }
        },
        "train": {
            "max_steps": max_steps, "per_device_train_batch_size": 2, "learning_rate": 0.02, "max_length": 32,
            "warmup_steps": 0, "lr_scheduler_type": "constant"
        }
    }))
}

async fn start(engine: &mut Engine, options: JsValue) -> Value {
    plain(&engine.start(options, rows(), Some(rows())).await.expect("a run"))
}

async fn step(engine: &mut Engine, mode: &str) -> Option<Value> {
    let report = engine.step(mode.to_owned()).await.expect(mode);
    (!report.is_null()).then(|| plain(&report))
}

/// Losses of the steps that are left.
async fn losses(engine: &mut Engine) -> Vec<f64> {
    let mut losses = Vec::new();
    while let Some(report) = step(engine, "ahead").await {
        losses.push(report["loss"].as_f64().expect("a loss"));
    }
    losses
}

async fn text(engine: &Engine, prompt: JsValue, adapter: Value, scale: f64) -> String {
    let options = json!({
        "max_new_tokens": 8, "temperature": 0, "top_k": 0, "top_p": 1, "seed": 1, "chat": false, "adapter": adapter,
        "adapter_scale": scale
    });
    let listener = Function::new_with_args("piece", "return true");
    let report = engine.generate(prompt, js(&options), listener).await.expect("text");
    get(&report, "text").as_string().expect("text")
}

/// A run that is paused, checkpointed, and goes on in another engine with more steps: the losses of one that had them
/// from the start. Between its steps adapters are loaded, used and dropped.
#[wasm_bindgen_test]
async fn a_run_goes_on_elsewhere() {
    let mut whole = engine().await;
    let begun = start(&mut whole, options("whole", 6)).await;
    assert_eq!((&begun["step"], &begun["total_steps"]), (&json!(0), &json!(6)));
    assert!(begun["eval_loss"].is_number());
    let expected = losses(&mut whole).await;
    let end = plain(&whole.finish().await.expect("an end"));
    assert_eq!(end["step"], 6);
    let files = whole.export_adapter("whole".to_owned()).await.expect("files");

    let mut first = engine().await;
    start(&mut first, options("run", 3)).await;
    let mut found = vec![step(&mut first, "ahead").await.expect("a step")["loss"].as_f64().expect("a loss")];
    assert_eq!(failure(first.checkpoint().await).0, "Config", "a step is under way");
    let report = step(&mut first, "drain").await.expect("the step under way");
    assert!(report["improved"].is_boolean() && report["memory"].as_u64() > Some(0), "{report}");
    found.push(report["loss"].as_f64().expect("a loss"));
    assert!(step(&mut first, "drain").await.is_none());

    let (config, model) = (file_bytes(&files, "config"), file_bytes(&files, "model"));
    let info = first.load_adapter("other".to_owned(), &config, &model).await.expect("an adapter");
    let info = plain(&info);
    assert_eq!((&info["r"], &info["lora_alpha"]), (&json!(4), &json!(8)));
    assert_eq!(info["target_modules"], json!(["q_proj", "v_proj"]));
    let counted = plain(&first.count_parameters(get(&options("", 1), "lora")).expect("a count"));
    assert_eq!(info["parameters"], counted["trainable"]);
    assert_eq!(first.adapters(), ["other", "run"]);
    text(&first, "red".into(), json!("other"), 1.5).await;
    first.drop_adapter("other").expect("not the run's");
    first.drop_adapter("nobody").expect("nothing happens");
    assert_eq!(first.adapters(), ["run"]);
    for refused in
        [first.drop_adapter("run"), first.load_adapter("run".to_owned(), &config, &model).await.map(drop)]
    {
        assert_eq!(failure(refused).0, "Config");
    }

    found.push(step(&mut first, "one").await.expect("a step")["loss"].as_f64().expect("a loss"));
    assert!(step(&mut first, "ahead").await.is_none(), "the run is over");
    let checkpoint = first.checkpoint().await.expect("files");
    assert_eq!(get(&checkpoint, "step").as_f64(), Some(3.0));
    let checkpoint = get(&checkpoint, "files");
    let names = Object::keys(&Object::from(checkpoint.clone()));
    assert_eq!(names.length(), 4);
    assert_eq!(failure(first.step("twice".to_owned()).await).0, "Config");

    let mut second = engine().await;
    let again = with(options("run", 6), "checkpoint", checkpoint);
    let (kind, message) = failure(second.start(again.clone(), rows(), Some(rows())).await);
    assert!(kind == "Config" && message.contains("max_steps"), "{message}");
    assert!(second.adapters().is_empty());
    let resumed = start(&mut second, with(again, "extend", true)).await;
    assert_eq!((&resumed["step"], &resumed["total_steps"]), (&json!(3), &json!(6)));
    assert!(resumed["warnings"].to_string().contains("had 3 steps"), "{resumed}");
    found.extend(losses(&mut second).await);
    assert_eq!(found, expected);
    second.finish().await.expect("an end");
    let same = second.check_adapter("run".to_owned(), files, "red".to_owned()).await.expect("a check");
    assert_eq!(plain(&same)["max_difference"], 0);
}

/// Several adapters beside one base, as strong as one asks, and what they take.
#[wasm_bindgen_test]
async fn adapters_by_strength() {
    let mut engine = engine().await;
    let memory = |engine: &Engine| plain(&engine.memory().expect("a count"));
    let before = memory(&engine)["allocated"].as_u64().expect("bytes");
    start(&mut engine, options("a", 3)).await;
    losses(&mut engine).await;
    let files = engine.export_adapter("a".to_owned()).await.expect("files");
    engine.finish().await.expect("an end");
    let with_adapter = memory(&engine);
    assert!(with_adapter["allocated"].as_u64() < with_adapter["peak"].as_u64(), "{with_adapter}");
    let prompt = || JsValue::from("red");
    let (base, tuned) =
        (text(&engine, prompt(), Value::Null, 1.0).await, text(&engine, prompt(), json!("a"), 1.0).await);
    assert_ne!(base, tuned);
    assert_eq!(text(&engine, prompt(), json!("a"), 0.0).await, base);
    let messages =
        js(&json!([{ "role": "user", "content": "red" }, { "role": "assistant", "content": "rose" }]));
    let listener = Function::new_with_args("piece", "return true");
    let options = js(&json!({ "adapter": "a", "chat": false, "max_new_tokens": 2 }));
    let listed = engine.generate(messages, options.clone(), listener.clone()).await;
    let listed = plain(&listed.expect("a conversation"));
    let turns = |report: &Value| report["prompt_tokens"].as_u64().expect("a number");
    let chat = with(options.clone(), "chat", true);
    let asked = engine.generate(prompt(), chat, listener.clone()).await.expect("a question");
    assert!(turns(&listed) > turns(&plain(&asked)), "the template has both turns");
    assert_eq!(failure(engine.generate(js(&json!(5)), options.clone(), listener.clone()).await).0, "Config");
    let unknown = with(options, "adapter", "nobody");
    assert!(failure(engine.generate(prompt(), unknown, listener).await).1.contains("nobody"));

    let (config, model) = (file_bytes(&files, "config"), file_bytes(&files, "model"));
    engine.load_adapter("b".to_owned(), &config, &model).await.expect("an adapter");
    assert_eq!(text(&engine, prompt(), json!("b"), 1.0).await, tuned);
    engine.drop_adapter("a").expect("no run");
    engine.drop_adapter("b").expect("no run");
    assert_eq!(memory(&engine)["allocated"].as_u64(), Some(before));
}

/// An adapter in other tools' formats and back, and in the base's weights.
#[wasm_bindgen_test]
async fn other_formats() {
    let mut engine = engine().await;
    start(&mut engine, options("a", 3)).await;
    losses(&mut engine).await;
    engine.finish().await.expect("an end");
    let files = engine.export_adapter("a".to_owned()).await.expect("files");
    let (config, model) = (file_bytes(&files, "config"), file_bytes(&files, "model"));

    let gguf = engine.adapter_to_gguf(&config, &model, "f32").expect("GGUF");
    let half = engine.adapter_to_gguf(&config, &model, "f16").expect("GGUF");
    assert!(gguf.starts_with(b"GGUF") && half.len() < gguf.len());
    assert_eq!(failure(engine.adapter_to_gguf(&config, &model, "q4_0")).0, "Config");
    assert_eq!(failure(engine.adapter_from_gguf(gguf[..99].to_vec()).await).0, "Format");
    let mlx = engine.adapter_to_mlx(&config, &model).expect("mlx");
    let (mlx_config, adapters) = (file_bytes(&mlx, "config"), file_bytes(&mlx, "adapters"));
    assert_eq!(failure(engine.adapter_from_mlx(mlx_config.clone(), gguf.clone())).0, "Format");
    let read = [
        engine.adapter_from_gguf(gguf).await.expect("an adapter"),
        engine.adapter_from_mlx(mlx_config, adapters).expect("an adapter"),
    ];
    for files in read {
        // One alpha or one scale for both ranks: B is multiplied by 2 or 1/2, which is exact.
        let check = engine.check_adapter("a".to_owned(), files, "red".to_owned()).await.expect("a check");
        let difference = plain(&check)["max_difference"].as_f64();
        assert!(difference < Some(1e-6), "{difference:?}");
    }
    let check = engine.adapter_from_gguf(half).await.expect("an adapter");
    let check = engine.check_adapter("a".to_owned(), check, "red".to_owned()).await.expect("a check");
    assert!(plain(&check)["max_difference"].as_f64() > Some(0.0), "f16 rounds");

    let merged = engine.merged_files(&config, &model).expect("a plan");
    let size = demo!("model.safetensors").len();
    assert!(get(&merged, "index").is_undefined());
    let weights = plain(&get(&merged, "weights"));
    let (name, bytes) = (&weights[0]["name"], weights[0]["bytes"].as_u64().expect("bytes") as usize);
    assert!(name == "model.safetensors" && bytes.abs_diff(size) < 4096, "{weights}");
    let pieces = Array::new();
    let push: Function = get(&pieces, "push").dyn_into().expect("a function");
    engine.merge(config.clone(), model.clone(), 0, push.bind0(&pieces)).await.expect("weights");
    let written = pieces.iter().map(|piece| Uint8Array::from(piece).length() as usize).sum::<usize>();
    assert_eq!(written, bytes);
    let alone = engine_with(&pieces).await;
    let tuned = text(&engine, "red".into(), json!("a"), 1.0).await;
    assert_ne!(tuned, text(&engine, "red".into(), Value::Null, 1.0).await);
    assert_eq!(text(&alone, "red".into(), Value::Null, 1.0).await, tuned);

    // Loaded beside the base it is the base with the adapter; the base itself is not, by what the adapter does.
    let (config_, model_) = (config.clone(), model.clone());
    let mut check = async |weights: &JsValue, budget: Option<f64>| {
        engine.set_memory_budget(budget);
        let files = files_with(weights);
        let check = engine.check_merged(files, config_.clone(), model_.clone(), "red".to_owned(), None).await;
        plain(&check.expect("a check"))
    };
    let number = |check: &Value, name: &str| check[name].as_f64().expect(name);
    let merged = check(&pieces, None).await;
    assert!(number(&merged, "max_difference") <= number(&merged, "allowed"), "{merged}");
    let base = Array::of(&[Uint8Array::from(demo!("model.safetensors"))]);
    let other = check(&base, None).await;
    assert!(number(&other, "max_difference") > number(&other, "allowed"), "{other}");
    assert!((number(&other, "max_difference") - number(&other, "effect")).abs() < 1e-4, "{other}");
    let refused = check(&pieces, Some(1e6)).await;
    assert!(refused["reason"].as_str().is_some_and(|reason| reason.contains("beside the base")), "{refused}");

    let full = Function::new_no_args("return Promise.reject(new Error('the disk is full'))");
    let (kind, message) = failure(engine.merge(config.clone(), model.clone(), 0, full.clone()).await);
    assert!(kind == "Io" && message.contains("model.safetensors: the disk is full"), "{kind}: {message}");
    assert_eq!(failure(engine.merge(config, model, 1, full).await).0, "Config");
}
