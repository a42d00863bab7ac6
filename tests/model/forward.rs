//! The forward pass against PEFT's, on several sequences in one batch.

use std::sync::Arc;

use postil::data::{Batch, Example};
use postil::gpu::{Dtype, Gpu, PlanBuilder};
use postil::kernels::matmul::Nt;
use postil::model::{Forward, Inputs, Lora, Model, PassBuffers, ROW_MULTIPLE, record_forward};

use super::compare::{assert_close, assert_same_bits};
use super::golden::GoldenCase;

/// PEFT's own f32 pass is 6e-7 to 1e-6 away from the f64 values that are stored.
const TOLERANCE: f64 = 3e-6;

each_golden!(logits, zero_b);

/// The logits `[tokens, vocab_size]` of each example, all of them laid end to end in one pass.
pub async fn logits_of(model: &Model, lora: Option<&Lora>, examples: &[Example]) -> Vec<Vec<f32>> {
    let (gpu, config, weights) = (model.gpu(), model.config(), model.weights());
    let batch = Batch::new(&examples.iter().collect::<Vec<_>>(), ROW_MULTIPLE);
    let rows = batch.rows();
    let inputs = Inputs::new(gpu, config, rows).unwrap();
    inputs.write(gpu, config, &batch);
    let rope_tables = model.rope_tables(config.max_position_embeddings).unwrap();
    let buffers = PassBuffers::for_inference(model.gpu(), config, lora, rows).unwrap();
    let float = |columns| gpu.tensor("test", &[rows, columns], Dtype::F32).unwrap();
    let (normed, rstd, logits) = (float(config.hidden_size), float(1), float(config.vocab_size));
    let pass = Forward {
        model,
        lora,
        adapter_scale: 1.0,
        dropout: false,
        rope_tables: &rope_tables,
        inputs: &inputs,
        buffers: &buffers,
        cache: None,
    };
    let mut plan = PlanBuilder::new(gpu);
    record_forward(&mut plan, &pass);
    weights.norm.forward(&mut plan, &buffers.out, [&normed, &rstd], None);
    Nt::new(&normed, &weights.lm_head, &logits).add_to(&mut plan);
    gpu.run_whole(&plan.finish());
    let flat: Vec<f32> = gpu.read(&logits).await.unwrap();
    let mut rest = &flat[..];
    let mut parts = Vec::new();
    for example in examples {
        let (part, after) = rest.split_at(example.input_ids.len() * config.vocab_size);
        parts.push(part.to_vec());
        rest = after;
    }
    parts
}

/// Logits with the adapter, of all sequences in one batch and of each alone, and without it; PEFT's counts.
pub async fn logits(gpu: &Arc<Gpu>, golden: &GoldenCase) {
    let model = golden.model(gpu).await;
    let lora = golden.lora(&model);
    let columns = model.config().vocab_size;
    let examples = golden.examples();
    for (i, together) in logits_of(&model, Some(&lora), &examples).await.iter().enumerate() {
        let expected = golden.tensor(&format!("logits.{i}"));
        assert_close(&format!("logits.{i} in one batch"), together, &expected, columns, TOLERANCE);
        let alone = logits_of(&model, Some(&lora), &examples[i..=i]).await;
        assert_close(&format!("logits.{i} alone"), &alone[0], &expected, columns, TOLERANCE);
    }
    let long = golden.facts.generation.prompt;
    let base = &logits_of(&model, None, &examples).await[long];
    let expected = golden.tensor(&format!("base_logits.{long}"));
    assert_close("base logits", base, &expected, columns, TOLERANCE);

    let modules = golden.adapter.modules.iter();
    let trainable: usize = modules.map(|m| m.r * (m.in_features + m.out_features)).sum();
    assert_eq!(trainable as u64, golden.facts.trainable_parameters);
    assert_eq!(model.config().total_parameters() + trainable as u64, golden.facts.total_parameters);
}

/// With B = 0 an adapter changes no bit.
pub async fn zero_b(gpu: &Arc<Gpu>) {
    let mut golden = GoldenCase::load("gqa_f32_untied");
    golden.adapter.modules.iter_mut().for_each(|module| module.b.fill(0.0));
    golden.adapter.config.lora_dropout = 0.5;
    let model = golden.model(gpu).await;
    let lora = golden.lora(&model);
    let examples = golden.examples();
    let with = logits_of(&model, Some(&lora), &examples).await;
    let without = logits_of(&model, None, &examples).await;
    assert_same_bits("logits", &with.concat(), &without.concat());
}
