//! Configurations that need no file: those of published models, as their `config.json` has them.

/// A configuration of a published model.
pub struct KnownModel {
    /// What it is asked for by.
    pub id: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its `config.json`.
    pub config: &'static str,
}

macro_rules! known {
    ($id:literal, $name:literal) => {
        KnownModel { id: $id, name: $name, config: include_str!(concat!("models/", $name, ".json")) }
    };
}

/// All of them, the smallest first.
pub const MODELS: [KnownModel; 5] = [
    known!("smollm2-135m", "SmolLM2-135M"),
    known!("qwen2.5-0.5b", "Qwen2.5-0.5B"),
    known!("gemma-3-1b", "Gemma-3-1B"),
    known!("llama-3.2-1b", "Llama-3.2-1B"),
    known!("qwen3-1.7b", "Qwen3-1.7B"),
];

/// The one that is asked for by `id`, in any case.
pub fn known_model(id: &str) -> Option<&'static KnownModel> {
    MODELS.iter().find(|model| model.id.eq_ignore_ascii_case(id))
}
