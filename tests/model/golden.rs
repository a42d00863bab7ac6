//! The files of `tests/golden`, which say what transformers and PEFT compute (see its README.md).

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use postil::Result;
use postil::checkpoint::{Adapter, AdapterModule, SafetensorsFile};
use postil::config::{ModelConfig, Precision, TrainConfig};
use postil::data::{Example, Examples};
use postil::gpu::Gpu;
use postil::model::{Lora, Model, WeightBytes};
use postil::source::MemorySource;
use postil::train::TrainingData;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

/// Type, shape and bytes of a stored tensor.
pub type Stored = (Dtype, Vec<usize>, Vec<u8>);

/// One case: the model and adapter on disk, and what is known of them.
pub struct GoldenCase {
    /// The name of its folder.
    pub name: &'static str,
    /// The model's shape.
    pub config: ModelConfig,
    /// The adapter on disk; every B far from zero.
    pub adapter: Adapter,
    /// `golden.json`.
    pub facts: Facts,
    /// `config.json`.
    pub config_json: &'static [u8],
    weights: &'static [u8],
    tensors: &'static [u8],
}

/// `golden.json`.
#[derive(serde::Deserialize)]
pub struct Facts {
    pub trainable_parameters: u64,
    pub total_parameters: u64,
    pub target_tokens: usize,
    pub loss: f64,
    pub generation: Generation,
    pub steps: Steps,
    sequences: Vec<Vec<u32>>,
    masks: Vec<Vec<bool>>,
    training: TrainConfig,
}

/// Greedy continuations of one sequence.
#[derive(serde::Deserialize)]
pub struct Generation {
    /// Index of that sequence.
    pub prompt: usize,
    pub adapter: Vec<u32>,
    pub base: Vec<u32>,
}

/// By optimizer step.
#[derive(serde::Deserialize)]
pub struct Steps {
    pub losses: Vec<f64>,
    pub grad_norms: Vec<f64>,
    pub learning_rates: Vec<f64>,
}

/// The six files of a case, in the program: a browser has no file system.
fn files(name: &str) -> [&'static [u8]; 6] {
    macro_rules! find {
        ($($case:literal),*) => {
            match name {
                $($case => [
                    include_bytes!(concat!("../golden/", $case, "/config.json")),
                    include_bytes!(concat!("../golden/", $case, "/model.safetensors")),
                    include_bytes!(concat!("../golden/", $case, "/adapter/adapter_config.json")),
                    include_bytes!(concat!("../golden/", $case, "/adapter/adapter_model.safetensors")),
                    include_bytes!(concat!("../golden/", $case, "/golden.json")),
                    include_bytes!(concat!("../golden/", $case, "/golden.safetensors")),
                ],)*
                _ => panic!("no golden case is called {name}"),
            }
        };
    }
    find!(
        "gqa_f32_untied",
        "tied_bf16",
        "tied_f16",
        "untied_wide",
        "tied_embed_only_f32",
        "llama3_rope",
        "qwen2",
        "qwen3",
        "mistral",
        "smollm3",
        "gemma3",
        "phi3",
        "gpt2",
        "gpt2_unscaled",
        "qwen2_layer_types",
        "mistral_full",
        "phi3_tied"
    )
}

impl GoldenCase {
    /// The case in the folder `name`.
    pub fn load(name: &'static str) -> Self {
        let [config, weights, adapter_config, adapter_model, facts, tensors] = files(name);
        Self {
            name,
            config: ModelConfig::from_json(config).unwrap(),
            adapter: Adapter::from_files(adapter_config, adapter_model).unwrap(),
            facts: serde_json::from_slice(facts).unwrap(),
            config_json: config,
            weights,
            tensors,
        }
    }

    /// The base model.
    pub async fn model(&self, gpu: &Arc<Gpu>) -> Rc<Model> {
        load_model(gpu, &self.config, self.weights.to_vec()).await.unwrap()
    }

    /// The memory that the base's weights will take.
    pub async fn planned_weights(&self, gpu: &Gpu) -> WeightBytes {
        let source = MemorySource::new("model.safetensors", self.weights.to_vec());
        let file = SafetensorsFile::open(Rc::new(source)).await.unwrap();
        Model::plan_weights(gpu, &self.config, &file).unwrap()
    }

    /// The adapter in GPU memory.
    pub fn lora(&self, model: &Model) -> Lora {
        Lora::from_adapter(model.gpu(), &self.adapter, model.config()).unwrap()
    }

    /// The sequences with their masks.
    pub fn examples(&self) -> Vec<Example> {
        let pairs = self.facts.sequences.iter().zip(&self.facts.masks);
        pairs
            .map(|(ids, mask)| {
                // Nothing predicts the first token, so an example never names it a label.
                let trained = mask.iter().enumerate().map(|(i, &m)| m && i > 0).collect();
                Example { input_ids: ids.clone(), trained }
            })
            .collect()
    }

    /// The sequences to train on, with nothing held out.
    pub fn training_data(&self) -> TrainingData {
        TrainingData { train: Examples::new(self.examples()).unwrap(), evaluation: None }
    }

    /// The settings of the golden training run.
    pub fn train_config(&self) -> TrainConfig {
        TrainConfig { shuffle: false, precision: Precision::F32, ..self.facts.training.clone() }
    }

    /// A tensor of `golden.safetensors`.
    pub fn tensor(&self, name: &str) -> Vec<f64> {
        let file = SafeTensors::deserialize(self.tensors).unwrap();
        let values = bytemuck::pod_collect_to_vec::<u8, f32>(file.tensor(name).unwrap().data());
        values.into_iter().map(f64::from).collect()
    }

    /// The tensors `{prefix}.…` of a module: A's and B's.
    pub fn pair(&self, prefix: &str, module: &AdapterModule) -> [Vec<f64>; 2] {
        ["lora_A", "lora_B"].map(|matrix| {
            self.tensor(&format!("{prefix}.base_model.model.{}.{matrix}.weight", module.id.name()))
        })
    }

    /// The tensors of `model.safetensors`.
    pub fn stored(&self) -> BTreeMap<String, Stored> {
        let file = SafeTensors::deserialize(self.weights).unwrap();
        let stored = |view: TensorView| (view.dtype(), view.shape().to_vec(), view.data().to_vec());
        file.iter().map(|(name, view)| (name.to_owned(), stored(view))).collect()
    }

    /// The bytes of `model.safetensors` after a change.
    pub fn weights_with(&self, change: impl FnOnce(&mut BTreeMap<String, Stored>)) -> Vec<u8> {
        let mut tensors = self.stored();
        change(&mut tensors);
        let views = tensors.iter().map(|(name, (dtype, shape, bytes))| {
            (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
        });
        safetensors::serialize(views, None).unwrap()
    }
}

/// Loads a model from the bytes of its `model.safetensors`.
pub async fn load_model(gpu: &Arc<Gpu>, config: &ModelConfig, weights: Vec<u8>) -> Result<Rc<Model>> {
    let file = SafetensorsFile::open(Rc::new(MemorySource::new("model.safetensors", weights))).await?;
    Model::load(gpu, config.clone(), &file, &mut |_| {}).await
}
