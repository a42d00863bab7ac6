//! Additions to the rows of a matrix, in place. See `shaders/add_rows.wgsl`.

use super::{expect_shape, per_element, shader, wgsl};
use crate::gpu::{PlanBuilder, Shader, Tensor};
use crate::params;

params! {
    /// Parameter block of `add_rows.wgsl`.
    pub struct AddRowsParams { rows: u32, width: u32, mode: u32, scale: f32, }
}

fn add_rows_shader() -> Shader {
    shader::<AddRowsParams>("add_rows", "", &[wgsl!("add_rows")])
}

pub(super) fn shaders() -> Vec<Shader> {
    vec![add_rows_shader()]
}

/// `y *= scale`.
pub fn scale(plan: &mut PlanBuilder, y: &Tensor, scale: f32) {
    dispatch(plan, y, scale, None, None);
}

/// `y += x`, of the same shape.
pub fn add(plan: &mut PlanBuilder, y: &Tensor, x: &Tensor) {
    expect_shape("x", x, y.rows(), y.columns());
    dispatch(plan, y, 1.0, Some(x), None);
}

/// `y[i,:] += table[index[i],:]`: `table [any, width]` f32, `index [rows]`.
pub fn add_gathered(plan: &mut PlanBuilder, y: &Tensor, table: &Tensor, index: &Tensor) {
    assert_eq!(index.len(), y.rows(), "one index per row");
    dispatch(plan, y, 1.0, Some(table), Some(index));
}

fn dispatch(plan: &mut PlanBuilder, y: &Tensor, scale: f32, x: Option<&Tensor>, index: Option<&Tensor>) {
    let (rows, width) = (y.rows(), y.columns());
    assert!(x.is_none_or(|x| x.columns() == width), "x has y's columns");
    let mode = u32::from(x.is_some()) + u32::from(index.is_some());
    let params = AddRowsParams { rows: rows as u32, width: width as u32, mode, scale };
    let absent = plan.gpu().absent();
    let bindings = [index.unwrap_or(&absent), x.unwrap_or(&absent), y];
    plan.dispatch(add_rows_shader(), &params, &bindings, per_element(rows * width));
}
