//! Tensors rounded to 16 bits, and widened again. See `shaders/pack_halves.wgsl`, `shaders/unpack_halves.wgsl`.

use super::{per_element, shader, wgsl};
use crate::gpu::{Dtype, PlanBuilder, Shader, Tensor, row_parts};
use crate::params;

params! {
    /// Parameter block of both kernels.
    pub struct HalvesParams { quads0: u32, quads1: u32, }
}

fn shader_of(kernel: &'static str, dtype: Dtype) -> Shader {
    let (name, rounding) = match dtype {
        Dtype::BF16 => ("bf16", wgsl!("shared/halves_bf16")),
        _ => ("f16", wgsl!("shared/halves_f16")),
    };
    let text = match kernel {
        "pack_halves" => wgsl!("pack_halves"),
        _ => wgsl!("unpack_halves"),
    };
    shader::<HalvesParams>(kernel, name, &[rounding, text])
}

pub(super) fn shaders() -> Vec<Shader> {
    let kernels = ["pack_halves", "unpack_halves"];
    kernels
        .into_iter()
        .flat_map(|kernel| [Dtype::F16, Dtype::BF16].map(|dtype| shader_of(kernel, dtype)))
        .collect()
}

/// `y = x` for two pairs of tensors: f32 as f16, what is too large for that as the largest, or both as bf16.
pub fn pack_halves(plan: &mut PlanBuilder, x: [&Tensor; 2], y: [&Tensor; 2]) {
    add(plan, shader_of("pack_halves", y[0].dtype()), x, y);
}

/// `y = x` for two pairs of tensors: f16 as f32, or both bf16.
pub fn unpack_halves(plan: &mut PlanBuilder, x: [&Tensor; 2], y: [&Tensor; 2]) {
    add(plan, shader_of("unpack_halves", x[0].dtype()), x, y);
}

fn add(plan: &mut PlanBuilder, shader: Shader, x: [&Tensor; 2], y: [&Tensor; 2]) {
    for (x, y) in x.into_iter().zip(y) {
        assert!(x.shape() == y.shape(), "{:?} as {:?}", x.shape(), y.shape());
    }
    assert!([x, y].iter().all(|pair| pair[0].dtype() == pair[1].dtype()), "two of a type");
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
