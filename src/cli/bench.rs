//! `postil bench`.

use std::path::Path;

use clap::{Args, ValueEnum};
use postil::base::read_config;
use postil::bench::{
    Ceilings, DecodingOptions, DecodingReport, KernelShare, MODELS, ProductsReport, Setup, TrainingOptions,
    TrainingReport, WeightType, known_model,
};
use postil::config::{ModelConfig, Precision, TrainConfig};
use postil::gpu::human_bytes;
use postil::memory::Work;
use postil::{Context, Error, ErrorKind, Result, counted};

use super::args::{BudgetArg, DeviceArg, LoraArgs, PrecisionArg};
use super::{open_gpu, say, warn};

/// What weights are stored as.
#[derive(Clone, Copy, ValueEnum)]
enum WeightsArg {
    Bf16,
    F16,
    F32,
}

impl From<WeightsArg> for WeightType {
    fn from(arg: WeightsArg) -> Self {
        match arg {
            WeightsArg::Bf16 => Self::Bf16,
            WeightsArg::F16 => Self::F16,
            WeightsArg::F32 => Self::F32,
        }
    }
}

#[derive(Args)]
pub struct BenchArgs {
    /// Configuration: smollm2-135m, qwen2.5-0.5b, gemma-3-1b, llama-3.2-1b, qwen3-1.7b, or a config.json, or a folder
    /// that has one. Weights are random; no other file is needed
    #[arg(long, value_name = "NAME|FILE", default_value = "smollm2-135m")]
    model: String,
    /// Type that the weights are stored as
    #[arg(long, value_name = "TYPE", default_value = "bf16")]
    weights: WeightsArg,
    /// Sequences in a batch
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1 << 10))]
    batch_size: u32,
    /// Tokens of each, all of them to be predicted, at most the model's context; with --generate, tokens of the prompt
    #[arg(long, value_name = "TOKENS", default_value_t = 512, value_parser = clap::value_parser!(u32).range(2..=1 << 20))]
    length: u32,
    #[command(flatten)]
    lora: LoraArgs,
    /// Compute each layer's activations again in the backward pass instead of keeping them
    #[arg(long)]
    gradient_checkpointing: bool,
    /// Steps, or with --generate tokens, that are timed
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Steps before them, at least a second of them; not with --generate or --kernels
    #[arg(long, value_name = "N", default_value_t = 5, conflicts_with_all = ["generate", "kernels"])]
    warmup: usize,
    /// Measure generation instead, one sequence without an adapter: a prompt of --length tokens and --steps after it.
    /// Not with --kernels, nor with options of batches, training, the adapter or --precision (tokens are in f32)
    #[arg(long, conflicts_with_all = ["kernels", "batch_size", "gradient_checkpointing", "rank", "alpha", "dropout",
        "target_modules", "rank_pattern", "alpha_pattern"])]
    generate: bool,
    /// Measure each matrix product of a training step by itself instead. Not with --steps, --dropout or --memory-budget
    #[arg(long, conflicts_with_all = ["steps", "dropout", "memory_budget"])]
    kernels: bool,
    /// Arithmetic of the matrix products [default: auto]
    #[arg(long, conflicts_with = "generate")]
    precision: Option<PrecisionArg>,
    #[command(flatten)]
    memory: BudgetArg,
    #[command(flatten)]
    device: DeviceArg,
}

impl BenchArgs {
    fn model(&self) -> Result<(String, ModelConfig)> {
        let path = Path::new(&self.model);
        let (name, json) = match known_model(&self.model) {
            Some(model) => (model.name.to_owned(), model.config.as_bytes().to_vec()),
            None if path.exists() => (self.model.clone(), read_config(path)?),
            None => {
                let known = MODELS.iter().map(|model| model.id).collect::<Vec<_>>().join(", ");
                return Err(Error::new(
                    ErrorKind::Config,
                    format!(
                        "{}: not a configuration that is built in and not a file. Name one of {known}, or a config.json",
                        self.model
                    ),
                ));
            }
        };
        let config = ModelConfig::from_json(&json).context(|| self.model.clone())?;
        Ok((name, config))
    }

    fn setup(&self) -> Result<Setup> {
        let (name, model) = self.model()?;
        let train = TrainConfig {
            per_device_train_batch_size: self.batch_size as usize,
            max_length: self.length as usize,
            gradient_checkpointing: self.gradient_checkpointing,
            precision: self.precision.map_or(Precision::Auto, Into::into),
            ..TrainConfig::default()
        };
        train.validate()?;
        let setup = Setup { name, model, weights: self.weights.into(), lora: self.lora.config()?, train };
        // A generation's prompt is checked together with what follows it.
        if !self.generate {
            setup.check_length()?;
        }
        Ok(setup)
    }
}

/// Measures, and prints what was measured.
pub async fn bench(args: &BenchArgs, json: bool) -> Result<()> {
    let setup = args.setup()?;
    setup.model.warnings().iter().for_each(|warning| warn(warning));
    let gpu = open_gpu(&args.device).await?;
    let mut tell = |line: &str| say(json, line);
    if args.kernels {
        let report = ProductsReport::measure(&gpu, &setup, &mut tell).await?;
        return print(&report, json, print_products);
    }
    if args.generate {
        let options = DecodingOptions { prompt: args.length as usize, tokens: args.steps as usize };
        args.memory.check(&gpu, Work::Generation, setup.decoding_plan(&gpu, &options)?).await?;
        let report = DecodingReport::measure(&gpu, &setup, &options, &mut tell).await?;
        return print(&report, json, print_decoding);
    }
    let options = TrainingOptions { steps: args.steps as usize, warmup: args.warmup };
    args.memory.check(&gpu, Work::Training, setup.training_plan(&gpu)?).await?;
    let report = TrainingReport::measure(&gpu, &setup, &options, &mut tell).await?;
    print(&report, json, print_training)
}

fn print<T: serde::Serialize>(report: &T, json: bool, table: fn(&T)) -> Result<()> {
    if json {
        let line = serde_json::to_string(report)
            .map_err(|error| Error::config(format!("the report cannot be written: {error}")))?;
        println!("{line}");
    } else {
        table(report);
    }
    Ok(())
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// Floating-point operations in a unit that suits them.
fn operations(flops: f64) -> String {
    let units = [(1e12, "TFLOP"), (1e9, "GFLOP"), (1e6, "MFLOP"), (1e3, "kFLOP")];
    match units.into_iter().find(|(unit, _)| flops >= *unit) {
        Some((unit, name)) => format!("{:.2} {name}", flops / unit),
        None => format!("{flops} FLOP"),
    }
}

/// 10¹² of them a second, likewise.
fn rate(tflops: f64) -> String {
    format!("{}/s", operations(1e12 * tflops))
}

fn print_ceilings(ceilings: &Ceilings) {
    println!(
        "device at its best: {} in a matrix product of {side}x{side}x{side}, {:.0} GB/s in a copy of {}",
        rate(ceilings.matmul_tflops),
        ceilings.bandwidth_gb_per_second,
        human_bytes(ceilings.copied_bytes),
        side = ceilings.matmul_side
    );
}

fn print_training(report: &TrainingReport) {
    let times = &report.ms_per_step;
    println!("{} on {}", report.model, report.device);
    println!(
        "{} x {} tokens, rank {}, {:?}, {} trained: {:.2} ms a step (p10 {:.2}, p90 {:.2}, mean {:.2}, {}), {:.0} tokens/s",
        report.batch_size,
        report.length,
        report.r,
        report.arithmetic,
        counted(report.trainable_parameters as usize, "parameter"),
        times.median,
        times.p10,
        times.p90,
        times.mean,
        counted(report.steps, "step"),
        report.tokens_per_second
    );
    print_ceilings(&report.ceilings);
    println!(
        "{} a step: {}, {} of the matmul ceiling; {} moved: {} of the bandwidth",
        operations(report.flops_per_step as f64),
        rate(report.tflops),
        percent(report.share_of_matmul),
        human_bytes(report.bytes_per_step),
        percent(report.share_of_bandwidth)
    );
    println!(
        "floor {:.2} ms: the step takes {:.2} times as long; its kernels, one by one, {:.2} ms",
        report.floor_ms, report.times_floor, report.kernels_ms
    );
    println!(
        "GPU memory: {} planned, {} taken, {} at most",
        human_bytes(report.memory.total),
        human_bytes(report.allocated_bytes),
        human_bytes(report.peak_allocated_bytes)
    );
    println!(
        "weights made and loaded in {:.2} s, the first step done {:.2} s later",
        report.load_seconds, report.first_step_seconds
    );
    println!("\n{:<34} {:>10} {:>10} {:>10} {:>8}", "in one step", "dispatches", "ms", "floor ms", "times");
    for group in &report.groups {
        let times = group.ms / group.floor_ms;
        println!(
            "{:<34} {:>10.0} {:>10.3} {:>10.3} {times:>8.1}",
            group.group.name(),
            group.dispatches,
            group.ms,
            group.floor_ms
        );
    }
    print_kernels(&report.kernels);
    println!("{:<44} {:>10.0} {:>10.3}", "all", report.dispatches_per_step, report.kernels_ms);
    if report.untimed_per_step > 0.0 {
        println!(
            "{:.0} of them were not timed: a submission times a limited number",
            report.untimed_per_step
        );
    }
}

fn print_kernels(kernels: &[KernelShare]) {
    println!("\n{:<44} {:>10} {:>10} {:>8}", "kernel", "dispatches", "ms", "share");
    for kernel in kernels {
        let share = percent(kernel.share);
        println!("{:<44} {:>10.0} {:>10.3} {share:>8}", kernel.kernel, kernel.dispatches, kernel.ms);
    }
}

fn print_decoding(report: &DecodingReport) {
    let times = &report.ms_per_token;
    println!("{} on {}", report.model, report.device);
    println!(
        "prompt of {}: {:.2} ms, {:.0} tokens/s",
        counted(report.prompt_tokens, "token"),
        report.prefill_ms,
        report.prefill_tokens_per_second
    );
    println!(
        "then {}: {:.3} ms each (p10 {:.3}, p90 {:.3}, mean {:.3}), {:.1} tokens/s, {} dispatches each",
        counted(report.tokens, "token"),
        times.median,
        times.p10,
        times.p90,
        times.mean,
        report.tokens_per_second,
        report.dispatches_per_token
    );
    print_ceilings(&report.ceilings);
    println!(
        "a token reads {} of weights and {} of the cache: floor {:.3} ms for the weights, {} of it reached",
        human_bytes(report.weight_bytes_per_token),
        human_bytes(report.cache_bytes_per_token),
        report.floor_ms,
        percent(report.share_of_floor)
    );
    if let Some(ms) = report.gpu_ms_per_token {
        println!("on the GPU alone a token takes {ms:.3} ms: {} of the floor", percent(report.floor_ms / ms));
    }
    println!(
        "GPU memory: {} planned, {} taken",
        human_bytes(report.memory.total),
        human_bytes(report.allocated_bytes)
    );
    if !report.kernels.is_empty() {
        print_kernels(&report.kernels);
    }
}

fn print_products(report: &ProductsReport) {
    println!(
        "{} on {}, {} x {} tokens, rank {}, {:?}",
        report.model, report.device, report.batch_size, report.length, report.r, report.arithmetic
    );
    print_ceilings(&report.ceilings);
    println!("all matrix products of a step: {:.2} ms, floor {:.2} ms\n", report.step_ms, report.floor_ms);
    println!(
        "{:<26} {:>6} {:>9} {:>9} {:>14} {:>8}  in a step",
        "m x n x k (+ r)", "times", "ms", "floor ms", "rate", "share"
    );
    for time in &report.products {
        let shape = &time.product;
        let extension = if shape.r > 0 { format!(" + {}", shape.r) } else { String::new() };
        let form = format!("{:?}", shape.form).to_lowercase();
        println!(
            "{:<26} {:>6} {:>9.4} {:>9.4} {:>14} {:>8}  {} ({})",
            format!("{form} {} x {} x {}{extension}", shape.m, shape.n, shape.k),
            time.count,
            time.ms,
            time.floor_ms,
            rate(time.tflops),
            percent(time.share_of_matmul),
            time.names,
            time.kernels.join(", ")
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_have_the_largest_unit_that_they_fill() {
        let said = [0.0, 999.0, 1e3, 2.5e6, 3.21e9, 1e12, 4.5e15].map(operations);
        let units =
            ["0 FLOP", "999 FLOP", "1.00 kFLOP", "2.50 MFLOP", "3.21 GFLOP", "1.00 TFLOP", "4500.00 TFLOP"];
        assert_eq!(said, units);
        assert_eq!(rate(0.0005), "500.00 MFLOP/s");
    }
}
