//! Files from the Hub that are large enough to come in segments.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Barrier};

use super::hub::{Place, REPO, kill_after};
use super::hub_server::COMMIT;

/// As in the source: what is larger comes in segments.
const SEGMENT: usize = 32 << 20;

/// A model in one file of three segments, the last of which is short.
fn large_gguf() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/host/fixtures/gguf/llama-smollm.gguf");
    let mut file = std::fs::read(path).expect("the fixture");
    // No two places alike, so that none can be taken for another.
    file.extend((0u32..).flat_map(u32::to_le_bytes).take(2 * SEGMENT + 5_000_001 - file.len()));
    file
}

const LARGE: &str = "owner/story-model/large.gguf";

fn large_place() -> (Place, Vec<u8>) {
    let (place, content) = (Place::new(), large_gguf());
    place.server.add(REPO, HashMap::from([("large.gguf".to_owned(), content.clone())]));
    (place, content)
}

fn is_whole(place: &Place, content: &[u8]) {
    let path = place.cache().join("snapshots").join(COMMIT).join("large.gguf");
    // Not `assert_eq`: nobody wants to read the difference.
    assert!(std::fs::read(path).expect("the file") == content);
    assert_eq!(place.parts(content), []);
}

#[test]
fn a_large_file_comes_over_several_connections() {
    let (place, content) = large_place();
    // Answers nobody before three have asked.
    place.server.state().together = Some(Arc::new(Barrier::new(3)));
    place.params(LARGE, &[]).expect_ok();
    is_whole(&place, &content);
    let expected = [
        format!("bytes=0-{}", SEGMENT - 1),
        format!("bytes={SEGMENT}-{}", 2 * SEGMENT - 1),
        format!("bytes={}-", 2 * SEGMENT),
    ];
    assert_eq!(place.server.ranges(), BTreeSet::from(expected));
}

#[test]
fn a_large_file_goes_on_after_a_kill() {
    let (place, content) = large_place();
    place.server.state().stalls_after = Some(300_001);
    kill_after(&place, place.command(&["params", "--model", LARGE]), &content, 3 * 300_001);
    let before = place.parts(&content);
    assert_eq!(before.iter().filter(|(_, len)| *len > 0).count(), 3, "{before:?}");
    // The last answers break off, and are asked for again.
    let mut state = place.server.state();
    (state.stalls_after, state.drops) = (None, 2);
    state.storage_log.clear();
    drop(state);
    place.params(LARGE, &[]).expect_ok().expect_warning("trying again");
    is_whole(&place, &content);
    let ranges = place.server.ranges();
    let expected = [
        format!("bytes=300001-{}", SEGMENT - 1),
        format!("bytes={}-{}", SEGMENT + 300_001, 2 * SEGMENT - 1),
        format!("bytes={}-", 2 * SEGMENT + 300_001),
    ];
    assert!(expected.iter().all(|range| ranges.contains(range)), "{ranges:?}");
    assert_eq!(ranges.len(), 5, "{ranges:?}");
}

#[test]
fn a_large_file_comes_from_a_server_without_ranges() {
    let (place, content) = large_place();
    place.server.state().ignores_ranges = true;
    place.server.state().drops = 1;
    place.params(LARGE, &[]).expect_ok();
    is_whole(&place, &content);
}

#[test]
fn lengths_of_large_files_are_checked() {
    let (place, content) = large_place();
    for lie in [-1, 1] {
        place.server.state().lie = lie;
        place.params(LARGE, &[]).expect_error(&["large.gguf", "asked for bytes"]);
    }
    place.server.state().lie = 0;
    place.params(LARGE, &[]).expect_ok();
    is_whole(&place, &content);
}
