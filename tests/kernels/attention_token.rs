use postil::gpu::{Allocator, Gpu, Tensor};
use postil::kernels::attention::Heads;
use postil::kernels::attention_token::{TokenAttention, attention_token, shares};

use super::compare::{assert_close, assert_same_bits};
use super::inputs::{Random, f32s, read, run, u32s, unwritten, wide};
use crate::reference::attention::Attention;
use crate::reference::head_norm::head_norm;
use crate::reference::rope::{self, rope};

/// Dots of up to 256 products, exp, and sums over up to 700 keys in blocks: 2e-6 for the kernels for many rows. Between
/// shares of the keys log and exp come on top, each good to some ULP of numbers up to 6: 3e-6 more.
const TOLERANCE: f64 = 5e-6;

const EPS: f32 = 1e-3;

/// Heads, key heads, width, and the columns of it that turn: in fours and not, groups, wider than the lanes.
const HEADS: [[usize; 4]; 6] =
    [[4, 2, 48, 48], [3, 1, 10, 4], [2, 2, 250, 250], [8, 2, 64, 32], [2, 1, 256, 256], [1, 1, 1, 0]];

/// The first key of a row and its own, in a cache of so many rows: alone, one share, several, a window.
const RANGES: [[usize; 3]; 7] =
    [[0, 0, 1], [0, 63, 200], [0, 64, 300], [0, 255, 700], [0, 256, 700], [300, 699, 700], [5, 130, 700]];

/// The row's queries and keys are normed, turned and attended; its key and value are in the cache afterwards, which is
/// otherwise as it was.
async fn check(
    gpu: &Gpu,
    [heads, kv_heads, head_dim, rotary]: [usize; 4],
    [from, own, capacity]: [usize; 3],
    normed: bool,
) {
    let shape = Heads { heads, kv_heads, head_dim, scale: 0.3 };
    let (q_width, kv_width) = (shape.q_width(), shape.kv_width());
    let mut random = Random::new(140);
    let qkv = random.normal(q_width + kv_width);
    let mut cache = random.normal(capacity * kv_width);
    // What is not attended may be anything.
    cache[..from * kv_width].fill(f32::NAN);
    cache[own * kv_width..].fill(f32::NAN);
    let norms = [(); 2].map(|()| random.normal(head_dim));
    let table = rope::table(own as u32 + 1, rotary, 100.0);
    let angles: Vec<f32> = table[own * rotary..].iter().map(|&v| v as f32).collect();

    let (mut q, mut kv) = (wide(&qkv[..q_width]), wide(&qkv[q_width..]));
    if normed {
        let [of_q, of_k] = norms.each_ref().map(|norm| wide(norm));
        let k = kv[..kv_width / 2].to_vec();
        head_norm(&q.clone(), &of_q, heads, f64::from(EPS), &mut q, q_width);
        head_norm(&k, &of_k, kv_heads, f64::from(EPS), &mut kv, kv_width);
    }
    let turned = |heads, ld| rope::Heads { heads, head_dim, rotary, ld };
    if rotary > 0 {
        let exact: Vec<f64> = wide(&angles);
        rope(&mut q, turned(heads, q_width), &[0], &exact, 1.0);
        rope(&mut kv, turned(kv_heads, kv_width), &[0], &exact, 1.0);
    }
    let mut all = wide(&cache);
    all[own * kv_width..][..kv_width].copy_from_slice(&kv);
    let reference = Attention { heads, kv_heads, head_dim, scale: f64::from(shape.scale) };
    let (expected, _) = reference.forward(&q, &all, &[[from as u32, own as u32 + 1]]);

    let cached = f32s(gpu, &[capacity, kv_width], &cache);
    let (qkv, norms) =
        (f32s(gpu, &[1, q_width + kv_width], &qkv), norms.map(|norm| f32s(gpu, &[head_dim], &norm)));
    let angles = (rotary > 0).then(|| f32s(gpu, &[1, rotary], &angles));
    let rows = shares(capacity, &shape, &gpu.part_limits());
    let [parts, lse] = [q_width, heads].map(|columns| unwritten(gpu, &[rows, columns]));
    let y = unwritten(gpu, &[1, q_width]);
    let kv_range = u32s(gpu, &[1, 2], &[from as u32, own as u32 + 1]);
    let io = TokenAttention {
        kv_range: &kv_range,
        qkv: &qkv,
        angles: angles.as_ref(),
        head_norm: normed.then_some((norms.each_ref(), EPS)),
        cache: &cached,
        parts: &parts,
        lse: &lse,
        y: &y,
    };
    run(gpu, |plan| attention_token(plan, &shape, &io));
    let what = format!("{shape:?}, {rotary} turn, {from}..={own} of {capacity}, normed: {normed}");
    assert_close(&what, &read(gpu, &y).await, &expected, head_dim, TOLERANCE);
    let got = read(gpu, &cached).await;
    let (before, rest) = got.split_at(own * kv_width);
    let (written, after) = rest.split_at(kv_width);
    assert_close(&format!("cache of {what}"), written, &kv, head_dim, TOLERANCE);
    assert_same_bits("cache before", before, &cache[..own * kv_width]);
    assert!(after.iter().all(|v| v.is_nan()), "{what}: later rows were written");
}

pub async fn heads_of_every_kind(gpu: &Gpu) {
    for heads in HEADS {
        for normed in [false, true] {
            check(gpu, heads, [2, 70, 100], normed).await;
        }
    }
}

pub async fn ranges(gpu: &Gpu) {
    for range in RANGES {
        check(gpu, [4, 2, 16, 16], range, false).await;
    }
    check(gpu, [3, 1, 10, 4], [0, 600, 700], true).await;
}

/// A token's result has the same bits however much room the cache has.
pub async fn room_does_not_matter(gpu: &Gpu) {
    let shape = Heads { heads: 2, kv_heads: 1, head_dim: 8, scale: 0.3 };
    let kv_range = u32s(gpu, &[1, 2], &[0, 200]);
    let qkv = f32s(gpu, &[1, 32], &Random::new(141).normal(32));
    let values = Random::new(142).normal(700 * 16);
    let mut results: Vec<Vec<f32>> = Vec::new();
    for capacity in [200, 700] {
        let cache: Tensor = f32s(gpu, &[capacity, 16], &values[..capacity * 16]);
        let [parts, lse] = [16, 2].map(|columns| unwritten(gpu, &[capacity.div_ceil(64), columns]));
        let y = unwritten(gpu, &[1, 16]);
        let io = TokenAttention {
            kv_range: &kv_range,
            qkv: &qkv,
            angles: None,
            head_norm: None,
            cache: &cache,
            parts: &parts,
            lse: &lse,
            y: &y,
        };
        run(gpu, |plan| attention_token(plan, &shape, &io));
        results.push(read(gpu, &y).await);
    }
    assert_same_bits("y", &results[1], &results[0]);
}

cases!(heads_of_every_kind, ranges, room_does_not_matter);
