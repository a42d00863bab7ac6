//! Tensors rounded to 16 bits, and widened again. See `shaders/halves.wgsl`.

use super::storage::{Access, ROUNDING, Width, name_of, storage};
use super::{per_element, shader, wgsl};
use crate::gpu::{Dtype, PlanBuilder, Shader, Tensor, row_parts};
use crate::params;

params! {
    /// Parameter block of `halves.wgsl`.
    pub struct HalvesParams { quads: u32, }
}

fn halves_shader([from, to]: [Dtype; 2]) -> Shader {
    let parts = [
        ROUNDING.into(),
        storage(1, "x", from, Width::Four, Access::Read),
        storage(2, "y", to, Width::Four, Access::ReadWrite),
        wgsl!("halves").into(),
    ];
    shader::<HalvesParams>("halves", format!("{}-{}", name_of(from), name_of(to)), &parts)
}

pub(super) fn shaders() -> Vec<Shader> {
    let ways =
        [Dtype::F16, Dtype::BF16].into_iter().flat_map(|half| [[Dtype::F32, half], [half, Dtype::F32]]);
    ways.map(halves_shader).collect()
}

/// `y = x`: f32 as f16, what is too large for that as an infinity, or as bf16.
pub fn pack_halves(plan: &mut PlanBuilder, x: &Tensor, y: &Tensor) {
    add(plan, x, y);
}

/// `y = x`: f16 or bf16 as f32.
pub fn unpack_halves(plan: &mut PlanBuilder, x: &Tensor, y: &Tensor) {
    add(plan, x, y);
}

fn add(plan: &mut PlanBuilder, x: &Tensor, y: &Tensor) {
    assert!(x.shape() == y.shape(), "{:?} as {:?}", x.shape(), y.shape());
    for part in row_parts(&[x, y]) {
        let elements = part.len() * x.columns();
        assert!(elements.is_multiple_of(4), "four elements at a time, of {elements}");
        let params = HalvesParams { quads: (elements / 4) as u32 };
        let shader = halves_shader([x.dtype(), y.dtype()]);
        plan.dispatch(shader, &params, &[&x.slice(&part), &y.slice(&part)], per_element(elements / 4));
    }
}
