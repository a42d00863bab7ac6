//! Rotary position embedding, in place. See `shaders/rope.wgsl`.

use super::{per_element, shader, wgsl};
use crate::gpu::{PlanBuilder, Shader, Tensor};
use crate::params;

params! {
    /// Parameter block of `rope.wgsl`.
    pub struct RopeParams { rows: u32, heads: u32, head_dim: u32, rotary: u32, ld: u32, direction: f32, }
}

fn rope_shader() -> Shader {
    shader::<RopeParams>("rope", "", &[wgsl!("rope")])
}

pub(super) fn shaders() -> Vec<Shader> {
    vec![rope_shader()]
}

/// Which way to turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// By the position's angle.
    Forward,
    /// Back by it: the gradient's way.
    Backward,
}

/// Cosines and sines `[positions, 2·frequencies]`: for each position as many cosines as there are
/// frequencies, then as many sines, of `position · frequency`, computed in f64 since WGSL's own are only
/// good to 2⁻¹¹.
pub fn table(positions: usize, frequencies: &[f64]) -> Vec<f32> {
    let mut values = Vec::with_capacity(2 * positions * frequencies.len());
    for position in 0..positions {
        let angles = || frequencies.iter().map(|frequency| position as f64 * frequency);
        values.extend(angles().map(|angle| angle.cos() as f32));
        values.extend(angles().map(|angle| angle.sin() as f32));
    }
    values
}

/// Turns the first `heads·head_dim` columns of `x [rows, any]` by `positions [rows]`: of each head as many
/// columns as `table` has.
pub fn rope(
    plan: &mut PlanBuilder,
    positions: &Tensor,
    table: &Tensor,
    x: &Tensor,
    [heads, head_dim]: [usize; 2],
    direction: Direction,
) {
    let (rows, rotary) = (x.rows(), table.columns());
    assert!(rotary <= head_dim, "the table is no wider than a head");
    assert!(heads * head_dim <= x.columns() && positions.len() == rows, "heads fit, one position per row");
    let params = RopeParams {
        rows: rows as u32,
        heads: heads as u32,
        head_dim: head_dim as u32,
        rotary: rotary as u32,
        ld: x.columns() as u32,
        direction: if direction == Direction::Forward { 1.0 } else { -1.0 },
    };
    let pairs = rows * heads * (rotary / 2);
    plan.dispatch(rope_shader(), &params, &[positions, table, x], per_element(pairs));
}
