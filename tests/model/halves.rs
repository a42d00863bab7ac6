//! Operands of products in 16 bits, and activations kept so for the backward pass: loss and gradients as near as that
//! rounding allows.

use std::rc::Rc;
use std::sync::Arc;

use postil::bench::MODELS;
use postil::config::{Arithmetic, LoraConfig, ModelConfig, NormKind, TensorKind};
use postil::data::Batch;
use postil::gpu::{Gpu, MemoryUse};
use postil::kernels::step::Step;
use postil::model::{Lora, Model, ROW_MULTIPLE, WeightBytes};
use postil::train::{Session, SessionOptions};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

use super::compare::{assert_close, assert_same_bits};
use super::golden::{GoldenCase, load_model};
use super::gradients::STILL;
use super::parts::open;

/// Of each matrix's gradient: an f16 is within 2⁻¹¹ of what it stands for, 5e-4, the residual stream's bf16 within 2⁻⁹,
/// 2e-3, and each operand and kept factor on the way down adds its own; beside f32's 2e-6.
const TOLERANCE: f64 = 1e-2;

/// Of the loss: every product's operand is within 2⁻¹¹, 5e-4, of what it stands for. Logits are as near to theirs, and the
/// loss, their mean over many targets, of random errors, nearer.
const LOSS_TOLERANCE: f64 = 1e-3;

// Every kind of layer once; all of them have more than one.
each_golden!(@ near [gemma3, gpt2, phi3, qwen3, gqa_f32_untied] [exact_after_f16, other_sizes_stay_in_f32, as_planned]);

/// Sizes of a golden case, which is odd on purpose, that kernels have in 16 bits.
fn sizes(name: &str) -> Value {
    let partly = json!({ "partial_rotary_factor": 0.5, "rope_theta": 10000.0, "rope_type": "default" });
    match name {
        "gqa_f32_untied" => json!({ "head_dim": 16 }),
        "gemma3" => json!({ "head_dim": 16, "hidden_size": 40, "intermediate_size": 48 }),
        "gpt2" => json!({ "n_embd": 48, "n_inner": 72 }),
        "phi3" => json!({ "hidden_size": 64, "intermediate_size": 48, "rope_parameters": partly }),
        "qwen3" => json!({ "head_dim": 16, "hidden_size": 40, "intermediate_size": 56 }),
        _ => panic!("sizes of {name}"),
    }
}

/// Random numbers from −√3 to √3, of deviation 1.
fn numbers(seed: u64) -> impl Iterator<Item = f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    std::iter::repeat_with(move || (random.next_u32() as f32 / u32::MAX as f32 - 0.5) * 12f32.sqrt())
}

/// The model in these sizes, with random weights that leave what they multiply about as large as it was.
async fn model(gpu: &Arc<Gpu>, golden: &GoldenCase, sizes: Value) -> Rc<Model> {
    let mut json: Value = serde_json::from_slice(golden.config_json).unwrap();
    let Value::Object(sizes) = sizes else { panic!("an object") };
    json.as_object_mut().unwrap().extend(sizes);
    let config = ModelConfig::from_json(json.to_string().as_bytes()).unwrap();
    let mut numbers = numbers(120);
    let mut tensors = Vec::new();
    for spec in config.tensors() {
        let is_norm = spec.kind == TensorKind::Vector && spec.name.ends_with(".weight");
        let middle = if is_norm && config.family.norm_kind != NormKind::RmsOnePlus { 1.0 } else { 0.0 };
        let deviation = match spec.kind {
            TensorKind::Linear => (1.0 / spec.shape[1] as f32).sqrt(),
            TensorKind::Conv1d => (1.0 / spec.shape[0] as f32).sqrt(),
            TensorKind::Table | TensorKind::Positions => 0.3,
            TensorKind::Vector => 0.1,
        };
        let values = numbers.by_ref().take(spec.shape.iter().product());
        let bytes: Vec<u8> = values.flat_map(|v| (middle + deviation * v).to_le_bytes()).collect();
        tensors.push((spec.name, spec.shape, bytes));
    }
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    load_model(gpu, &config, safetensors::serialize(views, None).unwrap()).await.unwrap()
}

/// An adapter of the case's configuration, every B far from zero.
fn lora(gpu: &Gpu, golden: &GoldenCase, model: &Model) -> Lora {
    let lora = Lora::new(gpu, &golden.adapter.config, model.config(), 0).unwrap();
    let values: Vec<f32> = numbers(121).take(lora.values().len()).map(|v| 0.2 * v).collect();
    gpu.write(lora.values(), &values);
    lora
}

/// A session for a batch, on activations in 16 bits or not.
fn session(
    model: &Rc<Model>,
    lora: Lora,
    batch: &Batch,
    half_activations: bool,
    arithmetic: Arithmetic,
) -> Session {
    let (rows, positions) = (batch.rows(), model.config().max_position_embeddings);
    let options = SessionOptions { rows, positions, half_activations, arithmetic, ..Default::default() };
    Session::new(model, lora, &options).unwrap()
}

/// The gradient and the loss of a batch.
async fn gradient(session: &mut Session, gpu: &Gpu, batch: &Batch) -> (Vec<f32>, Vec<f32>) {
    session.begin();
    let step = Step::default().targets(batch.targets).dropout(0.0, 0).optimizer(&STILL, 1, 0.0);
    session.micro_batch(batch, &step).await.unwrap();
    let gradient = gpu.read(session.gradient()).await.unwrap();
    let [loss, _] = session.optimizer_step(&step).await.unwrap();
    (gradient, loss.finish(gpu).await.unwrap())
}

/// A session takes the memory that its plan says, which of many layers is less than in f32.
pub async fn as_planned(_: &Arc<Gpu>) {
    for name in ["gemma3", "gpt2", "phi3", "qwen3", "gqa_f32_untied"] {
        let (golden, gpu) = (GoldenCase::load(name), open(wgpu::Limits::default()).await);
        let model = model(&gpu, &golden, sizes(name)).await;
        let (rows, positions) = (batch(&golden).rows(), model.config().max_position_embeddings);
        let options = SessionOptions { rows, positions, half_activations: true, ..Default::default() };
        let adapter = &golden.adapter.config;
        let plan = Session::plan(&gpu, model.config(), adapter, model.weight_bytes(), &options).unwrap();
        let _session = Session::new(&model, lora(&gpu, &golden, &model), &options).unwrap();
        assert_eq!(gpu.allocated_bytes(), plan.total, "{name}: {plan:?}");
    }
    let (gpu, adapter) = (open(wgpu::Limits::default()).await, LoraConfig::default());
    for known in &MODELS {
        let config = ModelConfig::from_json(known.config.as_bytes()).unwrap();
        let total = |half_activations: bool| {
            let options =
                SessionOptions { rows: 512, positions: 512, half_activations, ..Default::default() };
            let plan = Session::plan(&gpu, &config, &adapter, WeightBytes::default(), &options).unwrap();
            plan.items.iter().find(|item| item.purpose == MemoryUse::Activations).unwrap().bytes
        };
        let (halves, all) = (total(true), total(false));
        assert!(halves * 10 < all * 7, "{}: {halves} bytes of activations, {all} in f32", known.id);
    }
}

fn batch(golden: &GoldenCase) -> Batch {
    Batch::new(&golden.examples().iter().collect::<Vec<_>>(), ROW_MULTIPLE)
}

/// A run that leaves f16 has the gradients of one that was never in it, to the bit.
pub async fn exact_after_f16(gpu: &Arc<Gpu>) {
    let golden = GoldenCase::load("qwen3");
    let (model, batch) = (model(gpu, &golden, sizes(golden.name)).await, batch(&golden));
    let mut gradients = Vec::new();
    for (half_activations, arithmetic) in [(false, Arithmetic::F32), (true, Arithmetic::F16)] {
        let lora = lora(gpu, &golden, &model);
        let mut session = session(&model, lora, &batch, half_activations, arithmetic);
        session.leave_f16().unwrap();
        gradients.push(gradient(&mut session, gpu, &batch).await.0);
    }
    assert_same_bits("gradient", &gradients[1], &gradients[0]);
}

/// Whoever asks for 16 bits in sizes that no kernel has so gets f32: odd ones, and multiples of four beside odd ranks.
pub async fn other_sizes_stay_in_f32(gpu: &Arc<Gpu>) {
    let golden = GoldenCase::load("qwen3");
    assert!(!golden.adapter.config.r.is_multiple_of(4));
    for sizes in [json!({}), json!({ "head_dim": 16, "hidden_size": 36, "intermediate_size": 52 })] {
        let (model, batch) = (model(gpu, &golden, sizes).await, batch(&golden));
        let mut gradients = Vec::new();
        for half_activations in [false, true] {
            let lora = lora(gpu, &golden, &model);
            let mut session = session(&model, lora, &batch, half_activations, Arithmetic::F32);
            gradients.push(gradient(&mut session, gpu, &batch).await.0);
        }
        assert_same_bits("gradient", &gradients[1], &gradients[0]);
    }
}

async fn near(gpu: &Arc<Gpu>, golden: &GoldenCase) {
    let (model, batch) = (model(gpu, golden, sizes(golden.name)).await, batch(golden));
    let mut results = Vec::new();
    for half_activations in [false, true] {
        let lora = lora(gpu, golden, &model);
        let mut session = session(&model, lora, &batch, half_activations, Arithmetic::F32);
        let (flat, loss) = gradient(&mut session, gpu, &batch).await;
        results.push((session.lora().split(&flat), loss));
    }
    let [(exact, loss), (rounded, rounded_loss)] = &results[..] else { panic!("two sessions") };
    let wide = |values: &[f32]| values.iter().copied().map(f64::from).collect::<Vec<_>>();
    assert_close("loss", rounded_loss, &wide(loss), 1, LOSS_TOLERANCE);
    for (rounded, exact) in rounded.iter().zip(exact) {
        let name = exact.id.name();
        assert_close(&format!("dA of {name}"), &rounded.a, &wide(&exact.a), exact.in_features, TOLERANCE);
        assert_close(&format!("dB of {name}"), &rounded.b, &wide(&exact.b), exact.r, TOLERANCE);
        assert!(rounded.b != exact.b, "{name}: nothing was rounded");
    }
}
