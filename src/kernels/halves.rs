//! Tensors rounded to 16 bits, and widened again. See `shaders/halves.wgsl`.

use super::{per_element, shader, wgsl, widen_part};
use crate::gpu::{Dtype, PlanBuilder, Shader, Tensor, row_parts};
use crate::params;

params! {
    /// Parameter block of `halves.wgsl`.
    pub struct HalvesParams { quads0: u32, quads1: u32, }
}

/// Which way.
#[derive(Clone, Copy)]
enum Way {
    Pack,
    Unpack,
}

fn halves_shader(way: Way, dtype: Dtype) -> Shader {
    let (to, from) = widen_part(dtype).expect("a type of 16 bits");
    let (name, parts) = match (way, dtype) {
        (Way::Pack, Dtype::BF16) => ("pack", [wgsl!("shared/round_bf16"), wgsl!("shared/halves_pack")]),
        (Way::Pack, _) => ("pack", [wgsl!("shared/round_f16"), wgsl!("shared/halves_pack")]),
        (Way::Unpack, _) => ("unpack", [from, wgsl!("shared/halves_unpack")]),
    };
    shader::<HalvesParams>("halves", format!("{name}-{to}"), &[&parts[..], &[wgsl!("halves")]].concat())
}

pub(super) fn shaders() -> Vec<Shader> {
    let ways = [Way::Pack, Way::Unpack].into_iter();
    ways.flat_map(|way| [Dtype::F16, Dtype::BF16].map(|dtype| halves_shader(way, dtype))).collect()
}

/// `y = x` for two pairs of tensors: f32 as f16, what is too large for that as the largest, or both as bf16.
pub fn pack_halves(plan: &mut PlanBuilder, x: [&Tensor; 2], y: [&Tensor; 2]) {
    add(plan, halves_shader(Way::Pack, y[0].dtype()), x, y);
}

/// `y = x` for two pairs of tensors: f16 as f32, or both bf16.
pub fn unpack_halves(plan: &mut PlanBuilder, x: [&Tensor; 2], y: [&Tensor; 2]) {
    add(plan, halves_shader(Way::Unpack, x[0].dtype()), x, y);
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
