//! Between JavaScript's objects and Rust's.

use js_sys::Uint8Array;
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;

use crate::error::{Error, Result};

/// An error as JavaScript has them, with its `kind`.
pub(super) fn throw(error: Error) -> JsValue {
    let object = js_sys::Error::new(&error.to_string());
    let kind = JsValue::from(format!("{:?}", error.kind()));
    // Setting a property of a fresh object cannot fail.
    let _ = js_sys::Reflect::set(&object, &"kind".into(), &kind);
    object.into()
}

/// A plain object.
pub(super) fn to_js<T: Serialize>(value: &T) -> Result<JsValue, JsValue> {
    let plain = serde_wasm_bindgen::Serializer::json_compatible();
    value.serialize(&plain).map_err(|error| throw(Error::config(error.to_string())))
}

/// A value from a plain object; `what` it is is said in errors.
pub(super) fn from_js<T: for<'de> Deserialize<'de>>(what: &str, value: JsValue) -> Result<T, JsValue> {
    serde_wasm_bindgen::from_value(value).map_err(|error| throw(Error::config(format!("{what}: {error}"))))
}

/// A property of an object; `undefined` if there is none.
pub(super) fn property(object: &JsValue, name: &str) -> JsValue {
    js_sys::Reflect::get(object, &name.into()).unwrap_or(JsValue::UNDEFINED)
}

/// A property that is a `Uint8Array`.
pub(super) fn bytes(object: &JsValue, name: &str) -> Option<Vec<u8>> {
    property(object, name).dyn_into::<Uint8Array>().ok().map(|array| array.to_vec())
}

/// As [`bytes`], for one that there must be.
pub(super) fn required_bytes(object: &JsValue, name: &str) -> Result<Vec<u8>, JsValue> {
    bytes(object, name).ok_or_else(|| throw(Error::config(format!("\"{name}\" is not a Uint8Array"))))
}

/// The property `name`; empty if there is none.
pub(super) fn name_of(object: &JsValue) -> String {
    property(object, "name").as_string().unwrap_or_default()
}

/// An object of `Uint8Array`s.
pub(super) fn byte_arrays<'a>(
    files: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> Result<JsValue, JsValue> {
    let object = js_sys::Object::new();
    for (name, bytes) in files {
        js_sys::Reflect::set(&object, &name.into(), &Uint8Array::from(bytes))?;
    }
    Ok(object.into())
}
