//! Projections of one stage as one product: they read the same input, so their weights, and their adapters' A and B, lie
//! one behind the other.

use super::backward::{Stage, stage};
use crate::config::{Family, Projection};
use crate::gpu::Tensor;
use crate::kernels::matmul::Beside;

/// The stages whose projections may be several.
pub(super) const STACKED: [Stage; 2] = [Stage::Qkv, Stage::GateUp];

/// The projections of a stage, in the order of the family, which is that of their outputs; none if there are fewer than two.
pub(super) fn members(family: &Family, of: Stage) -> Vec<Projection> {
    let all: Vec<_> = family.projections.iter().copied().filter(|p| stage(p.role()) == of).collect();
    if all.len() < 2 { Vec::new() } else { all }
}

/// Whether outputs of these widths can stand beside each other in a product.
pub(super) fn fit(widths: &[usize]) -> bool {
    (2..=3).contains(&widths.len()) && widths.iter().all(|width| width.is_multiple_of(Beside::UNIT))
}

/// Adapters of a stage's projections: all of one rank and one scale.
#[derive(Debug, Clone)]
pub struct LoraStack {
    /// Rank of each.
    pub r: usize,
    /// alpha/r of each.
    pub scale: f32,
    /// Columns of the input.
    pub in_features: usize,
    /// Columns of each output.
    pub widths: Vec<usize>,
    /// Where the first A begins in a flat buffer, and where the first B.
    pub a_at: usize,
    /// See `a_at`.
    pub b_at: usize,
}

impl LoraStack {
    /// Columns of `xa` of all of them.
    pub fn columns(&self) -> usize {
        self.widths.len() * self.r
    }

    /// Every A, `[columns, in_features]`.
    pub fn a(&self, flat: &Tensor) -> Tensor {
        flat.view(self.a_at, &[self.columns(), self.in_features])
    }

    /// Every B, `[columns of all outputs, r]`.
    pub fn b(&self, flat: &Tensor) -> Tensor {
        flat.view(self.b_at, &[self.widths.iter().sum(), self.r])
    }
}
