//! Columns from one matrix to another. See `shaders/copy_columns.wgsl`.

use super::matmul::Columns;
use super::{per_element, shader, wgsl};
use crate::gpu::{PlanBuilder, Shader};
use crate::params;

params! {
    /// Parameter block of `copy_columns.wgsl`.
    pub struct CopyColumnsParams { rows: u32, columns: u32, ldx: u32, x_first: u32, ldy: u32, y_first: u32, }
}

fn copy_columns_shader() -> Shader {
    shader::<CopyColumnsParams>("copy_columns", "", &[wgsl!("copy_columns")])
}

pub(super) fn shaders() -> Vec<Shader> {
    vec![copy_columns_shader()]
}

/// `y = x`, for as many columns and rows of two different matrices.
pub fn copy_columns<'a>(plan: &mut PlanBuilder, x: impl Into<Columns<'a>>, y: impl Into<Columns<'a>>) {
    let (x, y) = (x.into(), y.into());
    let rows = x.tensor.rows();
    assert!(x.count == y.count && y.tensor.rows() == rows, "a copy keeps the size");
    let params = CopyColumnsParams {
        rows: rows as u32,
        columns: x.count as u32,
        ldx: x.tensor.columns() as u32,
        x_first: x.first as u32,
        ldy: y.tensor.columns() as u32,
        y_first: y.first as u32,
    };
    plan.dispatch(copy_columns_shader(), &params, &[x.tensor, y.tensor], per_element(rows * x.count));
}
