//! Transposition of a stored weight. See `shaders/transpose.wgsl`.

use super::{expect_shape, per_element, shader, wgsl};
use crate::gpu::{Dtype, PlanBuilder, Shader, Tensor};
use crate::params;

params! {
    /// Parameter block of `transpose.wgsl`.
    pub struct TransposeParams { rows: u32, columns: u32, words: u32, }
}

fn transpose_shader(size: usize) -> Shader {
    let (name, part) = match size {
        2 => ("16", wgsl!("shared/elements_16")),
        _ => ("32", wgsl!("shared/elements_32")),
    };
    // The elements' file reads the binding that the kernel's declares: WGSL knows no order.
    shader::<TransposeParams>("transpose", name, &[part, wgsl!("transpose")])
}

pub(super) fn shaders() -> Vec<Shader> {
    [Dtype::F32, Dtype::F16].map(|dtype| transpose_shader(dtype.size())).to_vec()
}

/// `y = xᵀ`: `x [rows, columns]` and `y [columns, rows]` of one type.
pub fn transpose(plan: &mut PlanBuilder, x: &Tensor, y: &Tensor) {
    let (rows, columns) = (x.rows(), x.columns());
    expect_shape("y", y, columns, rows);
    assert_eq!(x.dtype(), y.dtype(), "a transposition keeps the type");
    let words = y.bytes() as usize / 4;
    let params = TransposeParams { rows: rows as u32, columns: columns as u32, words: words as u32 };
    plan.dispatch(transpose_shader(x.dtype().size()), &params, &[x, y], per_element(words));
}
