//! A data set is read again only when its tokens would be others.

use std::fs;

use postil::config::TrainConfig;
use postil::data::{Columns, DataFormat, Dataset};
use postil::demo;
use postil::gpu::MemoryBudget;
use postil::train::{Job, MemoryOptions, Records, Start};
use serde_json::json;

#[test]
fn a_plan_with_another_rank_does_not_read_the_file_again() {
    let (model, tokenizer) = demo::text_files().read().expect("the built-in files");
    let file = tempfile::NamedTempFile::new().expect("a file");
    let rows = |count: usize| "{\"prompt\": \"a\", \"completion\": \" b\"}\n".repeat(count);
    fs::write(&file, rows(2)).expect("writable");
    let data = Dataset::open(file.path(), DataFormat::default(), Columns::default()).expect("rows");
    let records = Records::new(data);
    let plan = |r: usize, train: TrainConfig| {
        let job = Job {
            start: Start::New(serde_json::from_value(json!({ "r": r })).expect("a config")),
            train,
            data: records.clone(),
            evaluation: Some(records.clone()),
            eval_split: None,
            memory: MemoryOptions { budget: MemoryBudget::given(1 << 30), auto: false },
        };
        job.tokenize(&model, &tokenizer).map(drop)
    };
    let train = |max_length: usize| TrainConfig { max_length, ..TrainConfig::default() };
    plan(8, train(32)).expect("two rows");

    // Whoever reads it from now on sees that it is no data any more.
    fs::write(&file, "no rows\n").expect("writable");
    plan(16, train(32)).expect("the same tokens");
    plan(16, TrainConfig { learning_rate: 1.0, per_device_train_batch_size: 2, ..train(32) })
        .expect("the same tokens");
    plan(16, train(16)).expect_err("other tokens");

    // Nothing is kept of what failed, and another tokenizer's tokens are other ones.
    fs::write(&file, rows(3)).expect("writable");
    let examples =
        |tokenizer: &_| records.prepare(&model, tokenizer, &train(32)).expect("rows").examples.len();
    assert_eq!(examples(&tokenizer), 3);
    fs::write(&file, rows(1)).expect("writable");
    assert_eq!(examples(&tokenizer), 3);
    let (_, other) = demo::text_files().read().expect("the built-in files");
    assert_eq!(examples(&other), 1);
}
