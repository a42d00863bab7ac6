//! The transformer: frozen weights, the adapter on top, and the plans of its passes.
//!
//! A pass is recorded once for a number of rows and replayed. Rows are tokens of one or more documents
//! laid end to end; which rows see which is data ([`Inputs`]). Nothing here knows text.

mod backward;
mod buffers;
mod forward;
mod gradients;
mod inputs;
mod loader;
mod lora;
mod loss;
mod norm;
mod stack;
mod token;
mod weights;

pub use backward::{Stage, record_backward, stage};
pub use buffers::{Branch, HeadsIn, Keep, LayerBuffers, PassBuffers};
pub use forward::{Cache, Forward, record_forward};
pub use gradients::Gradients;
pub use inputs::{Inputs, Ranges};
pub use lora::{Lora, LoraModule};
pub use loss::{LossBuffers, LossPlans, chunk_rows, record_loss};
pub use norm::NormWeight;
pub use stack::LoraStack;
pub use token::{TokenBuffers, TokenPass};
pub use weights::{LayerWeights, LinearStack, LinearWeight, WeightBytes, Weights};

use std::rc::Rc;
use std::sync::Arc;

use crate::checkpoint::{Canonical, Progress, TensorSource};
use crate::config::{ModelConfig, Projection, Role};
use crate::error::{Error, Result};
use crate::gpu::{Allocator, Dtype, Gpu, Tensor};
use crate::kernels::attention::Heads;
use crate::kernels::rope;

/// Rows of a pass are padded to a multiple of this, so that few plans serve all batches and every
/// chunk of rows starts where a binding may.
pub const ROW_MULTIPLE: usize = 64;

/// A loaded base model.
pub struct Model {
    gpu: Arc<Gpu>,
    config: ModelConfig,
    weights: Weights,
    weight_bytes: u64,
    fingerprint: String,
}

impl Model {
    /// Streams the weights of `source` to the GPU in slices and tells `progress`.
    ///
    /// # Errors
    /// A tensor that is missing, or of another shape or type than `config` says; a device limit that is
    /// too small; whatever reading reports.
    pub async fn load(
        gpu: &Arc<Gpu>,
        config: ModelConfig,
        source: &dyn TensorSource,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Rc<Self>> {
        let source = Canonical::new(source)?;
        let weight_bytes = Weights::bytes(gpu, &config, &source)?.kept;
        let (weights, fingerprint) = Weights::load(gpu, &config, &source, progress).await?;
        Ok(Rc::new(Self { gpu: Arc::clone(gpu), config, weights, weight_bytes, fingerprint }))
    }

    /// The GPU memory that [`Self::load`] would take.
    ///
    /// # Errors
    /// Those of [`Self::load`] that need no weight to be read.
    pub fn plan_weights(
        gpu: &dyn Allocator,
        config: &ModelConfig,
        source: &dyn TensorSource,
    ) -> Result<WeightBytes> {
        Weights::bytes(gpu, config, &Canonical::new(source)?)
    }

    /// The GPU memory that the weights take; they are loaded.
    pub fn weight_bytes(&self) -> WeightBytes {
        WeightBytes { kept: self.weight_bytes, loading: 0 }
    }

    /// Tells these weights from any others: a hash of their names and bytes.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The device that holds the model.
    pub fn gpu(&self) -> &Arc<Gpu> {
        &self.gpu
    }

    /// The configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The frozen weights.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Number and width of the attention heads.
    pub fn heads(&self) -> Heads {
        heads(&self.config)
    }

    /// The linear module of a role that the family has.
    fn projection(&self, role: Role) -> Projection {
        self.config.family.projection(role).expect("a role that the family has")
    }

    /// The rotary tables for positions `0..positions`, `[positions, rotary_dim]` each, by the index that a
    /// layer's configuration has.
    ///
    /// # Errors
    /// Those of [`empty_rope_tables`].
    pub fn rope_tables(&self, positions: usize) -> Result<Vec<Tensor>> {
        let tables = empty_rope_tables(&self.gpu, &self.config, positions)?;
        self.fill_rope_tables(&tables);
        Ok(tables)
    }

    /// Writes [`empty_rope_tables`].
    pub fn fill_rope_tables(&self, tables: &[Tensor]) {
        for (table, parameters) in tables.iter().zip(&self.config.rope_parameters) {
            self.gpu.write(table, &rope::table(table.rows(), &parameters.frequencies()));
        }
    }
}

/// Number and width of the attention heads.
pub fn heads(config: &ModelConfig) -> Heads {
    Heads {
        heads: config.num_attention_heads,
        kv_heads: config.num_key_value_heads,
        head_dim: config.head_dim,
        scale: config.score_scale,
    }
}

/// Room for [`Model::rope_tables`].
///
/// # Errors
/// `Data` if positions are learned and there are fewer of them; a table that the device does not allow.
pub fn empty_rope_tables(gpu: &dyn Allocator, config: &ModelConfig, positions: usize) -> Result<Vec<Tensor>> {
    let known = config.max_position_embeddings;
    if config.embed_positions_name().is_some() && positions > known {
        return Err(Error::data(format!(
            "a text of {positions} tokens is too long: the model has learned {known} positions \
             (max_position_embeddings). Set max_length to {known} or less"
        )));
    }
    let table = |width: usize| gpu.tensor("rope table", &[positions, width], Dtype::F32);
    config.rope_parameters.iter().map(|parameters| table(parameters.rotary_dim)).collect()
}
