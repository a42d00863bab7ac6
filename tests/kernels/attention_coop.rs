//! The cooperative attention kernels where there are no cooperative matrices: with the products alone put in other
//! words (`coop_attention_products.wgsl` beside this file), everything around them runs on any device.

use std::ops::Range;

use postil::gpu::{Dtype, Gpu, Shader, Tensor};
use postil::kernels::attention::{AttentionDeltaParams, AttentionDkvSumParams, AttentionParams, Heads};
use postil::kernels::{all_shaders, cooperative_shaders};

use super::attention::{
    Batch, COOPERATIVE_BACKWARD_TOLERANCE, COOPERATIVE_TOLERANCE, halves, ranges, reference,
};
use super::compare::assert_close;
use super::halves::tolerance;
use super::inputs::{Random, f32s, read, run, stored, unwritten, unwritten_in, wide};

const PRODUCTS: &str = include_str!("../../shaders/shared/coop_attention_products.wgsl");
const PLAIN_PRODUCTS: &str = include_str!("coop_attention_products.wgsl");
const CELL: &str = include_str!("../../shaders/shared/cell_16.wgsl");
/// Words as they lie in memory are what the plain products have, too.
const PLAIN_CELL: &str = "alias Cell = vec2<u32>;\nfn narrow_cell(cell: Cell) -> Narrow { return cell; }\n";

/// The shader of this label without cooperative matrices.
fn plain(label: &str) -> Shader {
    let mut shader =
        cooperative_shaders().into_iter().find(|shader| shader.label() == label).expect("a shader");
    shader.parts.retain(|part| !part.contains("enable wgpu_cooperative_matrix;"));
    assert!(shader.parts.iter().any(|part| part == PRODUCTS), "the products");
    for part in &mut shader.parts {
        match &**part {
            PRODUCTS => *part = PLAIN_PRODUCTS.into(),
            CELL => *part = PLAIN_CELL.into(),
            _ => {}
        }
    }
    shader.variant += "-plain";
    shader
}

fn baseline(label: &str) -> Shader {
    all_shaders().into_iter().find(|shader| shader.label() == label).expect("a shader")
}

/// Rows in two parts, if they are enough for two.
fn parts(rows: usize) -> Vec<Range<usize>> {
    if rows > 64 { vec![0..64, 64..rows] } else { vec![0..rows; 1] }
}

async fn check(gpu: &Gpu, heads: [usize; 3], batch: &Batch) {
    for dtype in [Dtype::F32, Dtype::F16] {
        check_in(gpu, heads, batch, dtype).await;
    }
}

async fn check_in(gpu: &Gpu, heads: [usize; 3], batch: &Batch, dtype: Dtype) {
    let [heads, kv_heads, head_dim] = heads;
    let shape = Heads { heads, kv_heads, head_dim, scale: 0.125 };
    let own = reference(&shape);
    let (rows, group, mut random) = (batch.rows(), heads / kv_heads, Random::new(93));
    let (q_shape, kv_shape, side) = ([rows, shape.q_width()], [rows, shape.kv_width()], [rows, heads]);
    // Scores of several units, so that the maximum rises now and then.
    let q: Vec<f32> = halves(random.normal(rows * shape.q_width())).iter().map(|v| 4.0 * v).collect();
    let dy = halves(random.normal(rows * shape.q_width()));
    let kv = halves(random.normal(rows * shape.kv_width()));
    let (q64, kv64, dy64) = (wide(&q), wide(&kv), wide(&dy));
    let (y, lse) = own.forward(&q64, &kv64, &batch.kv_range);
    let delta = own.delta(&y, &dy64);
    let (dq, dkv) = own.backward([&q64, &kv64], &batch.kv_range, [&lse, &delta], &dy64);

    let (kv_range, query_range) = (ranges(gpu, &batch.kv_range), ranges(gpu, &batch.query_range));
    let ((q, _), (kv, _)) = (stored(gpu, &q_shape, dtype, &q), stored(gpu, &kv_shape, dtype, &kv));
    let (y_gpu, dy) = (unwritten_in(gpu, &q_shape, dtype), f32s(gpu, &q_shape, &dy));
    let [dq_gpu, dk_gpu, dv_gpu] = [(); 3].map(|()| unwritten(gpu, &q_shape));
    let [lse_gpu, delta_gpu] = [(); 2].map(|()| unwritten(gpu, &side));
    let dkv_gpu = unwritten(gpu, &kv_shape);
    let operand = (dtype == Dtype::F16).then(|| unwritten_in(gpu, &q_shape, dtype));
    let operand = operand.as_ref();
    let columns = if head_dim <= 64 { 64 } else { 128 };
    let storage = if dtype == Dtype::F16 { "f16" } else { "f32" };
    let [forward, to_q, to_kv] = ["attention_coop", "attention_coop_dq", "attention_coop_dkv"]
        .map(|name| plain(&format!("{name}/{storage}-{columns}")));
    let params = |part: &Range<usize>| AttentionParams {
        rows: rows as u32,
        heads: heads as u32,
        kv_heads: kv_heads as u32,
        head_dim: head_dim as u32,
        scale: shape.scale,
        first: part.start as u32,
        count: part.len() as u32,
        accumulate: (part.start > 0).into(),
    };
    let grid = |items: usize| [(items.div_ceil(64) * kv_heads) as u32, 1, 1];
    run(gpu, |plan| {
        for part in parts(rows) {
            let bindings = [&kv_range, &q, &kv.slice(&part), &y_gpu, &lse_gpu];
            plan.dispatch(forward.clone(), &params(&part), &bindings, grid(rows * group));
        }
        let items = rows * heads;
        let delta_params = AttentionDeltaParams { items: items as u32, head_dim: head_dim as u32 };
        let delta_grid = [items.div_ceil(64) as u32, 1, 1];
        let delta = baseline(&format!("attention_delta/{storage}x4"));
        let bindings = [&[&y_gpu, &dy, &delta_gpu], operand.as_slice()].concat();
        plan.dispatch(delta, &delta_params, &bindings, delta_grid);
        let dy = operand.unwrap_or(&dy);
        for part in parts(rows) {
            let bindings = [&kv_range, &q, &kv.slice(&part), dy, &lse_gpu, &delta_gpu, &dq_gpu];
            plan.dispatch(to_q.clone(), &params(&part), &bindings, grid(rows * group));
            let of_part = |tensor: &Tensor| tensor.slice(&part);
            let [q, dy, lse, delta] = [&q, dy, &lse_gpu, &delta_gpu].map(of_part);
            let bindings = [&query_range, &q, &kv, &dy, &lse, &delta, &dk_gpu, &dv_gpu];
            let grid = [(rows.div_ceil(64) * heads) as u32, 1, 1];
            plan.dispatch(to_kv.clone(), &params(&part), &bindings, grid);
        }
        let sum_params = AttentionDkvSumParams {
            rows: rows as u32,
            heads: heads as u32,
            kv_heads: kv_heads as u32,
            head_dim: head_dim as u32,
        };
        let sum_grid = [dkv_gpu.len().div_ceil(256) as u32, 1, 1];
        plan.dispatch(baseline("attention_dkv_sum"), &sum_params, &[&dk_gpu, &dv_gpu, &dkv_gpu], sum_grid);
    });
    let backward = COOPERATIVE_BACKWARD_TOLERANCE + 2.0 * tolerance(dtype);
    for (name, got, expected, columns, tolerance) in [
        ("y", &y_gpu, &y, shape.q_width(), COOPERATIVE_TOLERANCE + tolerance(dtype)),
        ("lse", &lse_gpu, &lse, heads, 1e-5),
        ("dq", &dq_gpu, &dq, shape.q_width(), backward),
        ("dkv", &dkv_gpu, &dkv, shape.kv_width(), backward),
    ] {
        let what = format!("{name} of {shape:?}, {dtype:?}, keys {:?}", batch.kv_range);
        assert_close(&what, &read(gpu, got).await, expected, columns, tolerance);
    }
}

/// One chunk of columns and two, full and not; one head a group and several; documents, padding, windows.
pub async fn around_the_products(gpu: &Gpu) {
    check(gpu, [3, 1, 64], &Batch::new(&[5, 1, 77])).await;
    check(gpu, [2, 2, 48], &Batch::new(&[140, 3]).sliding(70)).await;
    check(gpu, [4, 2, 80], &Batch::new(&[66])).await;
    check(gpu, [8, 1, 128], &Batch::new(&[9, 8])).await;
}

cases!(around_the_products);
