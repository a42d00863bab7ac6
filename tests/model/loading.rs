//! Weights that do not belong to the configuration are refused by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use postil::gpu::Gpu;
use postil::{Error, ErrorKind};
use safetensors::Dtype;

use super::golden::{GoldenCase, Stored, load_model};

cases!(missing, shape, dtype, tied_table);

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
