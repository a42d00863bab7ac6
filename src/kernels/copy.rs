//! A tensor's bits to another, for the bandwidth. See `shaders/copy.wgsl`.

use super::{per_element, shader, wgsl};
use crate::gpu::{PlanBuilder, Shader, Tensor, row_parts};
use crate::params;

params! {
    /// Parameter block of `copy.wgsl`.
    pub struct CopyParams { quads: u32, }
}

fn copy_shader() -> Shader {
    shader::<CopyParams>("copy", "", &[wgsl!("copy")])
}

pub(super) fn shaders() -> Vec<Shader> {
    vec![copy_shader()]
}

/// `y = x`, two tensors of one shape whose rows are a multiple of 16 bytes.
pub fn copy(plan: &mut PlanBuilder, x: &Tensor, y: &Tensor) {
    assert!(x.shape() == y.shape() && x.dtype() == y.dtype(), "a copy keeps shape and type");
    let row_bytes = x.columns() * x.dtype().size();
    assert!(row_bytes.is_multiple_of(16), "rows of {row_bytes} bytes are no multiple of 16");
    for part in row_parts(&[x, y]) {
        let (x, y) = (x.slice(&part), y.slice(&part));
        let quads = x.rows() * row_bytes / 16;
        plan.dispatch(copy_shader(), &CopyParams { quads: quads as u32 }, &[&x, &y], per_element(quads));
    }
}
