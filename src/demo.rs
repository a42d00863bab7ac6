//! The built-in model and data, inside the binary: what is used when nothing else is named. The page
//! loads the same files (`www/public/demo/`); `www/demo/` has the programs that made them.

use std::rc::Rc;

use crate::base::{BaseFiles, TextFiles};
use crate::checkpoint::{MODEL_FILE, SafetensorsFile};
use crate::data::{Columns, DataFormat, Dataset};
use crate::error::Result;
use crate::source::MemorySource;
use crate::tokenizer::TokenizerFiles;

pub use crate::config::DEMO as NAME;
/// What adapters call the built-in model.
pub const BASE_NAME: &str = "postil-demo";

macro_rules! asset {
    ($path:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/www/public/demo/", $path))
    };
}

/// The built-in model.
pub async fn base_files() -> Result<BaseFiles> {
    let weights = MemorySource::new(MODEL_FILE, asset!("model.safetensors").as_slice());
    Ok(BaseFiles {
        name: BASE_NAME.to_owned(),
        revision: None,
        text: text_files(),
        weights: Rc::new(SafetensorsFile::open(Rc::new(weights)).await?),
    })
}

/// The built-in model's files beside its weights.
pub fn text_files() -> TextFiles {
    TextFiles {
        config: asset!("config.json").to_vec(),
        tokenizer: TokenizerFiles {
            tokenizer: asset!("tokenizer.json").to_vec(),
            tokenizer_config: Some(asset!("tokenizer_config.json").to_vec()),
            ..TokenizerFiles::default()
        },
        generation_config: None,
    }
}

/// A built-in data set.
pub struct DemoData {
    /// Its name, as in `demo:NAME`.
    pub id: &'static str,
    train: &'static [u8],
    evaluation: &'static [u8],
}

impl DemoData {
    /// Records to train on.
    pub fn train(&self) -> Result<Dataset> {
        self.read(self.train, self.id)
    }

    /// Records held out.
    pub fn evaluation(&self) -> Result<Dataset> {
        self.read(self.evaluation, &format!("{} (held out)", self.id))
    }

    fn read(&self, bytes: &'static [u8], name: &str) -> Result<Dataset> {
        Dataset::from_bytes(bytes, name, DataFormat::default(), Columns::default())
    }
}

/// The built-in data sets; the first is `demo` itself.
pub const DATA: &[DemoData] = &[
    DemoData {
        id: "pirate",
        train: asset!("data/pirate.jsonl"),
        evaluation: asset!("data/pirate-eval.jsonl"),
    },
    DemoData {
        id: "headline",
        train: asset!("data/headline.jsonl"),
        evaluation: asset!("data/headline-eval.jsonl"),
    },
    DemoData { id: "json", train: asset!("data/json.jsonl"), evaluation: asset!("data/json-eval.jsonl") },
];
