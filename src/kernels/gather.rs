//! Rows by index: embedding lookup, target rows, gradients back to their rows, the key-value cache. See
//! `shaders/gather.wgsl` and `shaders/scatter.wgsl`.

use super::{WEIGHT_DTYPES, expect_shape, per_element, shader, weight_part, wgsl};
use crate::gpu::{Dtype, PlanBuilder, Shader, Tensor, row_parts};
use crate::params;

params! {
    /// Parameter block of `gather.wgsl` and `scatter.wgsl`.
    pub struct RowsParams { rows: u32, width: u32, first: u32, count: u32, }
}

impl RowsParams {
    /// For the rows `held` of the table.
    fn new(rows: usize, width: usize, held: &std::ops::Range<usize>) -> Self {
        let [rows, width, first, count] = [rows, width, held.start, held.len()].map(|n| n as u32);
        Self { rows, width, first, count }
    }
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
    for part in row_parts(&[index, y]) {
        let (index, y) = (index.slice(&part), y.slice(&part));
        for held in row_parts(&[table]) {
            let params = RowsParams::new(part.len(), width, &held);
            let bindings = [&index, &table.slice(&held), &y];
            plan.dispatch(gather_shader(table.dtype()), &params, &bindings, per_element(part.len() * width));
        }
    }
}

/// `y[index[i],:] = x[i,:]`; an index of [`NONE`](super::NONE) is skipped, none occurs twice.
pub fn scatter(plan: &mut PlanBuilder, index: &Tensor, x: &Tensor, y: &Tensor) {
    let (rows, width) = (x.rows(), x.columns());
    assert_eq!(index.len(), rows, "one index per row");
    expect_shape("y", y, y.rows(), width);
    for part in row_parts(&[index, x]) {
        let (index, x) = (index.slice(&part), x.slice(&part));
        for held in row_parts(&[y]) {
            let params = RowsParams::new(part.len(), width, &held);
            let bindings = [&index, &x, &y.slice(&held)];
            plan.dispatch(scatter_shader(), &params, &bindings, per_element(part.len() * width));
        }
    }
}
