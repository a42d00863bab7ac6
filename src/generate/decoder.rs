//! One sequence with its key-value cache: tokens in, logits of the next one out.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::gpu::{Dtype, Plan, PlanBuilder, Recorder, Tensor};
use crate::kernels::NONE;
use crate::kernels::gather::gather;
use crate::kernels::matmul::Nt;
use crate::model::{Cache, Forward, Inputs, Lora, Model, PassBuffers, ROW_MULTIPLE, record_forward};

/// A sequence in the making.
pub struct Decoder<'a> {
    model: &'a Model,
    lora: Option<&'a Lora>,
    adapter_scale: f32,
    rope_tables: Vec<Tensor>,
    inputs: Inputs,
    buffers: PassBuffers,
    slots: Tensor,
    caches: Vec<Tensor>,
    last_row: Tensor,
    hidden: Tensor,
    normed: Tensor,
    rstd: Tensor,
    logits: Tensor,
    plans: HashMap<usize, Plan>,
    len: usize,
}

impl<'a> Decoder<'a> {
    /// Room for `capacity` tokens.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfMemory`](crate::error::ErrorKind::OutOfMemory).
    pub fn new(model: &'a Model, lora: Option<&'a Lora>, capacity: usize) -> Result<Self> {
        let (gpu, config) = (model.gpu(), model.config());
        let float = |label: &str, shape: &[usize]| gpu.tensor(label, shape, Dtype::F32);
        let rows = ROW_MULTIPLE;
        Ok(Self {
            model,
            lora,
            adapter_scale: 1.0,
            rope_tables: model.rope_tables(capacity)?,
            inputs: Inputs::new(gpu, config, rows)?,
            buffers: PassBuffers::for_inference(model, lora, rows)?,
            slots: gpu.tensor("cache slots", &[rows], Dtype::U32)?,
            caches: (0..config.num_hidden_layers)
                .map(|_| float("cache", &[capacity, model.heads().kv_width()]))
                .collect::<Result<_>>()?,
            last_row: gpu.tensor("last row", &[1], Dtype::U32)?,
            hidden: float("last hidden", &[1, config.hidden_size])?,
            normed: float("last normed", &[1, config.hidden_size])?,
            rstd: float("last rstd", &[1])?,
            logits: float("logits", &[1, config.vocab_size])?,
            plans: HashMap::new(),
            len: 0,
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
        Ok(self)
    }

    /// Adds tokens (never none, and no more than there is room for) and returns the logits
    /// `[vocab_size]` of the one that follows.
    pub async fn feed(&mut self, ids: &[u32]) -> Result<Vec<f32>> {
        for chunk in ids.chunks(ROW_MULTIPLE) {
            self.pass(chunk);
        }
        self.model.gpu().read(&self.logits).await
    }

    fn pass(&mut self, ids: &[u32]) {
        let rows = if ids.len() == 1 { 1 } else { ROW_MULTIPLE };
        let plan = self.plans.remove(&rows).unwrap_or_else(|| self.record(rows));
        let gpu = self.model.gpu();
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
        gpu.write(&self.inputs.input_ids, &input_ids);
        gpu.write(&self.inputs.positions, &positions);
        gpu.write(&self.inputs.full.kv_range, &ranges(usize::MAX));
        if let (Some(sliding), Some(window)) = (&self.inputs.sliding, self.model.config().sliding_window) {
            gpu.write(&sliding.kv_range, &ranges(window));
        }
        gpu.write(&self.slots, &slots);
        gpu.write(&self.last_row, &[ids.len() as u32 - 1]);
        let mut recorder = Recorder::new(gpu);
        recorder.run(&plan, None);
        recorder.submit();
        self.plans.insert(rows, plan);
        self.len += ids.len();
    }

    fn record(&self, rows: usize) -> Plan {
        let (model, weights) = (self.model, self.model.weights());
        let (inputs, buffers) = (self.inputs.first(rows), self.buffers.first(rows));
        let cache = Cache { layers: self.caches.clone(), slots: self.slots.view(0, &[rows]) };
        let mut plan = PlanBuilder::new(model.gpu());
        let pass = Forward {
            model,
            lora: self.lora,
            adapter_scale: self.adapter_scale,
            dropout: false,
            rope_tables: &self.rope_tables,
            inputs: &inputs,
            buffers: &buffers,
            cache: Some(&cache),
        };
        record_forward(&mut plan, &pass);
        gather(&mut plan, &self.last_row, &buffers.out, &self.hidden);
        weights.norm.forward(&mut plan, &self.hidden, &self.normed, &self.rstd);
        Nt::new(&self.normed, &weights.lm_head, &self.logits).add_to(&mut plan);
        plan.finish()
    }
}
