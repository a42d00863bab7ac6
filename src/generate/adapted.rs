//! Adapters beside one base: how strongly one acts, and whether two compute the same.

use super::{Decoder, Prompt, SamplingOptions, capacity};
use crate::base::Base;
use crate::error::{Error, ErrorKind, Result};
use crate::model::Lora;

/// An adapter, and how strongly it is to act.
#[derive(Clone, Copy)]
pub struct Adapted<'a> {
    /// The adapter.
    pub lora: &'a Lora,
    /// A factor on its alpha/r: 1 as it was trained, 0 the base alone.
    pub scale: f64,
}

impl<'a> From<&'a Lora> for Adapted<'a> {
    fn from(lora: &'a Lora) -> Self {
        Self { lora, scale: 1.0 }
    }
}

impl<'a> Adapted<'a> {
    /// A decoder with this adapter, or with none.
    pub(super) fn decoder(adapter: Option<Self>, base: &'a Base, capacity: usize) -> Result<Decoder<'a>> {
        let decoder = Decoder::new(&base.model, adapter.map(|adapter| adapter.lora), capacity)?;
        decoder.with_adapter_scale(adapter.map_or(1.0, |adapter| adapter.scale))
    }
}

/// The largest difference between the logits of the token after `prompt` with one adapter and with another: 0 for
/// two of the same weights. Tells whether an adapter's files hold what they should.
///
/// # Errors
/// Those of [`Prompt::encode`] and [`capacity`]; [`ErrorKind::NotFinite`] for logits that are not finite.
pub async fn logit_difference(base: &Base, [one, other]: [&Lora; 2], prompt: &Prompt) -> Result<f64> {
    let ids = prompt.encode(&base.tokenizer)?;
    let one = next_logits(base, Some(one.into()), &ids).await?;
    let other = next_logits(base, Some(other.into()), &ids).await?;
    largest_difference(&one, &other)
}

/// The logits of the token after `ids`.
pub(super) async fn next_logits(base: &Base, adapter: Option<Adapted<'_>>, ids: &[u32]) -> Result<Vec<f32>> {
    base.check_ids(ids)?;
    let one_more = SamplingOptions { max_new_tokens: 1, ..Default::default() };
    let capacity = capacity(base.model.config(), ids.len(), &one_more)?;
    let make = || Adapted::decoder(adapter, base, capacity);
    base.model.gpu().make_room("comparing logits", make).await?.feed(ids).await
}

/// `max |one − other|`.
pub(super) fn largest_difference(one: &[f32], other: &[f32]) -> Result<f64> {
    let mut largest = 0.0f64;
    for (&one, &other) in one.iter().zip(other) {
        // A maximum would leave a NaN out.
        if !one.is_finite() || !other.is_finite() {
            return Err(Error::new(
                ErrorKind::NotFinite,
                format!("the logits to be compared are {one} and {other}: they are not finite"),
            ));
        }
        largest = largest.max((f64::from(one) - f64::from(other)).abs());
    }
    Ok(largest)
}
