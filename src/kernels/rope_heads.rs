//! Rotary positions on the way between a projection's rows and attention's matrices. See `shaders/rope_split.wgsl`,
//! `shaders/rope_merge.wgsl`.

use std::borrow::Cow;

use super::rope::Direction;
use super::storage::{Access, ROUNDING, Width, name_of, storage};
use super::{per_element, shader, wgsl};
use crate::gpu::{Dtype, PlanBuilder, Shader, Tensor, row_parts};
use crate::params;

params! {
    /// Parameter block of both kernels.
    pub struct RopeHeadsParams {
        rows: u32, q_width: u32, kv_width: u32, head_dim: u32, rotary: u32,
        first: u32, count: u32,
        direction: f32,
    }
}

/// The types that passes have, of q and kv or of what they are merged to.
const TYPES: [(Dtype, Width); 3] =
    [(Dtype::F32, Width::One), (Dtype::F32, Width::Four), (Dtype::F16, Width::Four)];

fn parts(width: Width, of_kernel: [Cow<'static, str>; 3], kernel: &'static str) -> Vec<Cow<'static, str>> {
    let table = storage(2, "table", Dtype::F32, width, Access::Read);
    let mut parts = vec![width.text().into(), ROUNDING.into(), table];
    parts.extend(of_kernel);
    parts.extend([wgsl!("shared/rope_turn").into(), kernel.into()]);
    parts
}

fn split_shader((dtype, width): (Dtype, Width)) -> Shader {
    let parts = parts(
        width,
        [
            storage(3, "x", Dtype::F32, width, Access::Read),
            storage(4, "q", dtype, width, Access::ReadWrite),
            storage(5, "kv", dtype, width, Access::ReadWrite),
        ],
        wgsl!("rope_split"),
    );
    shader::<RopeHeadsParams>("rope_split", format!("{}{}", name_of(dtype), width.suffix()), &parts)
}

fn merge_shader((dtype, width): (Dtype, Width)) -> Shader {
    let parts = parts(
        width,
        [
            storage(3, "q", Dtype::F32, width, Access::Read),
            storage(4, "kv", Dtype::F32, width, Access::Read),
            storage(5, "y", dtype, width, Access::ReadWrite),
        ],
        wgsl!("rope_merge"),
    );
    shader::<RopeHeadsParams>("rope_merge", format!("{}{}", name_of(dtype), width.suffix()), &parts)
}

pub(super) fn shaders() -> Vec<Shader> {
    TYPES.into_iter().flat_map(|types| [split_shader(types), merge_shader(types)]).collect()
}

/// What turns the rows: their positions `[rows]` and, in layers with rotary positions, the table.
#[derive(Clone, Copy)]
pub struct Turn<'a> {
    /// Positions.
    pub positions: &'a Tensor,
    /// As [`table`](super::rope::table) makes it.
    pub table: Option<&'a Tensor>,
    /// Columns of a head.
    pub head_dim: usize,
}

/// How many neighbours the kernels can have at once: heads, and the halves that turn, are made of whole units.
fn width_of(turn: &Turn<'_>) -> Width {
    Width::of_lines(&[turn.head_dim, turn.table.map_or(0, Tensor::columns) / 2])
}

/// `q [rows, q_width]` and `kv [rows, kv_width]`, both f32 or both f16, from `x [rows, q_width + kv_width]`.
pub fn rope_split(plan: &mut PlanBuilder, turn: &Turn<'_>, x: &Tensor, [q, kv]: [&Tensor; 2]) {
    assert_eq!(q.dtype(), kv.dtype(), "queries have the type of keys and values");
    let shader = split_shader((q.dtype(), width_of(turn)));
    add(plan, shader, turn, [x, q, kv], [q.columns(), kv.columns()], Direction::Forward);
}

/// `y [rows, q_width + kv_width]`, f32 or f16, from the gradients of queries, and of keys and values, turned back.
pub fn rope_merge(plan: &mut PlanBuilder, turn: &Turn<'_>, [dq, dkv]: [&Tensor; 2], y: &Tensor) {
    let shader = merge_shader((y.dtype(), width_of(turn)));
    add(plan, shader, turn, [dq, dkv, y], [dq.columns(), dkv.columns()], Direction::Backward);
}

fn add(
    plan: &mut PlanBuilder,
    shader: Shader,
    turn: &Turn<'_>,
    tensors: [&Tensor; 3],
    [q_width, kv_width]: [usize; 2],
    direction: Direction,
) {
    let rotary = turn.table.map_or(0, Tensor::columns);
    assert!(rotary <= turn.head_dim, "the table is no wider than a head");
    let absent = plan.gpu().absent();
    let table = turn.table.unwrap_or(&absent);
    let units = (q_width + kv_width) / width_of(turn).elements();
    let [a, b, c] = tensors;
    for part in row_parts(&[turn.positions, a, b, c]) {
        let [positions, a, b, c] = [turn.positions, a, b, c].map(|tensor| tensor.slice(&part));
        for held in row_parts(&[table]) {
            let params = RopeHeadsParams {
                rows: part.len() as u32,
                q_width: q_width as u32,
                kv_width: kv_width as u32,
                head_dim: turn.head_dim as u32,
                rotary: rotary as u32,
                first: held.start as u32,
                count: held.len() as u32,
                direction: if direction == Direction::Forward { 1.0 } else { -1.0 },
            };
            let bindings = [&positions, &table.slice(&held), &a, &b, &c];
            plan.dispatch(shader.clone(), &params, &bindings, per_element(part.len() * units));
        }
    }
}
