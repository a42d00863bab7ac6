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
    /// `y =` the norm of `x`, both `[rows, width]`; `rstd [rows]` is for the backward pass, and so is `kept`, which gets
    /// `x` once more if it is there.
    pub fn forward(
        &self,
        plan: &mut PlanBuilder,
        x: &Tensor,
        [y, rstd]: [&Tensor; 2],
        kept: Option<&Tensor>,
    ) {
        match &self.bias {
            None => rms_norm(plan, x, &self.weight, self.eps, [y, rstd], kept),
            Some(bias) => layer_norm(plan, x, [&self.weight, bias], self.eps, [y, rstd], kept),
        }
    }

    /// `dx (+)=` the gradient for `dy`; `+=` if `accumulate`. `operand` gets `dx` once more if it is there.
    pub fn backward(
        &self,
        plan: &mut PlanBuilder,
        x_and_rstd: [&Tensor; 2],
        dy: &Tensor,
        dx: &Tensor,
        operand: Option<&Tensor>,
        accumulate: bool,
    ) {
        match self.bias {
            None => rms_norm_backward(plan, x_and_rstd, &self.weight, dy, dx, operand, accumulate),
            Some(_) => layer_norm_backward(plan, x_and_rstd, &self.weight, dy, dx, operand, accumulate),
        }
    }
}
