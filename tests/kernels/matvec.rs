use postil::gpu::{Dtype, Gpu};
use postil::kernels::WEIGHT_DTYPES;
use postil::kernels::matvec::{FORMS, Form, LowRank, Matvec, RowNorm, RowWeight};

use super::compare::{assert_close, assert_same_bits};
use super::inputs::{Random, f32s, read, run, stored, unwritten, wide};
use crate::reference::gelu::gelu;
use crate::reference::matmul::{add, nt, scaled};
use crate::reference::rms_norm::rms_norm;
use crate::reference::swiglu::swiglu;

/// K up to 4104 products of random sign, of which a lane adds up a 64th or less and then the lanes are added in some steps:
/// about 15 roundings of 6e-8 relative to the result; exp and the root mean square add a few.
const TOLERANCE: f64 = 2e-6;

const EPS: f32 = 1e-3;

/// K; of each weight its first row, its rows and its rank: odd ones, one element, whole chunks of 16 bytes, more ranks
/// and more chunks than lanes, and columns that end within a workgroup.
type Layer<'a> = (usize, &'a [[usize; 3]]);
const LAYERS: [Layer<'_>; 7] = [
    (77, &[[0, 5, 3], [2, 1, 0], [1, 130, 16]]),
    (1, &[[0, 1, 1]]),
    (64, &[[0, 4, 4], [3, 8, 4], [0, 2, 4]]),
    (200, &[[0, 131, 70], [5, 70, 5]]),
    (1032, &[[1, 9, 0], [0, 6, 2]]),
    (1100, &[[0, 3, 0]]),
    (4104, &[[0, 5, 2], [1, 2, 0]]),
];

/// One row through a layer: its norm, then up to three modules with LoRA, bias and activation, on top of what y holds if
/// it is to be added to. Columns around the result stay as they are.
async fn check(gpu: &Gpu, (k, modules): Layer<'_>, dtype: Dtype, form: Form, [normed, adds]: [bool; 2]) {
    let mut random = Random::new(130);
    let (x, g) = (random.normal(k), random.normal(k));
    let (y64, _) =
        if normed { rms_norm(&wide(&x), &wide(&g), f64::from(EPS)) } else { (wide(&x), Vec::new()) };
    let mut expected = Vec::new();
    let (mut weights, mut flat, mut matrices, mut bias) = (Vec::new(), vec![], Vec::new(), Vec::new());
    let mut rank = 0;
    for &[first, n, r] in modules {
        let (w, values) = stored(gpu, &[first + n, k], dtype, &random.normal((first + n) * k));
        let (a, b) = (random.normal(r * k), random.normal((first + n) * r));
        let of_module = random.normal(n);
        let e = scaled(&nt(&y64, &wide(&a), [1, r, k]), 0.5);
        let low = nt(&e, &wide(&b[first * r..]), [1, n, r]);
        let product = scaled(&add(&nt(&y64, &values[first * k..], [1, n, k]), &low), 2.0);
        expected.extend(add(&product, &wide(&of_module)));
        weights.push(w);
        let b_at = flat.len();
        flat.extend(&b);
        flat.resize(flat.len().next_multiple_of(64), f32::NAN);
        matrices.push((first, n, r, b_at, f32s(gpu, &[r.max(1), k], if r > 0 { &a } else { &g })));
        bias.extend(of_module);
        rank += r;
    }
    let width =
        if matches!(form, Form::SiluPairs | Form::GeluPairs) { modules[0][1] } else { expected.len() };
    expected = match form {
        Form::Columns => expected,
        Form::Gelu => gelu(&expected, width, false),
        Form::SiluPairs => swiglu(&expected, width),
        Form::GeluPairs => gelu(&expected, width, true),
    };
    let before = random.normal(width);
    if adds {
        expected = add(&expected, &wide(&before));
    }

    // Never empty.
    flat.resize(flat.len() + 64, f32::NAN);
    let adapter = f32s(gpu, &[flat.len()], &flat);
    let (x, g) = (f32s(gpu, &[1, k], &x), f32s(gpu, &[k], &g));
    let bias = f32s(gpu, &[bias.len()], &bias);
    // Three columns, the result, two columns, e.
    let mut start = vec![f32::NAN; 3 + width + 2 + rank];
    if adds {
        start[3..3 + width].copy_from_slice(&before);
    }
    let y = f32s(gpu, &[1, start.len()], &start);
    let e = 3 + width + 2;
    let norm = |eps| normed.then_some(RowNorm { weight: &g, eps });
    let rows: Vec<_> = (weights.iter().zip(&matrices))
        .map(|(weight, &(first, count, r, at, _))| {
            let low_rank = (r > 0).then_some(LowRank { at, r });
            RowWeight { first, count, low_rank, scale: 2.0, ..weight.into() }
        })
        .collect();
    let a: Vec<_> = (matrices.iter().filter(|matrix| matrix.2 > 0))
        .map(|(.., a)| RowWeight { scale: 0.5, ..a.into() })
        .collect();
    run(gpu, |plan| {
        if !a.is_empty() {
            Matvec { norm: norm(None), y_first: e, ..Matvec::new(&x, &a, &y) }.add_to(plan);
        }
        let product = Matvec {
            norm: norm(Some(EPS)),
            bias: Some(&bias),
            adapter: Some(&adapter),
            e,
            form,
            y_first: 3,
            accumulate: adds,
            ..Matvec::new(&x, &rows, &y)
        };
        product.add_to(plan);
    });
    let what = format!("{k} to {modules:?}, {dtype:?}, {form:?}, normed: {normed}, adds: {adds}");
    let got = read(gpu, &y).await;
    assert_close(&what, &got[3..3 + width], &expected, width, TOLERANCE);
    assert!(got[..3].iter().chain(&got[3 + width..e]).all(|v| v.is_nan()), "{what}: columns outside");
}

pub async fn layers(gpu: &Gpu) {
    layers_up_to(gpu, usize::MAX).await;
}

/// Those whose K is at most so much.
pub async fn layers_up_to(gpu: &Gpu, most: usize) {
    for dtype in WEIGHT_DTYPES {
        for layer in LAYERS.into_iter().filter(|layer| layer.0 <= most) {
            check(gpu, layer, dtype, Form::Columns, [true, false]).await;
            check(gpu, layer, dtype, Form::Columns, [false, true]).await;
        }
    }
}

pub async fn activations(gpu: &Gpu) {
    for dtype in WEIGHT_DTYPES {
        for k in [77, 64, 4104] {
            for form in FORMS {
                check(gpu, (k, &[[0, 37, 3], [4, 37, 5]]), dtype, form, [true, false]).await;
            }
        }
    }
}

/// Pairs from the two halves of one weight, with one adapter for both.
pub async fn halves_of_one_weight(gpu: &Gpu) {
    let [k, n, r] = [40, 21, 3];
    let mut random = Random::new(131);
    let (x, b, a) = (random.normal(k), random.normal(2 * n * r), random.normal(r * k));
    let (w, values) = stored(gpu, &[2 * n, k], Dtype::BF16, &random.normal(2 * n * k));
    let e = nt(&wide(&x), &wide(&a), [1, r, k]);
    let product = add(&nt(&wide(&x), &values, [1, 2 * n, k]), &nt(&e, &wide(&b), [1, 2 * n, r]));
    let (x, a) = (f32s(gpu, &[1, k], &x), f32s(gpu, &[r, k], &a));
    let (adapter, y) = (f32s(gpu, &[2 * n * r], &b), unwritten(gpu, &[1, n + 2 * r]));
    let half = |first| RowWeight { first, count: n, low_rank: Some(LowRank { at: 0, r }), ..(&w).into() };
    run(gpu, |plan| {
        Matvec { y_first: n, ..Matvec::new(&x, &[(&a).into(), (&a).into()], &y) }.add_to(plan);
        let (adapter, form) = (Some(&adapter), Form::SiluPairs);
        Matvec { adapter, form, e: n, ..Matvec::new(&x, &[half(0), half(n)], &y) }.add_to(plan);
    });
    let got = read(gpu, &y).await;
    assert_close("pairs", &got[..n], &swiglu(&product, n), n, TOLERANCE);
}

/// With B = 0 an adapter changes no bit of the base's result.
pub async fn zero_b_changes_no_bit(gpu: &Gpu) {
    for (k, n, r) in [(77, 33, 3), (640, 70, 100)] {
        let mut random = Random::new(132);
        let (x, g) = (f32s(gpu, &[1, k], &random.normal(k)), f32s(gpu, &[k], &random.normal(k)));
        let (w, _) = stored(gpu, &[n, k], Dtype::F16, &random.normal(n * k));
        let zeros = f32s(gpu, &[n * r], &vec![0.0; n * r]);
        let base = unwritten(gpu, &[1, n]);
        let with = f32s(gpu, &[1, n + r], &random.normal(n + r));
        let norm = Some(RowNorm { weight: &g, eps: Some(EPS) });
        run(gpu, |plan| {
            Matvec { norm, ..Matvec::new(&x, &[(&w).into()], &base) }.add_to(plan);
            let adapted = RowWeight { low_rank: Some(LowRank { at: 0, r }), ..(&w).into() };
            Matvec { norm, adapter: Some(&zeros), e: n, ..Matvec::new(&x, &[adapted], &with) }.add_to(plan);
        });
        assert_same_bits("y", &read(gpu, &with).await[..n], &read(gpu, &base).await);
    }
}

cases!(layers, activations, halves_of_one_weight, zero_b_changes_no_bit);
