//! The files that the page hands over.

use std::rc::Rc;

use wasm_bindgen::prelude::*;
use web_sys::Blob;

use super::{bytes, name_of, property, required_bytes, throw};
use crate::base::BaseFiles;
use crate::checkpoint::{MODEL_FILE, open_weights};
use crate::error::Error;
use crate::source::{BlobSource, ByteSource};

/// One of the files of weights: a `Blob`, a `File` or `{name, blob}`.
fn weights_file(file: &JsValue) -> Result<(String, Rc<dyn ByteSource>), JsValue> {
    let blob = if file.is_instance_of::<Blob>() { file.clone() } else { property(file, "blob") };
    let blob: Blob = blob.dyn_into().map_err(|_| throw(Error::config("\"weights\" is not a Blob")))?;
    let name = property(file, "name").as_string().unwrap_or_else(|| MODEL_FILE.to_owned());
    Ok((name.clone(), Rc::new(BlobSource::new(name, blob))))
}

/// The files of the object that `Engine::load_model` is given.
pub(super) async fn base_files(files: &JsValue) -> Result<BaseFiles, JsValue> {
    let weights = property(files, "weights");
    let list = match weights.dyn_ref::<js_sys::Array>() {
        Some(list) => list.iter().map(|file| weights_file(&file)).collect::<Result<Vec<_>, _>>()?,
        None => vec![weights_file(&weights)?],
    };
    if let [(name, source)] = list.as_slice()
        && name.to_ascii_lowercase().ends_with(".gguf")
    {
        return BaseFiles::from_gguf(name_of(files), Rc::clone(source)).await.map_err(throw);
    }
    let index = bytes(files, "weights_index");
    Ok(BaseFiles {
        name: name_of(files),
        config: required_bytes(files, "config")?,
        weights: open_weights(&list, index.as_deref()).await.map_err(throw)?,
        tokenizer: required_bytes(files, "tokenizer")?,
        tokenizer_config: bytes(files, "tokenizer_config"),
        chat_template: property(files, "chat_template").as_string(),
        generation_config: bytes(files, "generation_config"),
    })
}
