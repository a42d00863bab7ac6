//! Weights under either name are found; weights that do not belong to the configuration are refused by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use postil::gpu::Gpu;
use postil::{Error, ErrorKind};
use safetensors::Dtype;

use super::compare::assert_same_bits;
use super::forward::logits_of;
use super::golden::{GoldenCase, Stored, load_model};

cases!(missing, shape, dtype, tied_table, prefixes, learned_positions);

const NAME: &str = "model.layers.1.mlp.up_proj.weight";

async fn error(
    gpu: &Arc<Gpu>,
    case: &'static str,
    change: impl FnOnce(&mut BTreeMap<String, Stored>),
) -> Error {
    let golden = GoldenCase::load(case);
    load_model(gpu, &golden.config, golden.weights_with(change)).await.err().expect("the weights are wrong")
}

#[track_caller]
fn assert_says(error: &Error, kind: ErrorKind, parts: &[&str]) {
    assert_eq!(error.kind(), kind, "{error}");
    for part in parts {
        assert!(error.to_string().contains(part), "\"{part}\" is not in: {error}");
    }
}

pub async fn missing(gpu: &Arc<Gpu>) {
    for name in [NAME, "model.norm.weight", "model.layers.0.self_attn.k_proj.bias", "lm_head.weight"] {
        let error = error(gpu, "gqa_f32_untied", |tensors| drop(tensors.remove(name))).await;
        assert_says(&error, ErrorKind::Format, &["model.safetensors", name, "missing"]);
    }
}

pub async fn shape(gpu: &Arc<Gpu>) {
    let turn = |tensors: &mut BTreeMap<String, Stored>| tensors.get_mut(NAME).unwrap().1.reverse();
    let error = error(gpu, "gqa_f32_untied", turn).await;
    assert_says(&error, ErrorKind::Format, &["model.safetensors", NAME, "[40, 72]", "[72, 40]"]);
}

pub async fn dtype(gpu: &Arc<Gpu>) {
    let count = |tensors: &mut BTreeMap<String, Stored>| {
        let (dtype, shape, bytes) = tensors.get_mut(NAME).unwrap();
        *dtype = Dtype::I64;
        *bytes = vec![0; 8 * shape.iter().product::<usize>()];
    };
    let error = error(gpu, "gqa_f32_untied", count).await;
    assert_says(&error, ErrorKind::Unsupported, &["model.safetensors", NAME, "I64", "F16"]);
}

/// Neither name of the shared matrix.
pub async fn tied_table(gpu: &Arc<Gpu>) {
    let error = error(gpu, "tied_f16", |tensors| drop(tensors.remove("lm_head.weight"))).await;
    assert_says(&error, ErrorKind::Format, &["model.embed_tokens.weight", "missing"]);
}

/// Names with and without the family's prefix; a Conv1D's weight in 32 bits as in 16.
pub async fn prefixes(gpu: &Arc<Gpu>) {
    for (case, prefix) in [("gpt2", "transformer."), ("tied_bf16", "model."), ("phi3", "model.")] {
        let golden = GoldenCase::load(case);
        let examples = &golden.examples()[..1];
        let model = golden.model(gpu).await;
        let expected = logits_of(&model, None, examples).await.concat();
        let rename = |tensors: &mut BTreeMap<String, Stored>| {
            let renamed = std::mem::take(tensors).into_iter().map(|(name, stored)| {
                let name = match name.strip_prefix(prefix) {
                    Some(bare) => bare.to_owned(),
                    None if name == "lm_head.weight" => name,
                    None => format!("{prefix}{name}"),
                };
                (name, stored)
            });
            *tensors = renamed.collect();
        };
        let model = load_model(gpu, &golden.config, golden.weights_with(rename)).await.unwrap();
        assert_same_bits(case, &logits_of(&model, None, examples).await.concat(), &expected);
        let widen = |tensors: &mut BTreeMap<String, Stored>| {
            for (dtype, _, bytes) in tensors.values_mut().filter(|(dtype, ..)| *dtype == Dtype::F16) {
                let halves = bytes.chunks_exact(2).map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32());
                *bytes = halves.flat_map(f32::to_le_bytes).collect();
                *dtype = Dtype::F32;
            }
        };
        let model = load_model(gpu, &golden.config, golden.weights_with(widen)).await.unwrap();
        assert_same_bits(case, &logits_of(&model, None, examples).await.concat(), &expected);
    }
    for name in ["h.1.attn.c_attn.bias", "wpe.weight", "ln_f.bias", "h.0.ln_2.bias"] {
        let error = error(gpu, "gpt2", |tensors| drop(tensors.remove(name))).await;
        assert_says(&error, ErrorKind::Format, &["transformer.", name, "missing"]);
    }
    let turn = |tensors: &mut BTreeMap<String, Stored>| {
        tensors.get_mut("h.0.attn.c_attn.weight").unwrap().1.reverse();
    };
    let error = error(gpu, "gpt2", turn).await;
    assert_says(&error, ErrorKind::Format, &["c_attn", "[99, 33]", "[33, 99]"]);
}

/// There are as many positions as the model has learned, and no more.
pub async fn learned_positions(gpu: &Arc<Gpu>) {
    let golden = GoldenCase::load("gpt2");
    let model = golden.model(gpu).await;
    assert!(model.rope_tables(96).unwrap().is_empty());
    let error = model.rope_tables(97).expect_err("one too many");
    assert_says(&error, ErrorKind::Data, &["97 tokens", "96 positions", "max_length"]);
}
