//! Generation with a key-value cache against the full forward pass, and against transformers' `generate`.

use std::sync::Arc;

use postil::data::Example;
use postil::generate::{Decoder, Sampler, SamplingOptions};
use postil::gpu::Gpu;
use postil::model::{Lora, Model, ROW_MULTIPLE};

use super::compare::assert_close;
use super::forward::logits_of;
use super::golden::GoldenCase;

each_golden!(generation, pieces);

async fn generation(gpu: &Arc<Gpu>, golden: &GoldenCase) {
    let model = golden.model(gpu).await;
    let lora = golden.lora(&model);
    let facts = &golden.facts.generation;
    let prompt = &golden.examples()[facts.prompt].input_ids;
    assert!(prompt.len() > ROW_MULTIPLE, "the prompt must take two passes");
    for (lora, continuation) in [(Some(&lora), &facts.adapter), (None, &facts.base)] {
        greedy(&model, lora, prompt, continuation).await;
    }
}

/// Greedy tokens from the decoder are `continuation`, and its logits those of a pass over everything so far.
async fn greedy(model: &Model, lora: Option<&Lora>, prompt: &[u32], continuation: &[u32]) {
    let input_ids = [prompt, continuation].concat();
    let all = [Example { trained: vec![false; input_ids.len()], input_ids }];
    let vocab = model.config().vocab_size;
    let full = logits_of(model, lora, &all).await.remove(0);
    let mut sampler = Sampler::new(&SamplingOptions { temperature: 0.0, ..Default::default() }).unwrap();
    let mut decoder = Decoder::new(model, lora, prompt.len() + continuation.len()).unwrap();
    let mut fed = prompt.to_vec();
    let mut at = 0;
    for &expected in continuation {
        let logits = decoder.feed(&fed).await.unwrap();
        at += fed.len();
        let same: Vec<f64> = full[(at - 1) * vocab..at * vocab].iter().copied().map(f64::from).collect();
        assert_close(&format!("logits after {at} tokens"), &logits, &same, vocab, 1e-5);
        assert_eq!(sampler.sample(&logits), expected, "token after {at}");
        fed = vec![expected];
    }
}

/// How a text is cut when it is fed does not matter, across the passes' boundaries neither.
pub async fn pieces(gpu: &Arc<Gpu>) {
    let golden = GoldenCase::load("tied_bf16");
    let model = golden.model(gpu).await;
    let lora = golden.lora(&model);
    let ids = &golden.examples()[golden.facts.generation.prompt].input_ids;
    let mut whole = Decoder::new(&model, Some(&lora), ids.len()).unwrap();
    let expected: Vec<f64> = whole.feed(ids).await.unwrap().into_iter().map(f64::from).collect();
    for cuts in [[1, 2], [5, 64], [63, 65]] {
        let mut decoder = Decoder::new(&model, Some(&lora), ids.len()).unwrap();
        let (first, rest) = ids.split_at(cuts[0]);
        let (second, third) = rest.split_at(cuts[1] - cuts[0]);
        decoder.feed(first).await.unwrap();
        decoder.feed(second).await.unwrap();
        let logits = decoder.feed(third).await.unwrap();
        assert_close(&format!("cut at {cuts:?}"), &logits, &expected, ids.len(), 1e-5);
    }
}
