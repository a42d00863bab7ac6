use postil::gpu::{Dtype, Gpu, Tensor};
use postil::kernels::halves::{pack_halves, unpack_halves};

use super::inputs::{Random, f32s, read, run, unwritten};

/// The step between numbers of 16 bits of the value's size: a device may cut off instead of rounding to f16.
fn step(x: f32, dtype: Dtype) -> f32 {
    let exponent = x.abs().log2().floor() as i32;
    match dtype {
        Dtype::F16 => 2f32.powi(exponent.max(-14) - 10),
        _ => 2f32.powi(exponent - 7),
    }
}

/// There and back: what the type has comes back to the bit, the rest to the next one, and what is out of f16's reach as
/// its largest.
pub async fn there_and_back(gpu: &Gpu) {
    for (shape, dtype) in
        [[1, 12], [5, 12], [64, 3], [3, 1000]].into_iter().flat_map(|s| [(s, Dtype::F16), (s, Dtype::BF16)])
    {
        let count = shape[0] * shape[1];
        let mut values = Random::new(90).normal(count);
        for (i, value) in values.iter_mut().enumerate() {
            *value *= 10f32.powi(i as i32 % 9 - 4);
        }
        let exact = [0.0, -0.0, 1.0, -1.5, 65280.0, 2f32.powi(-14), -2f32.powi(-24), 0.332_031_25];
        let large = [65520.0, -1e6, 1e38, -3e38];
        for (value, special) in values.iter_mut().zip(exact.into_iter().chain(large)) {
            *value = special;
        }
        let (x, x2) = (f32s(gpu, &shape, &values), f32s(gpu, &[shape[0], 8], &vec![0.25; 8 * shape[0]]));
        let half = |of: &Tensor| gpu.tensor("y", of.shape(), dtype).unwrap();
        let (packed, packed2) = (half(&x), half(&x2));
        let (back, back2) = (unwritten(gpu, &shape), unwritten(gpu, x2.shape()));
        run(gpu, |plan| {
            pack_halves(plan, [&x, &x2], [&packed, &packed2]);
            unpack_halves(plan, [&packed, &packed2], [&back, &back2]);
        });
        assert_eq!(read(gpu, &back2).await, vec![0.25; 8 * shape[0]]);
        for (i, (x, found)) in values.into_iter().zip(read(gpu, &back).await).enumerate() {
            let within = match (i, dtype) {
                (0..8, _) => x.to_bits() == found.to_bits(),
                (8..12, Dtype::F16) => found == 65504f32.copysign(x),
                _ => (x - found).abs() <= step(x, dtype),
            };
            assert!(within, "{x} comes back as {found} from {dtype:?}");
        }
    }
}

cases!(there_and_back);
