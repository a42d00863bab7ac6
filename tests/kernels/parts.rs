//! The cases of the other files on a device whose bindings are so small that their tensors lie in several
//! parts, and what is particular to parts.

use std::sync::Arc;

use postil::gpu::{Allocator, Dtype, Gpu, GpuOptions, PartLimits, Tensor};
use postil::kernels::attention::{AttentionForward, AttentionKernel, Heads};
use postil::kernels::matmul::Columns;
use postil::kernels::reduce::NORM_PARTS;
use postil::kernels::rope::Direction;
use postil::kernels::step::{Optimizer, Step};
use postil::kernels::{
    NONE, adamw, add_rows, attention, copy_columns, cross_entropy, gather, gelu, halves, head_norm,
    layer_norm, reduce, rms_norm, rope, rope_heads, swiglu, transpose,
};

use super::compare::{assert_close, assert_same_bits};
use super::inputs::{Random, f32s, read, run, run_step, stored, u32s, unwritten, unwritten_in, wide};

/// WebGPU's default limits, but bindings that hold as few rows of `columns` floats as the device can cut:
/// 16 where bindings may start at multiples of 32 bytes (lavapipe), 128 in a browser.
async fn cut(gpu: &Gpu, columns: u64) -> Arc<Gpu> {
    let alignment = gpu.caps().limits.min_storage_buffer_offset_alignment;
    let limits = wgpu::Limits {
        max_storage_buffer_binding_size: 4 * columns * u64::from(alignment / 2),
        min_storage_buffer_offset_alignment: alignment,
        ..wgpu::Limits::default()
    };
    let options = GpuOptions { limits: Some(limits), ..Default::default() };
    Gpu::open_with(None, options).await.expect("a device with less than the adapter offers")
}

/// 400 rows of keys and values are in several parts wherever they can be cut.
pub async fn cache_in_parts(gpu: &Gpu) {
    let gpu = cut(gpu, 384).await;
    assert!(unwritten(&gpu, &[400, 192]).part_count() > 1);
    super::attention::queries_on_a_cache(&gpu).await;
    super::attention_token::ranges(&gpu).await;
}

/// Sums and norms of up to 300,001 numbers. Each part has its own groups, so the partial sums of
/// the norm are others, but not what they add up to; the tolerance is that of one part.
pub async fn reductions(gpu: &Gpu) {
    let gpu = cut(gpu, 384).await;
    super::reduce::adds_sums(&gpu).await;
    super::reduce::norm_shows_what_is_not_finite(&gpu).await;
    for count in [6145, 300_001] {
        let x = Random::new(116).normal(count);
        let (parts, norm) = (unwritten(&gpu, &[NORM_PARTS]), unwritten(&gpu, &[1]));
        let input = f32s(&gpu, &[count], &x);
        assert!(input.part_count() > count / 60_000);
        run(&gpu, |plan| reduce::norm(plan, &input, &parts, &norm));
        let expected = [wide(&x).iter().map(|v| v * v).sum::<f64>().sqrt()];
        assert_close(&format!("norm of {count}"), &read(&gpu, &norm).await, &expected, 1, 5e-6);
    }
}

const ROWS: usize = 300;
const WIDTH: usize = 96;

/// The outputs of every kernel that works row by row.
async fn row_by_row(gpu: &Gpu) -> Vec<(&'static str, Tensor, Vec<f32>)> {
    let mut random = Random::new(110);
    let mut matrix = |columns: usize| f32s(gpu, &[ROWS, columns], &random.normal(ROWS * columns));
    let [x, dy, dx, turned, logits] = [(); 5].map(|()| matrix(WIDTH));
    let [gate_up, d_gate_up, d_gelu] = [(); 3].map(|()| matrix(2 * WIDTH));
    let [y, activated, swiglu_y, rows, spread] = [(); 5].map(|()| unwritten(gpu, &[ROWS, WIDTH]));
    let [rstd, loss] = [(); 2].map(|()| unwritten(gpu, &[ROWS]));
    let weight = f32s(gpu, &[WIDTH], &random.normal(WIDTH));
    let mut order = random.permutation(ROWS as u32);
    order[3] = NONE;
    let index = u32s(gpu, &[ROWS], &order);
    let positions = u32s(gpu, &[ROWS], &random.below(ROWS as u32, ROWS));
    let labels = u32s(gpu, &[ROWS], &random.below(WIDTH as u32, ROWS));
    let table = f32s(gpu, &[ROWS, 32], &rope::table(ROWS, &[0.3; 16]));
    let flat = || f32s(gpu, &[ROWS * WIDTH], &Random::new(111).normal(ROWS * WIDTH));
    let [p, g, m, v] = [(); 4].map(|()| flat());
    gpu.write(&v, &vec![0.5f32; ROWS * WIDTH]);
    let state = f32s(gpu, &[8], &[2.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    let mut matrix = |columns: usize| f32s(gpu, &[ROWS, columns], &random.normal(ROWS * columns));
    let [d_centred, d_heads, sums] = [(); 3].map(|()| matrix(WIDTH));
    let [gelu_out, gelu_y, halved] = [(); 3].map(|()| unwritten(gpu, &[ROWS, WIDTH]));
    let of_type = |width: usize, dtype: Dtype| unwritten_in(gpu, &[ROWS, width], dtype);
    let [halves, normed, operand, half_y, q] = [(); 5].map(|()| of_type(WIDTH, Dtype::F16));
    let [gate_up_kept, kv] = [(); 2].map(|()| of_type(2 * WIDTH, Dtype::F16));
    let (kept, qkv) = (of_type(WIDTH, Dtype::BF16), matrix(3 * WIDTH));
    let (merged, d_both) = (of_type(3 * WIDTH, Dtype::F16), matrix(WIDTH));
    let [centred, heads, copied] = [(); 3].map(|()| unwritten(gpu, &[ROWS, WIDTH]));
    let (layer_rstd, head_rstd) = (unwritten(gpu, &[ROWS]), unwritten(gpu, &[ROWS, 4]));
    let head_weight = f32s(gpu, &[WIDTH / 4], &random.normal(WIDTH / 4));
    let settings =
        Optimizer { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1, max_grad_norm: 1.0 };
    let step = Step::default().optimizer(&settings, 1, 0.1).targets(ROWS);
    run_step(gpu, &step, |plan| {
        rms_norm::rms_norm(plan, &x, &weight, 1e-5, [&y, &rstd], None);
        rms_norm::rms_norm(plan, &x, &weight, 1e-5, [&normed, &rstd], Some(&kept));
        rms_norm::rms_norm_backward(plan, [&x, &rstd], &weight, &dy, &dx, None, true);
        rms_norm::rms_norm_backward(plan, [&kept, &rstd], &weight, &dy, &d_both, Some(&operand), true);
        swiglu::swiglu(plan, &gate_up, &activated, None);
        swiglu::swiglu(plan, &gate_up, &half_y, Some(&gate_up_kept));
        swiglu::swiglu_backward(plan, &d_gate_up, &dy, &swiglu_y);
        rope::rope(plan, &positions, &table, &turned, [2, 40], Direction::Forward);
        cross_entropy::cross_entropy(plan, &labels, &logits, &loss, 0, Some(&state));
        gather::gather(plan, &index, &x, &rows);
        gather::scatter(plan, &index, &x, &spread);
        adamw::adamw(plan, &p, &g, &m, &v, &state);
        gelu::gelu(plan, &gate_up, &gelu_out, None);
        gelu::gelu_backward(plan, &d_gelu, &dy, &gelu_y);
        halves::pack_halves(plan, &x, &halves);
        halves::unpack_halves(plan, &halves, &halved);
        layer_norm::layer_norm(plan, &x, [&weight, &weight], 1e-5, [&centred, &layer_rstd], None);
        layer_norm::layer_norm_backward(plan, [&x, &layer_rstd], &weight, &dy, &d_centred, None, true);
        let turn = rope_heads::Turn { positions: &positions, table: Some(&table), head_dim: 32 };
        rope_heads::rope_split(plan, &turn, &qkv, [&q, &kv]);
        rope_heads::rope_merge(plan, &turn, [&x, &gate_up], &merged);
        head_norm::head_norm(plan, &x, &head_weight, 1e-5, &heads, &head_rstd);
        head_norm::head_norm_backward(plan, &x, &head_weight, &head_rstd, &d_heads);
        copy_columns::copy_columns(plan, Columns::of(&gate_up, 20, 50), Columns::of(&copied, 3, 50));
        add_rows::scale(plan, &sums, 0.5);
        add_rows::add(plan, &sums, &x);
        add_rows::add_gathered(plan, &sums, &dy, &positions);
    });
    let named = [
        ("rms_norm", y),
        ("rms_norm_backward", dx),
        ("swiglu", activated),
        ("swiglu_backward", d_gate_up),
        ("swiglu_backward y", swiglu_y),
        ("rms_norm in f16", normed),
        ("rms_norm kept", kept),
        ("rms_norm_backward of bf16", d_both),
        ("rms_norm_backward operand", operand),
        ("swiglu in f16", half_y),
        ("swiglu kept", gate_up_kept),
        ("rope_split q", q),
        ("rope_split kv", kv),
        ("rope_merge", merged),
        ("rope", turned),
        ("cross_entropy", logits),
        ("loss", loss),
        ("gather", rows),
        ("scatter", spread),
        ("adamw p", p),
        ("adamw v", v),
        ("gelu", gelu_out),
        ("gelu_backward", d_gelu),
        ("gelu_backward y", gelu_y),
        ("halves", halved),
        ("layer_norm", centred),
        ("layer_norm_backward", d_centred),
        ("head_norm", heads),
        ("head_norm_backward", d_heads),
        ("copy_columns", copied),
        ("add_rows", sums),
    ];
    let mut outputs = Vec::new();
    for (name, tensor) in named {
        let values = read(gpu, &tensor).await;
        outputs.push((name, tensor, values));
    }
    outputs
}

/// They give the same bits in parts.
pub async fn rows_in_parts(gpu: &Gpu) {
    let small = cut(gpu, 288).await;
    let binding = small.part_limits().bytes;
    for ((name, whole, expected), (_, cut, got)) in
        row_by_row(gpu).await.into_iter().zip(row_by_row(&small).await)
    {
        assert_eq!(whole.part_count(), 1, "{name}");
        assert!(cut.part_count() > 1 || cut.bytes() <= binding, "{name} in one part");
        assert_same_bits(name, &got, &expected);
    }
}

/// Matrices of both sizes of elements, cut before and after; the rows of the 16-bit one share words.
pub async fn transposes(gpu: &Gpu) {
    let gpu = cut(gpu, 100).await;
    let (rows, columns) = (77, 65);
    for dtype in [Dtype::F32, Dtype::F16] {
        let (x, values) = stored(&gpu, &[rows, columns], dtype, &Random::new(117).normal(rows * columns));
        let y = gpu.tensor("output", &[columns, rows], dtype).unwrap();
        gpu.write_at(&y, 0, &vec![0xff; columns * rows * dtype.size()]);
        let fine = gpu.part_limits().rows == 16;
        assert!(!fine || x.part_count() > 1 && y.part_count() > 1, "{dtype:?}");
        let all = u32s(&gpu, &[columns], &(0..columns as u32).collect::<Vec<_>>());
        let read_back = unwritten(&gpu, &[columns, rows]);
        run(&gpu, |plan| {
            transpose::transpose(plan, &x, &y);
            gather::gather(plan, &all, &y, &read_back);
        });
        let turned = |i: usize| values[i % rows * columns + i / rows] as f32;
        let expected: Vec<f32> = (0..rows * columns).map(turned).collect();
        assert_same_bits(&format!("{dtype:?}"), &read(&gpu, &read_back).await, &expected);
    }
}

/// The forward pass of attention over keys in parts gives almost the same; of one query row, over a range of
/// keys that begins behind the first parts.
pub async fn late_keys(gpu: &Gpu) {
    let gpu = cut(gpu, 64).await;
    let heads = Heads { heads: 1, kv_heads: 1, head_dim: 8, scale: 0.5 };
    let kv = f32s(&gpu, &[2000, 16], &Random::new(112).normal(2000 * 16));
    let q = f32s(&gpu, &[1, 8], &Random::new(113).normal(8));
    let range = u32s(&gpu, &[1, 2], &[1999, 2000]);
    let (y, lse) = (unwritten(&gpu, &[1, 8]), unwritten(&gpu, &[1, 1]));
    assert!(kv.part_count() > 3);
    // One key: its value, to the bit.
    let expected = &read(&gpu, &kv).await[1999 * 16 + 8..];
    for kernel in [AttentionKernel::Rows, AttentionKernel::Tiled] {
        gpu.write(&y, &[f32::NAN; 8]);
        let io = AttentionForward { kv_range: &range, q: &q, kv: &kv, y: &y, lse: &lse };
        run_step(&gpu, &Step::default(), |plan| attention::attention_with(plan, kernel, &heads, &io));
        assert_same_bits(&format!("y by {kernel:?}"), &read(&gpu, &y).await, expected);
    }
}

/// Uploads from any byte on, read-backs, copies and clears go through all parts.
pub async fn transfers(gpu: &Gpu) {
    let gpu = cut(gpu, 64).await;
    let (rows, columns) = (601, 33);
    let tensor = gpu.tensor("test", &[rows, columns], Dtype::F32).unwrap();
    assert!(tensor.part_count() > 2);
    let values = Random::new(114).normal(rows * columns);
    let bytes: &[u8] = bytemuck::cast_slice(&values);
    for (i, slice) in bytes.chunks(1000).enumerate() {
        gpu.write_at(&tensor, 1000 * i as u64, slice);
    }
    assert_same_bits("written in slices", &read(&gpu, &tensor).await, &values);
    // A tensor that is cut elsewhere.
    let other = gpu.allocate("test", &[rows * columns], Dtype::F32, &[640, 1024, 2000]).unwrap();
    run_step(&gpu, &Step::default(), |plan| plan.copy(&tensor, &other));
    assert_same_bits("copied", &read(&gpu, &other).await, &values);
    run_step(&gpu, &Step::default(), |plan| plan.clear(&tensor));
    assert_same_bits("cleared", &read(&gpu, &tensor).await, &vec![0.0; rows * columns]);
    // An odd number of 16-bit elements.
    let halves: Vec<u16> = (0..601 * 33).collect();
    let tensor = gpu.tensor_from("test", &[rows, columns], Dtype::F16, &halves).unwrap();
    assert!(tensor.part_count() > 1 && tensor.bytes() == 601 * 33 * 2 + 2);
    let back: Vec<u16> = gpu.read(&tensor).await.unwrap();
    assert_eq!(back[..halves.len()], halves);
    // A view of rows across a cut, and fewer columns of the same rows.
    let float = f32s(&gpu, &[rows, 64], &Random::new(115).normal(rows * 64));
    let whole = read(&gpu, &float).await;
    let view = float.view(5 * 64, &[280, 64]);
    assert!(view.part_count() > 1);
    assert_same_bits("a view", &read(&gpu, &view).await, &whole[5 * 64..285 * 64]);
    let narrow = float.narrowed(3);
    assert_eq!((narrow.shape(), narrow.part_count()), (&[rows, 3][..], float.part_count()));
    gpu.write(&narrow, &values[..rows * 3]);
    assert_same_bits("fewer columns", &read(&gpu, &narrow).await, &values[..rows * 3]);
}

/// Flat buffers are cut between matrices, or between the rows of one that is too large.
pub async fn packing(_: &Gpu) {
    let limits = PartLimits { bytes: 4096, rows: 16 };
    // 1024 floats to a part.
    let small = (4, 64, 256);
    assert_eq!(limits.pack([small; 4]), Some(vec![]));
    assert_eq!(limits.pack([small; 9]), Some(vec![1024, 2048]));
    // 100 rows of 20 floats: 48 rows to a part; nothing is put behind its rest.
    assert_eq!(limits.pack([small, (100, 20, 2048), small]), Some(vec![256, 1216, 2176, 2304]));
    assert_eq!(limits.pack([(2, 1000, 2048)]), None);
}

/// WebGPU's limits exactly, whatever the adapter has; more than an adapter has is refused.
pub async fn default_limits(_: &Gpu) {
    let limits = wgpu::Limits::default();
    let gpu = Gpu::open_with(None, GpuOptions { limits: Some(limits.clone()), ..Default::default() })
        .await
        .unwrap();
    assert_eq!(gpu.caps().limits, limits);
    assert_eq!(gpu.part_limits(), PartLimits { bytes: 128 << 20, rows: 128 });
    let tensor = gpu.tensor("table", &[151_936, 896], Dtype::F16).unwrap();
    assert_eq!(tensor.part_count(), 3);
    gpu.check().unwrap();
    let error = gpu.tensor("row", &[2, 40 << 20], Dtype::F32).expect_err("a row larger than a binding");
    for part in ["row", "320.0 MiB", "one buffer", "128.0 MiB"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    let limits = wgpu::Limits { max_compute_workgroup_size_x: u32::MAX, ..limits };
    assert!(Gpu::open_with(None, GpuOptions { limits: Some(limits), ..Default::default() }).await.is_err());
}

/// Where bindings start at multiples of 256 bytes, as in browsers, nothing of these is large enough to be cut; what is
/// cut there is in the cases below and in those of whole models.
#[cfg(not(target_arch = "wasm32"))]
mod fine {
    use postil::gpu::{Allocator, Gpu};

    use super::super::{attention, matmul, matmul_dropout, matvec};
    use super::{cut, unwritten};

    /// The widest matrices have 310 columns; with the finest cuts those of 65 rows or more are in several parts, for
    /// M, N and K alike.
    pub async fn matmuls(gpu: &Gpu) {
        let gpu = cut(gpu, 310).await;
        let parts = unwritten(&gpu, &[130, 70]).part_count();
        assert!(gpu.part_limits().rows > 16 || parts > 1);
        matmul::nt(&gpu).await;
        matmul::nt_options(&gpu).await;
        matmul::nn(&gpu).await;
        matmul::tn(&gpu).await;
        matmul::zero_extension_changes_no_bit(&gpu).await;
    }

    /// Weights in several parts. (An adapter is cut between its matrices or their rows: generation in parts has such.)
    pub async fn matvecs(gpu: &Gpu) {
        let gpu = cut(gpu, 700).await;
        assert!(gpu.part_limits().rows > 16 || unwritten(&gpu, &[131, 200]).part_count() > 1);
        matvec::layers_up_to(&gpu, 200).await;
    }

    /// Masks go by the row of the whole product.
    pub async fn dropout(gpu: &Gpu) {
        let gpu = cut(gpu, 200).await;
        matmul_dropout::masks_are_the_hash(&gpu).await;
        matmul_dropout::lora_layer(&gpu).await;
        matmul_dropout::mask_leaves_the_base_alone(&gpu).await;
    }

    /// Queries and keys.
    pub async fn attention_in_parts(gpu: &Gpu) {
        let gpu = cut(gpu, 384).await;
        attention::heads_of_every_kind(&gpu).await;
        attention::long_documents(&gpu).await;
        attention::padding_rows(&gpu).await;
        attention::large_scores(&gpu).await;
    }

    cases!(matmuls, matvecs, dropout, attention_in_parts);
}

cases!(cache_in_parts, reductions, rows_in_parts, transposes, late_keys, transfers, packing, default_limits,);
