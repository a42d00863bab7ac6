//! What the `tokenizers` crate takes for granted in a `tokenizer.json`, checked before it reads one: there it panics.

use serde_json::Value;

use crate::error::{Error, Result};

/// The parts that are looked at; the vocabulary, which is large, is skipped over.
#[derive(serde::Deserialize)]
struct Parts {
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    post_processor: Value,
}

/// Checks that a template names no token that it does not define, and that no precompiled character map is asked
/// for, which no supported family has.
///
/// # Errors
/// `Format` for the first, or for text that is no such file; `Unsupported` for the second.
pub(super) fn check(tokenizer_json: &[u8]) -> Result<()> {
    let parts: Parts = serde_json::from_slice(tokenizer_json)
        .map_err(|error| Error::format(format!("tokenizer.json cannot be read: {error}")))?;
    each_typed(&parts.normalizer, &mut |kind, _| match kind {
        "Precompiled" => Err(Error::unsupported(
            "tokenizer.json: the normalizer \"Precompiled\" is not supported; no model of a supported family has it",
        )),
        _ => Ok(()),
    })?;
    each_typed(&parts.post_processor, &mut |kind, object| match kind {
        "TemplateProcessing" => check_template(object),
        _ => Ok(()),
    })
}

/// Calls `act` with every object in `value` that has a `type`.
fn each_typed(value: &Value, act: &mut dyn FnMut(&str, &Value) -> Result<()>) -> Result<()> {
    if let Some(kind) = value["type"].as_str() {
        act(kind, value)?;
    }
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| each_typed(item, act)),
        Value::Object(fields) => fields.values().try_for_each(|field| each_typed(field, act)),
        _ => Ok(()),
    }
}

fn check_template(processor: &Value) -> Result<()> {
    let pieces = ["single", "pair"].into_iter().filter_map(|name| processor[name].as_array()).flatten();
    for id in pieces.filter_map(|piece| piece["SpecialToken"]["id"].as_str()) {
        if processor["special_tokens"].get(id).is_none() {
            return Err(Error::format(format!(
                "tokenizer.json: the post_processor puts in {id:?}, which its special_tokens do not define; download \
                 the file again"
            )));
        }
    }
    Ok(())
}
