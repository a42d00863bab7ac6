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
    base.check_ids(&ids)?;
    let one_more = SamplingOptions { max_new_tokens: 1, ..Default::default() };
    let capacity = capacity(base.model.config(), ids.len(), &one_more)?;
    let one = Adapted::decoder(Some(one.into()), base, capacity)?.feed(&ids).await?;
    let other = Adapted::decoder(Some(other.into()), base, capacity)?.feed(&ids).await?;
    largest_difference(&one, &other)
}

/// `max |one − other|`.
fn largest_difference(one: &[f32], other: &[f32]) -> Result<f64> {
    let mut largest = 0.0f64;
    for (&one, &other) in one.iter().zip(other) {
        // A maximum would leave a NaN out.
        if !one.is_finite() || !other.is_finite() {
            return Err(Error::new(
                ErrorKind::NotFinite,
                format!("logits of the two adapters are {one} and {other}: they cannot be compared"),
            ));
        }
        largest = largest.max((f64::from(one) - f64::from(other)).abs());
    }
    Ok(largest)
}
