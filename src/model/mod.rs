//! The transformer: frozen weights, the adapter on top, and the plans of its passes.
//!
//! A pass is recorded once for a number of rows and replayed. Rows are tokens of one or more documents
//! laid end to end; which rows see which is data ([`Inputs`]). Nothing here knows text.

mod backward;
mod buffers;
mod forward;
mod lora;
mod loss;
mod weights;

pub use backward::record_backward;
pub use buffers::{Gradients, Inputs, LayerBuffers, PassBuffers};
pub use forward::{Cache, Forward, record_forward};
pub use lora::{Lora, LoraModule};
pub use loss::{LossBuffers, LossPlans, record_loss};
pub use weights::{LayerWeights, LinearWeight, Weights};

use std::rc::Rc;
use std::sync::Arc;

use crate::checkpoint::TensorSource;
use crate::config::ModelConfig;
use crate::error::Result;
use crate::gpu::{Allocator, Dtype, Gpu, MemoryUse, Tally, Tensor};
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
}

impl Model {
    /// Streams the weights of `file` to the GPU in slices; `progress(done, total)` counts bytes.
    ///
    /// # Errors
    /// A tensor that is missing, or of another shape or type than `config` says; a device limit that is
    /// too small; whatever reading reports.
    pub async fn load(
        gpu: &Arc<Gpu>,
        config: ModelConfig,
        file: &dyn TensorSource,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Rc<Self>> {
        let weight_bytes = Self::plan_weights(gpu, &config, file)?;
        let weights = Weights::load(gpu, &config, file, progress).await?;
        Ok(Rc::new(Self { gpu: Arc::clone(gpu), config, weights, weight_bytes }))
    }

    /// Bytes of GPU memory that [`Self::load`] would take.
    ///
    /// # Errors
    /// Those of [`Self::load`] that need no weight to be read.
    pub fn plan_weights(gpu: &dyn Allocator, config: &ModelConfig, file: &dyn TensorSource) -> Result<u64> {
        let tally = Tally::new(gpu);
        Weights::plan(&tally, config, file)?;
        Ok(tally.bytes(MemoryUse::Weights))
    }

    /// Bytes of GPU memory that the weights take.
    pub fn weight_bytes(&self) -> u64 {
        self.weight_bytes
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

    /// The rotary table for positions `0..positions`, `[positions, head_dim]`.
    pub fn rope_table(&self, positions: usize) -> Result<Tensor> {
        let table = empty_rope_table(&self.gpu, &self.config, positions)?;
        self.fill_rope_table(&table);
        Ok(table)
    }

    /// Writes an [`empty_rope_table`].
    pub fn fill_rope_table(&self, table: &Tensor) {
        let (positions, width) = (table.rows(), table.columns());
        self.gpu.write(table, &rope::table(positions, width, self.config.rope_theta));
    }
}

fn heads(config: &ModelConfig) -> Heads {
    Heads {
        heads: config.num_attention_heads,
        kv_heads: config.num_key_value_heads,
        head_dim: config.head_dim,
    }
}

/// Room for [`Model::rope_table`].
///
/// # Errors
/// When the device has none.
pub fn empty_rope_table(gpu: &dyn Allocator, config: &ModelConfig, positions: usize) -> Result<Tensor> {
    gpu.tensor("rope table", &[positions, config.head_dim], Dtype::F32)
}
