//! One sequence with its key-value cache: tokens in, logits of the next one out.

use std::collections::HashMap;

use crate::config::{LoraConfig, ModelConfig};
use crate::error::{Error, Result};
use crate::gpu::{Allocator, Dtype, MemoryUse, Plan, PlanBuilder, Recorder, Tensor};
use crate::kernels::NONE;
use crate::kernels::gather::gather;
use crate::kernels::matmul::Nt;
use crate::memory::MemoryPlan;
use crate::model::{
    Cache, Forward, Inputs, Lora, Model, PassBuffers, ROW_MULTIPLE, WeightBytes, empty_rope_tables, heads,
    record_forward,
};

/// All memory of a decoder but the base and the adapter.
struct DecoderBuffers {
    rope_tables: Vec<Tensor>,
    inputs: Inputs,
    pass: PassBuffers,
    slots: Tensor,
    caches: Vec<Tensor>,
    last_row: Tensor,
    hidden: Tensor,
    normed: Tensor,
    rstd: Tensor,
    logits: Tensor,
}

impl DecoderBuffers {
    fn new(gpu: &dyn Allocator, config: &ModelConfig, lora: Option<&Lora>, capacity: usize) -> Result<Self> {
        let float = |label: &str, shape: &[usize]| gpu.tensor(label, shape, Dtype::F32);
        let rows = ROW_MULTIPLE;
        let pass = PassBuffers::for_inference(gpu, config, lora, rows)?;
        gpu.begin(MemoryUse::Workspace);
        Ok(Self {
            rope_tables: empty_rope_tables(gpu, config, capacity)?,
            inputs: Inputs::new(gpu, config, rows)?,
            pass,
            slots: gpu.tensor("cache slots", &[rows], Dtype::U32)?,
            caches: (0..config.num_hidden_layers)
                .map(|_| float("cache", &[capacity, heads(config).kv_width()]))
                .collect::<Result<_>>()?,
            last_row: gpu.tensor("last row", &[1], Dtype::U32)?,
            hidden: float("last hidden", &[1, config.hidden_size])?,
            normed: float("last normed", &[1, config.hidden_size])?,
            rstd: float("last rstd", &[1])?,
            logits: float("logits", &[1, config.vocab_size])?,
        })
    }
}

/// A sequence in the making.
pub struct Decoder<'a> {
    model: &'a Model,
    lora: Option<&'a Lora>,
    adapter_scale: f32,
    buffers: DecoderBuffers,
    plans: HashMap<usize, Plan>,
    len: usize,
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
        Ok(Self { model, lora, adapter_scale: 1.0, buffers, plans: HashMap::new(), len: 0 })
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
        Ok(self)
    }

    /// Adds tokens (never none, and no more than there is room for) and returns the logits
    /// `[vocab_size]` of the one that follows.
    pub async fn feed(&mut self, ids: &[u32]) -> Result<Vec<f32>> {
        for chunk in ids.chunks(ROW_MULTIPLE) {
            self.pass(chunk).await?;
        }
        self.model.gpu().read(&self.buffers.logits).await
    }

    async fn pass(&mut self, ids: &[u32]) -> Result<()> {
        let rows = if ids.len() == 1 { 1 } else { ROW_MULTIPLE };
        if !self.plans.contains_key(&rows) {
            let plan = self.record(rows);
            self.plans.insert(rows, plan);
        }
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
        gpu.write(&buffers.inputs.input_ids, &input_ids);
        gpu.write(&buffers.inputs.positions, &positions);
        gpu.write(&buffers.inputs.full.kv_range, &ranges(usize::MAX));
        if let (Some(sliding), Some(window)) = (&buffers.inputs.sliding, self.model.config().sliding_window) {
            gpu.write(&sliding.kv_range, &ranges(window));
        }
        gpu.write(&buffers.slots, &slots);
        gpu.write(&buffers.last_row, &[ids.len() as u32 - 1]);
        let mut recorder = Recorder::new(gpu);
        recorder.run(&self.plans[&rows], None).await?;
        recorder.submit().await?;
        self.len += ids.len();
        Ok(())
    }

    fn record(&self, rows: usize) -> Plan {
        let (model, weights) = (self.model, self.model.weights());
        let own = &self.buffers;
        let (inputs, buffers) = (own.inputs.first(rows), own.pass.first(rows));
        let cache = Cache { layers: own.caches.clone(), slots: own.slots.view(0, &[rows]) };
        let mut plan = PlanBuilder::new(model.gpu());
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
        gather(&mut plan, &own.last_row, &buffers.out, &own.hidden);
        weights.norm.forward(&mut plan, &own.hidden, &own.normed, &own.rstd);
        Nt::new(&own.normed, &weights.lm_head, &own.logits).add_to(&mut plan);
        plan.finish()
    }
}
