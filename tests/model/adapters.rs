//! Adapters of the built-in model beside each other: what files hold against what is in memory, and what they take.

use std::sync::Arc;

use postil::base::Base;
use postil::checkpoint::Adapter;
use postil::config::{LoraConfig, LoraOptions};
use postil::generate::{Adapted, Prompt, SamplingOptions, generate, logit_difference};
use postil::gpu::{Dtype, Gpu};
use postil::model::Lora;
use postil::{ErrorKind, demo};

cases!(written_files, base_text, counted_memory);

async fn base(gpu: &Arc<Gpu>) -> Base {
    Base::load(gpu, demo::base_files().await.unwrap(), &mut |_| {}).await.unwrap()
}

/// An adapter that changes what the model says, with other ranks in its first layer.
async fn adapter(gpu: &Arc<Gpu>, base: &Base) -> Adapter {
    let config = LoraConfig {
        rank_pattern: [("layers.0.self_attn.q_proj".to_owned(), 3), (r"layers\.0\.mlp\..*".to_owned(), 5)]
            .into(),
        alpha_pattern: [("layers.0.self_attn.q_proj".to_owned(), 7.0)].into(),
        ..LoraOptions::default().config().unwrap()
    };
    let lora = Lora::new(gpu, &config, base.model.config(), 1).unwrap();
    let mut adapter = lora.to_adapter(gpu).await.unwrap();
    for (i, value) in adapter.modules.iter_mut().flat_map(|module| &mut module.b).enumerate() {
        *value = ((i % 13) as f32 - 6.0) * 0.02;
    }
    adapter
}

/// Files that hold what is in memory differ by nothing, others do.
pub async fn written_files(gpu: &Arc<Gpu>) {
    let base = base(gpu).await;
    let mut adapter = adapter(gpu, &base).await;
    let load = |adapter: &Adapter| {
        let files = adapter.to_files().unwrap();
        let read = Adapter::from_files(&files.config, &files.model).unwrap();
        Lora::from_adapter(gpu, &read, base.model.config())
    };
    let (memory, written) = (load(&adapter).unwrap(), load(&adapter).unwrap());
    let ranks: Vec<_> = memory.modules().map(|module| module.module.r).take(7).collect();
    assert!(ranks.contains(&3) && ranks.contains(&5) && ranks.contains(&16), "{ranks:?}");
    let prompt = Prompt::Text("The harbour".to_owned());
    assert_eq!(logit_difference(&base, [&memory, &written], &prompt).await.unwrap(), 0.0);
    adapter.modules[0].b[0] += 0.5;
    let other = load(&adapter).unwrap();
    let difference = logit_difference(&base, [&memory, &other], &prompt).await.unwrap();
    assert!(difference > 1e-6, "{difference}");
    // A and B of 1e30 overflow on the way.
    adapter.modules[0].a.fill(1e30);
    adapter.modules[0].b.fill(1e30);
    let infinite = load(&adapter).unwrap();
    let error = logit_difference(&base, [&memory, &infinite], &prompt).await.expect_err("not finite");
    assert_eq!(error.kind(), ErrorKind::NotFinite, "{error}");
    let long = Prompt::Text("word ".repeat(base.model.config().max_position_embeddings));
    let error = logit_difference(&base, [&memory, &written], &long).await.expect_err("too long");
    assert!(error.to_string().contains("max_position_embeddings"), "{error}");
}

/// Strength 0 gives the base's text.
pub async fn base_text(gpu: &Arc<Gpu>) {
    let base = base(gpu).await;
    let adapter = adapter(gpu, &base).await;
    let lora = Lora::from_adapter(gpu, &adapter, base.model.config()).unwrap();
    let prompt = Prompt::Text("The harbour".to_owned());
    let options = SamplingOptions { max_new_tokens: 12, temperature: 1.0, ..Default::default() };
    let mut texts = Vec::new();
    for adapter in [None, Some(0.0), Some(1.0)] {
        let adapter = adapter.map(|scale| Adapted { lora: &lora, scale });
        texts.push(generate(&base, adapter, &prompt, &options, &mut |_| true).await.unwrap().text);
    }
    assert_eq!(texts[0], texts[1]);
    assert_ne!(texts[0], texts[2]);
}

/// An adapter takes its bytes once, however it is used, and gives them back; the peak stays.
pub async fn counted_memory(_: &Arc<Gpu>) {
    // Other tests allocate on the shared device.
    let gpu = Gpu::open(None).await.unwrap();
    let base = base(&gpu).await;
    let before = gpu.allocated_bytes();
    let config = LoraOptions::default().config().unwrap();
    let lora = Lora::new(&gpu, &config, base.model.config(), 1).unwrap();
    let with = gpu.allocated_bytes();
    assert_eq!(with - before, 4 * lora.values().len() as u64);
    let options = SamplingOptions { max_new_tokens: 1, ..Default::default() };
    let adapter = Some(Adapted { lora: &lora, scale: 1.5 });
    let prompt = Prompt::Text("The".to_owned());
    generate(&base, adapter, &prompt, &options, &mut |_| true).await.unwrap();
    assert_eq!(gpu.allocated_bytes(), with);
    assert!(gpu.peak_allocated_bytes() > with, "the cache and the activations were allocated");
    drop(lora);
    assert_eq!(gpu.allocated_bytes(), before);
    let large = gpu.tensor("more than all before", &[1 << 22], Dtype::F32).unwrap();
    assert_eq!(
        (gpu.allocated_bytes(), gpu.peak_allocated_bytes()),
        (before + (16 << 20), before + (16 << 20))
    );
    drop(large);
    assert_eq!((gpu.allocated_bytes(), gpu.peak_allocated_bytes()), (before, before + (16 << 20)));
}
