use half::f16;
use postil::gpu::{Dtype, Gpu, Tensor};
use postil::kernels::attention::{
    self as kernel, ATTENTION_KERNELS, AttentionBackward, AttentionForward, AttentionKernel, Heads,
};

use super::compare::{assert_close, assert_same_bits};
use super::halves::tolerance;
use super::inputs::{Random, f32s, read, run, stored, u32s, unwritten, unwritten_in, wide};
use crate::reference::attention::Attention;

/// Scores add up to 256 products; their rounding (under 1e-6, scores being about 1) is a relative error
/// of each probability, beside exp's 3 + 2|x| ULP; then up to 400 positive terms are added.
const TOLERANCE: f64 = 5e-6;
/// The gradient of a key adds up differences (dy·v − delta) that cancel.
const BACKWARD_TOLERANCE: f64 = 1e-5;
/// With cooperative matrices probabilities and the gradients of scores are rounded to f16, by up to 2⁻¹² of
/// themselves on average; what delta is taken from differs by as much before it cancels.
pub const COOPERATIVE_TOLERANCE: f64 = 1e-3;
pub const COOPERATIVE_BACKWARD_TOLERANCE: f64 = 5e-3;

/// The variants that compute these heads on this device, with the types of queries, keys, values and output.
fn variants(gpu: &Gpu, head_dim: usize) -> Vec<(AttentionKernel, Dtype)> {
    let kernels =
        ATTENTION_KERNELS.into_iter().filter(|kernel| kernel.suits(head_dim) && kernel.runs_on(gpu));
    let types = |kernel| match kernel {
        AttentionKernel::Rows => &[Dtype::F32][..],
        _ => &[Dtype::F32, Dtype::F16],
    };
    kernels.flat_map(|kernel| types(kernel).iter().map(move |&dtype| (kernel, dtype))).collect()
}

/// Of the forward pass and of the backward pass. An output in f16 is rounded after each part of the keys; the gradients of
/// scores are differences from delta, which is taken from it.
fn tolerances(kernel: AttentionKernel, dtype: Dtype) -> [f64; 2] {
    let [forward, backward] = match kernel {
        AttentionKernel::Cooperative => [COOPERATIVE_TOLERANCE, COOPERATIVE_BACKWARD_TOLERANCE],
        _ => [TOLERANCE, BACKWARD_TOLERANCE],
    };
    [forward + tolerance(dtype), backward + 2.0 * tolerance(dtype)]
}

/// Documents laid end to end: the keys of each query row and the queries of each key row.
pub struct Batch {
    pub kv_range: Vec<[u32; 2]>,
    pub query_range: Vec<[u32; 2]>,
}

impl Batch {
    /// Causal attention inside each document; a padding row is a document of one row.
    pub fn new(documents: &[u32]) -> Self {
        let (mut kv_range, mut query_range) = (Vec::new(), Vec::new());
        let mut start = 0;
        for &length in documents {
            let end = start + length;
            kv_range.extend((start..end).map(|row| [start, row + 1]));
            query_range.extend((start..end).map(|row| [row, end]));
            start = end;
        }
        Self { kv_range, query_range }
    }

    /// The last `window` keys only, the row's own included.
    pub fn sliding(mut self, window: u32) -> Self {
        for [start, end] in &mut self.kv_range {
            *start = (*start).max(end.saturating_sub(window));
        }
        for [start, end] in &mut self.query_range {
            *end = (*end).min(*start + window);
        }
        self
    }

    pub fn rows(&self) -> usize {
        self.kv_range.len()
    }
}

/// Rounded to f16, in which some variants have their operands: all variants have the same.
pub fn halves(values: Vec<f32>) -> Vec<f32> {
    values.into_iter().map(|value| f16::from_f32(value).to_f32()).collect()
}

pub fn ranges(gpu: &Gpu, ranges: &[[u32; 2]]) -> Tensor {
    u32s(gpu, &[ranges.len(), 2], ranges.as_flattened())
}

/// The same in f64.
pub fn reference(&Heads { heads, kv_heads, head_dim, scale }: &Heads) -> Attention {
    Attention { heads, kv_heads, head_dim, scale: f64::from(scale) }
}

async fn check(gpu: &Gpu, heads: [usize; 3], documents: &[u32], size: f32) {
    let [heads, kv_heads, head_dim] = heads;
    let scale = (1.0 / (head_dim as f64).sqrt()) as f32;
    check_batch(gpu, Heads { heads, kv_heads, head_dim, scale }, &Batch::new(documents), size).await;
}

async fn check_batch(gpu: &Gpu, shape: Heads, batch: &Batch, size: f32) {
    let Heads { heads, head_dim, .. } = shape;
    let own = reference(&shape);
    assert_eq!((own.q_width(), own.kv_width()), (shape.q_width(), shape.kv_width()));
    let mut random = Random::new(90);
    let (rows, q_width, kv_width) = (batch.rows(), own.q_width(), own.kv_width());
    let q: Vec<f32> = halves(random.normal(rows * q_width)).iter().map(|v| v * size).collect();
    let kv = halves(random.normal(rows * kv_width));
    let dy = halves(random.normal(rows * q_width));

    let (q64, kv64, dy64) = (wide(&q), wide(&kv), wide(&dy));
    let (y, lse) = own.forward(&q64, &kv64, &batch.kv_range);
    let delta = own.delta(&y, &dy64);
    let (dq, dkv) = own.backward([&q64, &kv64], &batch.kv_range, [&lse, &delta], &dy64);

    let (kv_range, query_range) = (ranges(gpu, &batch.kv_range), ranges(gpu, &batch.query_range));
    let (q_shape, kv_shape, side) = ([rows, q_width], [rows, kv_width], [rows, heads]);
    let dy = f32s(gpu, &q_shape, &dy);
    for (kernel, dtype) in variants(gpu, head_dim) {
        let [forward, backward] = tolerances(kernel, dtype);
        let ((q, _), (kv, _)) = (stored(gpu, &q_shape, dtype, &q), stored(gpu, &kv_shape, dtype, &kv));
        let y_gpu = unwritten_in(gpu, &q_shape, dtype);
        let dy_operand = (dtype != Dtype::F32).then(|| unwritten_in(gpu, &q_shape, dtype));
        let [by_head, dq_gpu] = [(); 2].map(|()| unwritten(gpu, &q_shape));
        let [lse_gpu, delta_gpu] = [(); 2].map(|()| unwritten(gpu, &side));
        let dkv_gpu = unwritten(gpu, &kv_shape);
        run(gpu, |plan| {
            let io = AttentionForward { kv_range: &kv_range, q: &q, kv: &kv, y: &y_gpu, lse: &lse_gpu };
            kernel::attention_with(plan, kernel, &shape, &io);
            let io = AttentionBackward {
                kv_range: &kv_range,
                query_range: &query_range,
                q: &q,
                kv: &kv,
                y: &y_gpu,
                lse: &lse_gpu,
                dy: &dy,
                delta: &delta_gpu,
                by_head: &by_head,
                dy_operand: dy_operand.as_ref(),
                dq: &dq_gpu,
                dkv: &dkv_gpu,
            };
            kernel::attention_backward_with(plan, kernel, &shape, &io);
        });
        let what = format!("{own:?} by {kernel:?}, {dtype:?}, keys {:?}, size {size}", batch.kv_range);
        for (name, got, expected, columns, tolerance) in [
            ("y", &y_gpu, &y, q_width, forward),
            ("lse", &lse_gpu, &lse, heads, forward),
            ("delta", &delta_gpu, &delta, heads, forward),
            ("dq", &dq_gpu, &dq, q_width, backward),
            ("dkv", &dkv_gpu, &dkv, kv_width, backward),
        ] {
            assert_close(&format!("{name} of {what}"), &read(gpu, got).await, expected, columns, tolerance);
        }
    }
}

/// Heads per key head 1, 2, 3 and 8; widths of every class of tiles, in and at its end, and odd ones.
pub async fn heads_of_every_kind(gpu: &Gpu) {
    check(gpu, [3, 3, 20], &[5, 1, 77], 1.0).await;
    check(gpu, [4, 2, 32], &[64, 3], 1.0).await;
    check(gpu, [6, 2, 64], &[65, 12], 1.0).await;
    check(gpu, [8, 1, 8], &[19, 2], 1.0).await;
    check(gpu, [2, 1, 80], &[30], 1.0).await;
    check(gpu, [3, 1, 128], &[9, 17], 1.0).await;
    check(gpu, [1, 1, 256], &[7], 1.0).await;
    check(gpu, [2, 1, 132], &[34], 1.0).await;
    check(gpu, [2, 2, 2], &[3], 1.0).await;
}

/// Several blocks of 64 keys in one document, beside others.
pub async fn long_documents(gpu: &Gpu) {
    check(gpu, [3, 1, 20], &[200, 3, 129], 1.0).await;
}

/// Padding rows (documents of one row) in front, between and behind.
pub async fn padding_rows(gpu: &Gpu) {
    check(gpu, [2, 1, 32], &[1, 1, 40, 1, 20, 1, 1, 1], 1.0).await;
}

/// Windows of one key, within a block of 64 keys, exactly one, and more than one; a scale of its own.
pub async fn sliding_windows(gpu: &Gpu) {
    let shape = Heads { heads: 4, kv_heads: 2, head_dim: 20, scale: 0.3 };
    for window in [1, 9, 64, 70] {
        check_batch(gpu, shape, &Batch::new(&[5, 150, 1, 30]).sliding(window), 1.0).await;
    }
}

/// Scores of about ±90, where the running maximum decides whether anything overflows.
pub async fn large_scores(gpu: &Gpu) {
    check(gpu, [2, 1, 64], &[150], 32.0).await;
}

/// Generation: few queries, somewhere in a longer cache.
pub async fn queries_on_a_cache(gpu: &Gpu) {
    let own = Attention { heads: 4, kv_heads: 2, head_dim: 48, scale: 0.125 };
    let shape = Heads { heads: 4, kv_heads: 2, head_dim: 48, scale: 0.125 };
    let cached = 400;
    for range in [vec![[37, 180]], vec![[0, 1], [0, 400], [399, 400]], vec![[5, 69], [5, 70]]] {
        let mut random = Random::new(91);
        let q = halves(random.normal(range.len() * own.q_width()));
        let kv = halves(random.normal(cached * own.kv_width()));
        let (expected, expected_lse) = own.forward(&wide(&q), &wide(&kv), &range);
        let q_shape = [range.len(), own.q_width()];
        let kv_range = ranges(gpu, &range);
        for (kernel, dtype) in variants(gpu, own.head_dim) {
            let [tolerance, _] = tolerances(kernel, dtype);
            let (q, _) = stored(gpu, &q_shape, dtype, &q);
            let (kv, _) = stored(gpu, &[cached, own.kv_width()], dtype, &kv);
            let (y, lse) = (unwritten_in(gpu, &q_shape, dtype), unwritten(gpu, &[range.len(), 4]));
            let io = AttentionForward { kv_range: &kv_range, q: &q, kv: &kv, y: &y, lse: &lse };
            run(gpu, |plan| kernel::attention_with(plan, kernel, &shape, &io));
            let what = format!("ranges {range:?} by {kernel:?}, {dtype:?}");
            assert_close(&format!("y of {what}"), &read(gpu, &y).await, &expected, own.q_width(), tolerance);
            assert_close(&format!("lse of {what}"), &read(gpu, &lse).await, &expected_lse, 4, tolerance);
        }
    }
}

/// A row's result has the same bits whichever rows are computed with it.
pub async fn rows_stand_alone(gpu: &Gpu) {
    let shape = Heads { heads: 6, kv_heads: 2, head_dim: 16, scale: 0.3 };
    let batch = Batch::new(&[5, 150, 70]);
    let (mut random, rows) = (Random::new(92), batch.rows());
    let q = random.normal(rows * shape.q_width());
    let kv = random.normal(rows * shape.kv_width());
    for (kernel, dtype) in variants(gpu, shape.head_dim) {
        let (kv, _) = stored(gpu, &[rows, shape.kv_width()], dtype, &kv);
        let mut results = Vec::new();
        for first in [0, 160] {
            let kv_range = ranges(gpu, &batch.kv_range[first..]);
            let shape_of_q = [rows - first, shape.q_width()];
            let (q, _) = stored(gpu, &shape_of_q, dtype, &q[first * shape.q_width()..]);
            let y = unwritten_in(gpu, &shape_of_q, dtype);
            let lse = unwritten(gpu, &[rows - first, shape.heads]);
            let io = AttentionForward { kv_range: &kv_range, q: &q, kv: &kv, y: &y, lse: &lse };
            run(gpu, |plan| kernel::attention_with(plan, kernel, &shape, &io));
            results.push(read(gpu, &y).await);
        }
        let [all, last] = &results[..] else { unreachable!("two results") };
        assert_same_bits(&format!("{kernel:?}, {dtype:?}"), last, &all[160 * shape.q_width()..]);
    }
}

cases!(
    heads_of_every_kind,
    long_documents,
    padding_rows,
    sliding_windows,
    large_scores,
    queries_on_a_cache,
    rows_stand_alone,
);
