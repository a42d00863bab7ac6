//! Models by name: against a server that behaves as the Hub, with the cache in a folder of the test.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::common::*;
use super::hub_server::{COMMIT, HubServer, TOKEN, etag};

pub const REPO: &str = "owner/story-model";

pub fn demo_files() -> HashMap<String, Vec<u8>> {
    let names = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
    let read = |name: &str| std::fs::read(demo_folder().join(name)).expect("the demo's file");
    names.iter().map(|name| ((*name).to_owned(), read(name))).collect()
}

pub struct Place {
    pub server: HubServer,
    home: TempDir,
}

impl Place {
    pub fn new() -> Self {
        let place = Self { server: HubServer::start(), home: folder() };
        place.server.add(REPO, demo_files());
        place
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = command(args);
        for name in ["HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE"] {
            command.env_remove(name);
        }
        command.env("HF_ENDPOINT", &self.server.endpoint).env("HF_HOME", self.home.path());
        command
    }

    /// Counts parameters: needs `config.json` and no GPU.
    pub fn params(&self, model: &str, env: &[(&str, &str)]) -> Finished {
        let mut command = self.command(&["params", "--model", model, "--json"]);
        command.envs(env.iter().copied());
        finish(command)
    }

    /// Writes one token: needs all files.
    fn generate(&self, model: &str, env: &[(&str, &str)]) -> Finished {
        let mut command = self.command(&GENERATE);
        command.args(["--model", model]).envs(env.iter().copied());
        finish(command)
    }

    pub fn cache(&self) -> PathBuf {
        self.home.path().join("hub/models--owner--story-model")
    }

    /// Names and lengths of what has come of a content; other files' parts are there for a moment as well.
    pub fn parts(&self, content: &[u8]) -> Vec<(String, u64)> {
        let etag = etag(content);
        let entries = std::fs::read_dir(self.cache().join("blobs")).into_iter().flatten().flatten();
        let mut parts: Vec<_> = entries
            .map(|entry| (entry.file_name().into_string().expect("UTF-8"), entry))
            .filter(|(name, _)| name.starts_with(&etag) && name.ends_with(".incomplete"))
            .map(|(name, entry)| (name, entry.metadata().map_or(0, |meta| meta.len())))
            .collect();
        parts.sort();
        parts
    }
}

const GENERATE: [&str; 8] =
    ["generate", "--prompt", "Once upon a time", "--max-new-tokens", "4", "--temperature", "0", "--json"];

fn weights(path: &Path) -> Vec<u8> {
    std::fs::read(path.join("snapshots").join(COMMIT).join("model.safetensors")).expect("the weights")
}

#[test]
fn a_model_is_downloaded_once_into_the_standard_cache() {
    let place = Place::new();
    let text = place.generate(REPO, &[]).json()["text"].clone();
    assert_eq!(text, postil(&GENERATE).json()["text"], "the same as the built-in model");

    let cache = place.cache();
    assert_eq!(std::fs::read_to_string(cache.join("refs/main")).expect("a ref"), COMMIT);
    assert!(cache.join(".no_exist").join(COMMIT).join("chat_template.jinja").exists());
    let snapshot = cache.join("snapshots").join(COMMIT);
    for (name, bytes) in demo_files() {
        assert_eq!(std::fs::read(snapshot.join(&name)).expect("a file"), bytes, "{name}");
        #[cfg(unix)]
        {
            let link = std::fs::read_link(snapshot.join(&name)).expect("a link");
            assert!(link.starts_with("../../blobs"), "{}", link.display());
        }
    }
    // One request tells that the branch has not moved; everything else is there.
    place.server.state().hub_log.clear();
    place.server.state().storage_log.clear();
    place.generate(REPO, &[]).expect_ok();
    let state = place.server.state();
    assert_eq!((state.hub_log.len(), state.storage_log.len()), (1, 0), "{:?}", state.hub_log);
    drop(state);

    place.server.state().hub_log.clear();
    place.generate(REPO, &[("HF_HUB_OFFLINE", "1")]).expect_ok();
    place.generate(&format!("{REPO}@{COMMIT}"), &[("HF_HUB_OFFLINE", "yes")]).expect_ok();
    assert!(place.server.state().hub_log.is_empty());
    // Without the Hub the copy is used, and it is said.
    let unreachable = place.generate(REPO, &[("HF_ENDPOINT", "http://127.0.0.1:9")]);
    unreachable.expect_ok().expect_warning("using the copy in the cache");
}

#[test]
fn an_adapter_names_the_base_and_its_revision() {
    let place = Place::new();
    let data = arg(&write_data(place.home.path()));
    for (model, revision) in [(REPO.to_owned(), None), (format!("{REPO}@{COMMIT}"), Some(COMMIT))] {
        let out = place.home.path().join(format!("adapter-{}", revision.is_some()));
        let options = ["--max-steps", "1", "--batch-size", "1", "--max-length", "16", "--rank", "1"];
        let mut command = place.command(&["train", "--model", &model, "--data", &data, "--out", &arg(&out)]);
        command.args(options);
        finish(command).expect_ok();
        let config = std::fs::read(out.join("adapter_config.json")).expect("an adapter");
        let config: serde_json::Value = serde_json::from_slice(&config).expect("JSON");
        assert_eq!(config["base_model_name_or_path"], REPO);
        assert_eq!(config["revision"].as_str(), revision);
    }
}

#[test]
fn counting_parameters_downloads_no_weights() {
    let place = Place::new();
    let report = place.params(&format!("{REPO}@refs/pr/1"), &[]).json();
    assert_eq!(report["trainable"], postil(&["params", "--json"]).json()["trainable"]);
    assert!(place.server.state().storage_log.is_empty());
    assert!(place.cache().join("refs/refs/pr/1").is_file());
    assert!(!place.cache().join("snapshots").join(COMMIT).join("model.safetensors").exists());
}

#[test]
fn looking_at_data_downloads_no_weights() {
    let place = Place::new();
    let mut files = demo_files();
    // The text files alone say which token ends a text.
    let config = String::from_utf8(files["tokenizer_config.json"].clone()).expect("text");
    let mut config: serde_json::Value = serde_json::from_str(&config).expect("JSON");
    let eos = config.as_object_mut().expect("an object").remove("eos_token").expect("a token");
    files.insert("tokenizer_config.json".to_owned(), config.to_string().into_bytes());
    place.server.add("owner/no-eos", files.clone());
    let map = serde_json::json!({ "eos_token": eos }).to_string();
    files.insert("special_tokens_map.json".to_owned(), map.into_bytes());
    place.server.add(REPO, files);
    let file = place.home.path().join("pairs.jsonl");
    std::fs::write(&file, "{\"prompt\": \"a\", \"completion\": \" b\"}\n").expect("writable");
    let look = |model: &str, env: &[(&str, &str)]| {
        let mut command = place.command(&["data", "--model", model, "--data", &arg(&file), "--json"]);
        command.envs(env.iter().copied());
        finish(command)
    };
    let report = look(REPO, &[]).json();
    let mut here = command(&["data", "--data", &arg(&file), "--json"]);
    here.env_remove("HF_ENDPOINT");
    assert_eq!(report, finish(here).json());
    assert_eq!(report["warnings"], serde_json::json!([]));
    assert!(place.server.state().storage_log.is_empty());
    let snapshot = place.cache().join("snapshots").join(COMMIT);
    assert!(
        snapshot.join("special_tokens_map.json").exists() && !snapshot.join("model.safetensors").exists()
    );
    assert_eq!(look(REPO, &[("HF_HUB_OFFLINE", "1")]).json(), report);
    let unknown = look("owner/no-eos", &[]).json();
    assert!(unknown["warnings"][0].as_str().expect("a warning").contains("names no eos_token"), "{unknown}");
}

#[test]
fn the_cache_can_be_elsewhere() {
    let (place, other) = (Place::new(), folder());
    place.params(REPO, &[("HF_HUB_CACHE", &arg(other.path()))]).expect_ok();
    assert!(other.path().join("models--owner--story-model/refs/main").is_file());
    assert!(!place.cache().exists());
}

#[test]
fn a_connection_that_breaks_goes_on_from_there() {
    let place = Place::new();
    place.server.state().drops = 2;
    let finished = place.generate(REPO, &[]);
    finished.expect_ok().expect_warning("trying again");
    assert_eq!(weights(&place.cache()), demo_files()["model.safetensors"]);
    let state = place.server.state();
    let ranges: Vec<_> = state.storage_log.iter().map(|r| r.headers.get("range").cloned()).collect();
    let size = demo_files()["model.safetensors"].len();
    let half = size / 2;
    let expected =
        [None, Some(format!("bytes={half}-")), Some(format!("bytes={}-", half + (size - half) / 2))];
    assert_eq!(ranges, expected);
}

/// Starts the command against a server that stalls, and kills it when `bytes` of the content are on the disk.
pub fn kill_after(place: &Place, mut command: Command, content: &[u8], bytes: usize) {
    let mut child = command.spawn().expect("the binary runs");
    let begun = Instant::now();
    while place.parts(content).iter().map(|(_, len)| *len as usize).sum::<usize>() < bytes {
        assert!(begun.elapsed() < LONG, "the bytes did not come");
        assert!(child.try_wait().expect("a state").is_none(), "it ended");
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}

#[test]
fn an_interrupted_download_goes_on_with_the_next_run() {
    let place = Place::new();
    let content = &demo_files()["model.safetensors"];
    place.server.state().stalls_after = Some(100_001);
    let mut command = place.command(&GENERATE);
    command.args(["--model", REPO]);
    kill_after(&place, command, content, 100_001);
    // Other tools of the cache go on from this file, too.
    assert_eq!(place.parts(content), [(format!("{}.incomplete", etag(content)), 100_001)]);
    place.server.state().stalls_after = None;
    place.server.state().storage_log.clear();
    place.generate(REPO, &[]).expect_ok();
    assert_eq!(place.server.state().storage_log[0].headers["range"], "bytes=100001-");
    assert_eq!(weights(&place.cache()), *content);
    assert_eq!(place.parts(content), []);
}

#[test]
fn sizes_beyond_every_number_are_refused() {
    let place = Place::new();
    place.server.add(REPO, sharded());
    place.server.state().lie = i64::MAX;
    place.generate(REPO, &[]).expect_error(&[REPO, "disk"]);
}

#[test]
fn a_server_without_ranges_sends_everything_again() {
    let place = Place::new();
    place.server.state().drops = 1;
    place.server.state().ignores_ranges = true;
    place.generate(REPO, &[]).expect_ok();
    assert_eq!(weights(&place.cache()), demo_files()["model.safetensors"]);
}

#[test]
fn lengths_are_checked() {
    let place = Place::new();
    place.server.state().lie = -1;
    place.generate(REPO, &[]).expect_error(&["model.safetensors", "sends more than"]);
    place.server.state().lie = 1;
    place.generate(REPO, &[]).expect_error(&["model.safetensors", "asked for bytes"]);
    assert!(!place.cache().join("refs/main").exists());
    assert!(!place.cache().join("snapshots").join(COMMIT).join("model.safetensors").exists());
}

#[test]
fn a_mirror_need_not_say_what_it_lacks() {
    let place = Place::new();
    place.server.state().silent = true;
    place.generate(REPO, &[]).expect_ok();
    place.params(&format!("{REPO}/absent.gguf"), &[]).expect_error(&[REPO, "absent.gguf"]);
}

#[test]
fn an_overloaded_hub_is_asked_again() {
    let place = Place::new();
    place.server.state().overloaded = 2;
    place.params(REPO, &[]).expect_ok().expect_warning("503");
}

#[test]
fn a_hub_that_is_not_there_is_named() {
    let place = Place::new();
    let nowhere = place.params(REPO, &[("HF_ENDPOINT", "http://127.0.0.1:9")]);
    nowhere.expect_error(&[REPO, "http://127.0.0.1:9", "cannot be reached", "check HF_ENDPOINT"]);
    // A refusal is final, unlike what only breaks off.
    assert!(!nowhere.stderr.contains("trying again"), "{}", nowhere.stderr);
    place
        .params(REPO, &[("HF_ENDPOINT", "huggingface.co")])
        .expect_error(&["HF_ENDPOINT", "expected an address"]);
    place.params(REPO, &[("HF_HUB_OFFLINE", "1")]).expect_error(&[
        REPO,
        "not in the cache",
        "HF_HUB_OFFLINE",
    ]);
}

#[test]
fn gated_models_need_the_token_and_no_other_server_gets_it() {
    let place = Place::new();
    place.server.state().gated.push(REPO.to_owned());
    let hint = format!("{}/{REPO}", place.server.endpoint);
    place.params(REPO, &[]).expect_error(&["gated", &hint, "set HF_TOKEN"]);
    place.params(REPO, &[("HF_TOKEN", "hf_wrong")]).expect_error(&["gated", &hint, "belongs to the account"]);
    place.params(REPO, &[("HF_TOKEN", TOKEN)]).expect_ok();
    // The file that Hugging Face's login writes.
    std::fs::write(place.home.path().join("token"), format!("{TOKEN}\n")).expect("writable");
    place.generate(REPO, &[]).expect_ok();
    let state = place.server.state();
    assert!(!state.storage_log.is_empty());
    assert!(state.storage_log.iter().all(|request| !request.headers.contains_key("authorization")));
}

#[test]
fn what_is_missing_is_named() {
    let place = Place::new();
    place.params("owner/nothing", &[]).expect_error(&["owner/nothing", "check the name", "HF_TOKEN"]);
    place.params("owner/nothing", &[("HF_TOKEN", TOKEN)]).expect_error(&["owner/nothing", "check the name"]);
    place.params(&format!("{REPO}@v9"), &[]).expect_error(&[REPO, "no revision \"v9\""]);
    let mut files = demo_files();
    files.remove("tokenizer.json");
    place.server.add("owner/no-tokenizer", files);
    place.generate("owner/no-tokenizer", &[]).expect_error(&["owner/no-tokenizer", "tokenizer.json"]);
    let mut files = demo_files();
    files.remove("model.safetensors");
    place.server.add("owner/no-weights", files);
    place.generate("owner/no-weights", &[]).expect_error(&["owner/no-weights", "model.safetensors"]);
    place.params("owner/nothing/file.gguf", &[]).expect_error(&["owner/nothing"]);
    place.params(&format!("{REPO}/file.gguf"), &[]).expect_error(&[REPO, "file.gguf"]);
    place.params("neither-nor", &[]).expect_error(&["neither-nor", "not a folder", "owner/name"]);
}

#[test]
fn an_index_cannot_name_files_outside() {
    let place = Place::new();
    let mut files = demo_files();
    files.remove("model.safetensors");
    let index = r#"{"weight_map": {"model.norm.weight": "../../../../outside.safetensors"}}"#;
    files.insert("model.safetensors.index.json".to_owned(), index.into());
    place.server.add(REPO, files);
    place.generate(REPO, &[]).expect_error(&["index.json", "outside.safetensors"]);
}

/// The built-in model's weights in two files, with their index.
pub fn sharded() -> HashMap<String, Vec<u8>> {
    let mut files = demo_files();
    let whole = files.remove("model.safetensors").expect("the weights");
    let tensors = safetensors::SafeTensors::deserialize(&whole).expect("a valid file");
    let mut names = tensors.names();
    names.sort();
    let mut weight_map = HashMap::new();
    for (i, part) in names.chunks(names.len().div_ceil(2)).enumerate() {
        let name = format!("model-0000{}-of-00002.safetensors", i + 1);
        let views = part.iter().map(|tensor| (*tensor, tensors.tensor(tensor).expect("a tensor")));
        files.insert(name.clone(), safetensors::serialize(views, None).expect("a file"));
        weight_map.extend(part.iter().map(|tensor| ((*tensor).to_owned(), name.clone())));
    }
    let index = serde_json::json!({ "metadata": {}, "weight_map": weight_map });
    files.insert("model.safetensors.index.json".to_owned(), index.to_string().into_bytes());
    files
}

#[test]
fn models_in_several_files_come_whole() {
    let place = Place::new();
    place.server.add(REPO, sharded());
    place.server.state().drops = 1;
    assert_eq!(place.generate(REPO, &[]).json()["text"], postil(&GENERATE).json()["text"]);
    place.generate(REPO, &[("HF_HUB_OFFLINE", "1")]).expect_ok();
}

#[test]
fn a_model_can_be_one_gguf_file_of_a_repository() {
    let place = Place::new();
    let name = "llama-smollm.gguf";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/host/fixtures/gguf").join(name);
    let file = std::fs::read(&path).expect("the fixture");
    place.server.add("owner/name-GGUF", HashMap::from([(name.to_owned(), file)]));
    let from_hub = place.params(&format!("owner/name-GGUF/{name}"), &[]).json();
    assert_eq!(from_hub, postil(&["params", "--model", &arg(&path), "--json"]).json());
}
