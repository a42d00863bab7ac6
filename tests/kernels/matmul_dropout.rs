use postil::gpu::{Dtype, Gpu};
use postil::kernels::WEIGHT_DTYPES;
use postil::kernels::matmul::{Columns, Nn, Nt, Tile, matmul_tn_with};
use postil::kernels::step::Step;

use super::compare::{assert_close, assert_same_bits};
use super::inputs::{Random, f32s, read, run_step, stored, unwritten, wide};
use crate::reference::dropout::{hash, mask};
use crate::reference::matmul::{Lora, add, masked, nn, nt, tn};

/// As for the products without dropout (K up to 200).
const TOLERANCE: f64 = 2e-6;

const TILES: [Tile; 3] = [Tile::Square, Tile::Tall, Tile::Wide];
const SEED: u32 = 0xdead_beef;
const MODULE: u32 = 17;

fn with_dropout(p: f64) -> Step {
    Step::default().dropout(p, SEED)
}

/// The mask of a step, as f64 and as what a product of ones with it must be, bit for bit.
fn expected_mask(step: &Step, module: u32, shape: [usize; 2]) -> (Vec<f64>, Vec<f32>) {
    let scale = f64::from(step.dropout_scale);
    let mask = mask(step.dropout_seed, module, shape, step.dropout_threshold, scale);
    let bits = mask.iter().map(|&v| v as f32).collect();
    (mask, bits)
}

fn identity(size: usize) -> Vec<f32> {
    (0..size * size).map(|i| if i % (size + 1) == 0 { 1.0 } else { 0.0 }).collect()
}

/// Products with an identity show the masks of all three kernels: the reference's, exactly.
pub async fn masks_are_the_hash(gpu: &Gpu) {
    let (rows, width) = (77, 123);
    let ones = f32s(gpu, &[rows, width], &vec![1.0; rows * width]);
    let columns = f32s(gpu, &[width, width], &identity(width));
    let tokens = f32s(gpu, &[rows, rows], &identity(rows));
    let (e, f) = (f32s(gpu, &[rows, 1], &vec![1.0; rows]), f32s(gpu, &[1, width], &vec![1.0; width]));
    let (no_dy, no_w) =
        (f32s(gpu, &[rows, 2], &vec![0.0; 2 * rows]), f32s(gpu, &[2, width], &vec![0.0; 2 * width]));
    for (p, tile) in [0.1, 0.05, 0.9].into_iter().zip(TILES) {
        let step = with_dropout(p);
        let [y, dx] = [(); 2].map(|()| unwritten(gpu, &[rows, width]));
        let da = f32s(gpu, &[rows, width], &vec![0.0; rows * width]);
        run_step(gpu, &step, |plan| {
            Nt { dropout: Some(MODULE), ..Nt::new(&ones, &columns, &y) }.add_with(plan, tile);
            Nn { dropout: Some(MODULE), extension: Some((&e, &f)), ..Nn::new(&no_dy, &no_w, &dx) }
                .add_with(plan, tile);
            let all = Columns::from(&tokens);
            matmul_tn_with(plan, all, Columns::from(&ones), &da, Some(MODULE), tile);
        });
        let (_, expected) = expected_mask(&step, MODULE, [rows, width]);
        for (name, output) in [("nt", &y), ("nn", &dx), ("tn", &da)] {
            assert_same_bits(&format!("{name}, p = {p}, {tile:?}"), &read(gpu, output).await, &expected);
        }
    }
}

/// A mask drops about p (within 5 standard deviations), and differs by module, seed, row and column.
pub async fn masks_drop_p(_gpu: &Gpu) {
    let shape = [512, 512];
    let count = (shape[0] * shape[1]) as f64;
    for p in [0.01, 0.05, 0.1, 0.5, 0.9] {
        let step = with_dropout(p);
        assert_eq!(step.dropout_scale, (1.0 / (1.0 - p)) as f32);
        let drops = |seed, module, row, column| hash(seed, module, row, column) < step.dropout_threshold;
        let mut dropped = 0.0;
        let mut together = [0.0; 4];
        for row in 0..512 {
            for column in 0..512 {
                if drops(SEED, MODULE, row, column) {
                    dropped += 1.0;
                    let others = [
                        drops(SEED + 1, MODULE, row, column),
                        drops(SEED, MODULE + 1, row, column),
                        drops(SEED, MODULE, row + 1, column),
                        drops(SEED, MODULE, row, column + 1),
                    ];
                    together.iter_mut().zip(others).for_each(|(sum, both)| *sum += f64::from(u8::from(both)));
                }
            }
        }
        let close = |got: f64, rate: f64| (got - rate * count).abs() < 5.0 * (rate * count).sqrt();
        assert!(close(dropped, p), "p = {p}: {} dropped", dropped / count);
        for (both, other) in together.into_iter().zip(["seed", "module", "row", "column"]) {
            assert!(close(both, p * p), "p = {p}: masks of the next {other} go together: {}", both / count);
        }
    }
}

/// A LoRA layer with dropout, forward and backward, in every variant against the reference layer.
pub async fn lora_layer(gpu: &Gpu) {
    for lora in [
        Lora { rows: 5, inputs: 123, outputs: 77, rank: 3, scaling: 2.0 },
        Lora { rows: 65, inputs: 70, outputs: 130, rank: 16, scaling: 0.5 },
        Lora { rows: 1, inputs: 200, outputs: 33, rank: 4, scaling: 1.0 },
    ] {
        for tile in TILES {
            for dtype in WEIGHT_DTYPES {
                let Lora { rows, inputs, outputs, rank, scaling } = lora;
                let mut random = Random::new(80);
                let (x, dy) = (random.normal(rows * inputs), random.normal(rows * outputs));
                let (w, w_values) = stored(gpu, &[outputs, inputs], dtype, &random.normal(outputs * inputs));
                let (a, b) = (random.normal(rank * inputs), random.normal(outputs * rank));
                let step = with_dropout(0.3);
                let (mask, _) = expected_mask(&step, MODULE, [rows, inputs]);

                let (x64, dy64, a64, b64) = (wide(&x), wide(&dy), wide(&a), wide(&b));
                let (y, e) = lora.forward(&x64, &w_values, &a64, &b64, &mask);
                let (dx, da, db) = lora.backward([&x64, &w_values, &a64, &b64], &mask, &e, &dy64);

                let (x, dy) = (f32s(gpu, &[rows, inputs], &x), f32s(gpu, &[rows, outputs], &dy));
                let (a, b) = (f32s(gpu, &[rank, inputs], &a), f32s(gpu, &[outputs, rank], &b));
                let [e_gpu, de_gpu] = [(); 2].map(|()| unwritten(gpu, &[rows, rank]));
                let y_gpu = unwritten(gpu, &[rows, outputs]);
                let dx_gpu = unwritten(gpu, &[rows, inputs]);
                let da_gpu = f32s(gpu, &[rank, inputs], &vec![0.0; rank * inputs]);
                let db_gpu = f32s(gpu, &[outputs, rank], &vec![0.0; outputs * rank]);
                let (scale, dropout) = (scaling as f32, Some(MODULE));
                run_step(gpu, &step, |plan| {
                    Nt { scale, dropout, ..Nt::new(&x, &a, &e_gpu) }.add_with(plan, tile);
                    Nt { extension: Some((&e_gpu, &b)), ..Nt::new(&x, &w, &y_gpu) }.add_with(plan, tile);
                    Nn { scale, ..Nn::new(&dy, &b, &de_gpu) }.add_with(plan, tile);
                    Nn { extension: Some((&de_gpu, &a)), dropout, ..Nn::new(&dy, &w, &dx_gpu) }
                        .add_with(plan, tile);
                    matmul_tn_with(plan, (&de_gpu).into(), (&x).into(), &da_gpu, dropout, tile);
                    matmul_tn_with(plan, (&dy).into(), (&e_gpu).into(), &db_gpu, None, tile);
                });
                let what = format!("{rows}×{outputs}×{inputs}, r = {rank}, {dtype:?}, {tile:?}");
                for (name, got, expected, width) in [
                    ("e", &e_gpu, &e, rank),
                    ("y", &y_gpu, &y, outputs),
                    ("dx", &dx_gpu, &dx, inputs),
                    ("dA", &da_gpu, &da, inputs),
                    ("dB", &db_gpu, &db, rank),
                ] {
                    assert_close(
                        &format!("{name} of {what}"),
                        &read(gpu, got).await,
                        expected,
                        width,
                        TOLERANCE,
                    );
                }
            }
        }
    }
}

/// With p = 0 the dropout variants give the plain ones' results, bit for bit.
pub async fn no_dropout_changes_no_bit(gpu: &Gpu) {
    let [m, n, k, r] = [65, 70, 77, 5];
    let mut random = Random::new(81);
    let x = f32s(gpu, &[m, k], &random.normal(m * k));
    let w = f32s(gpu, &[n, k], &random.normal(n * k));
    let w_nn = f32s(gpu, &[k, n], &random.normal(n * k));
    let (e, f) = (f32s(gpu, &[m, r], &random.normal(m * r)), f32s(gpu, &[r, n], &random.normal(r * n)));
    for tile in TILES {
        let pair = |dropout: Option<u32>| {
            let [y, dx] = [(); 2].map(|()| unwritten(gpu, &[m, n]));
            let da = f32s(gpu, &[k, r], &vec![0.0; k * r]);
            run_step(gpu, &with_dropout(0.0), |plan| {
                Nt { dropout, ..Nt::new(&x, &w, &y) }.add_with(plan, tile);
                Nn { dropout, extension: Some((&e, &f)), ..Nn::new(&x, &w_nn, &dx) }.add_with(plan, tile);
                matmul_tn_with(plan, (&x).into(), (&e).into(), &da, dropout, tile);
            });
            [y, dx, da]
        };
        for (dropped, plain) in pair(Some(MODULE)).iter().zip(&pair(None)) {
            assert_same_bits(&format!("{tile:?}"), &read(gpu, dropped).await, &read(gpu, plain).await);
        }
    }
}

/// Strides do not move the mask: it counts rows and columns of the operand, not of its matrix.
pub async fn masks_follow_the_operand(gpu: &Gpu) {
    let [m, n, k, around] = [9, 5, 40, 11];
    let mut random = Random::new(82);
    let (ldx, step) = (k + 2 * around, with_dropout(0.5));
    let x = random.normal(m * ldx);
    let (w, a) = (random.normal(n * k), random.normal(m * n));
    let own = crate::reference::columns(&wide(&x), ldx, around, k);
    let (mask, _) = expected_mask(&step, MODULE, [m, k]);
    let x = f32s(gpu, &[m, ldx], &x);
    let (w_gpu, a_gpu) = (f32s(gpu, &[n, k], &w), f32s(gpu, &[m, n], &a));
    let y = unwritten(gpu, &[m, n]);
    let da = f32s(gpu, &[n, k], &vec![0.0; n * k]);
    let operand = Columns::of(&x, around, k);
    run_step(gpu, &step, |plan| {
        Nt { dropout: Some(MODULE), ..Nt::new(operand, &w_gpu, &y) }.add_to(plan);
        matmul_tn_with(plan, (&a_gpu).into(), operand, &da, Some(MODULE), Tile::Wide);
    });
    let dropped = masked(&own, &mask);
    assert_close("nt", &read(gpu, &y).await, &nt(&dropped, &wide(&w), [m, n, k]), n, TOLERANCE);
    assert_close("tn", &read(gpu, &da).await, &tn(&wide(&a), &dropped, [n, k, m]), k, TOLERANCE);
}

/// In dx the mask applies to the adapter's part alone, and `scale` to both.
pub async fn mask_leaves_the_base_alone(gpu: &Gpu) {
    let [m, n, k, r] = [9, 40, 21, 3];
    let mut random = Random::new(83);
    let (x, w) = (random.normal(m * k), random.normal(k * n));
    let (e, f) = (random.normal(m * r), random.normal(r * n));
    let step = with_dropout(0.5);
    let (mask, _) = expected_mask(&step, MODULE, [m, n]);
    let extension = masked(&nn(&wide(&e), &wide(&f), [m, n, r]), &mask);
    let expected = add(&extension, &nn(&wide(&x), &wide(&w), [m, n, k]));
    let expected: Vec<f64> = expected.iter().map(|v| v * 0.25).collect();
    let (x, w) = (f32s(gpu, &[m, k], &x), f32s(gpu, &[k, n], &w));
    let (e, f) = (f32s(gpu, &[m, r], &e), f32s(gpu, &[r, n], &f));
    let y = unwritten(gpu, &[m, n]);
    run_step(gpu, &step, |plan| {
        let extension = Some((&e, &f));
        Nn { extension, dropout: Some(MODULE), scale: 0.25, ..Nn::new(&x, &w, &y) }.add_to(plan);
    });
    assert_close("dx", &read(gpu, &y).await, &expected, n, TOLERANCE);
}

/// With operands in f16, which go by four; the adapter's input is masked in f32.
pub async fn operands_in_f16(gpu: &Gpu) {
    let [m, n, k, r] = [66, 20, 72, 5];
    let (mut random, step) = (Random::new(84), with_dropout(0.4));
    let (x, x_values) = stored(gpu, &[m, k], Dtype::F16, &random.normal(m * k));
    let (a, w) = (random.normal(n * k), random.normal(k * n));
    let (e, f) = (random.normal(m * r), random.normal(r * n));
    let (of_x, of_y) = (expected_mask(&step, MODULE, [m, k]).0, expected_mask(&step, MODULE, [m, n]).0);
    let a_product = nt(&masked(&x_values, &of_x), &wide(&a), [m, n, k]);
    let extension = masked(&nn(&wide(&e), &wide(&f), [m, n, r]), &of_y);
    let dx = add(&extension, &nn(&x_values, &wide(&w), [m, n, k]));
    let (a, w) = (f32s(gpu, &[n, k], &a), f32s(gpu, &[k, n], &w));
    let (e, f) = (f32s(gpu, &[m, r], &e), f32s(gpu, &[r, n], &f));
    for tile in TILES {
        let [y, dx_gpu] = [(); 2].map(|()| unwritten(gpu, &[m, n]));
        let dropout = Some(MODULE);
        run_step(gpu, &step, |plan| {
            Nt { dropout, ..Nt::new(&x, &a, &y) }.add_with(plan, tile);
            Nn { dropout, extension: Some((&e, &f)), ..Nn::new(&x, &w, &dx_gpu) }.add_with(plan, tile);
        });
        assert_close(&format!("nt, {tile:?}"), &read(gpu, &y).await, &a_product, n, TOLERANCE);
        assert_close(&format!("nn, {tile:?}"), &read(gpu, &dx_gpu).await, &dx, n, TOLERANCE);
    }
}

cases!(
    masks_are_the_hash,
    masks_drop_p,
    lora_layer,
    no_dropout_changes_no_bit,
    masks_follow_the_operand,
    mask_leaves_the_base_alone,
    operands_in_f16,
);
