//! Generation with a key-value cache against the full forward pass, and against transformers' `generate`.

use std::sync::Arc;

use postil::ErrorKind;
use postil::data::Example;
use postil::generate::{Decoder, Sampler, SamplingOptions};
use postil::gpu::Gpu;
use postil::model::{Lora, Model, ROW_MULTIPLE};

use super::compare::{assert_close, assert_same_bits};
use super::forward::logits_of;
use super::golden::GoldenCase;

each_golden!(generation, pieces, strength);

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

/// An adapter's strength is a factor on its alpha/r: 0 is the base and 1 the adapter, to the bit.
pub async fn strength(gpu: &Arc<Gpu>) {
    let golden = GoldenCase::load("tied_bf16");
    let model = golden.model(gpu).await;
    let lora = golden.lora(&model);
    let ids = &golden.examples()[golden.facts.generation.prompt].input_ids;
    let logits = async |lora: Option<&Lora>, scale: Option<f64>| {
        let mut decoder = Decoder::new(&model, lora, ids.len()).unwrap();
        if let Some(scale) = scale {
            decoder = decoder.with_adapter_scale(scale).unwrap();
        }
        decoder.feed(ids).await.unwrap()
    };
    let (base, trained) = (logits(None, None).await, logits(Some(&lora), None).await);
    assert_ne!(base, trained);
    assert_same_bits("strength 0", &logits(Some(&lora), Some(0.0)).await, &base);
    assert_same_bits("strength 1", &logits(Some(&lora), Some(1.0)).await, &trained);
    // Half and twice are exact in floating point.
    for scale in [0.5, 2.0] {
        let mut other = golden.adapter.clone();
        other.config.lora_alpha *= scale;
        other.config.alpha_pattern.values_mut().for_each(|alpha| *alpha *= scale);
        let other = Lora::from_adapter(gpu, &other, model.config()).unwrap();
        let found = logits(Some(&lora), Some(scale)).await;
        assert_ne!(found, trained);
        assert_same_bits(&format!("strength {scale}"), &found, &logits(Some(&other), None).await);
    }
    for scale in [-0.5, f64::NAN, f64::INFINITY, 1e300] {
        let decoder = Decoder::new(&model, Some(&lora), 1).unwrap();
        let error = decoder.with_adapter_scale(scale).err().expect("no factor");
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    }
}
