//! Rows by index: embedding lookup, target rows, gradients back to their rows, the key-value cache. See
//! `shaders/gather.wgsl` and `shaders/scatter.wgsl`.

use super::{WEIGHT_DTYPES, expect_shape, per_element, shader, weight_part, wgsl};
use crate::gpu::{Dtype, PlanBuilder, Shader, Tensor};
use crate::params;

params! {
    /// Parameter block of `gather.wgsl` and `scatter.wgsl`.
    pub struct RowsParams { rows: u32, width: u32, }
}

fn gather_shader(dtype: Dtype) -> Shader {
    let (name, part) = weight_part(dtype);
    shader::<RowsParams>("gather", name, &[part, wgsl!("gather")])
}

fn scatter_shader() -> Shader {
    shader::<RowsParams>("scatter", "", &[wgsl!("scatter")])
}

pub(super) fn shaders() -> Vec<Shader> {
    WEIGHT_DTYPES.map(gather_shader).into_iter().chain([scatter_shader()]).collect()
}

/// `y[i,:] = table[index[i],:]`; an index of [`NONE`](super::NONE) gives zeros. `table [any, width]` is
/// of any weight type, `y [rows, width]` f32.
pub fn gather(plan: &mut PlanBuilder, index: &Tensor, table: &Tensor, y: &Tensor) {
    let (rows, width) = (y.rows(), y.columns());
    assert_eq!(index.len(), rows, "one index per row");
    expect_shape("table", table, table.rows(), width);
    let params = RowsParams { rows: rows as u32, width: width as u32 };
    plan.dispatch(gather_shader(table.dtype()), &params, &[index, table, y], per_element(rows * width));
}

/// `y[index[i],:] = x[i,:]`; an index of [`NONE`](super::NONE) is skipped, none occurs twice.
pub fn scatter(plan: &mut PlanBuilder, index: &Tensor, x: &Tensor, y: &Tensor) {
    let (rows, width) = (x.rows(), x.columns());
    assert_eq!(index.len(), rows, "one index per row");
    expect_shape("y", y, y.rows(), width);
    let params = RowsParams { rows: rows as u32, width: width as u32 };
    plan.dispatch(scatter_shader(), &params, &[index, x, y], per_element(rows * width));
}
