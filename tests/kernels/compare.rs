//! Comparison of a kernel's f32 results with the reference's f64.

use std::fmt::Write;

/// Number of mismatches that a failure prints.
const SHOWN: usize = 8;

/// Fails unless ‖got − expected‖ ≤ tolerance·‖expected‖ (an expectation of zeros: exactly), the cosine
/// between them is within `tolerance` of 1, and every element is finite. `columns` is for the indices
/// in the message only.
#[track_caller]
pub fn assert_close(what: &str, got: &[f32], expected: &[f64], columns: usize, tolerance: f64) {
    assert_eq!(got.len(), expected.len(), "{what}: number of elements");
    let (mut error, mut norm, mut own, mut dot) = (0.0, 0.0, 0.0, 0.0);
    for (&g, &e) in got.iter().zip(expected) {
        let g = f64::from(g);
        error += (g - e) * (g - e);
        norm += e * e;
        own += g * g;
        dot += g * e;
    }
    let (error, norm, own): (f64, f64, f64) = (error.sqrt(), norm.sqrt(), own.sqrt());
    let cosine = if norm == 0.0 && own == 0.0 { 1.0 } else { dot / (norm * own) };
    // NaN fails both comparisons.
    if error <= tolerance * norm && cosine >= 1.0 - tolerance {
        return;
    }
    let bound = tolerance * norm / (expected.len() as f64).sqrt();
    let mut message = format!(
        "{what}: relative error {:.3e} (allowed {tolerance:.1e}), cosine {cosine:.9}, {} elements",
        error / norm,
        got.len()
    );
    let wrong = |&(_, (&g, &e)): &(usize, (&f32, &f64))| {
        let difference = (f64::from(g) - e).abs();
        difference.is_nan() || difference > bound
    };
    for (i, (g, e)) in got.iter().zip(expected).enumerate().filter(wrong).take(SHOWN) {
        let _ = write!(message, "\n  [{}, {}]: got {g:e}, expected {e:e}", i / columns, i % columns);
    }
    panic!("{message}");
}

/// Fails unless every element has the same bits.
#[track_caller]
pub fn assert_same_bits(what: &str, got: &[f32], expected: &[f32]) {
    assert_eq!(got.len(), expected.len(), "{what}: number of elements");
    let differs = |i: &usize| got[*i].to_bits() != expected[*i].to_bits();
    let count = (0..got.len()).filter(differs).count();
    if let Some(i) = (0..got.len()).find(differs) {
        let (g, e) = (got[i], expected[i]);
        panic!("{what}: {count} of {} elements differ; [{i}]: got {g:e}, expected {e:e}", got.len());
    }
}
