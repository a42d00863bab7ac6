//! Generation with a key-value cache against the full forward pass, and against transformers' `generate`.

use std::sync::Arc;

use postil::ErrorKind;
use postil::config::ModelConfig;
use postil::data::Example;
use postil::generate::{Decoder, MAX_AT_ONCE, Sampler, SamplingOptions, Tokens};
use postil::gpu::Gpu;
use postil::model::{Lora, Model, ROW_MULTIPLE};

use super::compare::{assert_close, assert_same_bits};
use super::forward::logits_of;
use super::golden::{GoldenCase, load_model};

each_golden!(generation, pieces, long_prompt, chosen_on_the_device, not_finite, strength);

pub async fn generation(gpu: &Arc<Gpu>, golden: &GoldenCase) {
    let model = golden.model(gpu).await;
    let lora = golden.lora(&model);
    let facts = &golden.facts.generation;
    let prompt = &golden.examples()[facts.prompt].input_ids;
    assert!(prompt.len() > ROW_MULTIPLE, "more rows than the least");
    for (lora, continuation) in [(Some(&lora), &facts.adapter), (None, &facts.base)] {
        greedy(&model, lora, prompt, continuation).await;
    }
}

/// A token's products and its attention add up in another order than those of many rows: each sum of up to 72 terms
/// differs by a few roundings of 6e-8, and two layers make 1e-6 of that.
const TOLERANCE: f64 = 1e-5;

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
        assert_close(&format!("logits after {at} tokens"), &logits, &same, vocab, TOLERANCE);
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
        assert_close(&format!("cut at {cuts:?}"), &logits, &expected, ids.len(), TOLERANCE);
    }
}

/// A prompt of more rows than are read at once.
pub async fn long_prompt(gpu: &Arc<Gpu>) {
    let golden = GoldenCase::load("gqa_f32_untied");
    let config = ModelConfig { max_position_embeddings: 700, ..golden.config.clone() };
    let model = load_model(gpu, &config, golden.weights_with(|_| {})).await.unwrap();
    let ids: Vec<u32> = (0..600).map(|i| i * 7 % config.vocab_size as u32).collect();
    let mut whole = Decoder::new(&model, None, 700).unwrap();
    let expected: Vec<f64> = whole.feed(&ids).await.unwrap().into_iter().map(f64::from).collect();
    let mut decoder = Decoder::new(&model, None, 700).unwrap();
    let (first, second) = ids.split_at(300);
    decoder.feed(first).await.unwrap();
    let logits = decoder.feed(second).await.unwrap();
    assert_close("in halves", &logits, &expected, ids.len(), TOLERANCE);
    // One token more sees the keys of several shares.
    let [one, other] = [whole.feed(&[3]).await.unwrap(), decoder.feed(&[3]).await.unwrap()];
    let expected: Vec<f64> = one.into_iter().map(f64::from).collect();
    assert_close("one more", &other, &expected, ids.len(), TOLERANCE);
    let example = Example { trained: vec![false; 601], input_ids: [&ids[..], &[3]].concat() };
    let full = logits_of(&model, None, &[example]).await.remove(0);
    assert_close("the full pass", &full[600 * config.vocab_size..], &expected, ids.len(), TOLERANCE);
}

/// What is chosen on the device is what the host chooses by the same logits, however many tokens are handed over at once,
/// and up to the last one that there is room for.
pub async fn chosen_on_the_device(gpu: &Arc<Gpu>) {
    let golden = GoldenCase::load("tied_bf16");
    let model = golden.model(gpu).await;
    let lora = golden.lora(&model);
    let prompt = &golden.examples()[golden.facts.generation.prompt].input_ids;
    let most = 40;
    let capacity = prompt.len() + most;
    for (temperature, top_k, top_p) in [(0.0, 0, 1.0), (1.5, 0, 1.0), (2.0, 20, 0.9), (1.5, 0, 0.9)] {
        let options = SamplingOptions { temperature, top_k, top_p, seed: 5, ..Default::default() };
        let mut sampler = Sampler::new(&options).unwrap();
        let mut by_host = Decoder::new(&model, Some(&lora), capacity).unwrap();
        let mut expected = vec![sampler.sample(&by_host.feed(prompt).await.unwrap())];
        while expected.len() < most {
            let logits = by_host.feed(&expected[expected.len() - 1..]).await.unwrap();
            expected.push(sampler.sample(&logits));
        }
        let decoder = Decoder::new(&model, Some(&lora), capacity).unwrap();
        let mut tokens = Tokens::new(decoder, prompt, &options, most).await.unwrap();
        let mut chosen = Vec::new();
        while let Some(id) = tokens.next().await.unwrap() {
            chosen.push(id);
        }
        assert_eq!(chosen, expected, "{options:?}");
        if top_k == 0 && top_p < 1.0 {
            continue;
        }
        let mut decoder = Decoder::new(&model, Some(&lora), capacity).unwrap();
        assert!(decoder.choose_by(&options));
        let mut chosen = decoder.feed_and_choose(prompt).await.unwrap().finish(&decoder).await.unwrap();
        for count in [1, 2, MAX_AT_ONCE, 7] {
            let more = decoder.choose(count).await.unwrap();
            chosen.extend(more.finish(&decoder).await.unwrap());
        }
        assert_eq!(chosen, expected[..chosen.len()], "{options:?}");
    }
}

/// Weights that are no numbers are told of.
pub async fn not_finite(gpu: &Arc<Gpu>) {
    let golden = GoldenCase::load("gqa_f32_untied");
    let mut adapter = golden.adapter.clone();
    adapter.modules.iter_mut().for_each(|module| module.a.fill(f32::NAN));
    let model = golden.model(gpu).await;
    let lora = Lora::from_adapter(gpu, &adapter, model.config()).unwrap();
    for top_p in [1.0, 0.5] {
        let decoder = Decoder::new(&model, Some(&lora), 10).unwrap();
        let options = SamplingOptions { top_k: 0, top_p, ..Default::default() };
        let error = Tokens::new(decoder, &[1, 2, 3], &options, 5).await.err().expect("no token");
        assert_eq!(error.kind(), ErrorKind::NotFinite, "{error}");
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
