use postil::gpu::{Dtype, Gpu};
use postil::kernels::copy as kernel;

use super::inputs::run;

/// What comes is what there was: a copy is its own reference. All bits, NaNs' among them.
pub async fn copies_bits(gpu: &Gpu) {
    for shape in [[1, 4], [5, 124], [77, 12], [300, 64]] {
        let count = shape[0] * shape[1];
        let words: Vec<u32> = (0..count as u32).map(|i| i.wrapping_mul(0x9e37_79b1)).collect();
        let x = gpu.tensor_from("x", &shape, Dtype::F32, &words).expect("a small tensor");
        let y = gpu.tensor_from("y", &shape, Dtype::F32, &vec![u32::MAX; count]).expect("a small tensor");
        run(gpu, |plan| kernel::copy(plan, &x, &y));
        assert!(gpu.read::<u32>(&y).await.expect("a read") == words, "{shape:?}");
    }
}

cases!(copies_bits);
