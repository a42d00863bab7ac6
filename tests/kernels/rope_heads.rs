use postil::gpu::{Dtype, Gpu, Tensor};
use postil::kernels::rope;
use postil::kernels::rope_heads::{Turn, rope_merge, rope_split};

use super::compare::{assert_close, assert_same_bits};
use super::halves::{assert_rounded, tolerance};
use super::inputs::{Random, f32s, read, run, u32s, unwritten, unwritten_in, wide};
use crate::reference::{columns, rope as reference};

/// As for RoPE in place: two products and a sum of f32, and the table's own rounding: under 4 roundings of 6e-8. A result
/// in f16 is that near before it is rounded.
const TOLERANCE: f64 = 5e-7;

/// Rows, heads, key heads, head_dim, and the part of it that turns; 0 is without a table. Heads that go by four, by one
/// since they are odd or since their turning halves are, and in part.
const SHAPES: [[usize; 5]; 10] = [
    [4, 2, 2, 64, 64],
    [33, 9, 3, 64, 64],
    [3, 1, 1, 80, 80],
    [4, 2, 1, 96, 72],
    [7, 2, 1, 12, 0],
    [1, 1, 1, 2, 2],
    [5, 3, 1, 20, 20],
    [5, 3, 1, 21, 12],
    [4, 2, 2, 24, 12],
    [7, 2, 1, 5, 0],
];

/// The types that heads of a shape can have.
fn types([_, _, _, head_dim, rotary]: [usize; 5]) -> &'static [Dtype] {
    let in_fours = head_dim.is_multiple_of(4) && (rotary / 2).is_multiple_of(4);
    if in_fours { &[Dtype::F32, Dtype::F16] } else { &[Dtype::F32] }
}

const POSITIONS: usize = 300;

/// Rows at random positions, on the device and as the reference has them.
struct Case {
    shape: [usize; 5],
    /// Columns of queries, and of keys and values.
    widths: [usize; 2],
    positions: Vec<u32>,
    positions_gpu: Tensor,
    table: Option<Tensor>,
}

impl Case {
    fn new(gpu: &Gpu, shape: [usize; 5]) -> Self {
        let [rows, heads, kv_heads, head_dim, rotary] = shape;
        let positions = Random::new(31).below(POSITIONS as u32, rows);
        let frequencies: Vec<f64> =
            (0..rotary / 2).map(|i| reference::angle(1, i, rotary, 10_000.0)).collect();
        let table = || f32s(gpu, &[POSITIONS, rotary], &rope::table(POSITIONS, &frequencies));
        Self {
            shape,
            widths: [heads * head_dim, 2 * kv_heads * head_dim],
            positions_gpu: u32s(gpu, &[rows], &positions),
            positions,
            table: (rotary > 0).then(table),
        }
    }

    fn turn(&self) -> Turn<'_> {
        Turn { positions: &self.positions_gpu, table: self.table.as_ref(), head_dim: self.shape[3] }
    }

    /// `x` with its queries and keys turned.
    fn turned(&self, x: &[f32], direction: f64) -> Vec<f64> {
        let ([_, heads, kv_heads, head_dim, rotary], mut x) = (self.shape, wide(x));
        if rotary > 0 {
            let table = reference::table(POSITIONS as u32, rotary, 10_000.0);
            let turned = reference::Heads { heads: heads + kv_heads, head_dim, rotary, ld: self.ld() };
            reference::rope(&mut x, turned, &self.positions, &table, direction);
        }
        x
    }

    fn ld(&self) -> usize {
        self.widths[0] + self.widths[1]
    }

    /// Queries, and keys and values, of rows that have both.
    fn split<S: Copy>(&self, x: &[S]) -> [Vec<S>; 2] {
        [columns(x, self.ld(), 0, self.widths[0]), columns(x, self.ld(), self.widths[0], self.widths[1])]
    }
}

pub async fn splits(gpu: &Gpu) {
    for shape in SHAPES {
        let (case, rows) = (Case::new(gpu, shape), shape[0]);
        let x = Random::new(30).normal(rows * case.ld());
        let x_gpu = f32s(gpu, &[rows, case.ld()], &x);
        for &dtype in types(shape) {
            let of_type = case.widths.map(|width| unwritten_in(gpu, &[rows, width], dtype));
            run(gpu, |plan| rope_split(plan, &case.turn(), &x_gpu, of_type.each_ref()));
            let (expected, same) = (case.split(&case.turned(&x, 1.0)), case.split(&x));
            for ((got, expected), same) in of_type.iter().zip(expected).zip(same) {
                let (what, got) = (format!("{shape:?}, {dtype:?}"), read(gpu, got).await);
                assert_close(&what, &got, &expected, 1, TOLERANCE + tolerance(dtype));
                match (&case.table, dtype) {
                    (Some(_), _) => {}
                    (None, Dtype::F32) => assert_same_bits(&what, &got, &same),
                    (None, _) => assert_rounded(&what, &got, &same, dtype),
                }
            }
        }
    }
}

pub async fn merges(gpu: &Gpu) {
    for shape in SHAPES {
        let (case, rows) = (Case::new(gpu, shape), shape[0]);
        let d = Random::new(32).normal(rows * case.ld());
        let [dq, dkv] = case.split(&d);
        let dq = f32s(gpu, &[rows, case.widths[0]], &dq);
        let dkv = f32s(gpu, &[rows, case.widths[1]], &dkv);
        for &dtype in types(shape) {
            let y = unwritten_in(gpu, &[rows, case.ld()], dtype);
            run(gpu, |plan| rope_merge(plan, &case.turn(), [&dq, &dkv], &y));
            let (what, got) = (format!("{shape:?}, {dtype:?}"), read(gpu, &y).await);
            let expected = case.turned(&d, -1.0);
            assert_close(&what, &got, &expected, case.ld(), TOLERANCE + tolerance(dtype));
            match (&case.table, dtype) {
                (Some(_), _) => {}
                (None, Dtype::F32) => assert_same_bits(&what, &got, &d),
                (None, _) => assert_rounded(&what, &got, &d, dtype),
            }
        }
    }
}

/// Turning is orthogonal: merging is the inverse of splitting as well as its transpose.
pub async fn merging_undoes_splitting(gpu: &Gpu) {
    for shape in SHAPES {
        let (case, rows) = (Case::new(gpu, shape), shape[0]);
        let x = Random::new(33).normal(rows * case.ld());
        let (x_gpu, back) = (f32s(gpu, &[rows, case.ld()], &x), unwritten(gpu, &[rows, case.ld()]));
        let [q, kv] = case.widths.map(|width| unwritten(gpu, &[rows, width]));
        run(gpu, |plan| {
            rope_split(plan, &case.turn(), &x_gpu, [&q, &kv]);
            rope_merge(plan, &case.turn(), [&q, &kv], &back);
        });
        let got = read(gpu, &back).await;
        assert_close(&format!("{shape:?}"), &got, &wide(&x), case.ld(), 2.0 * TOLERANCE);
    }
}

cases!(splits, merges, merging_undoes_splitting);
