use half::f16;
use postil::config::{Arithmetic, Precision};
use postil::gpu::{Dtype, Gpu, Tensor};
use postil::kernels::WEIGHT_DTYPES;
use postil::kernels::matmul::{Columns, Nn, Nt};
use postil::kernels::matmul_coop::CoopTile;
use postil::kernels::step::Step;

use super::compare::{assert_close, assert_same_bits};
use super::inputs::{Random, f32s, read, run, run_in, unwritten, weight, wide};
use crate::reference::columns;
use crate::reference::matmul::{self as reference, add, add_bias};

/// Operands are rounded to f16 for the reference too, and their products are exact in f32. Hardware may cut off what it
/// adds at the end of the largest summand instead of rounding it: up to 2⁻²³ of it per addition, all of one sign. Over
/// up to 200 of them, a few of which are as large as the sum, that is some 1e-5 of the result.
pub const TOLERANCE: f64 = 2e-5;

/// M, N, K, R: a single tile of one step, several of several with ranks that are no multiple of 16, and enough for
/// tiles of 128 × 128.
const SHAPES: [[usize; 4]; 5] =
    [[64, 64, 32, 3], [128, 192, 96, 16], [192, 64, 64, 21], [64, 128, 160, 1], [1920, 1280, 32, 8]];

/// Whether the kernels can run; a device without them says so when it is asked for f16.
pub fn available(gpu: &Gpu) -> bool {
    let available = gpu.caps().cooperative_matrix;
    assert_eq!(gpu.arithmetic(Precision::F16).is_ok(), available);
    assert_eq!(gpu.arithmetic(Precision::Auto).unwrap() == Arithmetic::F16, available);
    available
}

pub fn rounded(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f16::from_f32(v).to_f64()).collect()
}

/// A weight of f16's precision in any storage.
fn f16_weight(gpu: &Gpu, shape: &[usize], dtype: Dtype, values: &[f32]) -> (Tensor, Vec<f64>) {
    let values: Vec<f32> = values.iter().map(|&v| f16::from_f32(v).to_f32()).collect();
    weight(gpu, shape, dtype, &values)
}

pub async fn nt(gpu: &Gpu) {
    if !available(gpu) {
        return;
    }
    for [m, n, k, r] in SHAPES {
        for dtype in WEIGHT_DTYPES {
            let mut random = Random::new(81);
            let (around, ldx, ldy) = (8, k + 16, n + 16);
            let (x, e, f) = (random.normal(m * ldx), random.normal(m * r), random.normal(n * r));
            let (w, w_values) = f16_weight(gpu, &[n, k], dtype, &random.normal(n * k));
            let (bias, residual) = (random.normal(n), random.normal(m * ldy));
            let product = reference::nt(&columns(&rounded(&x), ldx, around, k), &w_values, [m, n, k]);
            let low_rank = reference::nt(&rounded(&e), &rounded(&f), [m, n, r]);
            let (x, e, f) = (f32s(gpu, &[m, ldx], &x), f32s(gpu, &[m, r], &e), f32s(gpu, &[n, r], &f));
            let (bias_gpu, residual_gpu) = (f32s(gpu, &[n], &bias), f32s(gpu, &[m, ldy], &residual));
            let [plain, full, zero] = [(); 3].map(|()| unwritten(gpu, &[m, ldy]));
            let none = f32s(gpu, &[n, r], &vec![0.0; n * r]);
            run_in(gpu, Arithmetic::F16, &Step::default(), |plan| {
                let base = Nt::new(Columns::of(&x, around, k), &w, Columns::of(&plain, around, n));
                base.add_to(plan);
                let y = Columns::of(&full, around, n);
                let (bias, residual) = (Some(&bias_gpu), Some(&residual_gpu));
                Nt { extension: Some((&e, &f)), bias, residual, y, ..base }.add_to(plan);
                Nt { extension: Some((&e, &none)), y: Columns::of(&zero, around, n), ..base }.add_to(plan);
            });
            let what = format!("nt {m}×{n}×{k}, r = {r}, {dtype:?}");
            let got = read(gpu, &plain).await;
            assert_close(&what, &columns(&got, ldy, around, n), &product, n, TOLERANCE);
            let expected = add(
                &add_bias(&add(&product, &low_rank), &wide(&bias)),
                &columns(&wide(&residual), ldy, around, n),
            );
            let with = read(gpu, &full).await;
            assert_close(
                &format!("{what}, all added"),
                &columns(&with, ldy, around, n),
                &expected,
                n,
                TOLERANCE,
            );
            assert!(
                columns(&with, ldy, 0, around).iter().all(|v| v.is_nan()),
                "{what}: columns outside were written"
            );
            assert_same_bits(
                &format!("{what}, B = 0"),
                &columns(&read(gpu, &zero).await, ldy, around, n),
                &columns(&got, ldy, around, n),
            );
        }
    }
}

pub async fn nn(gpu: &Gpu) {
    if !available(gpu) {
        return;
    }
    for [m, n, k, r] in SHAPES {
        for dtype in WEIGHT_DTYPES {
            let mut random = Random::new(82);
            let (x, e, f) = (random.normal(m * k), random.normal(m * r), random.normal(r * n));
            let (w, w_values) = f16_weight(gpu, &[k, n], dtype, &random.normal(k * n));
            let before = random.normal(m * n);
            let product = reference::nn(&rounded(&x), &w_values, [m, n, k]);
            let expected =
                add(&add(&wide(&before), &product), &reference::nn(&rounded(&e), &rounded(&f), [m, n, r]));
            let (x, e, f) = (f32s(gpu, &[m, k], &x), f32s(gpu, &[m, r], &e), f32s(gpu, &[r, n], &f));
            let (plain, full) = (unwritten(gpu, &[m, n]), f32s(gpu, &[m, n], &before));
            run_in(gpu, Arithmetic::F16, &Step::default(), |plan| {
                Nn::new(&x, &w, &plain).add_to(plan);
                Nn { extension: Some((&e, &f)), accumulate: true, ..Nn::new(&x, &w, &full) }.add_to(plan);
            });
            let what = format!("nn {m}×{n}×{k}, r = {r}, {dtype:?}");
            assert_close(&what, &read(gpu, &plain).await, &product, n, TOLERANCE);
            assert_close(&format!("{what}, added to"), &read(gpu, &full).await, &expected, n, TOLERANCE);
        }
    }
}

/// A long sum in shares, of which the last is shorter. Tolerance: as above, over 5,000 additions.
pub async fn nn_in_shares(gpu: &Gpu) {
    if !available(gpu) {
        return;
    }
    let [m, n, k] = [64, 128, 5024];
    let mut random = Random::new(83);
    let x = random.normal(m * k);
    let (w, w_values) = f16_weight(gpu, &[k, n], Dtype::BF16, &random.normal(k * n));
    let before = random.normal(m * n);
    let expected = add(&wide(&before), &reference::nn(&rounded(&x), &bf16(&w_values), [m, n, k]));
    let (x, y) = (f32s(gpu, &[m, k], &x), f32s(gpu, &[m, n], &before));
    let parts = unwritten(gpu, &[8, m * n]);
    run_in(gpu, Arithmetic::F16, &Step::default(), |plan| {
        Nn { shares: Some(&parts), accumulate: true, ..Nn::new(&x, &w, &y) }.add_to(plan);
    });
    assert!(!read(gpu, &parts).await[m * n].is_nan(), "there was more than one share");
    assert_close("nn in shares", &read(gpu, &y).await, &expected, n, 20.0 * TOLERANCE);
}

/// What is stored is what `weight` says it is.
fn bf16(values: &[f64]) -> Vec<f64> {
    values.iter().map(|&v| half::bf16::from_f64(v).to_f64()).collect()
}

/// Shapes that are no whole tiles, and operands that cannot be read four at a time, go to the plain kernels.
pub async fn others_are_plain(gpu: &Gpu) {
    assert_eq!(CoopTile::for_shape(64, 64, 32), Some(CoopTile::Small));
    assert_eq!(CoopTile::for_shape(2048, 1536, 576), Some(CoopTile::Large));
    for [m, n, k] in [[63, 64, 32], [64, 65, 32], [64, 64, 33], [0, 64, 32]] {
        assert_eq!(CoopTile::for_shape(m, n, k), None);
    }
    let [m, n, k] = [64, 65, 70];
    let mut random = Random::new(86);
    let (x, w) = (random.normal(m * k), random.normal(n * k));
    let (x_gpu, w_gpu) = (f32s(gpu, &[m, k], &x), f32s(gpu, &[n, k], &w));
    let [plain, half] = [(); 2].map(|()| unwritten(gpu, &[m, n]));
    run(gpu, |plan| Nt::new(&x_gpu, &w_gpu, &plain).add_to(plan));
    run_in(gpu, Arithmetic::F16, &Step::default(), |plan| Nt::new(&x_gpu, &w_gpu, &half).add_to(plan));
    assert_same_bits("a product that fits no tile", &read(gpu, &half).await, &read(gpu, &plain).await);
}

cases!(nt, nn, nn_in_shares, others_are_plain);
