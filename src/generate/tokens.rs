//! The tokens of a generation, one after the other, while the device is already at the next ones.

use std::collections::VecDeque;

use web_time::Instant;

use super::decoder::{Chosen, MAX_AT_ONCE};
use super::{Decoder, Sampler, SamplingOptions};
use crate::config::Arithmetic;
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::NONE;

/// Seconds of work that are handed to the device at once: text comes in pieces of so long, and a generation that ends
/// has the device at work for twice as long in vain. Handing over and reading back take far less.
const AT_ONCE: f64 = 0.016;

/// Submissions that are on their way: while one is read, the other runs.
const AHEAD: usize = 2;

/// Where tokens are chosen.
enum Chooser {
    /// On the device, several of them before one is read.
    Device { on_their_way: VecDeque<Chosen>, at_once: usize, last: Instant },
    /// On the host: the logits of each are read back.
    Host { sampler: Sampler, next: u32 },
}

/// What follows a prompt.
pub struct Tokens<'a> {
    decoder: Decoder<'a>,
    chooser: Chooser,
    ready: VecDeque<u32>,
    /// Tokens that may still be asked of the device.
    left: usize,
}

impl<'a> Tokens<'a> {
    /// Reads a prompt of at least one token, for which and for `most` tokens after it the decoder has room, and chooses
    /// the first of these.
    ///
    /// # Errors
    /// Those of [`SamplingOptions::check`]; logits that are not finite; whatever the device reports.
    pub async fn new(
        mut decoder: Decoder<'a>,
        prompt: &[u32],
        options: &SamplingOptions,
        most: usize,
    ) -> Result<Self> {
        let mut sampler = Sampler::new(options)?;
        let on_device = decoder.choose_by(options);
        let first = loop {
            decoder.clear();
            let first = if on_device {
                decoder.feed_and_choose(prompt).await?.finish(&decoder).await?[0]
            } else {
                sampler.sample(&decoder.feed(prompt).await?)
            };
            if first != NONE || decoder.arithmetic() == Arithmetic::F32 {
                break first;
            }
            // The activations may have left f16's range.
            decoder.set_arithmetic(Arithmetic::F32);
            sampler = Sampler::new(options)?;
        };
        let chooser = match on_device {
            true => Chooser::Device { on_their_way: VecDeque::new(), at_once: 1, last: Instant::now() },
            false => Chooser::Host { sampler, next: first },
        };
        let tokens = Self { decoder, chooser, ready: [first].into(), left: most.saturating_sub(1) };
        tokens.check(first)?;
        Ok(tokens)
    }

    /// The decoder, which is at the last of its tokens.
    pub fn decoder(&self) -> &Decoder<'a> {
        &self.decoder
    }

    /// The next token; `None` after `most` of them.
    ///
    /// # Errors
    /// Logits that are not finite; whatever the device reports.
    pub async fn next(&mut self) -> Result<Option<u32>> {
        if let Chooser::Device { .. } = self.chooser {
            self.hand_over().await?;
        }
        if let Some(id) = self.ready.pop_front() {
            self.check(id)?;
            return Ok(Some(id));
        }
        match &mut self.chooser {
            Chooser::Device { on_their_way, at_once, last } => {
                let Some(chosen) = on_their_way.pop_front() else { return Ok(None) };
                let count = chosen.count();
                let ids = chosen.finish(&self.decoder).await?;
                let seconds = std::mem::replace(last, Instant::now()).elapsed().as_secs_f64();
                let fit = AT_ONCE * count as f64 / seconds.max(1e-6);
                *at_once = (fit as usize).clamp(1, MAX_AT_ONCE);
                self.ready.extend(ids);
            }
            Chooser::Host { sampler, next } => {
                if self.left == 0 {
                    return Ok(None);
                }
                self.left -= 1;
                let id = sampler.sample(&self.decoder.feed(&[*next]).await?);
                *next = id;
                self.ready.push_back(id);
            }
        }
        // What was chosen after the end of the text is nobody's, whatever it is.
        let id = self.ready.pop_front();
        id.map_or(Ok(()), |id| self.check(id))?;
        Ok(id)
    }

    /// Keeps the device at work.
    async fn hand_over(&mut self) -> Result<()> {
        let Chooser::Device { on_their_way, at_once, .. } = &mut self.chooser else { return Ok(()) };
        while on_their_way.len() < AHEAD && self.left > 0 {
            let count = self.left.min(*at_once);
            on_their_way.push_back(self.decoder.choose(count).await?);
            self.left -= count;
        }
        Ok(())
    }

    fn check(&self, id: u32) -> Result<()> {
        if id == NONE {
            return Err(Error::new(
                ErrorKind::NotFinite,
                "the model's logits are not finite: no token can be chosen. Do the weights and the adapter belong to \
                 this model?",
            ));
        }
        Ok(())
    }
}
