//! Sums and norms in a fixed order. See `shaders/reduce.wgsl`.

use super::{shader, wgsl};
use crate::gpu::{PlanBuilder, Shader, Tensor, row_parts};
use crate::params;

params! {
    /// Parameter block of `reduce.wgsl`.
    pub struct ReduceParams { count: u32, square: u32, root: u32, accumulate: u32, }
}

/// Partial sums of a norm: enough workgroups to fill a GPU, few enough for one to add up.
pub const NORM_PARTS: usize = 256;

fn reduce_shader() -> Shader {
    shader::<ReduceParams>("reduce", "", &[wgsl!("reduce")])
}

pub(super) fn shaders() -> Vec<Shader> {
    vec![reduce_shader()]
}

/// `y[0] += Σ x`, one part of `x` after the other.
pub fn add_sum(plan: &mut PlanBuilder, x: &Tensor, y: &Tensor) {
    for part in row_parts(&[x]) {
        let x = x.slice(&part);
        let params = ReduceParams { count: x.len() as u32, accumulate: 1, ..Default::default() };
        plan.dispatch(reduce_shader(), &params, &[&x, y], [1, 1, 1]);
    }
}

/// `norm[0] = ‖x‖₂`, by way of `parts` `[NORM_PARTS]`, to which every part of `x` adds in its turn.
pub fn norm(plan: &mut PlanBuilder, x: &Tensor, parts: &Tensor, norm: &Tensor) {
    assert_eq!(parts.len(), NORM_PARTS, "one partial sum per workgroup");
    for (i, part) in row_parts(&[x]).iter().enumerate() {
        let x = x.slice(part);
        let count = x.len() as u32;
        let squares = ReduceParams { count, square: 1, accumulate: (i > 0).into(), ..Default::default() };
        plan.dispatch(reduce_shader(), &squares, &[&x, parts], [NORM_PARTS as u32, 1, 1]);
    }
    let root = ReduceParams { count: NORM_PARTS as u32, root: 1, ..Default::default() };
    plan.dispatch(reduce_shader(), &root, &[parts, norm], [1, 1, 1]);
}
