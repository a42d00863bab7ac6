//! Data sets, before anything is trained on them.

use std::collections::BTreeMap;

use serde::Serialize;
use wasm_bindgen::prelude::*;

use super::Engine;
use super::convert::{from_js, name_of, property, required_bytes, throw, to_js};
use crate::config::TrainConfig;
use crate::data::{Columns, DataFormat, DataReport, Dataset, PreviewToken, preview};
use crate::train::prepare_for;

/// Rows of a data set that [`Engine::inspect_data`] shows token by token.
const PREVIEW_ROWS: usize = 8;

#[derive(Serialize)]
struct DataInfo<'a> {
    #[serde(flatten)]
    report: &'a DataReport,
    preview: Vec<Vec<PreviewToken>>,
}

/// A data set: `{name, data: Uint8Array, format?, columns?: {field: column}}`, with `format` as
/// [`DataFormat`](crate::data::DataFormat) reads it.
pub(super) fn dataset(file: &JsValue) -> Result<Dataset, JsValue> {
    let (format, columns) = (data_format(file)?, data_columns(file)?);
    Dataset::from_bytes(required_bytes(file, "data")?, &name_of(file), format, columns).map_err(throw)
}

fn data_columns(file: &JsValue) -> Result<Columns, JsValue> {
    let columns = property(file, "columns");
    let columns = match columns.is_object() {
        true => from_js::<BTreeMap<String, String>>("columns", columns)?,
        false => BTreeMap::new(),
    };
    Columns::new(columns).map_err(throw)
}

/// Reads a data set (see [`dataset`]) to its end. On damaged Parquet files it may trap: a module of its own, without an
/// [`Engine`], is to find out.
#[wasm_bindgen]
pub fn check_data(file: JsValue) -> Result<(), JsValue> {
    let (format, columns) = (data_format(&file)?, data_columns(&file)?);
    Dataset::check(required_bytes(&file, "data")?, &name_of(&file), format, columns).map_err(throw)
}

fn data_format(file: &JsValue) -> Result<DataFormat, JsValue> {
    match property(file, "format").as_string() {
        Some(text) if !text.is_empty() => text.parse().map_err(throw),
        _ => Ok(DataFormat::default()),
    }
}

#[wasm_bindgen]
impl Engine {
    /// What a data set (see [`dataset`]) is, what is wrong with it, and what of it would be trained on.
    pub fn inspect_data(&self, file: JsValue, train: JsValue) -> Result<JsValue, JsValue> {
        let base = self.base()?;
        let train: TrainConfig = from_js("training settings", train)?;
        let data = dataset(&file)?;
        let prepared = prepare_for(base.model.config(), &base.tokenizer, &data, &train).map_err(throw)?;
        let preview = preview(&prepared.examples, &base.tokenizer, PREVIEW_ROWS).map_err(throw)?;
        to_js(&DataInfo { report: &prepared.report, preview })
    }

    /// The columns of a data set (see [`dataset`]), by their own names.
    pub fn data_columns(&self, file: JsValue) -> Result<JsValue, JsValue> {
        let data = required_bytes(&file, "data")?;
        to_js(&Dataset::columns(data, &name_of(&file), data_format(&file)?).map_err(throw)?)
    }

    /// The first `count` rows of a data set (see [`dataset`]), by its own names.
    pub fn data_rows(&self, file: JsValue, count: usize) -> Result<JsValue, JsValue> {
        let data = required_bytes(&file, "data")?;
        let (format, columns) = (data_format(&file)?, data_columns(&file)?);
        to_js(&Dataset::first_rows(data, &name_of(&file), format, &columns, count).map_err(throw)?)
    }
}
