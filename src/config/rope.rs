//! Rotary position embeddings as a `config.json` describes them.

use super::family::{Family, Positions};
use super::fields::Fields;
use crate::error::{Error, Result};

/// The angles by which one kind of layer turns its queries and keys.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeParameters {
    /// θ of the frequencies θ^(−2i/rotary_dim).
    pub rope_theta: f64,
    /// The first columns of each head, which turn; even.
    pub rotary_dim: usize,
    /// What is made of the frequencies, `rope_type`.
    pub scaling: RopeScaling,
}

/// `rope_type` with its parameters.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// `default`: the frequencies as they are.
    Default,
    /// `linear`: all divided by `factor`.
    Linear {
        /// The factor.
        factor: f64,
    },
    /// `llama3`: low ones divided by `factor`, high ones as they are, those between interpolated.
    Llama3 {
        /// The factor.
        factor: f64,
        /// Turns within the original context below which a frequency is low.
        low_freq_factor: f64,
        /// Turns within the original context above which it is high.
        high_freq_factor: f64,
        /// The original context, in tokens.
        original_max_position_embeddings: f64,
    },
}

impl RopeParameters {
    /// Radians per position of each turning pair, `rotary_dim/2` of them (Su et al., arXiv:2104.09864;
    /// the scalings as `transformers/modeling_rope_utils.py` computes them, in f64).
    pub fn frequencies(&self) -> Vec<f64> {
        let frequency = |i: usize| self.rope_theta.powf(-2.0 * i as f64 / self.rotary_dim as f64);
        (0..self.rotary_dim / 2).map(|i| self.scaling.scale(frequency(i))).collect()
    }
}

impl RopeScaling {
    fn scale(&self, frequency: f64) -> f64 {
        match *self {
            Self::Default => frequency,
            Self::Linear { factor } => frequency / factor,
            Self::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => {
                let turns = original_max_position_embeddings * frequency / std::f64::consts::TAU;
                let high = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
                let high = high.clamp(0.0, 1.0);
                high * frequency + (1.0 - high) * frequency / factor
            }
        }
    }
}

/// The distinct angles of a model: none with learned positions; one; or, by layer type, those of
/// `full_attention`, then those of `sliding_attention`.
///
/// Version 5 writes `rope_parameters`; version 4 `rope_scaling` beside `rope_theta`, which
/// `transformers` prefers where a file has both.
pub(super) fn read(
    fields: &Fields,
    family: &Family,
    head_dim: usize,
    max_position_embeddings: usize,
) -> Result<Vec<RopeParameters>> {
    let reader = Reader { fields, family, head_dim, max_position_embeddings };
    match family.positions {
        Positions::Learned(_) => Ok(Vec::new()),
        Positions::Rotary { rope_theta } => {
            let inner = match fields.object("rope_scaling")? {
                Some(inner) => Some(inner),
                None => fields.object("rope_parameters")?,
            };
            if let Some((name, found)) = inner.as_ref().and_then(|inner| inner.nested().next()) {
                let only = "this family has one set of rotary parameters for all layers";
                return Err(fields.unsupported(&format!("rope_parameters.{name}"), found, only));
            }
            Ok(vec![reader.one(inner.as_ref(), "rope_theta", rope_theta)?])
        }
        Positions::RotaryByLayerType { rope_theta, rope_local_base_freq } => {
            let inner = fields.object("rope_parameters")?;
            let of_type = |name: &str| inner.as_ref().map_or(Ok(None), |inner| inner.object(name));
            let [mut full, sliding] = [of_type("full_attention")?, of_type("sliding_attention")?];
            if let (Some(value), None, None) = (fields.get("rope_parameters"), &full, &sliding)
                && inner.is_some()
            {
                return Err(fields.wrong(
                    "rope_parameters",
                    "full_attention and sliding_attention in it",
                    value,
                ));
            }
            if let Some(scaling) = fields.object("rope_scaling")? {
                full = Some(scaling);
            }
            Ok(vec![
                reader.one(full.as_ref(), "rope_theta", rope_theta)?,
                reader.one(sliding.as_ref(), "rope_local_base_freq", rope_local_base_freq)?,
            ])
        }
    }
}

struct Reader<'a> {
    fields: &'a Fields,
    family: &'a Family,
    head_dim: usize,
    max_position_embeddings: usize,
}

impl Reader<'_> {
    /// The parameters in `inner`, with θ from the file's field `theta` where it has none.
    fn one(&self, inner: Option<&Fields>, theta: &str, default: f64) -> Result<RopeParameters> {
        let rope_theta = self.fields.positive(theta, default)?;
        let factor = self.fields.positive("partial_rotary_factor", 1.0)?;
        let Some(inner) = inner else {
            let rotary_dim = self.rotary_dim(factor)?;
            return Ok(RopeParameters { rope_theta, rotary_dim, scaling: RopeScaling::Default });
        };
        Ok(RopeParameters {
            rope_theta: inner.positive("rope_theta", rope_theta)?,
            rotary_dim: self.rotary_dim(inner.positive("partial_rotary_factor", factor)?)?,
            scaling: self.scaling(inner)?,
        })
    }

    fn rotary_dim(&self, partial_rotary_factor: f64) -> Result<usize> {
        let refuse = |only: &str| {
            Err(Error::unsupported(format!(
                "config.json: partial_rotary_factor {partial_rotary_factor} is not supported; {only}"
            )))
        };
        if partial_rotary_factor == 1.0 {
            return Ok(self.head_dim);
        }
        if !self.family.partial_rotary {
            return refuse("in this family whole heads turn");
        }
        let rotary_dim = (self.head_dim as f64 * partial_rotary_factor) as usize;
        if rotary_dim == 0 || rotary_dim > self.head_dim || !rotary_dim.is_multiple_of(2) {
            return refuse(&format!(
                "of a head's {} columns it turns {rotary_dim}; expected an even part of them",
                self.head_dim
            ));
        }
        Ok(rotary_dim)
    }

    fn scaling(&self, inner: &Fields) -> Result<RopeScaling> {
        let name = if inner.get("rope_type").is_some() { "rope_type" } else { "type" };
        let Some(found) = inner.get(name) else { return Ok(RopeScaling::Default) };
        // transformers knows no scaling but longrope for the family whose heads turn in part.
        match found.as_str() {
            Some("default") => Ok(RopeScaling::Default),
            Some("linear") if !self.family.partial_rotary => {
                Ok(RopeScaling::Linear { factor: inner.required_positive("factor")? })
            }
            Some("llama3") if !self.family.partial_rotary => {
                let low_freq_factor = inner.required_positive("low_freq_factor")?;
                let high_freq_factor = inner.required_positive("high_freq_factor")?;
                if high_freq_factor <= low_freq_factor {
                    return Err(Error::format(format!(
                        "config.json: high_freq_factor {high_freq_factor} must be more than low_freq_factor \
                         {low_freq_factor}"
                    )));
                }
                const CONTEXT: &str = "original_max_position_embeddings";
                let context = inner.positive(CONTEXT, self.max_position_embeddings as f64)?;
                Ok(RopeScaling::Llama3 {
                    factor: inner.required_positive("factor")?,
                    low_freq_factor,
                    high_freq_factor,
                    // The file's own field wins in transformers.
                    original_max_position_embeddings: self.fields.positive(CONTEXT, context)?,
                })
            }
            _ if self.family.partial_rotary => Err(inner.unsupported(name, found, "only \"default\" is")),
            _ => Err(inner.unsupported(name, found, "only \"default\", \"linear\" and \"llama3\" are")),
        }
    }
}
