//! Additions to the rows of a matrix, in place. See `shaders/add_rows.wgsl`.

use super::{expect_shape, per_element, shader, wgsl};
use crate::gpu::{PlanBuilder, Shader, Tensor, row_parts};
use crate::params;

params! {
    /// Parameter block of `add_rows.wgsl`.
    pub struct AddRowsParams { rows: u32, width: u32, mode: u32, first: u32, count: u32, scale: f32, }
}

fn add_rows_shader() -> Shader {
    shader::<AddRowsParams>("add_rows", "", &[wgsl!("add_rows")])
}

pub(super) fn shaders() -> Vec<Shader> {
    vec![add_rows_shader()]
}

/// `y *= scale`.
pub fn scale(plan: &mut PlanBuilder, y: &Tensor, scale: f32) {
    let absent = plan.gpu().absent();
    for part in row_parts(&[y]) {
        let params = AddRowsParams { rows: part.len() as u32, ..params(scale, y) };
        let bindings = [&absent, &absent, &y.slice(&part)];
        plan.dispatch(add_rows_shader(), &params, &bindings, per_element(part.len() * y.columns()));
    }
}

/// `y += x`, of the same shape.
pub fn add(plan: &mut PlanBuilder, y: &Tensor, x: &Tensor) {
    expect_shape("x", x, y.rows(), y.columns());
    let absent = plan.gpu().absent();
    for part in row_parts(&[y, x]) {
        let params = AddRowsParams { rows: part.len() as u32, mode: 1, ..params(1.0, y) };
        let bindings = [&absent, &x.slice(&part), &y.slice(&part)];
        plan.dispatch(add_rows_shader(), &params, &bindings, per_element(part.len() * y.columns()));
    }
}

/// `y[i,:] += table[index[i],:]`: `table [any, width]` f32, `index [rows]`.
pub fn add_gathered(plan: &mut PlanBuilder, y: &Tensor, table: &Tensor, index: &Tensor) {
    assert_eq!(index.len(), y.rows(), "one index per row");
    expect_shape("table", table, table.rows(), y.columns());
    for held in row_parts(&[table]) {
        let params =
            AddRowsParams { mode: 2, first: held.start as u32, count: held.len() as u32, ..params(1.0, y) };
        for part in row_parts(&[y, index]) {
            let params = AddRowsParams { rows: part.len() as u32, ..params };
            let bindings = [&index.slice(&part), &table.slice(&held), &y.slice(&part)];
            plan.dispatch(add_rows_shader(), &params, &bindings, per_element(part.len() * y.columns()));
        }
    }
}

fn params(scale: f32, y: &Tensor) -> AddRowsParams {
    AddRowsParams { width: y.columns() as u32, scale, ..Default::default() }
}
