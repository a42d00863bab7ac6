//! One sequence with its key-value cache: tokens in, logits of the next one out, or the next one itself.

use std::collections::HashMap;

use super::SamplingOptions;
use crate::config::{Arithmetic, LoraConfig, ModelConfig};
use crate::error::{Error, Result};
use crate::gpu::{
    Allocator, Dtype, KernelTime, MemoryUse, PendingRead, Plan, PlanBuilder, Profiler, Recorder, Stopwatch,
    Tensor,
};
use crate::kernels::NONE;
use crate::kernels::gather::gather;
use crate::kernels::sample::{Candidates, Choice, MAX_TOP_K, REMEMBERED, TokenState, sample};
use crate::memory::MemoryPlan;
use crate::model::{
    Cache, Forward, Inputs, Lora, Model, PassBuffers, ROW_MULTIPLE, TokenBuffers, TokenPass, WeightBytes,
    empty_rope_tables, heads, record_forward,
};

/// Most rows of a pass over a prompt: enough to use a GPU well, few enough for their activations to be small beside the
/// weights.
const MAX_ROWS: usize = 512;

/// All memory of a decoder but the base and the adapter.
struct DecoderBuffers {
    rope_tables: Vec<Tensor>,
    inputs: Inputs,
    pass: PassBuffers,
    slots: Tensor,
    caches: Vec<Tensor>,
    last_row: Tensor,
    token: TokenBuffers,
    state: TokenState,
    candidates: Candidates,
}

impl DecoderBuffers {
    fn new(gpu: &dyn Allocator, config: &ModelConfig, lora: Option<&Lora>, capacity: usize) -> Result<Self> {
        let rows = capacity.min(MAX_ROWS).next_multiple_of(ROW_MULTIPLE);
        let pass = PassBuffers::for_inference(gpu, config, lora, rows)?;
        let token = TokenBuffers::new(gpu, config, lora, capacity)?;
        gpu.begin(MemoryUse::Workspace);
        Ok(Self {
            rope_tables: empty_rope_tables(gpu, config, capacity)?,
            inputs: Inputs::new(gpu, config, rows)?,
            pass,
            slots: gpu.tensor("cache slots", &[rows], Dtype::U32)?,
            caches: (0..config.num_hidden_layers)
                .map(|_| gpu.tensor("cache", &[capacity, heads(config).kv_width()], Dtype::F32))
                .collect::<Result<_>>()?,
            last_row: gpu.tensor("last row", &[1], Dtype::U32)?,
            token,
            state: TokenState::new(gpu)?,
            candidates: Candidates::new(gpu, config.vocab_size)?,
        })
    }

    /// Rows of a pass over a prompt.
    fn rows(&self) -> usize {
        self.slots.len()
    }
}

/// A sequence in the making.
pub struct Decoder<'a> {
    model: &'a Model,
    lora: Option<&'a Lora>,
    adapter_scale: f32,
    arithmetic: Arithmetic,
    buffers: DecoderBuffers,
    /// Of a prompt's rows, by their number.
    plans: HashMap<usize, Plan>,
    token: Option<Plan>,
    choice: Choice,
    /// Of a token and the choice of the next.
    step: Option<Plan>,
    /// Tokens that are in the cache.
    len: usize,
    /// Tokens that were chosen.
    chosen: u32,
}

impl<'a> Decoder<'a> {
    /// What [`Self::new`] takes, beside the weights of the base and with an adapter.
    ///
    /// # Errors
    /// Those of [`MemoryPlan::of`].
    pub fn plan(
        gpu: &dyn Allocator,
        config: &ModelConfig,
        lora: Option<&LoraConfig>,
        weights: WeightBytes,
        capacity: usize,
    ) -> Result<MemoryPlan> {
        MemoryPlan::of(gpu, weights, |tally| {
            let lora = lora.map(|lora| Lora::allocate(tally, lora, config)).transpose()?;
            DecoderBuffers::new(tally, config, lora.as_ref(), capacity)?;
            Ok(())
        })
    }

    /// Room for `capacity` tokens.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfMemory`](crate::error::ErrorKind::OutOfMemory).
    pub fn new(model: &'a Model, lora: Option<&'a Lora>, capacity: usize) -> Result<Self> {
        let buffers = DecoderBuffers::new(model.gpu(), model.config(), lora, capacity)?;
        model.fill_rope_tables(&buffers.rope_tables);
        buffers.token.fill(model.gpu(), model);
        Ok(Self {
            model,
            lora,
            adapter_scale: 1.0,
            arithmetic: Arithmetic::F32,
            buffers,
            plans: HashMap::new(),
            token: None,
            choice: Choice::Likeliest,
            step: None,
            len: 0,
            chosen: 0,
        })
    }

    /// With the adapter `adapter_scale` times as strong as it was trained: a factor on its alpha/r. At 0 it takes no
    /// part, and the logits are the base's to the bit.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::error::ErrorKind::Config) for what is no finite number from 0 on.
    pub fn with_adapter_scale(mut self, adapter_scale: f64) -> Result<Self> {
        if !(adapter_scale >= 0.0 && (adapter_scale as f32).is_finite()) {
            return Err(Error::config(format!(
                "adapter_scale is {adapter_scale}; expected a finite number, 0 or more"
            )));
        }
        self.adapter_scale = adapter_scale as f32;
        if self.adapter_scale == 0.0 {
            self.lora = None;
        }
        self.plans.clear();
        self.token = None;
        self.step = None;
        Ok(self)
    }

    /// The arithmetic in which prompts are read from now on; single tokens are always computed in f32, since their time
    /// is that of reading the weights.
    pub fn set_arithmetic(&mut self, arithmetic: Arithmetic) {
        self.arithmetic = arithmetic;
        self.plans.clear();
    }

    /// What [`Self::set_arithmetic`] said.
    pub fn arithmetic(&self) -> Arithmetic {
        self.arithmetic
    }

    /// Forgets all tokens.
    pub fn clear(&mut self) {
        self.len = 0;
        self.chosen = 0;
    }

    /// Adds tokens (never none, and no more than there is room for) and returns the logits
    /// `[vocab_size]` of the one that follows.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub async fn feed(&mut self, ids: &[u32]) -> Result<Vec<f32>> {
        let gpu = self.model.gpu();
        let mut recorder = Recorder::new(gpu);
        self.read_prompt(&mut recorder, ids).await?;
        let logits = recorder.read(self.buffers.token.logits());
        recorder.submit().await?;
        logits.finish(gpu).await
    }

    /// As [`Self::feed`], but the next token is chosen on the device, as [`Self::choose_by`] said.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub async fn feed_and_choose(&mut self, ids: &[u32]) -> Result<Chosen> {
        let mut recorder = Recorder::new(self.model.gpu());
        self.read_prompt(&mut recorder, ids).await?;
        let choose = self.record_choice(false);
        recorder.run(&choose, None).await?;
        let chosen = self.hand_over(recorder, 1).await?;
        // While the prompt is read.
        if self.step.is_none() {
            self.step = Some(self.record_choice(true));
        }
        Ok(chosen)
    }

    /// Goes on for `count` tokens, at most [`MAX_AT_ONCE`]: the last one chosen is fed and the next one chosen, and so on.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub async fn choose(&mut self, count: usize) -> Result<Chosen> {
        assert!(count <= MAX_AT_ONCE, "{count} tokens at once");
        assert!(self.len + count <= self.buffers.caches[0].rows(), "no room for {count} more tokens");
        let step = self.step.take().unwrap_or_else(|| self.record_choice(true));
        let mut recorder = Recorder::new(self.model.gpu());
        recorder.repeat(&step, count).await?;
        self.step = Some(step);
        self.len += count;
        self.hand_over(recorder, count).await
    }

    /// Hands over what chooses `count` tokens.
    async fn hand_over(&mut self, mut recorder: Recorder<'a>, count: usize) -> Result<Chosen> {
        let first = self.chosen as usize;
        self.chosen += count as u32;
        let read = recorder.read(&self.buffers.state.chosen());
        recorder.submit().await?;
        Ok(Chosen { read, first, count })
    }

    /// Makes `count` tokens twice and throws them away: times of their kernels, each in a pass of its own, and seconds on
    /// the GPU of one token's in one pass. Tokens are chosen on the device, as [`Self::choose_by`] said.
    ///
    /// # Errors
    /// A device without timestamp queries; whatever it reports.
    pub async fn time(&mut self, count: usize) -> Result<(Vec<KernelTime>, f64)> {
        assert!(self.len + 2 * count <= self.buffers.caches[0].rows(), "room for the tokens");
        let gpu = self.model.gpu();
        let (mut profiler, watch) = (Profiler::new(gpu)?, Stopwatch::new(gpu)?);
        let step = self.step.take().unwrap_or_else(|| self.record_choice(true));
        for _ in 0..count {
            let mut recorder = Recorder::new(gpu);
            recorder.run(&step, Some(&mut profiler)).await?;
            recorder.submit().await?;
            profiler.collect(gpu).await?;
        }
        let seconds = watch.time(gpu, &step, count).await? / count as f64;
        self.step = Some(step);
        self.clear();
        Ok((profiler.report(), seconds))
    }

    /// How tokens are chosen on the device from now on; false if it cannot choose so.
    pub fn choose_by(&mut self, options: &SamplingOptions) -> bool {
        let Some(choice) = options.choice() else { return false };
        self.choice = choice;
        self.step = None;
        true
    }

    /// GPU operations of one token with its choice; 0 before the first.
    pub fn operations_per_token(&self) -> usize {
        self.step.as_ref().map_or(0, Plan::len)
    }

    /// Adds tokens, up to the logits of the one that follows.
    async fn read_prompt(&mut self, recorder: &mut Recorder<'a>, ids: &[u32]) -> Result<()> {
        let chunks: Vec<_> = ids.chunks(self.buffers.rows()).collect();
        for (i, chunk) in chunks.iter().enumerate() {
            if i > 0 {
                // What the pass before reads must not be written over.
                std::mem::replace(recorder, Recorder::new(self.model.gpu())).submit().await?;
            }
            match chunk {
                [id] => self.read_token(recorder, *id).await?,
                _ => self.read_rows(recorder, chunk).await?,
            }
        }
        Ok(())
    }

    async fn read_token(&mut self, recorder: &mut Recorder<'a>, id: u32) -> Result<()> {
        let (gpu, window) = (self.model.gpu(), self.model.config().sliding_window);
        self.buffers.state.write(gpu, id, self.len, window, self.chosen);
        let token = self.token.take().unwrap_or_else(|| self.record_token());
        recorder.run(&token, None).await?;
        self.token = Some(token);
        self.len += 1;
        Ok(())
    }

    async fn read_rows(&mut self, recorder: &mut Recorder<'a>, ids: &[u32]) -> Result<()> {
        let rows = ids.len().next_multiple_of(ROW_MULTIPLE);
        let plan = self.plans.remove(&rows).unwrap_or_else(|| self.record_rows(rows));
        let (gpu, buffers) = (self.model.gpu(), &self.buffers);
        let padding = rows - ids.len();
        let at = |i: usize| (self.len + i) as u32;
        let mut input_ids = ids.to_vec();
        let mut positions: Vec<u32> = (0..ids.len()).map(at).collect();
        let mut slots = positions.clone();
        // Padding is kept nowhere and looks at the first token only.
        let ranges = |window: usize| {
            let window = u32::try_from(window).unwrap_or(u32::MAX);
            let of_tokens = (0..ids.len()).flat_map(|i| [(at(i) + 1).saturating_sub(window), at(i) + 1]);
            of_tokens.chain([0, 1].repeat(padding)).collect::<Vec<u32>>()
        };
        input_ids.extend(vec![0; padding]);
        positions.extend(vec![0; padding]);
        slots.extend(vec![NONE; padding]);
        let inputs = buffers.inputs.first(rows);
        gpu.write(&inputs.input_ids, &input_ids);
        gpu.write(&inputs.positions, &positions);
        gpu.write(&inputs.full.kv_range, &ranges(usize::MAX));
        let window = self.model.config().sliding_window;
        if let (Some(sliding), Some(window)) = (&inputs.sliding, window) {
            gpu.write(&sliding.kv_range, &ranges(window));
        }
        gpu.write(&buffers.slots.view(0, &[rows]), &slots);
        gpu.write(&buffers.last_row, &[ids.len() as u32 - 1]);
        let last = ids.last().expect("never none");
        buffers.state.write(gpu, *last, self.len + ids.len() - 1, window, self.chosen);
        recorder.run(&plan, None).await?;
        self.plans.insert(rows, plan);
        self.len += ids.len();
        Ok(())
    }

    fn token_pass(&self) -> TokenPass<'_> {
        TokenPass {
            model: self.model,
            lora: self.lora,
            adapter_scale: self.adapter_scale,
            rope_tables: &self.buffers.rope_tables,
            state: &self.buffers.state,
            buffers: &self.buffers.token,
            caches: &self.buffers.caches,
        }
    }

    fn record_token(&self) -> Plan {
        let mut plan = PlanBuilder::new(self.model.gpu());
        self.token_pass().record(&mut plan);
        plan.finish()
    }

    /// The choice of the next token, alone or after the pass of the last one: what is one plan is one pass on the device.
    fn record_choice(&self, after_token: bool) -> Plan {
        let buffers = &self.buffers;
        let mut plan = PlanBuilder::new(self.model.gpu());
        if after_token {
            self.token_pass().record(&mut plan);
        }
        let (logits, window) = (buffers.token.logits(), self.model.config().sliding_window);
        sample(&mut plan, logits, self.choice, &buffers.candidates, &buffers.state, window);
        plan.finish()
    }

    fn record_rows(&self, rows: usize) -> Plan {
        let (model, own) = (self.model, &self.buffers);
        let (inputs, buffers) = (own.inputs.first(rows), own.pass.first(rows));
        let cache = Cache { layers: own.caches.clone(), slots: own.slots.view(0, &[rows]) };
        let mut plan = PlanBuilder::new(model.gpu()).in_arithmetic(self.arithmetic);
        let pass = Forward {
            model,
            lora: self.lora,
            adapter_scale: self.adapter_scale,
            dropout: false,
            rope_tables: &own.rope_tables,
            inputs: &inputs,
            buffers: &buffers,
            cache: Some(&cache),
        };
        record_forward(&mut plan, &pass);
        gather(&mut plan, &own.last_row, &buffers.out, &own.token.hidden(model.config()));
        self.token_pass().head(&mut plan);
        plan.finish()
    }
}

/// Most tokens of one [`Decoder::choose`]: handing over and reading back take far less than so many passes of any model.
pub const MAX_AT_ONCE: usize = 16;
const _: () = assert!(MAX_AT_ONCE <= REMEMBERED, "all of them are read back");

/// Tokens on their way to the host.
pub struct Chosen {
    read: PendingRead,
    first: usize,
    count: usize,
}

impl Chosen {
    /// How many they are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Waits for them. One whose logits were not all finite, and those after it, is [`NONE`].
    ///
    /// # Errors
    /// Whatever the device reports.
    pub async fn finish(self, decoder: &Decoder<'_>) -> Result<Vec<u32>> {
        let remembered: Vec<u32> = self.read.finish(decoder.model.gpu()).await?;
        Ok((self.first..self.first + self.count).map(|number| remembered[number % REMEMBERED]).collect())
    }
}

/// Below it noise is less than what f32 rounds of a logit by: the likeliest token is the only one.
const LEAST_TEMPERATURE: f64 = 1e-6;

impl SamplingOptions {
    /// How that is chosen on the device; `None` where a draw needs the order of more tokens than it sorts.
    fn choice(&self) -> Option<Choice> {
        let Self { temperature, top_k, top_p, seed, .. } = *self;
        if temperature < LEAST_TEMPERATURE || top_k == 1 {
            return Some(Choice::Likeliest);
        }
        let temperature = (temperature as f32).min(f32::MAX);
        match top_k {
            1..=MAX_TOP_K => Some(Choice::TopK { top_k, top_p: top_p as f32, temperature, seed }),
            0 if top_p >= 1.0 => Some(Choice::Draw { temperature, seed }),
            _ => None,
        }
    }
}
