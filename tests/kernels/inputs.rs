//! Random inputs, and the way to the device and back.

use half::{bf16, f16};
use postil::config::Arithmetic;
use postil::gpu::{Dtype, Gpu, PlanBuilder, StepBuffer, Tensor};
use postil::kernels::step::Step;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A seeded source of inputs.
pub struct Random(ChaCha8Rng);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    fn uniform(&mut self) -> f64 {
        (f64::from(self.0.next_u32()) + 0.5) / 4_294_967_296.0
    }

    /// Normal with variance 1 (Box–Muller).
    pub fn normal(&mut self, count: usize) -> Vec<f32> {
        let mut one = || {
            let radius = (-2.0 * self.uniform().ln()).sqrt();
            (radius * (std::f64::consts::TAU * self.uniform()).cos()) as f32
        };
        (0..count).map(|_| one()).collect()
    }

    /// Integers below `end`.
    pub fn below(&mut self, end: u32, count: usize) -> Vec<u32> {
        (0..count).map(|_| self.0.next_u32() % end).collect()
    }

    /// `0..count` in random order.
    pub fn permutation(&mut self, count: u32) -> Vec<u32> {
        let mut order: Vec<u32> = (0..count).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, self.0.next_u32() as usize % (i + 1));
        }
        order
    }
}

/// Widened to the reference's precision.
pub fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

/// An input.
pub fn f32s(gpu: &Gpu, shape: &[usize], values: &[f32]) -> Tensor {
    assert_eq!(values.len(), shape.iter().product::<usize>());
    gpu.tensor_from("input", shape, Dtype::F32, values).expect("a small tensor")
}

/// An input of integers.
pub fn u32s(gpu: &Gpu, shape: &[usize], values: &[u32]) -> Tensor {
    assert_eq!(values.len(), shape.iter().product::<usize>());
    gpu.tensor_from("input", shape, Dtype::U32, values).expect("a small tensor")
}

/// An output filled with NaN, so that an element that is not written shows.
pub fn unwritten(gpu: &Gpu, shape: &[usize]) -> Tensor {
    unwritten_in(gpu, shape, Dtype::F32)
}

/// As [`unwritten`], of any floating-point type.
pub fn unwritten_in(gpu: &Gpu, shape: &[usize], dtype: Dtype) -> Tensor {
    stored(gpu, shape, dtype, &vec![f32::NAN; shape.iter().product()]).0
}

/// A tensor of this type, and the values that it really holds.
pub fn stored(gpu: &Gpu, shape: &[usize], dtype: Dtype, values: &[f32]) -> (Tensor, Vec<f64>) {
    let (words, stored): (Vec<u16>, Vec<f32>) = match dtype {
        Dtype::F16 => values.iter().map(|&v| (f16::from_f32(v).to_bits(), f16::from_f32(v).to_f32())).unzip(),
        Dtype::BF16 => {
            values.iter().map(|&v| (bf16::from_f32(v).to_bits(), bf16::from_f32(v).to_f32())).unzip()
        }
        _ => return (f32s(gpu, shape, values), wide(values)),
    };
    let tensor = gpu.tensor_from("input", shape, dtype, &words).expect("a small tensor");
    (tensor, wide(&stored))
}

/// Runs what `record` puts into a plan.
pub fn run(gpu: &Gpu, record: impl FnOnce(&mut PlanBuilder)) {
    replay(gpu, PlanBuilder::new(gpu), record);
}

/// As [`run`], with the values of a step.
pub fn run_step(gpu: &Gpu, step: &Step, record: impl FnOnce(&mut PlanBuilder)) {
    let step = StepBuffer::new(gpu, step);
    replay(gpu, PlanBuilder::with_step(gpu, &step), record);
}

/// As [`run_step`], in an arithmetic of the caller's choice.
pub fn run_in(gpu: &Gpu, arithmetic: Arithmetic, step: &Step, record: impl FnOnce(&mut PlanBuilder)) {
    let step = StepBuffer::new(gpu, step);
    replay(gpu, PlanBuilder::with_step(gpu, &step).in_arithmetic(arithmetic), record);
}

fn replay(gpu: &Gpu, mut plan: PlanBuilder, record: impl FnOnce(&mut PlanBuilder)) {
    record(&mut plan);
    gpu.run_whole(&plan.finish());
}

/// A result, of 16 bits widened.
pub async fn read(gpu: &Gpu, tensor: &Tensor) -> Vec<f32> {
    let widen: fn(u16) -> f32 = match tensor.dtype() {
        Dtype::F16 => |bits| f16::from_bits(bits).to_f32(),
        Dtype::BF16 => |bits| bf16::from_bits(bits).to_f32(),
        _ => return gpu.read(tensor).await.expect("the device reports no error"),
    };
    let words: Vec<u16> = gpu.read(tensor).await.expect("the device reports no error");
    words.into_iter().take(tensor.len()).map(widen).collect()
}
