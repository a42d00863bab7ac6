//! The memory plan: what is said before a run, and what becomes of one that does not fit.

use serde_json::Value;

use super::common::*;

/// The plan of a run of the demo on short examples.
fn plan(data: &str, more: &[&str]) -> Value {
    let mut args = vec!["train", "--plan", "--json", "--data", data];
    args.extend(more);
    postil(&args).json()
}

fn total(plan: &Value) -> u64 {
    plan["total"].as_u64().expect("a number")
}

#[test]
fn what_is_planned_is_allocated() {
    let dir = folder();
    let data = arg(&write_data(dir.path()));
    for more in
        [&["--batch-size", "16"][..], &["--batch-size", "8", "--rank", "40", "--gradient-checkpointing"]]
    {
        let out = arg(&dir.path().join(more.len().to_string()));
        let planned = total(&plan(&data, more));
        plan(&data, &[more, &["--out", &out]].concat());
        assert!(!std::path::Path::new(&out).exists(), "--plan makes nothing");
        let mut args = vec!["train", "--json", "--max-steps", "1", "--out", &out, "--data", &data];
        args.extend(more);
        let run = postil(&args).json();
        let allocated = run["allocated_bytes"].as_u64().expect("a number");
        assert_eq!(total(&run["memory"]), planned);
        // Within 2 % is promised; the plan is exact as long as everything is made by what it asks.
        assert_eq!(allocated, planned);
    }
}

#[test]
fn a_run_that_does_not_fit() {
    let dir = folder();
    let (data, out) = (arg(&write_data(dir.path())), arg(&dir.path().join("out")));
    let base = ["--batch-size", "16"];
    let (whole, least) =
        (total(&plan(&data, &base)), total(&plan(&data, &["--batch-size", "1", "--gradient-checkpointing"])));
    let train = |budget: u64, more: &[&str]| {
        let budget = format!("{budget}B");
        let mut args =
            vec!["train", "--max-steps", "1", "--out", &out, "--data", &data, "--memory-budget", &budget];
        args.extend(if more.contains(&"--batch-size") { &[][..] } else { &base });
        args.extend(more);
        postil(&args)
    };
    // What it would be with the changes that --auto makes.
    let budget = format!("{}B", whole - 1);
    let auto = plan(&data, &[&base[..], &["--memory-budget", &budget, "--auto"]].concat());
    assert!(auto["fits"] == true && total(&auto) < whole, "{auto}");
    // The table and the changes, and nothing was loaded.
    let refused = train(whole - 1, &[]);
    refused.expect_error(&["needs", "MiB of GPU memory", "budget"]);
    for part in [
        "weights",
        "adapter",
        "gradients",
        "moments",
        "activations",
        "workspace",
        "total",
        "with --batch-size 8 --grad-accum 2:",
        "with --gradient-checkpointing:",
        "(fits)",
        "--auto",
        "--memory-budget",
    ] {
        assert!(refused.stderr.contains(part), "no \"{part}\" in {}", refused.stderr);
    }
    // The data are short already.
    for part in ["--max-length", "per_device", "gradient_"] {
        assert!(!refused.stderr.contains(part), "\"{part}\" in {}", refused.stderr);
    }
    // No single change is enough for what is left by both.
    let refused = train(least, &[]);
    assert!(refused.stderr.contains("(not enough)"), "{}", refused.stderr);
    let both = "--gradient-checkpointing --batch-size";
    assert!(refused.stderr.contains(both), "{}", refused.stderr);
    // Nothing is enough for a budget below the weights.
    train(100_000, &["--auto"]).expect_error(&["needs", "97.7 KiB"]);
    // What is as small as it can be has nothing to change.
    let refused = train(least - 1, &["--batch-size", "1", "--gradient-checkpointing"]);
    refused.expect_error(&["needs", "budget"]);
    assert!(!refused.stderr.contains("  with "), "{}", refused.stderr);
    assert!(refused.stderr.contains("Use a smaller rank, fewer target modules"), "{}", refused.stderr);

    // With --auto the run goes, within the budget, and says how.
    let run = train(least, &["--auto", "--json"]);
    run.expect_ok()
        .expect_warning("the run goes with --gradient-checkpointing --batch-size")
        .expect_warning("--grad-accum");
    let allocated = run.json()["allocated_bytes"].as_u64().expect("a number");
    assert!(allocated <= least, "{allocated} of {least}");
}

/// `eval` and `generate` look before they load, and say it as `train` does.
#[test]
fn what_is_read_only_is_planned_too() {
    let dir = folder();
    let data = arg(&write_data(dir.path()));
    let work: [(&[&str], &str); 2] = [
        (&["eval", "--data", &data], "the evaluation needs"),
        (&["generate", "--prompt", "Once", "--max-new-tokens", "2"], "the generation needs"),
    ];
    for (args, needs) in work {
        // The weights alone are larger.
        let refused = postil(&[args, &["--memory-budget", "100000B"]].concat());
        refused.expect_error(&[needs, "MiB of GPU memory, but the budget is 97.7 KiB (given)"]);
        for part in ["weights", "activations", "workspace", "--memory-budget", "a smaller model"] {
            assert!(refused.stderr.contains(part), "no \"{part}\" in {}", refused.stderr);
        }
        assert!(!refused.stderr.contains("--auto"), "{}", refused.stderr);
        postil(&[args, &["--memory-budget", "1GiB"]].concat()).expect_ok();
    }
}

/// Runs a command in so many KiB of address space, which a software driver's memory is a part of.
#[cfg(unix)]
fn within(kib: u32, args: &[&str]) -> Finished {
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &format!("ulimit -v {kib}; exec \"$@\""), "sh", env!("CARGO_BIN_EXE_postil")]);
    shell.args(args).env("XDG_RUNTIME_DIR", std::env::temp_dir()).stdin(std::process::Stdio::null());
    finish(shell)
}

/// A device with less than the default budget, and with less than what a person allows. (On a GPU the address space
/// bounds nothing, and the run would be done.)
#[cfg(unix)]
#[test]
fn a_device_that_grants_less() {
    let device = postil(&["doctor", "--json"]).json();
    if device["chosen"]["device_type"] != "Cpu" {
        return;
    }
    // All of the built-in data in one batch: about 4 GiB.
    let args = ["train", "--batch-size", "100000", "--max-steps", "1"];
    const KIB: u32 = 3_000_000;
    let plan = within(KIB, &[&args[..], &["--plan", "--json"]].concat()).json();
    assert_eq!(plan["fits"], false, "{plan}");
    let budget = plan["budget"]["bytes"].as_u64().expect("a number");
    assert!(budget > 256 << 20 && budget < u64::from(KIB) << 10, "{budget}");
    let source = plan["budget"]["source"].as_str().expect("a text");
    assert!(source.ends_with("lowered to what the device grants"), "{source}");

    let out = folder();
    let out = arg(&out.path().join("out"));
    let refused = within(KIB, &[&args[..], &["--out", &out, "--memory-budget", "100GiB"]].concat());
    refused.expect_error(&["the GPU is out of memory: the run takes", "GiB beside the", "does not grant"]);
}

#[test]
fn a_budget_that_is_no_size() {
    let refused = postil(&["train", "--plan", "--memory-budget", "8Gigs"]);
    assert!(!refused.ok);
    assert!(refused.stderr.contains("expected a size such as 8GiB"), "{}", refused.stderr);
    // Only a plan needs no folder.
    let refused = postil(&["train", "--memory-budget", "8GiB"]);
    assert!(!refused.ok && refused.stderr.contains("--out"), "{}", refused.stderr);
}

/// Its flat buffers pass 128 MiB, WebGPU's limit and lavapipe's.
#[test]
fn an_adapter_in_several_buffers() {
    let dir = folder();
    let (data, out) = (arg(&write_data(dir.path())), arg(&dir.path().join("out")));
    let args =
        ["train", "--data", &data, "--out", &out, "--max-steps", "1", "--rank", "3000", "--batch-size", "1"];
    let plan = plan(&data, &args[7..]);
    let adapter = plan["items"][1]["bytes"].as_u64().expect("a number");
    assert!(adapter > 128 << 20, "{adapter} bytes are no more than a binding");
    postil(&args).expect_ok();
}
