//! Tensors rounded to 16 bits, and widened again. See `shaders/pack_halves.wgsl`, `shaders/unpack_halves.wgsl`.

use super::{per_element, shader, wgsl};
use crate::gpu::{Dtype, PlanBuilder, Shader, Tensor, row_parts};
use crate::params;

params! {
    /// Parameter block of both kernels.
    pub struct HalvesParams { quads: u32, }
}

fn pack_shader() -> Shader {
    shader::<HalvesParams>("pack_halves", "", &[wgsl!("pack_halves")])
}

fn unpack_shader() -> Shader {
    shader::<HalvesParams>("unpack_halves", "", &[wgsl!("unpack_halves")])
}

pub(super) fn shaders() -> Vec<Shader> {
    vec![pack_shader(), unpack_shader()]
}

/// `y = x`: an f32 tensor as f16, what is too large for that as the largest.
pub fn pack_halves(plan: &mut PlanBuilder, x: &Tensor, y: &Tensor) {
    add(plan, pack_shader(), [x, y], [Dtype::F32, Dtype::F16]);
}

/// `y = x`: an f16 tensor as f32.
pub fn unpack_halves(plan: &mut PlanBuilder, x: &Tensor, y: &Tensor) {
    add(plan, unpack_shader(), [x, y], [Dtype::F16, Dtype::F32]);
}

fn add(plan: &mut PlanBuilder, shader: Shader, [x, y]: [&Tensor; 2], dtypes: [Dtype; 2]) {
    assert!(x.shape() == y.shape() && [x.dtype(), y.dtype()] == dtypes, "{x:?} as {y:?}");
    for part in row_parts(&[x, y]) {
        let elements = part.len() * x.columns();
        assert!(elements.is_multiple_of(4), "four elements at a time, of {elements}");
        let params = HalvesParams { quads: (elements / 4) as u32 };
        let bindings = [&x.slice(&part), &y.slice(&part)];
        plan.dispatch(shader.clone(), &params, &bindings, per_element(elements / 4));
    }
}
