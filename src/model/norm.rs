//! A norm with its weights: which kernel computes it is the family's affair.

use crate::gpu::{PlanBuilder, Tensor};
use crate::kernels::layer_norm::{layer_norm, layer_norm_backward};
use crate::kernels::rms_norm::{rms_norm, rms_norm_backward};

/// A frozen norm.
pub struct NormWeight {
    /// `[width]`, f32; with the 1 that some families add to what they store.
    pub weight: Tensor,
    /// `[width]`, f32, of a LayerNorm; without it the norm is RMSNorm.
    pub bias: Option<Tensor>,
    /// What is added to the variance.
    pub eps: f32,
}

impl NormWeight {
    /// `y =` the norm of `x`, both `[rows, width]`; `rstd [rows]` is kept for the backward pass.
    pub fn forward(&self, plan: &mut PlanBuilder, x: &Tensor, y: &Tensor, rstd: &Tensor) {
        match &self.bias {
            None => rms_norm(plan, x, &self.weight, self.eps, y, rstd),
            Some(bias) => layer_norm(plan, x, &self.weight, bias, self.eps, y, rstd),
        }
    }

    /// `dx (+)=` the gradient for `dy`; `+=` if `accumulate`.
    pub fn backward(
        &self,
        plan: &mut PlanBuilder,
        x: &Tensor,
        rstd: &Tensor,
        dy: &Tensor,
        dx: &Tensor,
        accumulate: bool,
    ) {
        match self.bias {
            None => rms_norm_backward(plan, x, &self.weight, rstd, dy, dx, accumulate),
            Some(_) => layer_norm_backward(plan, x, &self.weight, rstd, dy, dx, accumulate),
        }
    }
}
