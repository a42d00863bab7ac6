use half::{bf16, f16};
use postil::gpu::{Dtype, Gpu};
use postil::kernels::halves::{pack_halves, unpack_halves};

use super::inputs::{Random, f32s, read, run, unwritten, unwritten_in};

/// How far rounding to this type may take a result from where it was, relative to it: devices round to the nearest f16, by
/// up to 2⁻¹¹, or cut off, by up to 2⁻¹⁰; to the nearest bf16 the kernels round themselves, by up to 2⁻⁹.
pub fn tolerance(dtype: Dtype) -> f64 {
    match dtype {
        Dtype::F16 => 1e-3,
        Dtype::BF16 => 2e-3,
        _ => 0.0,
    }
}

/// The step between two f16 of the value's size.
fn step(x: f32) -> f32 {
    2f32.powi((x.abs().log2().floor() as i32).max(-14) - 10)
}

/// Fails unless each element of `got` is that of `exact` in this type: of bf16 the nearest, of f16 one beside it.
#[track_caller]
pub fn assert_rounded(what: &str, got: &[f32], exact: &[f32], dtype: Dtype) {
    assert_eq!(got.len(), exact.len(), "{what}: number of elements");
    for (i, (&got, &exact)) in got.iter().zip(exact).enumerate() {
        let holds = match dtype {
            Dtype::BF16 => got.to_bits() == bf16::from_f32(exact).to_f32().to_bits(),
            _ => {
                f16::from_f32(exact).to_f32().to_bits() == got.to_bits() || (got - exact).abs() <= step(exact)
            }
        };
        assert!(holds, "{what}: [{i}] is {got:e} in {dtype:?}, of {exact:e}");
    }
}

/// `values` in this type and back in f32.
async fn there_and_back_of(gpu: &Gpu, shape: &[usize], dtype: Dtype, values: &[f32]) -> Vec<f32> {
    let x = f32s(gpu, shape, values);
    let (packed, back) = (unwritten_in(gpu, shape, dtype), unwritten(gpu, shape));
    run(gpu, |plan| {
        pack_halves(plan, &x, &packed);
        unpack_halves(plan, &packed, &back);
    });
    let back = read(gpu, &back).await;
    let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
    assert!(read(gpu, &packed).await.iter().zip(&back).all(same), "{dtype:?} is widened exactly");
    back
}

/// What the type has comes back to the bit, the rest is rounded, and what is out of f16's reach is infinite.
pub async fn there_and_back(gpu: &Gpu) {
    for (shape, dtype) in
        [[1, 16], [5, 12], [64, 3], [3, 1000]].into_iter().flat_map(|s| [(s, Dtype::F16), (s, Dtype::BF16)])
    {
        let mut values = Random::new(90).normal(shape[0] * shape[1]);
        for (i, value) in values.iter_mut().enumerate() {
            *value *= 10f32.powi(i as i32 % 9 - 4);
        }
        let exact = [0.0, -0.0, 1.0, -1.5, 65280.0, 2f32.powi(-14), -2f32.powi(-24), 0.332_031_25];
        let large = [65519.0, 65520.0, -1e6, 1e38, -3e38];
        for (value, special) in values.iter_mut().zip(exact.into_iter().chain(large)) {
            *value = special;
        }
        let found = there_and_back_of(gpu, &shape, dtype, &values).await;
        assert_rounded("there and back", &found, &values, dtype);
        assert!(found[..8].iter().zip(exact).all(|(found, exact)| found.to_bits() == exact.to_bits()));
        if dtype == Dtype::F16 {
            let infinity = f32::INFINITY;
            assert_eq!(found[8..13], [65504.0, infinity, -infinity, infinity, -infinity]);
        }
    }
}

/// Infinities stay, and no NaN, of whatever bits (devices make some with all of them set), becomes a number: gradients in f16 that are none must show.
pub async fn what_is_not_finite_stays_so(gpu: &Gpu) {
    let nans = [0x7fc0_0000, 0xffc0_0000, 0x7fff_ffff, 0xffff_ffff, 0x7f80_0001, 0xff80_0001];
    let mut values = vec![f32::INFINITY, f32::NEG_INFINITY];
    values.extend(nans.map(f32::from_bits));
    for dtype in [Dtype::F16, Dtype::BF16] {
        let found = there_and_back_of(gpu, &[2, 4], dtype, &values).await;
        assert_eq!(found[..2], values[..2], "{dtype:?}");
        for (found, value) in found.iter().zip(&values) {
            assert!(!found.is_finite(), "{dtype:?} of {:#x} is {found}", value.to_bits());
        }
    }
}

cases!(there_and_back, what_is_not_finite_stays_so);
