//! What a device can do at best: the rate of a large matrix product through the crate's own kernel, and the
//! bandwidth of a copy from storage buffer to storage buffer.

use std::time::Duration;

use serde::Serialize;
use web_time::Instant;

use super::WeightType;
use crate::config::Arithmetic;
use crate::error::Result;
use crate::gpu::{Dtype, Gpu, Plan, PlanBuilder, Stopwatch};
use crate::kernels::copy::copy as copy_kernel;
use crate::kernels::matmul::Nt;

/// A GPU that idles runs at a fraction of its clock rate: work for so long before anything is timed.
pub(super) const WARM_UP: Duration = Duration::from_secs(1);

/// Sides of the matrix product and MiB of the copy, in rising order. On a slow device smaller ones tell as much.
const SIDES: [usize; 5] = [256, 512, 1024, 2048, 4096];
const COPY_MIB: [usize; 6] = [16, 32, 64, 128, 256, 512];

/// The most seconds that one kernel of a micro-benchmark may take.
const LONGEST: f64 = 0.25;
/// Seconds of kernels, one after the other, between two timestamps.
const ROUND: f64 = 0.02;
/// Kernels between two timestamps at most.
const MOST: f64 = 1000.0;
/// Timings of which the best counts.
const ROUNDS: usize = 5;

/// The best that was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ceilings {
    /// 10¹² floating-point operations a second of the matrix product.
    pub matmul_tflops: f64,
    /// Its M, N and K.
    pub matmul_side: usize,
    /// 10⁹ bytes a second that the copy reads and writes, together.
    pub bandwidth_gb_per_second: f64,
    /// Bytes that it copies.
    pub copied_bytes: u64,
}

impl Ceilings {
    /// Measures both; the matrix product is that of activations with weights of these types.
    ///
    /// # Errors
    /// A device without timestamp queries, or without room for 512 MiB twice.
    pub async fn measure(
        gpu: &Gpu,
        weights: WeightType,
        activations: Dtype,
        arithmetic: Arithmetic,
    ) -> Result<Self> {
        let watch = Stopwatch::new(gpu)?;
        let (side, seconds) = matmul(gpu, &watch, [weights.dtype(), activations], arithmetic).await?;
        let matmul_tflops = 2.0 * (side as f64).powi(3) / seconds / 1e12;
        let (copied_bytes, seconds) = copy(gpu, &watch).await?;
        let bandwidth_gb_per_second = 2.0 * copied_bytes as f64 / seconds / 1e9;
        Ok(Self { matmul_tflops, matmul_side: side, bandwidth_gb_per_second, copied_bytes })
    }

    /// The least seconds for so many floating-point operations and bytes.
    pub fn floor(&self, flops: u64, bytes: u64) -> f64 {
        let compute = flops as f64 / (self.matmul_tflops * 1e12);
        compute.max(bytes as f64 / (self.bandwidth_gb_per_second * 1e9))
    }
}

/// Side and seconds of a product `[side, side]·[side, side]ᵀ`.
async fn matmul(
    gpu: &Gpu,
    watch: &Stopwatch,
    dtypes: [Dtype; 2],
    arithmetic: Arithmetic,
) -> Result<(usize, f64)> {
    let [weights, activations] = dtypes;
    let mut measured = (0, 0.0);
    for side in SIDES {
        let plan = gpu
            .make_room("the matrix product that is timed", || {
                let tensor = |label: &str, dtype| gpu.tensor(label, &[side, side], dtype);
                let (x, y) = (tensor("x", activations)?, tensor("y", Dtype::F32)?);
                let mut plan = PlanBuilder::new(gpu).in_arithmetic(arithmetic);
                Nt::new(&x, &tensor("weight", weights)?, &y).add_to(&mut plan);
                Ok(plan.finish())
            })
            .await?;
        let once = first(gpu, watch, &plan).await?;
        measured = (side, once);
        // The next one takes eight times as long.
        if side < SIDES[SIDES.len() - 1] && 8.0 * once <= LONGEST {
            continue;
        }
        warm_up(gpu, watch, &plan).await?;
        measured.1 = best(gpu, watch, &plan).await?;
        break;
    }
    Ok(measured)
}

/// Bytes and seconds of a copy.
async fn copy(gpu: &Gpu, watch: &Stopwatch) -> Result<(u64, f64)> {
    let mut measured = (0, 0.0);
    for mib in COPY_MIB {
        const COLUMNS: usize = 1024;
        let rows = (mib << 20) / (4 * COLUMNS);
        let plan = gpu
            .make_room("the copy that is timed", || {
                let tensor = |label: &str| gpu.tensor(label, &[rows, COLUMNS], Dtype::F32);
                let mut plan = PlanBuilder::new(gpu);
                copy_kernel(&mut plan, &tensor("from")?, &tensor("to")?);
                Ok(plan.finish())
            })
            .await?;
        let once = first(gpu, watch, &plan).await?;
        measured = ((mib as u64) << 20, once);
        if mib < COPY_MIB[COPY_MIB.len() - 1] && 2.0 * once <= LONGEST {
            continue;
        }
        measured.1 = best(gpu, watch, &plan).await?;
        break;
    }
    Ok(measured)
}

/// Seconds of a plan that has just been made: the second time that it runs.
async fn first(gpu: &Gpu, watch: &Stopwatch, plan: &Plan) -> Result<f64> {
    watch.time(gpu, plan, 1).await?;
    watch.time(gpu, plan, 1).await
}

/// Runs a plan until the device is at its full clock rate.
pub(super) async fn warm_up(gpu: &Gpu, watch: &Stopwatch, plan: &Plan) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < WARM_UP {
        let once = watch.time(gpu, plan, 1).await?;
        watch.time(gpu, plan, repeats(once)).await?;
    }
    Ok(())
}

/// How often what takes `once` seconds is run between two timestamps.
fn repeats(once: f64) -> usize {
    (ROUND / once.max(1e-9)).clamp(1.0, MOST) as usize
}

/// Seconds of one run of a plan, the least of a few timings.
pub(super) async fn best(gpu: &Gpu, watch: &Stopwatch, plan: &Plan) -> Result<f64> {
    let repeats = repeats(first(gpu, watch, plan).await?);
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        best = best.min(watch.time(gpu, plan, repeats).await? / repeats as f64);
    }
    Ok(best)
}
