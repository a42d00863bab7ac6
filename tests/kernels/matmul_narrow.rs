use postil::config::Arithmetic;
use postil::gpu::{Dtype, Gpu};
use postil::kernels::matmul::{Columns, Nn, Nt};
use postil::kernels::matmul_narrow::Shares;
use postil::kernels::step::Step;

use super::compare::assert_close;
use super::inputs::{Random, f32s, read, run_in, stored, unwritten, wide};
use super::{matmul, matmul_coop};
use crate::reference::columns;
use crate::reference::dropout::mask;
use crate::reference::matmul::{self as reference, add};

/// f32 everywhere; f16 where there are cooperative matrices, and a refusal elsewhere.
fn arithmetics(gpu: &Gpu) -> Vec<Arithmetic> {
    let f16 = matmul_coop::available(gpu).then_some(Arithmetic::F16);
    [Arithmetic::F32].into_iter().chain(f16).collect()
}

/// As what operands are read.
type ReadAs = fn(&[f32]) -> Vec<f64>;

/// As what operands are read, and how near the result is.
fn precision(arithmetic: Arithmetic) -> (ReadAs, f64) {
    match arithmetic {
        Arithmetic::F16 => (matmul_coop::rounded, matmul_coop::TOLERANCE),
        Arithmetic::F32 => (wide, matmul::TOLERANCE),
    }
}

pub async fn narrow(gpu: &Gpu) {
    for arithmetic in arithmetics(gpu) {
        for wide_side in WIDE_SIDES {
            products(gpu, arithmetic, wide_side).await;
        }
    }
}

/// Types of the operand that is not the adapter's. Those of f16 are exact in either arithmetic.
const WIDE_SIDES: [Dtype; 2] = [Dtype::F32, Dtype::F16];

/// As the kernel has an operand in f32.
fn narrowed(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&value| value as f32).collect()
}

async fn products(gpu: &Gpu, arithmetic: Arithmetic, wide_side: Dtype) {
    let (read_as, tolerance) = precision(arithmetic);
    // The last is not narrow: an operand in f16 has no other kernel, one in f32 has.
    let shapes = [
        ([70, 5, 72], 0.0),
        ([33, 16, 600], 0.4),
        ([64, 40, 128], 0.0),
        ([16, 1, 8], 0.3),
        ([20, 68, 40], 0.2),
    ];
    let is_other = |n: usize| n > 64 && wide_side == Dtype::F32 && arithmetic == Arithmetic::F16;
    for ([m, n, k], p) in shapes.into_iter().filter(|([_, n, _], _)| !is_other(*n)) {
        let mut random = Random::new(84);
        let step = Step::default().dropout(p, 99);
        let dropout = (p > 0.0).then_some(7);
        let (x_gpu, x) = stored(gpu, &[m, k], wide_side, &random.normal(m * k));
        let (a, b) = (random.normal(n * k), random.normal(k * n));
        let kept = mask(99, 7, [m, k], step.dropout_threshold, f64::from(step.dropout_scale));
        let (x, dropped) = (narrowed(&x), narrowed(&reference::masked(&x, &kept)));
        let [y, dy] = [(); 2].map(|()| unwritten(gpu, &[m, n]));
        let (a_gpu, b_gpu) = (f32s(gpu, &[n, k], &a), f32s(gpu, &[k, n], &b));
        run_in(gpu, arithmetic, &step, |plan| {
            Nt { scale: 0.5, dropout, ..Nt::new(&x_gpu, &a_gpu, &y) }.add_low_rank_to(plan);
            Nn { scale: -2.0, ..Nn::new(&x_gpu, &b_gpu, &dy) }.add_low_rank_to(plan);
        });
        let what = format!("{m}×{n}×{k}, p = {p}, {arithmetic:?}, {wide_side:?}");
        let expected = reference::scaled(&reference::nt(&read_as(&dropped), &read_as(&a), [m, n, k]), 0.5);
        assert_close(&format!("nt {what}"), &read(gpu, &y).await, &expected, n, tolerance);
        let expected = reference::scaled(&reference::nn(&read_as(&x), &read_as(&b), [m, n, k]), -2.0);
        assert_close(&format!("nn {what}"), &read(gpu, &dy).await, &expected, n, tolerance);
    }
}

/// Gradients in shares of tokens, either way round, at offsets of one buffer.
pub async fn gradients_in_shares(gpu: &Gpu) {
    for arithmetic in arithmetics(gpu) {
        for wide_side in WIDE_SIDES {
            gradients(gpu, arithmetic, wide_side).await;
        }
    }
}

async fn gradients(gpu: &Gpu, arithmetic: Arithmetic, wide_side: Dtype) {
    let (read_as, tolerance) = precision(arithmetic);
    for ([tokens, m, n], p) in
        [([64, 68, 5], 0.0), ([448, 64, 16], 0.4), ([2048, 64, 3], 0.0), ([2304, 132, 20], 0.0)]
    {
        let mut random = Random::new(85);
        let step = Step::default().dropout(p, 98);
        let dropout = (p > 0.0).then_some(3);
        let (a, values) = stored(gpu, &[tokens, m + 8], wide_side, &random.normal(tokens * (m + 8)));
        let b = random.normal(tokens * n);
        let kept = mask(98, 3, [tokens, m], step.dropout_threshold, f64::from(step.dropout_scale));
        let used = columns(&values, m + 8, 4, m);
        let (used, dropped) = (narrowed(&used), narrowed(&reference::masked(&used, &kept)));
        let before = random.normal(2 * m * n);
        let b_values = read_as(&b);
        let b = f32s(gpu, &[tokens, n], &b);
        let y = f32s(gpu, &[2 * m * n], &before);
        // More room than for these tokens; which may be in more shares than all that there is room for.
        let shares = Shares::new(gpu, tokens + 64, 2 * m * n).unwrap().unwrap();
        run_in(gpu, arithmetic, &step, |plan| {
            let wide = Columns::of(&a, 4, m);
            shares.add_product(plan, wide, (&b).into(), 0, false, None);
            shares.add_product(plan, wide, (&b).into(), m * n, true, dropout);
            shares.add_up(plan, tokens, 0, &y);
        });
        let plain = reference::tn(&read_as(&used), &b_values, [m, n, tokens]);
        let masked = reference::tn(&read_as(&dropped), &b_values, [m, n, tokens]);
        let transposed = (0..n).flat_map(|j| (0..m).map(move |i| i * n + j)).map(|i| masked[i]);
        let product: Vec<f64> = plain.iter().copied().chain(transposed).collect();
        let what = format!("{tokens} tokens, {m}×{n}, p = {p}, {arithmetic:?}, {wide_side:?}");
        assert_close(&what, &read(gpu, &y).await, &add(&wide(&before), &product), n, 4.0 * tolerance);
    }
}

cases!(narrow, gradients_in_shares);
