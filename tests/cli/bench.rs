//! `postil bench` on a model that is small enough for a software driver.

use std::path::Path;

use serde_json::{Value, json};

use super::common::*;

/// A configuration of two small layers.
fn write_config(dir: &Path) -> String {
    let config = json!({
        "model_type": "llama", "vocab_size": 300, "hidden_size": 64, "intermediate_size": 96,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": true,
        "max_position_embeddings": 128, "bos_token_id": 0, "eos_token_id": 0
    });
    let path = dir.join("tiny.json");
    std::fs::write(&path, config.to_string()).expect("writable");
    arg(&path)
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn sum(list: &Value, field: &str) -> f64 {
    list.as_array().expect("a list").iter().map(|entry| number(&entry[field])).sum()
}

/// Equal but for rounding.
#[track_caller]
fn expect_near(a: f64, b: f64) {
    assert!((a - b).abs() <= 1e-9 * a.abs().max(b.abs()), "{a} and {b}");
}

#[test]
fn training_steps() {
    let dir = folder();
    let config = write_config(dir.path());
    let args = ["bench", "--json", "--model", &config, "--batch-size", "2", "--length", "40", "--rank", "4"];
    let report =
        postil(&[&args[..], &["--steps", "3", "--warmup", "1", "--gradient-checkpointing"]].concat()).json();

    // In order, positive, and of one another what they say.
    let times = &report["ms_per_step"];
    let [p10, median, p90] = ["p10", "median", "p90"].map(|name| number(&times[name]));
    assert!(0.0 < p10 && p10 <= median && median <= p90, "{times}");
    expect_near(number(&report["tokens_per_second"]), 80e3 / median);
    expect_near(number(&report["tflops"]), number(&report["flops_per_step"]) / median / 1e9);
    let ceilings = &report["ceilings"];
    expect_near(
        number(&report["share_of_matmul"]),
        number(&report["tflops"]) / number(&ceilings["matmul_tflops"]),
    );
    expect_near(number(&report["times_floor"]), median / number(&report["floor_ms"]));
    assert!(number(&ceilings["bandwidth_gb_per_second"]) > 0.0, "{ceilings}");

    // The groups are the kernels, and the work is theirs.
    expect_near(sum(&report["groups"], "floor_ms"), number(&report["floor_ms"]));
    expect_near(sum(&report["groups"], "ms"), number(&report["kernels_ms"]));
    expect_near(sum(&report["kernels"], "ms"), number(&report["kernels_ms"]));
    expect_near(sum(&report["kernels"], "share"), 1.0);
    let dispatches = number(&report["dispatches_per_step"]);
    expect_near(sum(&report["kernels"], "dispatches"), dispatches);
    assert!(dispatches >= 50.0 && dispatches.fract() == 0.0, "{dispatches}");
    assert_eq!(report["untimed_per_step"], 0.0);
    for group in report["groups"].as_array().expect("a list") {
        // Whatever has work has kernels, and the other way round.
        assert!(number(&group["ms"]) > 0.0 && number(&group["floor_ms"]) > 0.0, "{group}");
    }

    // Everything was planned. Random weights know nothing.
    assert_eq!(report["allocated_bytes"], report["memory"]["total"]);
    assert!((number(&report["loss"]) - 300f64.ln()).abs() < 0.5, "{}", report["loss"]);
    assert_eq!(report["trainable_parameters"], 2 * 4 * (2 * (64 + 64) + 2 * (64 + 32) + 3 * (64 + 96)));
}

#[test]
fn generation() {
    let dir = folder();
    let config = write_config(dir.path());
    let args = ["bench", "--json", "--generate", "--model", &config, "--length", "70", "--steps", "5"];
    let report = postil(&args).json();
    let median = number(&report["ms_per_token"]["median"]);
    expect_near(number(&report["tokens_per_second"]), 1e3 / median);
    expect_near(number(&report["share_of_floor"]), number(&report["floor_ms"]) / median);
    expect_near(number(&report["prefill_tokens_per_second"]), 70e3 / number(&report["prefill_ms"]));
    assert_eq!(report["tokens"], 5);
    // Token and position, five for each layer and one for its shares of the keys, the head; two for the choice.
    assert_eq!(report["dispatches_per_token"], 2 + 2 * 6 + 1 + 2);
    // With room for so many tokens.
    assert!(number(&report["gpu_ms_per_token"]) > 0.0);
    expect_near(sum(&report["kernels"], "dispatches"), 2.0 + 2.0 * 6.0 + 1.0 + 2.0);
    assert_eq!(report["allocated_bytes"], report["memory"]["total"]);
    // Table and matrices in bf16, norms in f32: all of them are read for each token.
    let matrices = 300 * 64 + 2 * (64 * 64 * 2 + 64 * 32 * 2 + 64 * 96 * 3);
    assert_eq!(report["weight_bytes_per_token"], 2 * matrices + 4 * 5 * 64);

    let refused = postil(&["bench", "--generate", "--model", &config, "--length", "100", "--steps", "28"]);
    refused.expect_error(&["a prompt of 100 tokens and 28 after it", "context", "128"]);
}

#[test]
fn matrix_products() {
    let dir = folder();
    let config = write_config(dir.path());
    let args = [
        "bench",
        "--json",
        "--kernels",
        "--model",
        &config,
        "--batch-size",
        "1",
        "--length",
        "64",
        "--rank",
        "4",
    ];
    let report = postil(&[&args[..], &["--weights", "f32"]].concat()).json();
    let products = report["products"].as_array().expect("a list");
    let in_step = |field| products.iter().map(|p| number(&p["count"]) * number(&p[field])).sum::<f64>();
    expect_near(in_step("ms"), number(&report["step_ms"]));
    expect_near(in_step("floor_ms"), number(&report["floor_ms"]));
    for product in products {
        let size = ["m", "n"].map(|side| number(&product[side])).iter().product::<f64>();
        let flops = 2.0 * size * (number(&product["k"]) + number(&product["r"]));
        expect_near(number(&product["tflops"]), flops / number(&product["ms"]) / 1e9);
    }
    let forward =
        products.iter().find(|p| p["names"] == "q_proj forward, o_proj forward").expect("it is there");
    let shape = ["form", "m", "n", "k", "r", "count"].map(|field| forward[field].clone());
    assert_eq!(shape, [json!("nt"), json!(64), json!(64), json!(64), json!(4), json!(4)]);
    let kernels = forward["kernels"].as_array().expect("a list");
    assert!(
        kernels.iter().all(|name| name.as_str().is_some_and(|name| name.starts_with("matmul"))),
        "{kernels:?}"
    );
}

#[test]
fn what_cannot_be_measured() {
    postil(&["bench", "--model", "smollm3"]).expect_error(&[
        "smollm3: not a configuration",
        "smollm2-135m",
        "config.json",
    ]);
    let dir = folder();
    let broken = dir.path().join("broken.json");
    std::fs::write(&broken, "{\"model_type\": \"mamba\"}").expect("writable");
    postil(&["bench", "--model", &arg(&broken)]).expect_error(&["broken.json", "mamba"]);
    postil(&["bench", "--target-modules", "qkv"]).expect_error(&["qkv"]);
    let tiny = write_config(dir.path());
    for more in [&[][..], &["--kernels"]] {
        let args = [&["bench", "--model", &tiny, "--length", "129"], more].concat();
        postil(&args).expect_error(&["sequences of 129 tokens", "context (max_position_embeddings) of 128"]);
    }
    postil(&["bench", "--memory-budget", "64MiB"]).expect_error(&["the run needs", "64.0 MiB"]);
    let refused = postil(&["bench", "--generate", "--kernels"]);
    assert!(!refused.ok && refused.stderr.contains("cannot be used with"), "{}", refused.stderr);
}
