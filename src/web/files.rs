//! The files that the page hands over.

use std::rc::Rc;

use wasm_bindgen::prelude::*;
use web_sys::Blob;

use super::{bytes, name_of, property, required_bytes, throw};
use crate::base::{BaseFiles, TextFiles};
use crate::checkpoint::open_weights;
use crate::error::Error;
use crate::source::{BlobSource, ByteSource, RemoteSource};
use crate::tokenizer::TokenizerFiles;

/// One of the files of weights: `{name, blob}`.
fn weights_file(file: &JsValue) -> Result<(String, Rc<dyn ByteSource>), JsValue> {
    let name = name_of(file);
    let source: Rc<dyn ByteSource> = match property(file, "blob").dyn_into::<Blob>() {
        Ok(blob) => Rc::new(BlobSource::new(&name, blob)),
        Err(other) => Rc::new(RemoteSource::new(&name, other).map_err(throw)?),
    };
    Ok((name, source))
}

/// The files of the object that `Engine::load_model` is given.
pub(super) async fn base_files(files: &JsValue) -> Result<BaseFiles, JsValue> {
    let weights = property(files, "weights");
    let weights: js_sys::Array =
        weights.dyn_into().map_err(|_| throw(Error::config("\"weights\" is not a list of files")))?;
    let list = weights.iter().map(|file| weights_file(&file)).collect::<Result<Vec<_>, _>>()?;
    if let [(name, source)] = list.as_slice()
        && name.to_ascii_lowercase().ends_with(".gguf")
    {
        return BaseFiles::from_gguf(name_of(files), Rc::clone(source)).await.map_err(throw);
    }
    let index = bytes(files, "weights_index");
    Ok(BaseFiles {
        name: name_of(files),
        revision: property(files, "revision").as_string(),
        text: TextFiles {
            config: required_bytes(files, "config")?,
            tokenizer: TokenizerFiles {
                tokenizer: required_bytes(files, "tokenizer")?,
                tokenizer_config: bytes(files, "tokenizer_config"),
                special_tokens_map: bytes(files, "special_tokens_map"),
                chat_template: property(files, "chat_template").as_string(),
                is_complete: false,
            },
            generation_config: bytes(files, "generation_config"),
        },
        weights: open_weights(&list, index.as_deref()).await.map_err(throw)?,
    })
}
