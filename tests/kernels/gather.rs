use postil::gpu::{Dtype, Gpu};
use postil::kernels::{NONE, WEIGHT_DTYPES, gather as kernel};

use super::compare::assert_same_bits;
use super::inputs::{Random, f32s, read, run, stored, u32s, unwritten};
use crate::reference::gather as reference;

// Rows are copied and widened exactly: results are compared bit for bit.

fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&v| v as f32).collect()
}

/// Every storage at odd sizes; an odd width puts rows of 16-bit weights across word boundaries.
pub async fn gathers_rows(gpu: &Gpu) {
    for dtype in WEIGHT_DTYPES {
        for (rows, width, table_rows) in [(5, 123, 77), (1, 1, 1), (2, 128, 3), (257, 1, 9), (300, 77, 11)] {
            let mut random = Random::new(1);
            let (table, values) =
                stored(gpu, &[table_rows, width], dtype, &random.normal(table_rows * width));
            let mut index = random.below(table_rows as u32, rows);
            if rows > 2 {
                index[1] = NONE;
            }
            let y = unwritten(gpu, &[rows, width]);
            let indices = u32s(gpu, &[rows], &index);
            run(gpu, |plan| kernel::gather(plan, &indices, &table, &y));
            let expected = narrow(&reference::gather(&index, &values, width));
            assert_same_bits(&format!("{dtype:?} {rows}×{width}"), &read(gpu, &y).await, &expected);
        }
    }
}

/// All 16-bit patterns that are numbers. WGSL lets a device flush subnormal results to zero.
pub async fn widens_every_number(gpu: &Gpu) {
    for dtype in [Dtype::F16, Dtype::BF16] {
        let widen = |bits: u16| match dtype {
            Dtype::F16 => half::f16::from_bits(bits).to_f32(),
            _ => half::bf16::from_bits(bits).to_f32(),
        };
        let patterns: Vec<u16> = (0..=u16::MAX).filter(|&bits| widen(bits).is_finite()).collect();
        let shape = [patterns.len(), 1];
        let table = gpu.tensor_from("table", &shape, dtype, &patterns).expect("a small tensor");
        let indices = u32s(gpu, &shape[..1], &(0..patterns.len() as u32).collect::<Vec<_>>());
        let y = unwritten(gpu, &shape);
        run(gpu, |plan| kernel::gather(plan, &indices, &table, &y));
        for (&bits, got) in patterns.iter().zip(read(gpu, &y).await) {
            let exact = widen(bits);
            let subnormal = match dtype {
                Dtype::F16 => exact.abs() < half::f16::MIN_POSITIVE.to_f32(),
                _ => exact.is_subnormal(),
            };
            let flushed = subnormal && got == 0.0;
            assert!(
                flushed || got.to_bits() == exact.to_bits(),
                "{dtype:?} {bits:#06x}: {got:e}, not {exact:e}"
            );
        }
    }
}

/// More workgroups than one dimension of a grid may have.
pub async fn gathers_over_a_two_dimensional_grid(gpu: &Gpu) {
    let (rows, width) = (65_537, 257);
    let mut random = Random::new(2);
    let values = random.normal(3 * width);
    let index = random.below(3, rows);
    let table = f32s(gpu, &[3, width], &values);
    let indices = u32s(gpu, &[rows], &index);
    let y = unwritten(gpu, &[rows, width]);
    run(gpu, |plan| kernel::gather(plan, &indices, &table, &y));
    assert_same_bits("y", &read(gpu, &y).await, &reference::gather(&index, &values, width));
}

/// Only the rows named are written.
pub async fn scatters_rows(gpu: &Gpu) {
    for (rows, width, table_rows) in [(5, 123, 77), (1, 1, 1), (2, 128, 3), (257, 3, 300)] {
        let mut random = Random::new(3);
        let x = random.normal(rows * width);
        let mut index = random.permutation(table_rows as u32)[..rows].to_vec();
        if rows > 2 {
            index[1] = NONE;
        }
        let y = unwritten(gpu, &[table_rows, width]);
        let mut expected = vec![f32::NAN; table_rows * width];
        reference::scatter(&index, &x, &mut expected, width);
        let (indices, x) = (u32s(gpu, &[rows], &index), f32s(gpu, &[rows, width], &x));
        run(gpu, |plan| kernel::scatter(plan, &indices, &x, &y));
        assert_same_bits(&format!("{rows}×{width}"), &read(gpu, &y).await, &expected);
    }
}

cases!(gathers_rows, widens_every_number, gathers_over_a_two_dimensional_grid, scatters_rows);
