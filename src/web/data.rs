//! Data sets, before anything is trained on them.

use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use serde::Serialize;
use wasm_bindgen::prelude::*;

use super::Engine;
use super::convert::{from_js, name_of, property, required_bytes, throw, to_js};
use crate::config::TrainConfig;
use crate::data::{Columns, DataFormat, DataReport, Dataset, PreviewToken, preview};
use crate::error::{Error, Result as CrateResult};
use crate::train::Records;

/// Rows of a data set that [`Engine::inspect_data`] shows token by token.
const PREVIEW_ROWS: usize = 8;

#[derive(Serialize)]
struct DataInfo<'a> {
    #[serde(flatten)]
    report: &'a DataReport,
    preview: Vec<Vec<PreviewToken>>,
}

/// A data file: `{name, data: Uint8Array, format?, columns?: {field: column}}`, with `format` as
/// [`DataFormat`](crate::data::DataFormat) reads it.
pub(super) struct KeptData {
    name: String,
    bytes: Bytes,
    format: DataFormat,
    columns: Columns,
    /// As soon as it was asked for.
    records: Option<Rc<Records>>,
}

impl KeptData {
    fn new(file: &JsValue) -> Result<Self, JsValue> {
        let (format, columns) = (data_format(file)?, data_columns(file)?);
        let bytes = required_bytes(file, "data")?.into();
        Ok(Self { name: name_of(file), bytes, format, columns, records: None })
    }

    fn records(&mut self) -> CrateResult<Rc<Records>> {
        if let Some(records) = &self.records {
            return Ok(Rc::clone(records));
        }
        let Self { name, bytes, format, columns, .. } = self;
        let records = Records::new(Dataset::from_bytes(bytes.clone(), name, *format, columns.clone())?);
        self.records = Some(Rc::clone(&records));
        Ok(records)
    }
}

fn data_columns(file: &JsValue) -> Result<Columns, JsValue> {
    let columns = property(file, "columns");
    let columns = match columns.is_object() {
        true => from_js::<BTreeMap<String, String>>("columns", columns)?,
        false => BTreeMap::new(),
    };
    Columns::new(columns).map_err(throw)
}

/// Reads a data file (see [`Engine::put_data`]) to its end. On damaged Parquet files it may trap: a module of its own,
/// without an [`Engine`], is to find out.
#[wasm_bindgen]
pub fn check_data(file: JsValue) -> Result<(), JsValue> {
    let KeptData { name, bytes, format, columns, .. } = KeptData::new(&file)?;
    Dataset::check(bytes, &name, format, columns).map_err(throw)
}

fn data_format(file: &JsValue) -> Result<DataFormat, JsValue> {
    match property(file, "format").as_string() {
        Some(text) if !text.is_empty() => text.parse().map_err(throw),
        _ => Ok(DataFormat::default()),
    }
}

impl Engine {
    fn kept(&mut self, id: &str) -> Result<&mut KeptData, JsValue> {
        self.data.get_mut(id).ok_or_else(|| throw(Error::config(format!("there is no data \"{id}\""))))
    }

    /// The records of a data file, tokenized as they last were.
    pub(super) fn records(&mut self, id: &str) -> Result<Rc<Records>, JsValue> {
        self.kept(id)?.records().map_err(throw)
    }
}

#[wasm_bindgen]
impl Engine {
    /// Keeps a data file under an id, in place of another of that id: `{name, data: Uint8Array, format?,
    /// columns?: {field: column}}`, with `format` as [`DataFormat`](crate::data::DataFormat) reads it. It is read when
    /// it is asked for, and tokenized again only when what its tokens depend on has changed.
    pub fn put_data(&mut self, id: String, file: JsValue) -> Result<(), JsValue> {
        self.data.insert(id, KeptData::new(&file)?);
        Ok(())
    }

    /// Frees a data file, if there is one of that id. A run goes on with what it has of it.
    pub fn drop_data(&mut self, id: &str) {
        self.data.remove(id);
    }

    /// What a data set is, what is wrong with it, and what of it would be trained on.
    pub fn inspect_data(&mut self, id: &str, train: JsValue) -> Result<JsValue, JsValue> {
        let base = self.base()?;
        let train: TrainConfig = from_js("training settings", train)?;
        let records = self.records(id)?;
        let prepared = records.prepare(base.model.config(), &base.tokenizer, &train).map_err(throw)?;
        let preview = preview(&prepared.examples, &base.tokenizer, PREVIEW_ROWS).map_err(throw)?;
        to_js(&DataInfo { report: &prepared.report, preview })
    }

    /// The columns of a data file, by their own names.
    pub fn data_columns(&mut self, id: &str) -> Result<JsValue, JsValue> {
        let KeptData { name, bytes, format, .. } = self.kept(id)?;
        to_js(&Dataset::columns(bytes.clone(), name, *format).map_err(throw)?)
    }

    /// The first `count` rows of a data file, by its own names.
    pub fn data_rows(&mut self, id: &str, count: usize) -> Result<JsValue, JsValue> {
        let KeptData { name, bytes, format, columns, .. } = self.kept(id)?;
        to_js(&Dataset::first_rows(bytes.clone(), name, *format, columns, count).map_err(throw)?)
    }
}
