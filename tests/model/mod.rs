//! The model's cases; included by the native target and by the browser's.

/// Runs `async fn $check(gpu: &Arc<Gpu>, golden: &GoldenCase)` on every golden case, beside other cases of the file.
macro_rules! each_golden {
    ($check:ident $(, $other:ident)* $(,)?) => {
        each_golden!(@ $check [
            gqa_f32_untied, tied_bf16, tied_f16, untied_wide, tied_embed_only_f32, llama3_rope, qwen2, qwen3, mistral,
            smollm3, gemma3, phi3, gpt2, gpt2_unscaled, qwen2_layer_types, mistral_full, phi3_tied
        ] [$($other),*]);
    };
    (@ $check:ident [$($name:ident),*] [$($other:ident),*]) => {
        $(async fn $name(gpu: &std::sync::Arc<postil::gpu::Gpu>) {
            $check(gpu, &crate::model::golden::GoldenCase::load(stringify!($name))).await;
        })*
        cases!($($name,)* $($other),*);
    };
}

/// `each_golden!`, but in the browser on a model of each kind only: for what is the same code whatever the layers are.
macro_rules! each_kind {
    ($($check:ident),+ $(,)?) => {
        #[cfg(not(target_arch = "wasm32"))]
        each_golden!($($check),+);
        #[cfg(target_arch = "wasm32")]
        each_kind!(@ $($check),+);
    };
    (@ $check:ident $(, $other:ident)*) => { each_golden!(@ $check [gemma3, gpt2, phi3, qwen2] [$($other),*]); };
}

#[path = "../kernels/compare.rs"]
mod compare;
#[path = "../formats/gguf.rs"]
mod gguf_writer;
mod golden;

#[cfg(not(target_arch = "wasm32"))]
mod adapters;
mod checkpointing;
mod evaluation;
#[cfg(not(target_arch = "wasm32"))]
mod exchange;
mod failures;
mod forward;
mod generation;
mod gguf;
mod gradients;
// What differs from the others are kernels in 16 bits, which the browser's own tests have.
#[cfg(not(target_arch = "wasm32"))]
mod halves;
mod loading;
mod memory;
mod packing;
mod parts;
mod pieces;
#[cfg(not(target_arch = "wasm32"))]
mod precision;
mod runs;
mod training;
