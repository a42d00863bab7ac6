//! Text from the base and its adapters.

use js_sys::Function;
use serde::Deserialize;
use wasm_bindgen::prelude::*;

use super::Engine;
use super::convert::{from_js, throw, to_js};
use crate::generate::{Adapted, Prompt, SamplingOptions, generate};
use crate::tokenizer::Message;

/// The page's options; what is left out has [`SamplingOptions`]' defaults.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GenerateOptions {
    max_new_tokens: Option<usize>,
    temperature: Option<f64>,
    top_k: Option<usize>,
    top_p: Option<f64>,
    seed: Option<u64>,
    /// An adapter's id; `null` is the base alone.
    adapter: Option<String>,
    adapter_scale: Option<f64>,
    #[serde(default)]
    chat: bool,
}

impl GenerateOptions {
    fn sampling(&self) -> SamplingOptions {
        let default = SamplingOptions::default();
        SamplingOptions {
            max_new_tokens: self.max_new_tokens.unwrap_or(default.max_new_tokens),
            temperature: self.temperature.unwrap_or(default.temperature),
            top_k: self.top_k.unwrap_or(default.top_k),
            top_p: self.top_p.unwrap_or(default.top_p),
            seed: self.seed.unwrap_or(default.seed),
        }
    }
}

/// Text, as it stands or as a user's message, or a list of messages.
fn prompt_of(prompt: JsValue, chat: bool) -> Result<Prompt, JsValue> {
    Ok(match prompt.as_string() {
        Some(content) if chat => Prompt::Chat(vec![Message { role: "user".to_owned(), content }]),
        Some(text) => Prompt::Text(text),
        None => Prompt::Chat(from_js("the prompt is neither text nor a list of messages", prompt)?),
    })
}

#[wasm_bindgen]
impl Engine {
    /// Continues a prompt: text, or a list of `{role, content}` for the model's chat template. `options` are
    /// [`SamplingOptions`] with `adapter` (an id or `null`), `adapter_scale` and `chat`. `on_text(piece)` returns
    /// false to stop.
    pub async fn generate(
        &self,
        prompt: JsValue,
        options: JsValue,
        on_text: Function,
    ) -> Result<JsValue, JsValue> {
        let base = self.base()?;
        let options: GenerateOptions = from_js("options", options)?;
        let prompt = prompt_of(prompt, options.chat)?;
        let scale = options.adapter_scale.unwrap_or(1.0);
        let adapter = match &options.adapter {
            Some(id) => Some(Adapted { lora: self.adapter(id)?, scale }),
            None => None,
        };
        let mut text = |piece: &str| {
            on_text
                .call1(&JsValue::NULL, &piece.into())
                .is_ok_and(|goes_on| !goes_on.is_falsy() || goes_on.is_undefined())
        };
        let sampling = options.sampling();
        let result = generate(&base, adapter, &prompt, &sampling, &mut text).await.map_err(throw)?;
        to_js(&result)
    }
}
