//! `postil eval`, `generate`, `params` and `doctor`.

use super::common::*;

#[test]
fn params_counts_as_peft_does() {
    let report = postil(&["params", "--rank", "8", "--target-modules", "q_proj,v_proj", "--json"]).json();
    // Per layer: q 192 x 192, v 192 x 64; four layers.
    assert_eq!(report["trainable"], 4 * 8 * ((192 + 192) + (192 + 64)));
    let table = postil(&["params"]);
    assert!(table.expect_ok().stdout.contains("trainable params:"));
    for name in ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"] {
        assert!(table.stdout.contains(name), "{name}");
    }
}

#[test]
fn eval_does_not_depend_on_the_batch() {
    let one = postil(&["eval", "--batch-size", "1", "--json"]).json();
    let eight = postil(&["eval", "--batch-size", "8", "--json"]).json();
    assert_eq!(one["target_tokens"], eight["target_tokens"]);
    let (one, eight) = (one["loss"].as_f64().expect("a loss"), eight["loss"].as_f64().expect("a loss"));
    // Only the order in which f32 losses are added up differs.
    assert!((one - eight).abs() < 1e-5 * one, "{one} and {eight}");
}

#[test]
fn generate_is_reproducible() {
    let text = |more: &[&str]| {
        let mut args = vec!["generate", "--prompt", "Once upon a time", "--max-new-tokens", "24", "--json"];
        args.extend(more);
        postil(&args).json()["text"].as_str().expect("text").to_owned()
    };
    assert_eq!(text(&["--temperature", "0"]), text(&["--top-k", "1"]), "the likeliest token both times");
    assert_eq!(text(&["--seed", "3"]), text(&["--seed", "3"]));
    assert_ne!(
        text(&["--seed", "3", "--temperature", "1.5"]),
        text(&["--seed", "4", "--temperature", "1.5"])
    );
    let streamed =
        postil(&["generate", "--prompt", "Once upon a time", "--max-new-tokens", "24", "--seed", "3"]);
    assert_eq!(
        streamed.expect_ok().stdout.trim_end_matches('\n'),
        text(&["--seed", "3"]).trim_end_matches('\n')
    );
}

#[test]
fn an_adapter_acts_as_strongly_as_it_is_told() {
    let dir = folder();
    let (data, out) = (arg(&write_data(dir.path())), arg(&dir.path().join("out")));
    postil(&[
        "train",
        "--data",
        &data,
        "--out",
        &out,
        "--max-steps",
        "3",
        "--warmup-steps",
        "0",
        "--lr",
        "0.02",
    ])
    .expect_ok();
    let text = |more: &[&str]| {
        let args = ["generate", "--prompt", "Once upon a time", "--max-new-tokens", "24", "--json"];
        postil(&[&args, more].concat()).json()["text"].as_str().expect("text").to_owned()
    };
    let (base, tuned) = (text(&[]), text(&["--adapter", &out]));
    assert_ne!(base, tuned);
    assert_eq!(text(&["--adapter", &out, "--adapter-scale", "0"]), base);
    assert_eq!(text(&["--adapter", &out, "--adapter-scale", "1"]), tuned);
    postil(&["generate", "--prompt", "x", "--adapter", &out, "--adapter-scale", "-1"])
        .expect_error(&["adapter_scale is -1"]);
    // No adapter to be scaled.
    assert!(!postil(&["generate", "--prompt", "x", "--adapter-scale", "0.5"]).ok);
}

#[test]
fn generate_refuses_what_it_cannot_do() {
    postil(&["generate", "--prompt", ""]).expect_error(&["empty"]);
    postil(&["generate", "--prompt", "x", "--temperature", "-1"]).expect_error(&["temperature"]);
    postil(&["generate", "--prompt", "x", "--top-p", "0"]).expect_error(&["--top-p is 0"]);
    postil(&["generate", "--prompt", "x", "--max-new-tokens", "0"]).expect_error(&["--max-new-tokens"]);
    postil(&["generate", "--prompt", &"word ".repeat(2000)]).expect_error(&["context", "512"]);
}

#[test]
fn doctor_lists_what_there_is() {
    let report = postil(&["doctor", "--json"]).json();
    assert!(report["adapters"].as_array().is_some_and(|list| !list.is_empty()));
    assert!(
        report["kernels"].as_array().is_some_and(|list| list.iter().any(|k| k == "matmul_nt/bf16-64x64"))
    );
    let shown = postil(&["doctor"]);
    assert!(shown.expect_ok().stdout.contains("would run on"));
    assert!(shown.stdout.lines().all(|line| line.len() <= 160), "{}", shown.stdout);
    let kernels = report["kernels"].as_array().expect("a list");
    let variants = kernels.iter().filter_map(|kernel| kernel.as_str()?.split_once('/'));
    for (kernel, variant) in variants {
        assert!(shown.stdout.contains(kernel) && shown.stdout.contains(variant), "{kernel}/{variant}");
    }
}
