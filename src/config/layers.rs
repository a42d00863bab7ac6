//! What differs from layer to layer: windows and rotary positions.

use serde_json::Value;

use super::family::{Family, Positions, Windows};
use super::fields::Fields;
use crate::error::{Error, Result};

/// What one decoder layer does unlike another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerConfig {
    /// Whether its tokens see `sliding_window` tokens only, themselves included.
    pub is_sliding: bool,
    /// Which of the model's `rope_parameters` turn its queries and keys; `None`: nothing does.
    pub rope: Option<usize>,
}

const LAYER_TYPES: &str = "layer_types";
const SLIDING_WINDOW: &str = "sliding_window";

/// The layers in order, and the window of those that have one.
pub(super) fn read(
    fields: &Fields,
    family: &Family,
    layers: usize,
) -> Result<(Vec<LayerConfig>, Option<usize>)> {
    let has_rope = has_rope(fields, family, layers)?;
    let window = window(fields, family)?;
    let written = layer_types(fields, layers)?;
    let computed: Vec<bool> = match family.windows {
        Windows::None => vec![false; layers],
        Windows::All(_) => vec![window.is_some(); layers],
        Windows::FromLayer => {
            let first = fields.count("max_window_layers", 28)?;
            (0..layers).map(|layer| window.is_some() && layer >= first).collect()
        }
        Windows::WithoutRope => has_rope.iter().map(|rope| window.is_some() && !rope).collect(),
        Windows::Pattern => {
            let pattern = fields.size("sliding_window_pattern", 6)?;
            (1..=layers).map(|layer| !layer.is_multiple_of(pattern)).collect()
        }
    };
    let from_types = !matches!(family.windows, Windows::None | Windows::All(_));
    let is_sliding = match written {
        Some(written) if from_types => written,
        Some(written) if written != computed => {
            let found = fields.get(LAYER_TYPES).unwrap_or(&Value::Null);
            return Err(fields.unsupported(LAYER_TYPES, found, "in this family all layers are alike"));
        }
        _ => computed,
    };
    if is_sliding.contains(&true) && window.is_none() {
        return Err(Error::format(format!(
            "config.json: {LAYER_TYPES} has sliding_attention, but there is no {SLIDING_WINDOW}{}",
            if fields.get(SLIDING_WINDOW).is_some() { " without use_sliding_window" } else { "" }
        )));
    }
    let rope = |sliding: bool| match family.positions {
        Positions::Learned(_) => None,
        Positions::Rotary { .. } => Some(0),
        Positions::RotaryByLayerType { .. } => Some(usize::from(sliding)),
    };
    let layer = |(&is_sliding, &has_rope): (&bool, &bool)| LayerConfig {
        is_sliding,
        rope: rope(is_sliding).filter(|_| has_rope),
    };
    let layers: Vec<_> = is_sliding.iter().zip(&has_rope).map(layer).collect();
    Ok((layers, window.filter(|_| is_sliding.contains(&true))))
}

fn window(fields: &Fields, family: &Family) -> Result<Option<usize>> {
    let default = match family.windows {
        Windows::None => return Ok(None),
        Windows::All(default) => default,
        Windows::FromLayer | Windows::WithoutRope if !fields.bool("use_sliding_window", false)? => {
            return Ok(None);
        }
        Windows::WithoutRope => None,
        Windows::FromLayer | Windows::Pattern => Some(4096),
    };
    match (fields.is_null(SLIDING_WINDOW), default) {
        (true, _) => Ok(None),
        (false, Some(default)) => fields.size(SLIDING_WINDOW, default).map(Some),
        (false, None) if fields.get(SLIDING_WINDOW).is_none() => Ok(None),
        (false, None) => fields.size(SLIDING_WINDOW, 1).map(Some),
    }
}

/// Whether each layer is a `sliding_attention`, where the file says so.
fn layer_types(fields: &Fields, layers: usize) -> Result<Option<Vec<bool>>> {
    let Some(list) = fields.list(LAYER_TYPES, layers)? else { return Ok(None) };
    let is_sliding = |value: &Value| match value.as_str() {
        Some("full_attention") => Ok(false),
        Some("sliding_attention") => Ok(true),
        _ => Err(fields.unsupported(
            LAYER_TYPES,
            value,
            "only \"full_attention\" and \"sliding_attention\" are",
        )),
    };
    list.iter().map(is_sliding).collect::<Result<_>>().map(Some)
}

/// Whether each layer has rotary positions, in a family where some have none.
fn has_rope(fields: &Fields, family: &Family, layers: usize) -> Result<Vec<bool>> {
    if family.windows != Windows::WithoutRope {
        return Ok(vec![true; layers]);
    }
    const NO_ROPE_LAYERS: &str = "no_rope_layers";
    match fields.list(NO_ROPE_LAYERS, layers)? {
        // In spite of the name, 1 stands for a layer with rotary positions.
        Some(list) => list
            .iter()
            .map(|value| match value.as_u64() {
                Some(0) => Ok(false),
                Some(1) => Ok(true),
                _ => Err(fields.wrong(NO_ROPE_LAYERS, "0 or 1 for each layer", value)),
            })
            .collect(),
        None => {
            let interval = fields.size("no_rope_layer_interval", 4)?;
            Ok((1..=layers).map(|layer| !layer.is_multiple_of(interval)).collect())
        }
    }
}
