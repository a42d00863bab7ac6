use postil::gpu::Gpu;
use postil::kernels::rope::{self as kernel, Direction};

use super::compare::assert_close;
use super::inputs::{Random, f32s, read, run, u32s, wide};
use crate::reference::rope as reference;

/// Two products and a sum of f32, and the table's own rounding: under 4 roundings of 6e-8.
const TOLERANCE: f64 = 5e-7;

/// Rows, heads, head_dim, the part of it that turns, and columns of the matrix; columns past a head's part and
/// past the heads must stay as they are.
const SHAPES: [(usize, usize, usize, usize, usize); 7] = [
    (5, 3, 20, 20, 77),
    (1, 1, 2, 2, 2),
    (4, 2, 64, 64, 128),
    (3, 1, 80, 80, 240),
    (33, 9, 64, 64, 600),
    (5, 3, 21, 12, 77),
    (4, 2, 96, 72, 200),
];

fn frequencies(rotary: usize, theta: f64) -> Vec<f64> {
    (0..rotary / 2).map(|i| reference::angle(1, i, rotary, theta)).collect()
}

pub async fn turns_both_ways(gpu: &Gpu) {
    let positions_in_table = 300;
    for (rows, heads, head_dim, rotary, ld) in SHAPES {
        for direction in [Direction::Forward, Direction::Backward] {
            let mut random = Random::new(30);
            let x = random.normal(rows * ld);
            let positions = random.below(positions_in_table, rows);
            let table = kernel::table(positions_in_table as usize, &frequencies(rotary, 10_000.0));
            let mut expected = wide(&x);
            let turned = reference::Heads { heads, head_dim, rotary, ld };
            let exact = reference::table(positions_in_table, rotary, 10_000.0);
            let sign = if direction == Direction::Forward { 1.0 } else { -1.0 };
            reference::rope(&mut expected, turned, &positions, &exact, sign);
            let x = f32s(gpu, &[rows, ld], &x);
            let positions = u32s(gpu, &[rows], &positions);
            let table = f32s(gpu, &[positions_in_table as usize, rotary], &table);
            run(gpu, |plan| kernel::rope(plan, &positions, &table, &x, [heads, head_dim], direction));
            let what = format!("{rows} rows of {ld}, {heads}×{head_dim} of which {rotary}, {direction:?}");
            assert_close(&what, &read(gpu, &x).await, &expected, ld, TOLERANCE);
        }
    }
}

/// The table that the crate makes is the reference's, also far out.
pub async fn table_is_exact(_gpu: &Gpu) {
    let table = kernel::table(5000, &frequencies(64, 500_000.0));
    assert_close("table", &table, &reference::table(5000, 64, 500_000.0), 64, 1e-7);
}

cases!(turns_both_ways, table_is_exact);
