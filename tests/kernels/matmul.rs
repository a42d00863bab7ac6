use postil::gpu::{Dtype, Gpu};
use postil::kernels::WEIGHT_DTYPES;
use postil::kernels::matmul::{Columns, Nn, Nt, Tile, matmul_tn, matmul_tn_with};

use super::compare::{assert_close, assert_same_bits};
use super::inputs::{Random, f32s, read, run, stored, unwritten, wide};
use crate::reference::columns;
use crate::reference::matmul::{self as reference, add, add_bias, scaled};

/// K up to 300 and R up to 16 products of random sign, added one after the other: about √K/2 roundings
/// of 6e-8 relative to the result, so 5e-7; four times that is allowed.
pub const TOLERANCE: f64 = 2e-6;

const TILES: [Tile; 3] = [Tile::Square, Tile::Tall, Tile::Wide];

/// M, N, K, R: odd, one element, exactly one 64 × 64 tile of one K step, one more than that, several
/// tiles with a rank that is no multiple of the K step, one row.
const SHAPES: [[usize; 4]; 6] =
    [[5, 123, 77, 3], [1, 1, 1, 1], [64, 64, 16, 16], [65, 65, 17, 8], [130, 70, 200, 5], [1, 300, 65, 4]];

/// Sizes of which as many are multiples of four as operands in f16 need, that go by four.
const IN_FOURS: [[usize; 4]; 4] = [[5, 124, 76, 3], [1, 4, 4, 1], [65, 68, 20, 8], [130, 72, 200, 5]];

/// Everything that can be added to a product.
#[derive(Clone, Copy, Debug)]
struct Options {
    extension: bool,
    bias: bool,
    residual: bool,
    /// Columns of x and y around those used.
    around: usize,
    scale: f32,
}

const PLAIN: Options = Options { extension: false, bias: false, residual: false, around: 0, scale: 1.0 };
const FULL: Options = Options { extension: true, bias: true, residual: true, around: 3, scale: 0.5 };

/// Types of x and of the weight.
type Types = (Dtype, Dtype);

async fn check_nt(gpu: &Gpu, [m, n, k, r]: [usize; 4], types: Types, tile: Tile, options: Options) {
    let mut random = Random::new(70);
    let (ldx, ldy, first) = (k + 2 * options.around, n + 2 * options.around, options.around);
    let (x, x_values) = stored(gpu, &[m, ldx], types.0, &random.normal(m * ldx));
    let (w, w_values) = stored(gpu, &[n, k], types.1, &random.normal(n * k));
    let (e, f) = (random.normal(m * r), random.normal(n * r));
    let (bias, residual) = (random.normal(n), random.normal(m * ldy));

    let mut expected = reference::nt(&columns(&x_values, ldx, first, k), &w_values, [m, n, k]);
    if options.extension {
        expected = add(&expected, &reference::nt(&wide(&e), &wide(&f), [m, n, r]));
    }
    expected = scaled(&expected, f64::from(options.scale));
    if options.bias {
        expected = add_bias(&expected, &wide(&bias));
    }
    if options.residual {
        expected = add(&expected, &columns(&wide(&residual), ldy, first, n));
    }

    let y = unwritten(gpu, &[m, ldy]);
    let (e, f) = (f32s(gpu, &[m, r], &e), f32s(gpu, &[n, r], &f));
    let (bias, residual) = (f32s(gpu, &[n], &bias), f32s(gpu, &[m, ldy], &residual));
    let product = Nt {
        extension: options.extension.then_some((&e, &f)),
        bias: options.bias.then_some(&bias),
        residual: options.residual.then_some(&residual),
        scale: options.scale,
        ..Nt::new(Columns::of(&x, first, k), &w, Columns::of(&y, first, n))
    };
    run(gpu, |plan| product.add_with(plan, tile));

    let what = format!("nt {m}×{n}×{k}, r = {r}, {types:?}, {tile:?}, {options:?}");
    let got = read(gpu, &y).await;
    assert_close(&what, &columns(&got, ldy, first, n), &expected, n, TOLERANCE);
    for outside in [columns(&got, ldy, 0, first), columns(&got, ldy, first + n, first)] {
        assert!(outside.iter().all(|v| v.is_nan()), "{what}: columns outside were written");
    }
}

pub async fn nt(gpu: &Gpu) {
    for tile in TILES {
        for dtype in WEIGHT_DTYPES {
            for shape in SHAPES {
                check_nt(gpu, shape, (Dtype::F32, dtype), tile, PLAIN).await;
                check_nt(gpu, shape, (Dtype::F32, dtype), tile, FULL).await;
            }
        }
    }
}

/// Each addition by itself.
pub async fn nt_options(gpu: &Gpu) {
    let shape = [5, 123, 77, 3];
    for options in [
        Options { extension: true, ..PLAIN },
        Options { bias: true, ..PLAIN },
        Options { residual: true, ..PLAIN },
        Options { around: 7, ..PLAIN },
        Options { scale: -2.0, ..PLAIN },
    ] {
        check_nt(gpu, shape, (Dtype::F32, Dtype::BF16), Tile::Square, options).await;
    }
}

async fn check_nn(gpu: &Gpu, [m, n, k, r]: [usize; 4], types: Types, tile: Tile, options: Options) {
    let mut random = Random::new(71);
    let (ldx, first) = (k + 2 * options.around, options.around);
    let (x, x_values) = stored(gpu, &[m, ldx], types.0, &random.normal(m * ldx));
    let (w, w_values) = stored(gpu, &[k, n], types.1, &random.normal(k * n));
    let (e, f, before) = (random.normal(m * r), random.normal(r * n), random.normal(m * n));
    // The residual stands for `accumulate` here.
    let accumulate = options.residual;

    let mut expected = reference::nn(&columns(&x_values, ldx, first, k), &w_values, [m, n, k]);
    if options.extension {
        expected = add(&expected, &reference::nn(&wide(&e), &wide(&f), [m, n, r]));
    }
    expected = scaled(&expected, f64::from(options.scale));
    if accumulate {
        expected = add(&expected, &wide(&before));
    }

    let (e, f) = (f32s(gpu, &[m, r], &e), f32s(gpu, &[r, n], &f));
    let y = if accumulate { f32s(gpu, &[m, n], &before) } else { unwritten(gpu, &[m, n]) };
    let product = Nn {
        extension: options.extension.then_some((&e, &f)),
        accumulate,
        scale: options.scale,
        ..Nn::new(Columns::of(&x, first, k), &w, &y)
    };
    run(gpu, |plan| product.add_with(plan, tile));
    let what = format!("nn {m}×{n}×{k}, r = {r}, {types:?}, {tile:?}, {options:?}");
    assert_close(&what, &read(gpu, &y).await, &expected, n, TOLERANCE);
}

pub async fn nn(gpu: &Gpu) {
    for tile in TILES {
        for dtype in WEIGHT_DTYPES {
            for shape in SHAPES {
                check_nn(gpu, shape, (Dtype::F32, dtype), tile, PLAIN).await;
                check_nn(gpu, shape, (Dtype::F32, dtype), tile, FULL).await;
            }
        }
    }
}

/// Operands read four at a time: f16 ones always are. They are exact in f32, so tolerances stay.
pub async fn in_fours(gpu: &Gpu) {
    let full = Options { around: 4, ..FULL };
    for tile in TILES {
        for types in
            [Dtype::F32, Dtype::F16].into_iter().flat_map(|x| WEIGHT_DTYPES.map(|weight| (x, weight)))
        {
            for shape in IN_FOURS {
                for options in [PLAIN, full] {
                    check_nt(gpu, shape, types, tile, options).await;
                    check_nn(gpu, shape, types, tile, options).await;
                }
            }
        }
    }
}

async fn check_tn(gpu: &Gpu, [m, n, k]: [usize; 3], around: usize, tile: Tile) {
    let mut random = Random::new(72);
    let (lda, ldb) = (m + 2 * around, n + 2 * around);
    let (a, b, before) = (random.normal(k * lda), random.normal(k * ldb), random.normal(m * n));
    let product =
        reference::tn(&columns(&wide(&a), lda, around, m), &columns(&wide(&b), ldb, around, n), [m, n, k]);
    let expected = add(&wide(&before), &product);
    let (a, b) = (f32s(gpu, &[k, lda], &a), f32s(gpu, &[k, ldb], &b));
    let y = f32s(gpu, &[m, n], &before);
    let (a, b) = (Columns::of(&a, around, m), Columns::of(&b, around, n));
    run(gpu, |plan| matmul_tn_with(plan, a, b, &y, None, tile));
    let what = format!("tn {m}×{n}×{k}, {around} columns around, {tile:?}");
    assert_close(&what, &read(gpu, &y).await, &expected, n, TOLERANCE);
}

pub async fn tn(gpu: &Gpu) {
    for tile in TILES {
        for [m, n, k, _] in SHAPES {
            check_tn(gpu, [m, n, k], 0, tile).await;
            check_tn(gpu, [m, n, k], 5, tile).await;
        }
    }
}

/// A long sum in shares, of which the last is shorter, added to what is there; only the first takes LoRA's part.
/// Tolerance: as above, over 5,000 additions.
pub async fn nn_in_shares(gpu: &Gpu) {
    for [m, n, k, r] in [[64, 128, 5024, 4], [30, 33, 2051, 3]] {
        let mut random = Random::new(78);
        let (x, e, f) = (random.normal(m * k), random.normal(m * r), random.normal(r * n));
        let (w, w_values) = stored(gpu, &[k, n], Dtype::BF16, &random.normal(k * n));
        let before = random.normal(m * n);
        let product = add(
            &reference::nn(&wide(&x), &w_values, [m, n, k]),
            &reference::nn(&wide(&e), &wide(&f), [m, n, r]),
        );
        let (x, y) = (f32s(gpu, &[m, k], &x), f32s(gpu, &[m, n], &before));
        let (e, f) = (f32s(gpu, &[m, r], &e), f32s(gpu, &[r, n], &f));
        let parts = unwritten(gpu, &[8, m * n]);
        run(gpu, |plan| {
            let extension = Some((&e, &f));
            Nn { shares: Some(&parts), accumulate: true, extension, ..Nn::new(&x, &w, &y) }.add_to(plan);
        });
        let what = format!("nn {m}×{n}×{k} in shares");
        assert!(!read(gpu, &parts).await[m * n].is_nan(), "{what}: there was only one");
        let expected = add(&wide(&before), &product);
        assert_close(&what, &read(gpu, &y).await, &expected, n, 5.0 * TOLERANCE);
    }
}

/// The tile that a kernel picks by itself, at the shapes of a LoRA layer: tall, wide, square, one row.
pub async fn picks_a_tile(gpu: &Gpu) {
    for [m, n, k] in [[100, 16, 96], [16, 300, 40], [70, 90, 33], [1, 200, 64]] {
        let mut random = Random::new(73);
        let (x, w) = (random.normal(m * k), random.normal(n * k));
        let (a, b) = (random.normal(k * m), random.normal(k * n));
        let [y, dx] = [(); 2].map(|()| unwritten(gpu, &[m, n]));
        let dw = f32s(gpu, &[m, n], &vec![0.0; m * n]);
        let (x_gpu, w_gpu) = (f32s(gpu, &[m, k], &x), f32s(gpu, &[n, k], &w));
        let (a_gpu, b_gpu) = (f32s(gpu, &[k, m], &a), f32s(gpu, &[k, n], &b));
        run(gpu, |plan| {
            Nt::new(&x_gpu, &w_gpu, &y).add_to(plan);
            Nn::new(&x_gpu, &b_gpu, &dx).add_to(plan);
            matmul_tn(plan, &a_gpu, &b_gpu, &dw, None);
        });
        let (x, w, a, b) = (wide(&x), wide(&w), wide(&a), wide(&b));
        let shape = [m, n, k];
        assert_close("nt", &read(gpu, &y).await, &reference::nt(&x, &w, shape), n, TOLERANCE);
        assert_close("nn", &read(gpu, &dx).await, &reference::nn(&x, &b, shape), n, TOLERANCE);
        assert_close("tn", &read(gpu, &dw).await, &reference::tn(&a, &b, shape), n, TOLERANCE);
    }
}

/// An untrained adapter (B = 0) changes no bit of the base's result, in either direction.
pub async fn zero_extension_changes_no_bit(gpu: &Gpu) {
    for [m, n, k, r] in SHAPES {
        let mut random = Random::new(74);
        let x = f32s(gpu, &[m, k], &random.normal(m * k));
        let (nt_w, _) = stored(gpu, &[n, k], Dtype::BF16, &random.normal(n * k));
        let (nn_w, _) = stored(gpu, &[k, n], Dtype::BF16, &random.normal(k * n));
        let bias = f32s(gpu, &[n], &random.normal(n));
        let (e, zeros) = (f32s(gpu, &[m, r], &random.normal(m * r)), f32s(gpu, &[n, r], &vec![0.0; n * r]));
        let (f, no_e) = (f32s(gpu, &[r, n], &random.normal(r * n)), f32s(gpu, &[m, r], &vec![0.0; m * r]));
        for tile in TILES {
            let [y, y_lora, dx, dx_lora] = [(); 4].map(|()| unwritten(gpu, &[m, n]));
            run(gpu, |plan| {
                let base = Nt { bias: Some(&bias), ..Nt::new(&x, &nt_w, &y) };
                base.add_with(plan, tile);
                Nt { extension: Some((&e, &zeros)), y: (&y_lora).into(), ..base }.add_with(plan, tile);
                let base = Nn::new(&x, &nn_w, &dx);
                base.add_with(plan, tile);
                Nn { extension: Some((&no_e, &f)), y: &dx_lora, ..base }.add_with(plan, tile);
            });
            let what = format!("{m}×{n}×{k}, r = {r}, {tile:?}");
            assert_same_bits(&format!("nt {what}"), &read(gpu, &y_lora).await, &read(gpu, &y).await);
            assert_same_bits(&format!("nn {what}"), &read(gpu, &dx_lora).await, &read(gpu, &dx).await);
        }
    }
}

/// A result depends neither on the tile nor on how many rows are computed with it.
pub async fn same_bits_in_every_tile(gpu: &Gpu) {
    let [m, n, k, r] = [66, 70, 77, 5];
    let mut random = Random::new(75);
    let x_values = random.normal(m * k);
    let x = f32s(gpu, &[m, k], &x_values);
    let last_row = f32s(gpu, &[1, k], &x_values[(m - 1) * k..]);
    let (w, _) = stored(gpu, &[n, k], Dtype::F16, &random.normal(n * k));
    let (e, f) = (random.normal(m * r), f32s(gpu, &[n, r], &random.normal(n * r)));
    let last_e = f32s(gpu, &[1, r], &e[(m - 1) * r..]);
    let e = f32s(gpu, &[m, r], &e);
    let outputs = TILES.map(|_| unwritten(gpu, &[m, n]));
    let last = unwritten(gpu, &[1, n]);
    run(gpu, |plan| {
        for (tile, y) in TILES.into_iter().zip(&outputs) {
            Nt { extension: Some((&e, &f)), ..Nt::new(&x, &w, y) }.add_with(plan, tile);
        }
        Nt { extension: Some((&last_e, &f)), ..Nt::new(&last_row, &w, &last) }.add_to(plan);
    });
    let first = read(gpu, &outputs[0]).await;
    for (tile, y) in TILES.into_iter().zip(&outputs).skip(1) {
        assert_same_bits(&format!("{tile:?}"), &read(gpu, y).await, &first);
    }
    assert_same_bits("one row", &read(gpu, &last).await, &first[(m - 1) * n..]);
}

cases!(
    nt,
    nt_options,
    nn,
    in_fours,
    nn_in_shares,
    tn,
    picks_a_tile,
    zero_extension_changes_no_bit,
    same_bits_in_every_tile
);
