use postil::gpu::{Dtype, Gpu};
use postil::kernels::transpose as kernel;

use super::inputs::run;
use crate::reference::transpose as reference;

/// Elements of both sizes; odd counts leave half a word at the end.
pub async fn transposes_bits(gpu: &Gpu) {
    for (rows, columns) in [(5, 123), (1, 1), (33, 99), (64, 128), (7, 3), (300, 2)] {
        let count = rows * columns;
        // Every pattern is different up to 2^16, NaNs among them: nothing may be taken for a number.
        let words: Vec<u32> = (0..count as u32).map(|i| i.wrapping_mul(0x9e37_79b1)).collect();
        let x = gpu.tensor_from("x", &[rows, columns], Dtype::F32, &words).unwrap();
        let y = gpu.tensor_from("y", &[columns, rows], Dtype::F32, &vec![u32::MAX; count]).unwrap();
        run(gpu, |plan| kernel::transpose(plan, &x, &y));
        assert!(
            gpu.read::<u32>(&y).await.unwrap() == reference::transpose(&words, columns),
            "{rows}×{columns}"
        );

        let halves: Vec<u16> = (0..count as u32).map(|i| i.wrapping_mul(0x9e37) as u16).collect();
        for dtype in [Dtype::F16, Dtype::BF16] {
            let x = gpu.tensor_from("x", &[rows, columns], dtype, &halves).unwrap();
            let filled = vec![u16::MAX; count];
            let y = gpu.tensor_from("y", &[columns, rows], dtype, &filled).unwrap();
            run(gpu, |plan| kernel::transpose(plan, &x, &y));
            let found: Vec<u16> = gpu.read(&y).await.unwrap();
            assert!(
                found[..count] == reference::transpose(&halves, columns),
                "{rows}×{columns} of {dtype:?}"
            );
        }
    }
}

cases!(transposes_bits);
