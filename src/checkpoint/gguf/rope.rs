//! Llama 3's scaling of the rotary frequencies. llama.cpp stores what each frequency is divided by
//! (`rope_freqs.weight`) and not the parameters that it was computed from; a configuration has only those.

use std::f64::consts::TAU;

use serde_json::{Value, json};

use super::header::Stored;
use super::types::GgmlType;
use crate::error::{Error, Result};
use crate::source::{ByteSource, read_exact};

/// The tensor's name.
pub(super) const TENSOR: &str = "rope_freqs.weight";
/// More than half the width of any head.
const MAX_FACTORS: u64 = 4096;
/// The factors are f32, computed in f32 from frequencies that are f32.
const TOLERANCE: f64 = 1e-4;

/// The parameters of `rope_type` `llama3`.
#[derive(Debug, Clone, Copy)]
struct Llama3 {
    factor: f64,
    low_freq_factor: f64,
    high_freq_factor: f64,
    original_max_position_embeddings: f64,
}

impl Llama3 {
    /// What a frequency of this many turns a position is divided by: 1 above `high_freq_factor` turns over the
    /// original context, `factor` below `low_freq_factor`, and 1/((1 − s)/factor + s) between, s going from 0 to 1
    /// (transformers' `_compute_llama3_parameters`).
    fn divisor(&self, turns: f64) -> f64 {
        let turns = turns * self.original_max_position_embeddings;
        let s = (turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor);
        let s = s.clamp(0.0, 1.0);
        1.0 / ((1.0 - s) / self.factor + s)
    }
}

pub(super) async fn factors(source: &dyn ByteSource, stored: &Stored) -> Result<Vec<f32>> {
    if stored.ggml_type != GgmlType::F32 || stored.shape.len() != 1 || stored.bytes > 4 * MAX_FACTORS {
        return Err(Error::format(format!(
            "expected a list of at most {MAX_FACTORS} F32, found {} {:?}",
            stored.ggml_type, stored.shape
        )));
    }
    let bytes = read_exact(source, stored.begin, stored.bytes as usize).await?;
    Ok(GgmlType::F32.decode(&bytes))
}

/// The `rope_scaling` that gives these factors; null when they scale nothing.
///
/// `factor` is the last factor. s, computed back from the factors between 1 and `factor`, is linear in the
/// frequency: one value gives the context if `low_freq_factor` and `high_freq_factor` are 1 and 4, as they are in
/// every Llama 3; two give `high_freq_factor` too. (The three are known only up to a common multiple, so
/// `low_freq_factor` stays 1.) Whatever comes out must give the factors back.
pub(super) fn scaling(factors: &[f32], rope_theta: f64, head_dim: usize) -> Result<Value> {
    if factors.len() != head_dim / 2 {
        return Err(Error::format(format!(
            "{TENSOR} has {} factors; heads of {head_dim} need {}",
            factors.len(),
            head_dim / 2
        )));
    }
    if factors.iter().all(|&factor| factor == 1.0) {
        return Ok(Value::Null);
    }
    let turns = |i: usize| rope_theta.powf(-2.0 * i as f64 / head_dim as f64) / TAU;
    let factor = f64::from(factors[factors.len() - 1]);
    let fits = |candidate: &Llama3| {
        factors.iter().enumerate().all(|(i, &found)| {
            let expected = candidate.divisor(turns(i));
            (f64::from(found) - expected).abs() <= TOLERANCE * expected
        })
    };
    let llama3 = |high_freq_factor: f64, context: f64| Llama3 {
        factor,
        low_freq_factor: 1.0,
        high_freq_factor,
        original_max_position_embeddings: context.round(),
    };
    let between: Vec<(f64, f64)> = (factors.iter().enumerate())
        .map(|(i, &found)| (turns(i), (1.0 / f64::from(found) - 1.0 / factor) / (1.0 - 1.0 / factor)))
        .filter(|&(_, s)| s > 0.01 && s < 0.99)
        .collect();
    let usual = || match between.first() {
        Some((x, s)) => llama3(4.0, (3.0 * s + 1.0) / x),
        None => llama3(4.0, 8192.0),
    };
    let fitted = || {
        let (&(x0, s0), &(x1, s1)) = (between.first()?, between.last()?);
        // s = x·slope + zero, slope = context / (high − 1), zero = −1 / (high − 1).
        let slope = (s1 - s0) / (x1 - x0);
        let high_freq_factor = 1.0 + 1.0 / (slope * x0 - s0);
        let high_freq_factor = (high_freq_factor * 64.0).round() / 64.0;
        Some(llama3(high_freq_factor, slope * (high_freq_factor - 1.0)))
    };
    let found = Some(usual()).filter(fits).or_else(|| fitted().filter(fits)).ok_or_else(|| {
        Error::unsupported(format!(
            "{TENSOR} scales the rotary frequencies in a way that is not Llama 3's; only that can be computed"
        ))
    })?;
    Ok(json!({
        "rope_type": "llama3",
        "factor": found.factor,
        "low_freq_factor": found.low_freq_factor,
        "high_freq_factor": found.high_freq_factor,
        "original_max_position_embeddings": found.original_max_position_embeddings as u64,
    }))
}
