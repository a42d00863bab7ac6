use postil::gpu::Gpu;
use postil::kernels::reduce::{self as kernel, NORM_PARTS};

use super::compare::assert_close;
use super::inputs::{Random, f32s, read, run, unwritten, wide};
use crate::reference::reduce::{self as reference, Of};

/// A lane adds up to 1,200 terms, then 256 lanes are added: with terms of one sign the error is at most
/// 1,500·6e-8, on the average a fortieth of that.
const TOLERANCE: f64 = 5e-6;

const COUNTS: [usize; 7] = [1, 77, 255, 256, 257, 12_345, 300_001];

pub async fn norms(gpu: &Gpu) {
    for count in COUNTS {
        let x = Random::new(50).normal(count);
        let (parts, norm) = (unwritten(gpu, &[NORM_PARTS]), unwritten(gpu, &[1]));
        let input = f32s(gpu, &[count], &x);
        run(gpu, |plan| kernel::norm(plan, &input, &parts, &norm));
        let what = format!("{count} elements");
        let expected = reference::grouped(&wide(&x), Of::Squares, NORM_PARTS, 256);
        assert_close(&format!("parts of {what}"), &read(gpu, &parts).await, &expected, 1, TOLERANCE);
        let expected = [reference::norm(&wide(&x))];
        assert_close(&format!("norm of {what}"), &read(gpu, &norm).await, &expected, 1, TOLERANCE);
    }
}

/// Sums of losses (positive) are added to what is there.
pub async fn adds_sums(gpu: &Gpu) {
    for count in COUNTS {
        let x: Vec<f32> = Random::new(51).normal(count).iter().map(|v| v.abs()).collect();
        let (input, total) = (f32s(gpu, &[count], &x), f32s(gpu, &[1], &[2.5]));
        run(gpu, |plan| {
            kernel::add_sum(plan, &input, &total);
            kernel::add_sum(plan, &input, &total);
        });
        let expected = [2.5 + 2.0 * reference::grouped(&wide(&x), Of::Values, 1, 256)[0]];
        let what = format!("sum of {count} elements");
        assert_close(&what, &read(gpu, &total).await, &expected, 1, TOLERANCE);
    }
}

/// An overflow or a NaN in the gradient reaches the norm, which is what AdamW looks at.
pub async fn norm_shows_what_is_not_finite(gpu: &Gpu) {
    for bad in [f32::INFINITY, f32::NAN, 3e38] {
        let mut x = vec![1.0; 1000];
        x[777] = bad;
        let (parts, norm) = (unwritten(gpu, &[NORM_PARTS]), f32s(gpu, &[1], &[0.0]));
        let input = f32s(gpu, &[1000], &x);
        run(gpu, |plan| kernel::norm(plan, &input, &parts, &norm));
        let got = read(gpu, &norm).await[0];
        assert!(!got.is_finite(), "the norm of a gradient with {bad} is {got}");
    }
}

cases!(norms, adds_sums, norm_shows_what_is_not_finite);
