//! Generation: tokens a second of a prompt and of what follows it, against the bandwidth.

use std::sync::Arc;

use serde::Serialize;
use web_time::Instant;

use super::ceilings::WARM_UP;
use super::{Ceilings, KernelShare, Setup, Times, WeightType};
use crate::config::{Arithmetic, Precision};
use crate::error::{Error, Result};
use crate::generate::{Decoder, MAX_AT_ONCE, SamplingOptions, Tokens, capacity};
use crate::gpu::{Dtype, Gpu, Stopwatch};
use crate::memory::MemoryPlan;
use crate::model::{Model, heads};

/// Prompts that are read at least, of which the fastest counts.
const PREFILLS: usize = 3;

/// Tokens whose kernels are timed one by one.
const PROFILED: usize = 4;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct DecodingOptions {
    /// Tokens of the prompt, at least 1.
    pub prompt: usize,
    /// Tokens after it, at least 1.
    pub tokens: usize,
}

/// What was measured: of the base alone, one sequence.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DecodingReport {
    /// The model's name.
    pub model: String,
    /// The device, with its driver.
    pub device: String,
    /// How weights are stored.
    pub weights: WeightType,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// From the prompt's tokens on the host to the next one there.
    pub prefill_ms: f64,
    /// Tokens of the prompt by that.
    pub prefill_tokens_per_second: f64,
    /// Tokens that followed, drawn with the default settings.
    pub tokens: usize,
    /// From one token on the host to the next: of every so many as may be on their way together, by their number.
    pub ms_per_token: Times,
    /// GPU operations of one token.
    pub dispatches_per_token: usize,
    /// One by the median.
    pub tokens_per_second: f64,
    /// Bytes of the weights that every token reads.
    pub weight_bytes_per_token: u64,
    /// Bytes of keys and values that a token reads, of the median one.
    pub cache_bytes_per_token: u64,
    /// What the device does at best.
    pub ceilings: Ceilings,
    /// The least milliseconds of a token: its weights' bytes at the bandwidth.
    pub floor_ms: f64,
    /// Milliseconds of a token's kernels on the GPU, all in one pass; `None` if there was no room for a few tokens more.
    pub gpu_ms_per_token: Option<f64>,
    /// A token's kernels, each in a pass of its own, longest first.
    pub kernels: Vec<KernelShare>,
    /// The floor by the median time.
    pub share_of_floor: f64,
    /// Memory as it was planned.
    pub memory: MemoryPlan,
    /// Bytes of all tensors while tokens are made.
    pub allocated_bytes: u64,
}

impl Setup {
    /// Tokens that a decoding has room for: those that are timed, and one before them.
    fn capacity(&self, options: &DecodingOptions) -> Result<usize> {
        let new = options.tokens.saturating_add(1);
        let sampling = SamplingOptions { max_new_tokens: new, ..SamplingOptions::default() };
        let room = capacity(&self.model, options.prompt, &sampling)?;
        if room - options.prompt < new {
            return Err(Error::config(format!(
                "a prompt of {} tokens and {} after it are more than the model's context \
                 (max_position_embeddings) of {room}. Measure fewer",
                options.prompt, options.tokens
            )));
        }
        Ok(room)
    }

    /// Bytes of the weights without what a token reads one row of: positions, and the embeddings unless they are
    /// the head too.
    fn bytes_per_token(&self, gpu: &Gpu) -> Result<u64> {
        let (model, hidden) = (&self.model, self.model.hidden_size as u64);
        let table = model.vocab_size as u64 * hidden * self.weights.dtype().size() as u64;
        let positions = model.embed_positions_name().map_or(0, |_| 4 * model.max_position_embeddings as u64);
        let rows = positions * hidden + if model.tie_word_embeddings { 0 } else { table };
        Ok(self.weight_bytes(gpu)?.kept.saturating_sub(rows))
    }

    /// The memory of decoding.
    ///
    /// # Errors
    /// A prompt longer than the model's context; those of [`Decoder::plan`].
    pub fn decoding_plan(&self, gpu: &Gpu, options: &DecodingOptions) -> Result<MemoryPlan> {
        Decoder::plan(gpu, &self.model, None, self.weight_bytes(gpu)?, self.capacity(options)?)
    }
}

impl DecodingReport {
    /// Measures.
    ///
    /// # Errors
    /// A device without timestamp queries or without room; a prompt longer than the model's context.
    pub async fn measure(
        gpu: &Arc<Gpu>,
        setup: &Setup,
        options: &DecodingOptions,
        tell: &mut dyn FnMut(&str),
    ) -> Result<Self> {
        // Said before anything else is done.
        Stopwatch::new(gpu)?;
        let (memory, room) = (setup.decoding_plan(gpu, options)?, setup.capacity(options)?);
        let model = setup.load(gpu, tell).await?;
        let prompt = setup.random_ids(options.prompt);
        let sampling = SamplingOptions::default();
        let arithmetic = gpu.arithmetic(Precision::Auto)?;

        tell("decoding");
        let (start, mut prefill, mut rounds) = (Instant::now(), f64::INFINITY, 0);
        // A new decoder each time, as every generation has one; what is compiled stays.
        let mut tokens = loop {
            let make = || Decoder::new(&model, None, room);
            let mut decoder = gpu.make_room("generating text", make).await?;
            decoder.set_arithmetic(arithmetic);
            let start_of_prompt = Instant::now();
            let mut tokens = Tokens::new(decoder, &prompt, &sampling, options.tokens + 1).await?;
            tokens.next().await?;
            prefill = prefill.min(start_of_prompt.elapsed().as_secs_f64());
            rounds += 1;
            if rounds >= PREFILLS && start.elapsed() >= WARM_UP {
                break tokens;
            }
        };
        let mut seconds = Vec::with_capacity(options.tokens.div_ceil(MAX_AT_ONCE));
        let mut counted = 0;
        while counted < options.tokens {
            let (start, first) = (Instant::now(), counted);
            while counted < options.tokens && counted - first < MAX_AT_ONCE {
                tokens.next().await?;
                counted += 1;
            }
            seconds.push(start.elapsed().as_secs_f64() / (counted - first) as f64);
        }
        let dispatches_per_token = tokens.decoder().operations_per_token();
        let allocated_bytes = gpu.allocated_bytes();
        drop(tokens);
        let (gpu_ms_per_token, kernels) = time_kernels(gpu, &model, room, &prompt, arithmetic).await?;
        drop(model);
        gpu.settle().await?;
        tell("the device's ceilings");
        let ceilings = Ceilings::measure(gpu, setup.weights, Dtype::F32, Arithmetic::F32).await?;

        let (tokens, weight_bytes_per_token) = (counted, setup.bytes_per_token(gpu)?);
        let ms_per_token = Times::of_seconds(seconds);
        let floor_ms = 1e3 * ceilings.floor(0, weight_bytes_per_token);
        let kv = (4 * heads(&setup.model).kv_width() * setup.model.num_hidden_layers) as u64;
        Ok(Self {
            model: setup.name.clone(),
            device: gpu.caps().adapter.describe(),
            weights: setup.weights,
            prompt_tokens: prompt.len(),
            prefill_ms: 1e3 * prefill,
            prefill_tokens_per_second: prompt.len() as f64 / prefill,
            tokens,
            tokens_per_second: 1e3 / ms_per_token.median,
            share_of_floor: floor_ms / ms_per_token.median,
            ms_per_token,
            dispatches_per_token,
            weight_bytes_per_token,
            cache_bytes_per_token: kv * (prompt.len() + tokens / 2) as u64,
            ceilings,
            floor_ms,
            gpu_ms_per_token,
            kernels,
            memory,
            allocated_bytes,
        })
    }
}

/// Of a few tokens after the prompt: milliseconds of one, and its kernels.
async fn time_kernels(
    gpu: &Gpu,
    model: &Model,
    room: usize,
    prompt: &[u32],
    arithmetic: Arithmetic,
) -> Result<(Option<f64>, Vec<KernelShare>)> {
    let count = PROFILED.min((room - prompt.len()) / 2);
    if count == 0 {
        return Ok((None, Vec::new()));
    }
    let mut decoder = gpu.make_room("generating text", || Decoder::new(model, None, room)).await?;
    decoder.set_arithmetic(arithmetic);
    if !decoder.choose_by(&SamplingOptions::default()) {
        return Ok((None, Vec::new()));
    }
    let chosen = decoder.feed_and_choose(prompt).await?;
    chosen.finish(&decoder).await?;
    let (times, seconds) = decoder.time(count).await?;
    Ok((Some(1e3 * seconds), KernelShare::of(&times, count as f64)))
}
