//! Choosing the next token on the GPU, and the state of a sequence that goes on from it. See `shaders/sample.wgsl`,
//! `shaders/sample_choose.wgsl`.
//!
//! A draw from a softmax is the highest of the logits plus noise, so it needs no sum over the vocabulary. The noise of
//! a token is a hash of the seed, the number of the draw and the token: the host computes the same ([`noise`]).

use super::{PCG, expect_shape, shader, wgsl};
use crate::error::Result;
use crate::gpu::{Allocator, Dtype, Gpu, PlanBuilder, Shader, Tensor};
use crate::params;

params! {
    /// Parameter block of `sample.wgsl`.
    pub struct SampleParams {
        count: u32, keep: u32, first: u32, draws: u32,
        inverse_temperature: f32, seed_low: u32, seed_high: u32,
    }
}

params! {
    /// Parameter block of `sample_choose.wgsl`.
    pub struct SampleChooseParams {
        count: u32, top_k: u32, window: u32,
        top_p: f32, inverse_temperature: f32, seed_low: u32, seed_high: u32,
    }
}

/// Candidates that a workgroup sorts.
const SLICE: usize = 1024;

/// Largest [`Choice::TopK`].
pub const MAX_TOP_K: usize = 256;

const PARTS: [&str; 4] = [PCG, wgsl!("shared/draw"), wgsl!("shared/token_state"), wgsl!("shared/candidates")];

fn slices_shader() -> Shader {
    shader::<SampleParams>("sample", "", &[&PARTS[..], &[wgsl!("sample")]].concat())
}

fn choose_shader() -> Shader {
    shader::<SampleChooseParams>("sample_choose", "", &[&PARTS[..], &[wgsl!("sample_choose")]].concat())
}

pub(super) fn shaders() -> Vec<Shader> {
    vec![slices_shader(), choose_shader()]
}

/// How the next token is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Choice {
    /// The likeliest; of equals the one with the lowest id.
    Likeliest,
    /// A draw from the softmax of `logits / temperature`.
    Draw {
        /// More than 0.
        temperature: f32,
        /// Seed of the draws.
        seed: u64,
    },
    /// A draw from the likeliest tokens.
    TopK {
        /// So many of them, up to [`MAX_TOP_K`].
        top_k: usize,
        /// Of these the first that together have at least this probability; 1 is all.
        top_p: f32,
        /// More than 0.
        temperature: f32,
        /// Seed of the draws.
        seed: u64,
    },
}

/// A hash of 32 bits: PCG, as in `shaders/shared/pcg.wgsl`.
fn pcg(value: u32) -> u32 {
    let state = value.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
    let word = ((state >> ((state >> 28) + 4)) ^ state).wrapping_mul(277_803_737);
    (word >> 22) ^ word
}

/// What a token's logit, divided by the temperature, is raised by in the `step`-th draw: −ln of an exponentially
/// distributed number.
pub fn noise(seed: u64, step: u32, token: u32) -> f64 {
    let hash = pcg(token ^ pcg(step ^ pcg(seed as u32 ^ pcg((seed >> 32) as u32))));
    let unit = 1.0 / 4_294_967_296.0;
    let exponential = match hash {
        0x8000_0000.. => -((f64::from(!hash) + 0.5) * unit).ln(),
        _ => -(-(f64::from(hash) + 0.5) * unit).ln_1p(),
    };
    -exponential.ln()
}

/// Workspace of a choice.
pub struct Candidates {
    /// Values and ids of two passes, of which one reads what the other wrote.
    passes: [[Tensor; 2]; 2],
}

impl Candidates {
    /// For a vocabulary, whatever the choice.
    ///
    /// # Errors
    /// When the device has no room for it.
    pub fn new(gpu: &dyn Allocator, vocab_size: usize) -> Result<Self> {
        let pass = |count: usize| -> Result<[Tensor; 2]> {
            let kept = count.div_ceil(SLICE) * MAX_TOP_K;
            Ok([
                gpu.tensor("candidates", &[kept], Dtype::F32)?,
                gpu.tensor("candidate ids", &[kept], Dtype::U32)?,
            ])
        };
        let first = pass(vocab_size)?;
        let second = pass(first[0].len())?;
        Ok(Self { passes: [first, second] })
    }
}

/// The state of a sequence: what the next pass reads, and the tokens chosen.
pub struct TokenState {
    words: Tensor,
}

/// Words between two of its parts, each of which is bound by itself.
const APART: usize = 64;

/// Tokens chosen that it remembers; `CHOSEN_COUNT` in the shader.
pub const REMEMBERED: usize = 64;

impl TokenState {
    /// An empty one.
    ///
    /// # Errors
    /// When the device has no room for it.
    pub fn new(gpu: &dyn Allocator) -> Result<Self> {
        Ok(Self { words: gpu.tensor("token state", &[6 * APART], Dtype::U32)? })
    }

    fn part(&self, index: usize, shape: &[usize]) -> Tensor {
        self.words.view(index * APART, shape)
    }

    /// The token, `[1]`.
    pub fn input_ids(&self) -> Tensor {
        self.part(0, &[1])
    }

    /// Its position, `[1]`.
    pub fn positions(&self) -> Tensor {
        self.part(1, &[1])
    }

    /// The rows of the cache that it attends, `[1, 2]`, the last of which is its own; in a layer with a sliding window
    /// or without.
    pub fn kv_range(&self, is_sliding: bool) -> Tensor {
        self.part(if is_sliding { 3 } else { 2 }, &[1, 2])
    }

    /// The tokens chosen, each at its number modulo [`REMEMBERED`].
    pub fn chosen(&self) -> Tensor {
        self.part(5, &[REMEMBERED])
    }

    /// Goes on with a token at a position, after `step` draws.
    pub fn write(&self, gpu: &Gpu, token: u32, position: usize, window: Option<usize>, step: u32) {
        let end = position as u32 + 1;
        let mut words = vec![0; 5 * APART];
        words[0] = token;
        words[APART] = position as u32;
        words[2 * APART + 1] = end;
        words[3 * APART] = end.saturating_sub(window_word(window));
        words[3 * APART + 1] = end;
        words[4 * APART] = step;
        gpu.write(&self.words.view(0, &[words.len()]), &words);
    }
}

fn window_word(window: Option<usize>) -> u32 {
    window.map_or(u32::MAX, |window| u32::try_from(window).unwrap_or(u32::MAX))
}

/// Chooses a token by its `logits [1, vocab_size]` and makes it the next one of `state`; `window` is what sliding layers
/// see. A logit that is not finite makes it [`NONE`](super::NONE).
pub fn sample(
    plan: &mut PlanBuilder,
    logits: &Tensor,
    choice: Choice,
    candidates: &Candidates,
    state: &TokenState,
    window: Option<usize>,
) {
    let vocab_size = logits.columns();
    expect_shape("logits", logits, 1, vocab_size);
    let (keep, top_p, temperature, seed) = match choice {
        Choice::Likeliest => (1, 1.0, 1.0, 0),
        Choice::Draw { temperature, seed } => (1, 1.0, temperature, seed),
        Choice::TopK { top_k, top_p, temperature, seed } => (top_k.min(vocab_size), top_p, temperature, seed),
    };
    assert!((1..=MAX_TOP_K).contains(&keep), "{choice:?}");
    let inverse_temperature = 1.0 / temperature;
    let [seed_low, seed_high] = [seed as u32, (seed >> 32) as u32];
    let absent = plan.gpu().absent();
    let (mut values, mut ids, mut count) = (logits, &absent, vocab_size);
    for pass in 0.. {
        let [to_values, to_ids] = &candidates.passes[pass % 2];
        let slices = count.div_ceil(SLICE);
        let params = SampleParams {
            count: count as u32,
            keep: keep as u32,
            first: (pass == 0).into(),
            draws: (pass == 0 && matches!(choice, Choice::Draw { .. })).into(),
            inverse_temperature,
            seed_low,
            seed_high,
        };
        let bindings = [values, ids, &state.words, to_values, to_ids];
        plan.dispatch(slices_shader(), &params, &bindings, [slices as u32, 1, 1]);
        (values, ids, count) = (to_values, to_ids, slices * keep);
        if count <= SLICE {
            break;
        }
    }
    let params = SampleChooseParams {
        count: count as u32,
        top_k: keep as u32,
        window: window_word(window),
        top_p,
        inverse_temperature,
        seed_low,
        seed_high,
    };
    plan.dispatch(choose_shader(), &params, &[values, ids, &state.words], [1, 1, 1]);
}
