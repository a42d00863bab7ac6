use postil::gpu::Gpu;
use postil::kernels::head_norm as kernel;
use postil::kernels::matmul::Columns;

use super::compare::assert_close;
use super::inputs::{Random, f32s, read, run, unwritten, wide};
use crate::reference::head_norm as reference;

/// As for RMSNorm, of at most 256 columns: about 70 roundings of 6e-8 of random sign.
const TOLERANCE: f64 = 2e-6;

/// Rows, heads, head_dim and columns of the wider matrix; columns around the heads must stay as they are.
const SHAPES: [(usize, usize, usize, usize); 5] =
    [(5, 3, 20, 77), (1, 1, 2, 2), (4, 2, 64, 256), (3, 1, 130, 260), (2, 4, 256, 1024)];

pub async fn forward(gpu: &Gpu) {
    for (rows, heads, head_dim, ldy) in SHAPES {
        let mut random = Random::new(50);
        let (x, before) = (random.normal(rows * heads * head_dim), random.normal(rows * ldy));
        let scale = random.normal(head_dim);
        let (width, eps) = (heads * head_dim, f64::from(1e-6f32));
        let (mut expected, mut normed) = (wide(&before), vec![0.0; rows * width]);
        let inverse = reference::head_norm(&wide(&x), &wide(&scale), heads, eps, &mut normed, width);
        let first = (ldy - width) / 2;
        for (row, normed) in expected.chunks_exact_mut(ldy).zip(normed.chunks_exact(width)) {
            row[first..first + width].copy_from_slice(normed);
        }
        let (y, rstd) = (f32s(gpu, &[rows, ldy], &before), unwritten(gpu, &[rows, heads]));
        let (x, scale) = (f32s(gpu, &[rows, heads * head_dim], &x), f32s(gpu, &[head_dim], &scale));
        run(gpu, |plan| kernel::head_norm(plan, &x, &scale, 1e-6, Columns::of(&y, first, width), &rstd));
        let what = format!("{rows} rows of {ldy}, {heads}×{head_dim} from {first}");
        assert_close(&format!("y of {what}"), &read(gpu, &y).await, &expected, ldy, TOLERANCE);
        assert_close(&format!("rstd of {what}"), &read(gpu, &rstd).await, &inverse, heads, TOLERANCE);
    }
}

pub async fn backward(gpu: &Gpu) {
    for (rows, heads, head_dim, ldd) in SHAPES {
        let mut random = Random::new(51);
        let (x, d) = (random.normal(rows * heads * head_dim), random.normal(rows * ldd));
        let scale = random.normal(head_dim);
        let (_, rstd) = crate::reference::rms_norm::rms_norm(&wide(&x), &wide(&scale), 1e-6);
        let mut expected = wide(&d);
        reference::head_norm_backward(&wide(&x), &wide(&scale), heads, &rstd, &mut expected, ldd);
        let rstd: Vec<f32> = rstd.iter().map(|&v| v as f32).collect();
        let (x, scale) = (f32s(gpu, &[rows, heads * head_dim], &x), f32s(gpu, &[head_dim], &scale));
        let (rstd, d) = (f32s(gpu, &[rows, heads], &rstd), f32s(gpu, &[rows, ldd], &d));
        run(gpu, |plan| kernel::head_norm_backward(plan, &x, &scale, &rstd, &d));
        let what = format!("{rows} rows of {ldd}, {heads}×{head_dim}");
        assert_close(&format!("d of {what}"), &read(gpu, &d).await, &expected, ldd, TOLERANCE);
    }
}

cases!(forward, backward);
