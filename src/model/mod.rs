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
use crate::gpu::{Dtype, Gpu, Tensor};
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
        let weights = Weights::load(gpu, &config, file, progress).await?;
        Ok(Rc::new(Self { gpu: Arc::clone(gpu), config, weights }))
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
        Heads {
            heads: self.config.num_attention_heads,
            kv_heads: self.config.num_key_value_heads,
            head_dim: self.config.head_dim,
        }
    }

    /// The rotary table for positions `0..positions`, `[positions, head_dim]`.
    pub fn rope_table(&self, positions: usize) -> Result<Tensor> {
        let width = self.config.head_dim;
        let values = rope::table(positions, width, self.config.rope_theta);
        self.gpu.tensor_from("rope table", &[positions, width], Dtype::F32, &values)
    }
}
