use postil::gpu::{Gpu, Tensor};
use postil::kernels::adamw as kernel;
use postil::kernels::step::{Optimizer, Step};

use super::compare::{assert_close, assert_same_bits};
use super::inputs::{Random, f32s, read, run_step, wide};
use crate::reference::adamw::{AdamW, State};
use crate::reference::reduce::norm;

/// No sums: a few roundings of 6e-8, constants rounded to f32, a square root and two divisions of
/// 2.5 ULP; three steps of them.
const TOLERANCE: f64 = 2e-6;

const COUNTS: [usize; 5] = [1, 77, 256, 257, 5 * 123 * 77];

struct OnGpu {
    p: Tensor,
    m: Tensor,
    v: Tensor,
}

impl OnGpu {
    fn new(gpu: &Gpu, p: &[f32], m: &[f32], v: &[f32]) -> Self {
        let [p, m, v] = [p, m, v].map(|values| f32s(gpu, &[values.len()], values));
        Self { p, m, v }
    }

    fn step(&self, gpu: &Gpu, step: &Step, g: &[f32], norm: f32) {
        self.scaled_step(gpu, step, g, norm, [1.0, 0.0]);
    }

    /// With the inverse of the gradient's scale and the number of skipped steps.
    fn scaled_step(&self, gpu: &Gpu, step: &Step, g: &[f32], norm: f32, [inverse, skipped]: [f32; 2]) {
        let skipped = f32::from_bits(skipped as u32);
        let state = [norm, 1.0 / inverse, inverse, 0.0, skipped, 0.0, 0.0, 0.0];
        let (g, state) = (f32s(gpu, &[g.len()], g), f32s(gpu, &[8], &state));
        run_step(gpu, step, |plan| kernel::adamw(plan, &self.p, &g, &self.m, &self.v, &state));
    }
}

async fn check(gpu: &Gpu, count: usize, start: f32, config: AdamW) {
    let AdamW { lr, beta1, beta2, eps, weight_decay, max_grad_norm } = config;
    let settings = Optimizer { beta1, beta2, epsilon: eps, weight_decay, max_grad_norm };
    let mut random = Random::new(60);
    let p: Vec<f32> = random.normal(count).iter().map(|v| v * start).collect();
    let zeros = vec![0.0; count];
    let on_gpu = OnGpu::new(gpu, &p, &zeros, &zeros);
    let mut state = State { p: wide(&p), m: wide(&zeros), v: wide(&zeros) };
    for t in 1..=3 {
        let g: Vec<f32> = random.normal(count).iter().map(|v| v * 0.01).collect();
        let norm = norm(&wide(&g)) as f32;
        config.step(&mut state, &wide(&g), f64::from(norm), t);
        on_gpu.step(gpu, &Step::default().optimizer(&settings, t as u64, lr), &g, norm);
    }
    for (name, got, expected) in
        [("p", &on_gpu.p, &state.p), ("m", &on_gpu.m, &state.m), ("v", &on_gpu.v, &state.v)]
    {
        let what = format!("{name} of {count}, start {start}, {config:?}");
        assert_close(&what, &read(gpu, got).await, expected, count, TOLERANCE);
    }
}

const DEFAULT: AdamW =
    AdamW { lr: 2e-4, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, max_grad_norm: 1.0 };

/// From zero, where the parameters are nothing but the updates, and from a real start.
pub async fn three_steps(gpu: &Gpu) {
    for count in COUNTS {
        check(gpu, count, 0.0, DEFAULT).await;
        check(gpu, count, 1.0, AdamW { weight_decay: 0.1, lr: 0.01, ..DEFAULT }).await;
    }
}

/// A norm above the limit scales the gradient: visible in the moments.
pub async fn clips(gpu: &Gpu) {
    check(gpu, 1234, 0.0, AdamW { max_grad_norm: 0.05, ..DEFAULT }).await;
}

/// A limit of 0 means none, also for a gradient of zero.
pub async fn no_clip(gpu: &Gpu) {
    let settings =
        Optimizer { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0, max_grad_norm: 0.0 };
    let step = Step::default().optimizer(&settings, 1, 0.1);
    for g in [100.0, 1e-3, 0.0] {
        let on_gpu = OnGpu::new(gpu, &[0.0], &[0.0], &[0.0]);
        on_gpu.step(gpu, &step, &[g], g);
        let got = read(gpu, &on_gpu.m).await;
        assert_close(&format!("m for g = {g}"), &got, &[0.1 * f64::from(g)], 1, TOLERANCE);
    }
}

/// A step whose norm is not finite is skipped whole.
pub async fn skips_a_step_that_is_not_finite(gpu: &Gpu) {
    let settings =
        Optimizer { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1, max_grad_norm: 1.0 };
    let step = Step::default().optimizer(&settings, 3, 0.1);
    let mut random = Random::new(61);
    let [p, m, v] = [(); 3].map(|()| random.normal(300));
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let on_gpu = OnGpu::new(gpu, &p, &m, &v);
        let mut g = random.normal(300);
        g[17] = bad;
        on_gpu.step(gpu, &step, &g, bad);
        for (name, got, before) in [("p", &on_gpu.p, &p), ("m", &on_gpu.m, &m), ("v", &on_gpu.v, &v)] {
            assert_same_bits(&format!("{name} after a norm of {bad}"), &read(gpu, got).await, before);
        }
    }
}

/// The gradient's scale is taken out of it, and steps that were skipped since the host looked do not count: the same
/// bits as a step of the plain gradient with the smaller count.
pub async fn scaled_and_late(gpu: &Gpu) {
    let settings =
        Optimizer { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1, max_grad_norm: 1.0 };
    let mut random = Random::new(62);
    let [p, m, v, g] = [(); 4].map(|()| random.normal(300));
    let v: Vec<f32> = v.iter().map(|v| v * v).collect();
    let scaled: Vec<f32> = g.iter().map(|g| g * 1024.0).collect();
    for (known, late) in [(0, 0), (0, 1), (0, 2), (3, 0), (3, 1), (3, 2)] {
        let [plain, other] = [(); 2].map(|()| OnGpu::new(gpu, &p, &m, &v));
        let count = 10 - known - late;
        plain.step(gpu, &Step::default().optimizer(&settings, u64::from(count), 0.1), &g, 2.0);
        let step = Step::default().optimizer_after(&settings, 10, 0.1, known);
        let skipped = (known + late) as f32;
        other.scaled_step(gpu, &step, &scaled, 2.0, [1.0 / 1024.0, skipped]);
        for (name, got, expected) in
            [("p", &other.p, &plain.p), ("m", &other.m, &plain.m), ("v", &other.v, &plain.v)]
        {
            let what = format!("{name}, {known} skipped steps known and {late} not");
            assert_same_bits(&what, &read(gpu, got).await, &read(gpu, expected).await);
        }
    }
}

cases!(three_steps, clips, no_clip, skips_a_step_that_is_not_finite, scaled_and_late);
