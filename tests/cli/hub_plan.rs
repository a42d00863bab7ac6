//! Plans of models by name: what they need is known before the weights are downloaded.

use std::collections::HashMap;
use std::path::Path;

use super::common::*;
use super::hub::{Place, REPO, demo_files, sharded};
use super::hub_server::COMMIT;

const SHORT: [&str; 8] = ["--max-steps", "1", "--batch-size", "1", "--max-length", "16", "--rank", "1"];

/// The command, with the place's data.
fn train(place: &Place, model: &str, more: &[&str]) -> Finished {
    let dir = folder();
    let data = arg(&write_data(dir.path()));
    let mut command = place.command(&["train", "--model", model, "--data", &data]);
    command.args(SHORT).args(more);
    finish(command)
}

/// Bytes of large files that were asked for; without a range a request is for all of them.
fn requested(place: &Place) -> u64 {
    let state = place.server.state();
    let bytes = state.storage_log.iter().map(|request| {
        let range = request.headers.get("range").expect("a range, not the whole file");
        let (first, last) =
            range.strip_prefix("bytes=").and_then(|range| range.split_once('-')).expect("bytes");
        last.parse::<u64>().expect("an end") + 1 - first.parse::<u64>().expect("a beginning")
    });
    bytes.sum()
}

#[test]
fn a_plan_needs_headers_alone() {
    let place = Place::new();
    let expected = train(&place, "demo", &["--plan", "--json"]).json();
    let whole = place.cache().join("snapshots").join(COMMIT).join("model.safetensors");
    for files in [demo_files(), sharded()] {
        let weights = files.iter().filter(|(name, _)| name.ends_with(".safetensors"));
        let size: usize = weights.map(|(_, bytes)| bytes.len()).sum();
        place.server.add(REPO, files);
        place.server.state().storage_log.clear();
        assert_eq!(train(&place, REPO, &["--plan", "--json"]).json(), expected);
        let read = requested(&place);
        assert!(read > 0 && read <= size as u64 / 4, "{read} of {size}");
        assert!(!whole.exists());
    }
    // A server without ranges sends everything, of which the beginning is read.
    place.server.state().ignores_ranges = true;
    assert_eq!(train(&place, REPO, &["--plan", "--json"]).json(), expected);
    assert!(!whole.exists());
}

#[test]
fn so_does_a_plan_of_one_gguf_file() {
    let (place, name) = (Place::new(), "llama-smollm.gguf");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/host/fixtures/gguf").join(name);
    let file = std::fs::read(&path).expect("the fixture");
    place.server.add(REPO, HashMap::from([(name.to_owned(), file)]));
    let plan = train(&place, &format!("{REPO}/{name}"), &["--plan", "--json"]).json();
    assert_eq!(plan, train(&place, &arg(&path), &["--plan", "--json"]).json());
    assert!(!place.cache().join("snapshots").join(COMMIT).join(name).exists());
}

#[test]
fn what_does_not_fit_is_not_downloaded() {
    let place = Place::new();
    let dir = folder();
    let out = arg(&dir.path().join("out"));
    let run = train(&place, REPO, &["--out", &out, "--memory-budget", "1MiB"]);
    run.expect_error(&["the run needs", "budget is 1"]);
    requested(&place);
    // The same run with room downloads the weights; then a plan reads nothing on the server, nor needs one.
    place.server.state().storage_log.clear();
    train(&place, REPO, &["--out", &out]).expect_ok();
    assert!(place.server.state().storage_log.iter().any(|request| !request.headers.contains_key("range")));
    place.server.state().storage_log.clear();
    let config = std::fs::read(dir.path().join("out/adapter_config.json")).expect("an adapter");
    let config: serde_json::Value = serde_json::from_slice(&config).expect("JSON");
    assert_eq!((&config["base_model_name_or_path"], &config["revision"]), (&REPO.into(), &().into()));
    train(&place, REPO, &["--plan"]).expect_ok();
    assert_eq!(requested(&place), 0);
}

#[test]
fn a_plan_survives_what_a_download_survives() {
    let place = Place::new();
    place.server.state().drops = 1;
    train(&place, REPO, &["--plan"]).expect_ok().expect_warning("trying again");
    place.server.state().lie = 1;
    train(&place, REPO, &["--plan"]).expect_error(&["model.safetensors", "asked for bytes"]);
    place.server.state().lie = 0;
    let mut files = demo_files();
    let weights = files.remove("model.safetensors").expect("the weights");
    files.insert("pytorch_model.bin".to_owned(), weights);
    place.server.add("owner/pickled", files);
    train(&place, "owner/pickled", &["--plan"]).expect_error(&[
        "owner/pickled",
        "pytorch_model.bin",
        "not read",
    ]);
}
