//! Tensors rounded to 16 bits, and widened again. See `shaders/pack_halves.wgsl`, `shaders/unpack_halves.wgsl`.

use super::{per_element, shader, wgsl};
use crate::gpu::{Dtype, PlanBuilder, Shader, Tensor, row_parts};
use crate::params;

params! {
    /// Parameter block of both kernels.
    pub struct HalvesParams { quads0: u32, quads1: u32, }
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

/// `y = x` for two pairs of tensors: f32 as f16, what is too large for that as the largest.
pub fn pack_halves(plan: &mut PlanBuilder, x: [&Tensor; 2], y: [&Tensor; 2]) {
    add(plan, pack_shader(), x, y, [Dtype::F32, Dtype::F16]);
}

/// `y = x` for two pairs of tensors: f16 as f32.
pub fn unpack_halves(plan: &mut PlanBuilder, x: [&Tensor; 2], y: [&Tensor; 2]) {
    add(plan, unpack_shader(), x, y, [Dtype::F16, Dtype::F32]);
}

fn add(plan: &mut PlanBuilder, shader: Shader, x: [&Tensor; 2], y: [&Tensor; 2], dtypes: [Dtype; 2]) {
    for (x, y) in x.into_iter().zip(y) {
        assert!(x.shape() == y.shape() && [x.dtype(), y.dtype()] == dtypes, "{x:?} as {y:?}");
    }
    for part in row_parts(&[x[0], x[1], y[0], y[1]]) {
        let [quads0, quads1] = x.map(|x| {
            let elements = part.len() * x.columns();
            assert!(elements.is_multiple_of(4), "four elements at a time, of {elements}");
            elements / 4
        });
        let params = HalvesParams { quads0: quads0 as u32, quads1: quads1 as u32 };
        let [x, y] = [x, y].map(|pair| pair.map(|tensor| tensor.slice(&part)));
        let bindings = [&x[0], &x[1], &y[0], &y[1]];
        plan.dispatch(shader.clone(), &params, &bindings, per_element(quads0 + quads1));
    }
}
