//! `postil train`: what it writes and says.

use std::time::{Duration, Instant};

use super::common::*;

#[test]
fn a_run_writes_adapter_best_checkpoints_and_log() {
    let dir = folder();
    let (data, out, log) =
        (arg(&write_data(dir.path())), dir.path().join("out"), dir.path().join("log.jsonl"));
    let run = postil(&[
        "train",
        "--data",
        &data,
        "--out",
        &arg(&out),
        "--max-steps",
        "6",
        "--batch-size",
        "2",
        "--grad-accum",
        "2",
        "--eval-split",
        "0.25",
        "--eval-steps",
        "2",
        "--save-steps",
        "2",
        "--lr",
        "1e-3",
        "--log",
        &arg(&log),
        "--json",
    ]);
    let summary = run.json();
    assert_eq!(summary["steps"], 6);
    assert!(summary["eval_loss"].as_f64() < summary["eval_loss_before"].as_f64(), "{summary}");
    assert_eq!(summary["allocated_bytes"].as_u64().map(|n| n > 0), Some(true));
    for name in ["adapter_config.json", "adapter_model.safetensors", "best/adapter_config.json"] {
        assert!(out.join(name).is_file(), "{name}");
    }
    for name in ["adapter_model.safetensors", "optimizer.safetensors", "trainer_state.json"] {
        assert!(out.join("checkpoint-6").join(name).is_file(), "{name}");
    }
    assert!(!out.join("checkpoint-2").exists(), "old checkpoints go");

    let lines = read_log(&log);
    assert_eq!(lines.len(), 6);
    for (i, line) in lines.iter().enumerate() {
        assert_eq!(line["step"], i as u64 + 1);
        for key in ["loss", "lr", "grad_norm", "tokens", "tokens_per_second"] {
            assert!(line[key].is_number(), "{key} in {line}");
        }
        assert_eq!(line.get("eval_loss").is_some(), i % 2 == 1, "{line}");
    }
    let best = lines.iter().filter_map(|line| line["eval_loss"].as_f64()).fold(f64::MAX, f64::min);
    assert_eq!(summary["best_eval_loss"].as_f64(), Some(best));

    // For tests/peft/run.sh, which loads it in PEFT.
    let left = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("peft/demo/adapter");
    std::fs::create_dir_all(&left).expect("writable");
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        std::fs::copy(out.join(name), left.join(name)).expect("writable");
    }
}

#[test]
fn the_same_seed_gives_the_same_losses() {
    let dir = folder();
    let data = arg(&write_data(dir.path()));
    let losses = |name: &str, seed: &str| {
        let log = dir.path().join(format!("{name}.jsonl"));
        let out = arg(&dir.path().join(name));
        postil(&[
            "train",
            "--data",
            &data,
            "--out",
            &out,
            "--max-steps",
            "4",
            "--dropout",
            "0.1",
            "--seed",
            seed,
            "--log",
            &arg(&log),
        ])
        .expect_ok();
        read_log(&log)
            .iter()
            .map(|line| line["loss"].as_f64().expect("a number").to_bits())
            .collect::<Vec<_>>()
    };
    let first = losses("first", "7");
    assert_eq!(first, losses("second", "7"));
    assert_ne!(first, losses("third", "8"));
}

#[test]
fn an_adapter_can_be_the_start_of_a_run() {
    let dir = folder();
    let data = arg(&write_data(dir.path()));
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    postil(&[
        "train",
        "--data",
        &data,
        "--out",
        &arg(&first),
        "--max-steps",
        "3",
        "--rank",
        "3",
        "--target-modules",
        "q_proj,down_proj",
    ])
    .expect_ok();
    // With a learning rate of zero nothing changes, so the start is what comes out.
    let run = postil(&[
        "train",
        "--data",
        &data,
        "--out",
        &arg(&second),
        "--max-steps",
        "1",
        "--lr",
        "0",
        "--init-adapter",
        &arg(&first),
    ]);
    run.expect_ok().expect_warning("--lr");
    let bytes =
        |dir: &std::path::Path| std::fs::read(dir.join("adapter_model.safetensors")).expect("written");
    assert_eq!(bytes(&first), bytes(&second));

    let both =
        ["train", "--data", &data, "--out", &arg(&dir.path().join("x")), "--rank", "4", "--init-adapter"];
    let mut args = both.to_vec();
    let first = arg(&first);
    args.push(&first);
    postil(&args).expect_error(&["--init-adapter", "--rank"]);
}

#[test]
fn step_zero_of_a_new_adapter_is_the_base() {
    let dir = folder();
    let data = arg(&write_data(dir.path()));
    let out = arg(&dir.path().join("out"));
    postil(&["train", "--data", &data, "--out", &out, "--max-steps", "1", "--lr", "0"]).expect_ok();
    let base = postil(&["eval", "--data", &data, "--json"]).json();
    let adapted = postil(&["eval", "--data", &data, "--adapter", &out, "--json"]).json();
    assert_eq!(base, adapted, "B = 0 changes nothing, to the last bit");
}

#[test]
fn every_kernel_is_timed() {
    let dir = folder();
    let (data, out) = (arg(&write_data(dir.path())), arg(&dir.path().join("out")));
    let options =
        ["--max-steps", "2", "--batch-size", "1", "--rank", "2", "--precision", "f32", "--profile", "--json"];
    let summary = postil(&[&["train", "--data", &data, "--out", &out][..], &options].concat()).json();
    let kernels = summary["profile"].as_array().expect("times");
    let of = |name: &str| {
        let rows = kernels
            .iter()
            .filter(|k| k["kernel"].as_str().is_some_and(|k| k.split('/').next() == Some(name)));
        rows.fold((0, 0.0), |(n, s), k| {
            (n + k["dispatches"].as_u64().expect("a number"), s + k["seconds"].as_f64().expect("a number"))
        })
    };
    // Four layers, two steps: attention once a layer and step, AdamW once a step.
    let counts = ["attention_tiled", "attention_tiled_dq", "adamw"].map(|name| of(name).0);
    assert_eq!(counts, [8, 8, 2], "{summary}");
    assert!(of("matmul_nt").1 > 0.0);
}

#[test]
#[cfg(unix)]
fn ctrl_c_finishes_the_step_and_writes_everything() {
    let dir = folder();
    let (data, out, log) =
        (arg(&write_data(dir.path())), dir.path().join("out"), dir.path().join("log.jsonl"));
    let (out_text, log_text) = (arg(&out), arg(&log));
    let args = |steps: &'static str| {
        [
            "train",
            "--data",
            &data,
            "--out",
            &out_text,
            "--max-steps",
            steps,
            "--log",
            &log_text,
            "--batch-size",
            "1",
        ]
        .map(str::to_owned)
    };
    // More steps than any machine does in that time.
    let endless = args("1000000");
    let mut child = command(&endless.each_ref().map(String::as_str)).spawn().expect("the binary runs");
    let start = Instant::now();
    while read_lines(&log) < 3 {
        assert!(start.elapsed() < LONG, "no steps");
        assert!(child.try_wait().expect("its state").is_none(), "it ended");
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().expect("kill").success());
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("--resume"), "{said}");
    let steps = read_log(&log).len();
    assert!(out.join("adapter_model.safetensors").is_file());
    assert!(out.join(format!("checkpoint-{steps}")).is_dir(), "a checkpoint of the last step");
}

#[test]
fn a_resumed_run_tells_of_its_own_steps() {
    let dir = folder();
    let (data, out) = (arg(&write_data(dir.path())), dir.path().join("out"));
    let text = arg(&out);
    let args =
        ["train", "--data", &data, "--out", &text, "--max-steps", "3", "--save-steps", "1", "--rank", "2"];
    let args = [&args[..], &["--batch-size", "1"]].concat();
    let whole = postil(&args);
    assert!(whole.expect_ok().stdout.starts_with("3 steps, "), "{}", whole.stdout);
    // As if it had been killed before its last step.
    std::fs::remove_dir_all(out.join("checkpoint-3")).expect("a checkpoint");
    let rest = postil(&[&args[..], &["--resume"]].concat());
    assert!(rest.expect_ok().stdout.starts_with("1 step after the first 2 of the run, "), "{}", rest.stdout);
    std::fs::remove_dir_all(out.join("checkpoint-3")).expect("a checkpoint");
    let summary = postil(&[&args[..], &["--resume", "--json"]].concat()).json();
    assert_eq!((&summary["steps"], &summary["steps_now"]), (&3.into(), &1.into()));
    assert_eq!(summary["interrupted"], false);
}

#[test]
fn a_software_gpu_is_said_to_be_slow() {
    let device = postil(&["doctor", "--json"]).json()["chosen"]["device_type"].clone();
    let run = postil(&["generate", "--prompt", "Once", "--max-new-tokens", "1"]);
    let said = run.expect_ok().stderr.matches("software on the processor").count();
    assert_eq!(said, usize::from(device == "Cpu"), "{}", run.stderr);
}

#[cfg(unix)]
fn read_lines(path: &std::path::Path) -> usize {
    std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
}
