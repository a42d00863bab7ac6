//! The built-in model and data: small, complete, and the same for page and binary.

use postil::data::{PrepareOptions, prepare};
use postil::demo;

const INDEX: &[u8] = include_bytes!("../../www/public/demo/data/index.json");
const MAX_WEIGHTS: u64 = 8 << 20;

#[test]
fn the_model_is_small_and_complete() {
    let files = pollster::block_on(demo::base_files()).expect("the files");
    let (config, tokenizer) = files.text.read().expect("a configuration and a tokenizer");
    assert!((1000..=4096).contains(&tokenizer.vocab_size()), "{}", tokenizer.vocab_size());
    assert_eq!(tokenizer.vocab_size(), config.vocab_size);
    assert!(tokenizer.has_chat_template());
    let file = &files.weights;
    let bytes: u64 = file.names().map(|name| file.info(name).expect("named").bytes()).sum();
    assert!(bytes <= MAX_WEIGHTS);
    let stored: usize =
        file.names().map(|name| file.info(name).expect("named").shape.iter().product::<usize>()).sum();
    assert_eq!(stored as u64, config.total_parameters());
}

#[test]
fn page_and_binary_offer_the_same_data() {
    let index: serde_json::Value = serde_json::from_slice(INDEX).expect("JSON");
    let page: Vec<_> = index.as_array().expect("a list").iter().map(|set| set["id"].as_str()).collect();
    let mut binary: Vec<_> = demo::DATA.iter().map(|data| Some(data.id)).collect();
    assert_eq!(page[0], binary[0], "the first is what is used without a name");
    binary.sort();
    let mut sorted = page.clone();
    sorted.sort();
    assert_eq!(sorted, binary);

    let (_, tokenizer) = demo::text_files().read().expect("the files");
    let options = PrepareOptions { max_length: 512, context: 512, assistant_only_loss: true };
    for data in demo::DATA {
        for set in [data.train().expect("training rows"), data.evaluation().expect("held-out rows")] {
            let prepared = prepare(&set, &tokenizer, tokenizer.vocab_size(), &options).expect("examples");
            assert_eq!(prepared.report.warnings, [""; 0], "{}", data.id);
        }
    }
}
