use half::f16;
use postil::config::{Arithmetic, Precision};
use postil::gpu::{Dtype, Gpu, Tensor};
use postil::kernels::WEIGHT_DTYPES;
use postil::kernels::coop_tile::{COOP_TILES, CoopForm, CoopTile};
use postil::kernels::matmul::{Columns, Nn, Nt};
use postil::kernels::matmul_coop::{add_nn_with, add_nt_with};
use postil::kernels::step::Step;

use super::compare::{assert_close, assert_same_bits};
use super::inputs::{Random, f32s, read, run, run_in, stored, unwritten, wide};
use crate::reference::columns;
use crate::reference::matmul::{self as reference, add, add_bias};

/// Operands are rounded to f16 for the reference too, and their products are exact in f32. Hardware may cut off what it
/// adds at the end of the largest summand instead of rounding it: up to 2⁻²³ of it per addition, all of one sign. Over
/// up to 200 of them, a few of which are as large as the sum, that is some 1e-5 of the result.
pub const TOLERANCE: f64 = 2e-5;

/// Rows, columns and steps of K in tiles, and R: a single tile of one step, and several of several with ranks that are no
/// multiple of 16.
const TILES: [[usize; 4]; 3] = [[1, 1, 1, 3], [2, 3, 3, 21], [1, 2, 2, 16]];

/// Every tile with every shape in it, M, N, K and R.
fn tiled() -> impl Iterator<Item = (CoopTile, [usize; 4])> {
    let shape = |CoopTile { size: [bm, bn], bk, .. }, [m, n, k, r]: [usize; 4]| [m * bm, n * bn, k * bk, r];
    COOP_TILES.into_iter().flat_map(move |tile| TILES.map(|tiles| (tile, shape(tile, tiles))))
}

/// Types of x and of the weight.
fn types() -> impl Iterator<Item = (Dtype, Dtype)> {
    [Dtype::F32, Dtype::F16].into_iter().flat_map(|x| WEIGHT_DTYPES.map(|weight| (x, weight)))
}

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
    stored(gpu, shape, dtype, &values)
}

pub async fn nt(gpu: &Gpu) {
    if !available(gpu) {
        return;
    }
    for ((tile, shape), types) in tiled().flat_map(|tiled| types().map(move |types| (tiled, types))) {
        check_nt(gpu, tile, shape, types).await;
    }
}

async fn check_nt(gpu: &Gpu, tile: CoopTile, [m, n, k, r]: [usize; 4], types: (Dtype, Dtype)) {
    let mut random = Random::new(81);
    let (around, ldx, ldy) = (8, k + 16, n + 16);
    let (x, e, f) = (random.normal(m * ldx), random.normal(m * r), random.normal(n * r));
    let (w, w_values) = f16_weight(gpu, &[n, k], types.1, &random.normal(n * k));
    let (bias, residual) = (random.normal(n), random.normal(m * ldy));
    let product = reference::nt(&columns(&rounded(&x), ldx, around, k), &w_values, [m, n, k]);
    let low_rank = reference::nt(&rounded(&e), &rounded(&f), [m, n, r]);
    let (x, _) = stored(gpu, &[m, ldx], types.0, &x);
    let (e, f) = (f32s(gpu, &[m, r], &e), f32s(gpu, &[n, r], &f));
    let (bias_gpu, residual_gpu) = (f32s(gpu, &[n], &bias), f32s(gpu, &[m, ldy], &residual));
    let [plain, full, zero] = [(); 3].map(|()| unwritten(gpu, &[m, ldy]));
    let none = f32s(gpu, &[n, r], &vec![0.0; n * r]);
    run_in(gpu, Arithmetic::F16, &Step::default(), |plan| {
        let base = Nt::new(Columns::of(&x, around, k), &w, Columns::of(&plain, around, n));
        add_nt_with(plan, &base, tile);
        let y = Columns::of(&full, around, n);
        let (bias, residual) = (Some(&bias_gpu), Some(&residual_gpu));
        add_nt_with(plan, &Nt { extension: Some((&e, &f)), bias, residual, y, ..base }, tile);
        let y = Columns::of(&zero, around, n);
        add_nt_with(plan, &Nt { extension: Some((&e, &none)), y, ..base }, tile);
    });
    let what = format!("nt {m}×{n}×{k}, r = {r}, {types:?}, {}", tile.name());
    let got = read(gpu, &plain).await;
    assert_close(&what, &columns(&got, ldy, around, n), &product, n, TOLERANCE);
    let expected =
        add(&add_bias(&add(&product, &low_rank), &wide(&bias)), &columns(&wide(&residual), ldy, around, n));
    let with = read(gpu, &full).await;
    assert_close(&format!("{what}, all added"), &columns(&with, ldy, around, n), &expected, n, TOLERANCE);
    let outside = columns(&with, ldy, 0, around);
    assert!(outside.iter().all(|v| v.is_nan()), "{what}: columns outside were written");
    let zero = columns(&read(gpu, &zero).await, ldy, around, n);
    assert_same_bits(&format!("{what}, B = 0"), &zero, &columns(&got, ldy, around, n));
}

pub async fn nn(gpu: &Gpu) {
    if !available(gpu) {
        return;
    }
    let tiled = tiled().filter(|(tile, _)| tile.has(CoopForm::Nn));
    for ((tile, shape), types) in tiled.flat_map(|tiled| types().map(move |types| (tiled, types))) {
        check_nn(gpu, tile, shape, types).await;
    }
}

async fn check_nn(gpu: &Gpu, tile: CoopTile, [m, n, k, r]: [usize; 4], types: (Dtype, Dtype)) {
    let mut random = Random::new(82);
    let (x, e, f) = (random.normal(m * k), random.normal(m * r), random.normal(r * n));
    let (w, w_values) = f16_weight(gpu, &[k, n], types.1, &random.normal(k * n));
    let before = random.normal(m * n);
    let product = reference::nn(&rounded(&x), &w_values, [m, n, k]);
    let expected = add(&add(&wide(&before), &product), &reference::nn(&rounded(&e), &rounded(&f), [m, n, r]));
    let (x, _) = stored(gpu, &[m, k], types.0, &x);
    let (e, f) = (f32s(gpu, &[m, r], &e), f32s(gpu, &[r, n], &f));
    let (plain, full) = (unwritten(gpu, &[m, n]), f32s(gpu, &[m, n], &before));
    run_in(gpu, Arithmetic::F16, &Step::default(), |plan| {
        add_nn_with(plan, &Nn::new(&x, &w, &plain), tile);
        let product = Nn { extension: Some((&e, &f)), accumulate: true, ..Nn::new(&x, &w, &full) };
        add_nn_with(plan, &product, tile);
    });
    let what = format!("nn {m}×{n}×{k}, r = {r}, {types:?}, {}", tile.name());
    assert_close(&what, &read(gpu, &plain).await, &product, n, TOLERANCE);
    assert_close(&format!("{what}, added to"), &read(gpu, &full).await, &expected, n, TOLERANCE);
}

/// A result depends neither on the tile nor on the type of an operand that f16 has exactly.
pub async fn same_bits_in_every_tile(gpu: &Gpu) {
    if !available(gpu) {
        return;
    }
    // Of every tile's edges a multiple.
    let [m, n, k, r] = [128, 384, 192, 5];
    let mut random = Random::new(87);
    let x = random.normal(m * k).into_iter().map(|v| f16::from_f32(v).to_f32()).collect::<Vec<_>>();
    let (w, e) = (random.normal(n * k), f32s(gpu, &[m, r], &random.normal(m * r)));
    let (nt_f, nn_f) = (f32s(gpu, &[n, r], &random.normal(n * r)), f32s(gpu, &[r, n], &random.normal(n * r)));
    let ((nt_w, _), (nn_w, _)) =
        (stored(gpu, &[n, k], Dtype::BF16, &w), stored(gpu, &[k, n], Dtype::BF16, &w));
    let mut results: Vec<(String, Vec<f32>, Vec<f32>)> = Vec::new();
    for (tile, dtype) in COOP_TILES.into_iter().flat_map(|tile| [(tile, Dtype::F32), (tile, Dtype::F16)]) {
        let (x, _) = stored(gpu, &[m, k], dtype, &x);
        let [y, dx] = [(); 2].map(|()| unwritten(gpu, &[m, n]));
        run_in(gpu, Arithmetic::F16, &Step::default(), |plan| {
            let product = Nt { extension: Some((&e, &nt_f)), ..Nt::new(&x, &nt_w, &y) };
            add_nt_with(plan, &product, tile);
            let product = Nn { extension: Some((&e, &nn_f)), ..Nn::new(&x, &nn_w, &dx) };
            let tile = if tile.has(CoopForm::Nn) { tile } else { COOP_TILES[0] };
            add_nn_with(plan, &product, tile);
        });
        results.push((format!("{}, {dtype:?}", tile.name()), read(gpu, &y).await, read(gpu, &dx).await));
    }
    let [(_, y, dx), others @ ..] = &results[..] else { panic!("there are tiles") };
    for (what, other_y, other_dx) in others {
        assert_same_bits(&format!("nt {what}"), other_y, y);
        assert_same_bits(&format!("nn {what}"), other_dx, dx);
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

/// The tiles that products take: M, N and K of projections of known models, and small ones. None fits a part of a tile.
pub async fn tiles_by_shape(_gpu: &Gpu) {
    use CoopForm::{Nn, Nt};
    for (form, [m, n, k], expected) in [
        (Nt, [64, 64, 32], Some("64x64-32x32x32")),
        (Nt, [64, 64, 64], Some("64x64-32x32x64")),
        (Nn, [64, 96, 64], None),
        (Nt, [63, 64, 32], None),
        (Nt, [64, 65, 32], None),
        (Nt, [64, 64, 33], None),
        (Nt, [64, 64, 16], None),
        (Nt, [0, 64, 32], None),
        // SmolLM2-135M, 2,048 rows: down, gate, gate and up together; the gradients of up's input and of down's, that of
        // fewer rows.
        (Nt, [2048, 576, 1536], Some("64x96-32x48x64")),
        (Nt, [2048, 1536, 576], Some("64x96-32x48x64")),
        (Nt, [2048, 3072, 576], Some("128x128-32x64x64")),
        (Nn, [2048, 576, 1536], Some("64x64-64x32x32")),
        (Nn, [2048, 1536, 576], Some("64x64-64x32x32")),
        (Nn, [512, 576, 1536], Some("64x64-32x32x64")),
        // Llama 3.2 1B, the same.
        (Nt, [2048, 2048, 8192], Some("128x128-32x64x32")),
        (Nt, [2048, 8192, 2048], Some("128x128-32x64x32")),
        (Nn, [2048, 2048, 8192], Some("128x128-32x64x32")),
        (Nn, [1024, 2048, 8192], Some("128x128-32x64x64")),
        // Many rows.
        (Nt, [8192, 8192, 2048], Some("128x128-32x64x32")),
        (Nn, [2048, 8192, 2048], Some("128x128-32x64x32")),
        // K in steps of 32 only.
        (Nt, [2048, 8192, 2080], Some("128x128-32x64x32")),
        (Nt, [2048, 2048, 2080], Some("128x128-32x64x32")),
        (Nt, [2048, 576, 96], Some("64x64-64x32x32")),
        (Nt, [64, 64, 96], Some("64x64-32x32x32")),
        (Nn, [64, 64, 96], Some("64x64-32x32x32")),
    ] {
        let tile = CoopTile::for_shape(form, m, n, k);
        assert_eq!(tile.map(CoopTile::name).as_deref(), expected, "{form:?} {m}×{n}×{k}");
    }
    // Threads fill their tiles in whole rounds.
    for tile @ CoopTile { size: [bm, bn], of_subgroup: [sm, sn], bk } in COOP_TILES {
        let threads = 32 * (bm / sm) * (bn / sn);
        let fills = |lines: usize, line: usize| {
            (lines * line / 8).is_multiple_of(threads) && threads.is_multiple_of(line / 8)
        };
        assert!(bm.is_multiple_of(sm) && bn.is_multiple_of(sn) && bk.is_multiple_of(16), "{tile:?}");
        assert!(fills(bm, bk) && fills(bn, bk), "{tile:?}");
        assert!(!tile.has(Nn) || fills(bk, bn), "{tile:?}");
    }
    // Whatever it is, the product consists of such tiles, and there is a kernel of it.
    for form in [Nt, Nn] {
        for (m, n, k) in (0..40).flat_map(|i| (1..40).map(move |j| (64 * i, 32 * j, 32 * (i + 2 * j)))) {
            if let Some(tile) = CoopTile::for_shape(form, m, n, k) {
                assert!(COOP_TILES.contains(&tile) && tile.has(form) && tile.fits(m, n, k));
            } else {
                assert!(m == 0 || n % 64 != 0, "{form:?} {m}×{n}×{k}");
            }
        }
    }
}

/// Shapes that are no whole tiles, and operands that cannot be read eight at a time, go to the plain kernels.
pub async fn others_are_plain(gpu: &Gpu) {
    let [m, n, k] = [64, 65, 70];
    let mut random = Random::new(86);
    let (x, w) = (random.normal(m * k), random.normal(n * k));
    let (x_gpu, w_gpu) = (f32s(gpu, &[m, k], &x), f32s(gpu, &[n, k], &w));
    let [plain, half] = [(); 2].map(|()| unwritten(gpu, &[m, n]));
    run(gpu, |plan| Nt::new(&x_gpu, &w_gpu, &plain).add_to(plan));
    run_in(gpu, Arithmetic::F16, &Step::default(), |plan| Nt::new(&x_gpu, &w_gpu, &half).add_to(plan));
    assert_same_bits("a product that fits no tile", &read(gpu, &half).await, &read(gpu, &plain).await);
}

cases!(nt, nn, same_bits_in_every_tile, nn_in_shares, tiles_by_shape, others_are_plain);
