//! Killed and resumed runs.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::common::*;

/// A run with everything random in it: shuffling, dropout, several epochs.
fn args(data: &str, out: &Path, log: &Path) -> Vec<String> {
    let mut args: Vec<String> = [
        "train",
        "--data",
        data,
        "--epochs",
        "4",
        "--batch-size",
        "2",
        "--grad-accum",
        "2",
        "--dropout",
        "0.1",
        "--rank",
        "4",
        "--eval-split",
        "0.25",
        "--eval-steps",
        "3",
        "--save-steps",
        "2",
    ]
    .map(str::to_owned)
    .to_vec();
    args.extend(["--out".to_owned(), arg(out), "--log".to_owned(), arg(log)]);
    args
}

fn run(args: &[String]) -> Finished {
    postil(&args.iter().map(String::as_str).collect::<Vec<_>>())
}

fn losses(log: &Path) -> Vec<(u64, u64, Option<u64>)> {
    let bits = |value: &serde_json::Value| value.as_f64().map(f64::to_bits);
    read_log(log)
        .iter()
        .map(|line| {
            let loss = bits(&line["loss"]).expect("a loss");
            (line["step"].as_u64().expect("a step"), loss, bits(&line["eval_loss"]))
        })
        .collect()
}

fn adapter(out: &Path) -> Vec<u8> {
    std::fs::read(out.join("adapter_model.safetensors")).expect("an adapter")
}

fn lines(log: &Path) -> usize {
    std::fs::read_to_string(log).map_or(0, |text| text.lines().count())
}

#[test]
fn a_killed_run_ends_with_the_same_adapter() {
    let dir = folder();
    let data = arg(&write_data(dir.path()));
    let path = |name: &str| -> PathBuf { dir.path().join(name) };
    let whole = run(&args(&data, &path("whole"), &path("whole.jsonl")));
    whole.expect_ok();
    let total = lines(&path("whole.jsonl"));
    assert_eq!(total, 12);

    // Killed twice, somewhere.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let first = 1 + now.subsec_nanos() as usize % 5;
    let mut arguments = args(&data, &path("killed"), &path("killed.jsonl"));
    for kill_at in [first, first + 5] {
        let text: Vec<_> = arguments.iter().map(String::as_str).collect();
        let mut child = command(&text).spawn().expect("the binary runs");
        let start = Instant::now();
        while lines(&path("killed.jsonl")) < kill_at && child.try_wait().expect("its state").is_none() {
            assert!(start.elapsed() < LONG, "no steps");
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().expect("SIGKILL");
        child.wait().expect("it is dead");
        if !arguments.contains(&"--resume".to_owned()) {
            arguments.push("--resume".to_owned());
        }
    }
    run(&arguments).expect_ok();
    assert_eq!(losses(&path("killed.jsonl")), losses(&path("whole.jsonl")), "killed at {first} and later");
    assert_eq!(adapter(&path("killed")), adapter(&path("whole")), "killed at {first} and later");
    assert_eq!(adapter(&path("killed/best")), adapter(&path("whole/best")));
}

#[test]
fn resuming_needs_the_same_run() {
    let dir = folder();
    let data = arg(&write_data(dir.path()));
    let (out, log) = (dir.path().join("out"), dir.path().join("log.jsonl"));
    let original = args(&data, &out, &log);

    // With nothing to resume it begins, and says so.
    let mut again = original.clone();
    again.push("--resume".to_owned());
    run(&again).expect_ok().expect_warning("no checkpoint");
    let done = adapter(&out);

    run(&original).expect_error(&["already holds a run", "--resume"]);
    // A finished run stays as it is.
    run(&again).expect_ok();
    assert_eq!(adapter(&out), done);

    for (option, value, said) in [
        ("--lr", "1e-5", "--lr"),
        ("--seed", "1", "seed"),
        ("--epochs", "3", "12 steps, which cannot become 9"),
        ("--rank", "8", "rank"),
        ("--dropout", "0.2", "dropout"),
    ] {
        let mut changed = again.clone();
        match changed.iter().position(|a| a == option) {
            Some(at) => changed[at + 1] = value.to_owned(),
            None => changed.extend([option.to_owned(), value.to_owned()]),
        }
        run(&changed).expect_error(&[said]);
    }
    let other = dir.path().join("other.jsonl");
    let text = std::fs::read_to_string(&data).expect("readable").replace("blue", "black");
    std::fs::write(&other, text).expect("writable");
    let mut changed = again.clone();
    changed[2] = arg(&other);
    run(&changed).expect_error(&["data are not the same"]);
    assert_eq!(adapter(&out), done, "a refused resume changes nothing");
}

#[test]
fn a_damaged_checkpoint_is_named() {
    let dir = folder();
    let data = arg(&write_data(dir.path()));
    let (out, log) = (dir.path().join("out"), dir.path().join("log.jsonl"));
    let mut arguments = args(&data, &out, &log);
    run(&arguments).expect_ok();
    let state = out.join("checkpoint-12/optimizer.safetensors");
    let bytes = std::fs::read(&state).expect("readable");
    std::fs::write(&state, &bytes[..bytes.len() / 2]).expect("writable");
    arguments.push("--resume".to_owned());
    run(&arguments).expect_error(&["checkpoint-12", "optimizer.safetensors", "the checkpoint before it"]);
    std::fs::remove_dir_all(out.join("checkpoint-12")).expect("removable");
    run(&arguments).expect_ok();
}

#[test]
fn a_finished_run_has_a_checkpoint_of_its_last_step() {
    let dir = folder();
    let data = arg(&write_data(dir.path()));
    let out = dir.path().join("out");
    let text = arg(&out);
    let with = |steps: &str, more: &[&str]| {
        let mut args = vec!["train", "--data", &data, "--out", &text, "--max-steps", steps];
        args.extend(more);
        postil(&args)
    };
    with("3", &[]).expect_ok();
    let done = adapter(&out);
    with("3", &["--resume"]).expect_ok();
    assert_eq!(adapter(&out), done);
    with("2", &["--resume"]).expect_error(&["--max-steps"]);
    // Without it there is nothing to go on from, and the adapter stays.
    std::fs::remove_dir_all(out.join("checkpoint-3")).expect("a checkpoint at the end");
    with("3", &["--resume"]).expect_error(&["no checkpoint", "--init-adapter"]);
    assert_eq!(adapter(&out), done);
}

#[test]
fn another_base_model_is_noticed() {
    let dir = folder();
    let data = arg(&write_data(dir.path()));
    let (model, out) = (copy_of_demo(dir.path()), arg(&dir.path().join("out")));
    let name = arg(&model);
    let with = |more: &[&str]| {
        let mut args = vec!["train", "--model", &name, "--data", &data, "--out", &out, "--max-steps", "1"];
        args.extend(more);
        postil(&args)
    };
    with(&[]).expect_ok();
    let weights = model.join("model.safetensors");
    let mut bytes = std::fs::read(&weights).expect("readable");
    *bytes.last_mut().expect("not empty") ^= 1;
    std::fs::write(&weights, bytes).expect("writable");
    with(&["--resume"]).expect_error(&["base model's weights"]);
}

#[test]
fn what_a_killed_write_left_is_put_right() {
    let dir = folder();
    let data = arg(&write_data(dir.path()));
    let (out, log) = (dir.path().join("out"), dir.path().join("log.jsonl"));
    let mut arguments = args(&data, &out, &log);
    run(&arguments).expect_ok();
    let done = adapter(&out);
    // As a run leaves it that was killed between the two renames of a checkpoint, and in the middle of another.
    let newest = out.join("checkpoint-12");
    std::fs::rename(&newest, out.join(".checkpoint-12.1-0.postil-old")).expect("writable");
    std::fs::create_dir(out.join(".checkpoint-14.1-0.postil-new")).expect("writable");
    std::fs::write(&log, [std::fs::read(&log).expect("readable"), b"{\"step\": 1".to_vec()].concat())
        .expect("writable");
    arguments.push("--resume".to_owned());
    run(&arguments).expect_ok();
    assert!(newest.is_dir() && !out.join(".checkpoint-14.1-0.postil-new").exists());
    assert_eq!(adapter(&out), done);
    assert_eq!(lines(&log), 12);
}

#[test]
fn a_run_goes_on_with_more_steps() {
    let dir = folder();
    let data = arg(&write_data(dir.path()));
    let run = |out: &Path, log: &Path, more: &[&str]| {
        let (out, log) = (arg(out), arg(log));
        // With warm-up and a schedule that do not depend on the number of steps the results may not either.
        let mut args = vec!["train", "--data", &data, "--out", &out, "--log", &log, "--batch-size", "2"];
        args.extend(["--schedule", "constant", "--warmup-steps", "2"]);
        args.extend(more);
        postil(&args)
    };
    let path = |name: &str| dir.path().join(name);
    run(&path("whole"), &path("whole.jsonl"), &["--max-steps", "6"]).expect_ok();
    run(&path("more"), &path("more.jsonl"), &["--max-steps", "4"]).expect_ok();
    run(&path("more"), &path("more.jsonl"), &["--max-steps", "6", "--resume"])
        .expect_ok()
        .expect_warning("had 4 steps and now has 6");
    assert_eq!(losses(&path("more.jsonl")), losses(&path("whole.jsonl")));
    assert_eq!(adapter(&path("more")), adapter(&path("whole")));
    // By epochs as well: 16 examples in batches of 2.
    run(&path("more"), &path("more.jsonl"), &["--epochs", "1", "--resume"]).expect_ok();
    assert_eq!(lines(&path("more.jsonl")), 8);
}
