//! How fast this device is at the work of the crate, and how fast it could be: training steps, decoding and single
//! matrix products of any model's configuration with random weights, beside what the device can do at best.
//!
//! What is timed is the product itself: the loader, the [`Trainer`](crate::train::Trainer), the
//! [`Decoder`](crate::generate::Decoder). Only weights and tokens are made up ([`RandomWeights`]).

mod ceilings;
mod decoding;
mod group;
mod models;
mod products;
mod times;
mod training;
mod weights;
mod work;

pub use ceilings::Ceilings;
pub use decoding::{DecodingOptions, DecodingReport};
pub use group::Group;
pub use models::{KnownModel, MODELS, known_model};
pub use products::{ProductTime, ProductsReport};
pub use times::Times;
pub use training::{GroupTime, KernelShare, TrainingOptions, TrainingReport};
pub use weights::{RandomWeights, WeightType};
pub use work::{Form, Item, Product, StepShape, Work};

use std::rc::Rc;
use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::checkpoint::Progress;
use crate::config::{Arithmetic, LoraConfig, ModelConfig, TrainConfig};
use crate::error::{Error, Result};
use crate::gpu::{Dtype, Gpu, human_bytes};
use crate::memory::MemoryPlan;
use crate::model::{Model, ROW_MULTIPLE, WeightBytes, chunk_rows};
use crate::train::{Session, SessionOptions};

/// What is measured.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The model's name, for people.
    pub name: String,
    /// The model.
    pub model: ModelConfig,
    /// How its weights are stored.
    pub weights: WeightType,
    /// The adapter.
    pub lora: LoraConfig,
    /// The run: its batches have `per_device_train_batch_size` sequences of `max_length` tokens.
    pub train: TrainConfig,
}

impl Setup {
    /// Refuses training on sequences that the model is not made for.
    ///
    /// # Errors
    /// `Config` for more tokens than its context; real data is cut to that.
    pub fn check_length(&self) -> Result<()> {
        let (length, context) = (self.train.max_length, self.model.max_position_embeddings);
        if length > context {
            return Err(Error::config(format!(
                "sequences of {length} tokens are longer than the model's context (max_position_embeddings) of \
                 {context}. Measure shorter ones"
            )));
        }
        Ok(())
    }

    fn random_weights(&self) -> RandomWeights {
        RandomWeights::new(&format!("{} with random weights", self.name), &self.model, self.weights)
    }

    /// The memory of the weights.
    ///
    /// # Errors
    /// A device that cannot hold them.
    pub fn weight_bytes(&self, gpu: &Gpu) -> Result<WeightBytes> {
        Model::plan_weights(gpu, &self.model, &self.random_weights())
    }

    /// The memory of training steps.
    ///
    /// # Errors
    /// Those of [`Session::plan`].
    pub fn training_plan(&self, gpu: &Gpu) -> Result<MemoryPlan> {
        let arithmetic = self.arithmetic(gpu)?;
        let options = SessionOptions {
            rows: self.rows(),
            positions: self.train.max_length,
            dropout: self.lora.lora_dropout > 0.0,
            gradient_checkpointing: self.train.gradient_checkpointing,
            half_activations: arithmetic == Arithmetic::F16,
            arithmetic,
        };
        Session::plan(gpu, &self.model, &self.lora, self.weight_bytes(gpu)?, &options)
    }

    /// The arithmetic of the steps on this device.
    ///
    /// # Errors
    /// Those of [`Gpu::arithmetic`].
    pub fn arithmetic(&self, gpu: &Gpu) -> Result<Arithmetic> {
        gpu.arithmetic(self.train.precision)
    }

    /// Tokens of a step.
    fn tokens(&self) -> usize {
        self.train.per_device_train_batch_size.saturating_mul(self.train.max_length)
    }

    fn rows(&self) -> usize {
        self.tokens().next_multiple_of(ROW_MULTIPLE)
    }

    /// The element type of what goes into the products of a step.
    fn operands(&self, gpu: &Gpu) -> Result<Dtype> {
        let halves = self.arithmetic(gpu)? == Arithmetic::F16 && !self.train.gradient_checkpointing;
        Ok(if halves { Dtype::F16 } else { Dtype::F32 })
    }

    /// The work of a step on this device.
    ///
    /// # Errors
    /// Those of [`LoraConfig::resolve`].
    pub fn work(&self, gpu: &Gpu) -> Result<Work> {
        let arithmetic = self.arithmetic(gpu)?;
        let shape = StepShape {
            batch_size: self.train.per_device_train_batch_size,
            length: self.train.max_length,
            chunk: chunk_rows(gpu, self.model.vocab_size, arithmetic),
            gradient_checkpointing: self.train.gradient_checkpointing,
            half_activations: arithmetic == Arithmetic::F16,
            weights: self.weights,
        };
        Work::of(&self.model, &self.lora, &shape)
    }

    async fn load(&self, gpu: &Arc<Gpu>, tell: &mut dyn FnMut(&str)) -> Result<Rc<Model>> {
        let weights = self.random_weights();
        tell(&format!(
            "{}: {} of random weights",
            self.name,
            human_bytes(Model::plan_weights(gpu, &self.model, &weights)?.kept)
        ));
        Model::load(gpu, self.model.clone(), &weights, &mut |_: Progress| ()).await
    }

    /// So many tokens, drawn evenly from the vocabulary.
    fn random_ids(&self, count: usize) -> Vec<u32> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.train.seed);
        (0..count).map(|_| rng.random_range(0..self.model.vocab_size as u32)).collect()
    }
}
