//! One file per command; what they share is here.

mod args;
mod bench;
mod commands;
mod data;
mod export;
mod log;
mod memory;
mod model;
mod run_file;
mod train;
mod words;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use postil::data::{DataReport, Dataset};
use postil::gpu::{Gpu, GpuOptions};
use postil::{Error, ErrorKind, Result, counted, demo};

use args::{Cli, Command, DeviceArg, ReadArgs};

/// What shells expect of a program that Ctrl-C ended: 128 and the signal's number.
const INTERRUPTED: u8 = 130;

/// How a command ended that did not fail.
enum End {
    Whole,
    /// By Ctrl-C, with everything saved.
    Interrupted,
}

/// Runs the command line.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let result = pollster::block_on(async {
        match &cli.command {
            Command::Train(args) => return train::train(args, cli.json).await,
            Command::Data(args) => data::data(args, cli.json).await,
            Command::Eval(args) => commands::eval(args, cli.json).await,
            Command::Generate(args) => commands::generate(args, cli.json).await,
            Command::Export(args) => export::export(args, cli.json).await,
            Command::Merge(args) => export::merge(args, cli.json).await,
            Command::Bench(args) => bench::bench(args, cli.json).await,
            Command::Params(args) => commands::params(args, cli.json).await,
            Command::Doctor(args) => commands::doctor(args, cli.json).await,
        }
        .map(|()| End::Whole)
    });
    match result {
        Ok(End::Whole) => ExitCode::SUCCESS,
        Ok(End::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(error) => {
            let message = words::in_options(&error.to_string());
            if cli.json {
                let kind = format!("{:?}", error.kind());
                println!("{}", serde_json::json!({ "error": { "kind": kind, "message": message } }));
            }
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a warning where it does not disturb what a machine reads.
fn warn(warning: &str) {
    eprintln!("warning: {}", words::in_options(warning));
}

/// One line of information, left out under `--json`.
fn say(json: bool, text: impl AsRef<str>) {
    if !json {
        eprintln!("{}", text.as_ref());
    }
}

fn bar(json: bool, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).expect("the template is a literal");
    let target = if json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    ProgressBar::with_draw_target(None, target).with_style(style)
}

/// With compiled pipelines in the user's folder for what can be made again.
fn gpu_options() -> GpuOptions {
    let pipeline_folder = dirs::cache_dir().map(|folder| folder.join("postil"));
    GpuOptions { pipeline_folder, ..Default::default() }
}

/// Opens the GPU that `--device` names.
async fn open_gpu(device: &DeviceArg) -> Result<Arc<Gpu>> {
    let gpu = Gpu::open_with(device.device.as_deref(), gpu_options()).await?;
    let adapter = &gpu.caps().adapter;
    if adapter.device_type == "Cpu" {
        warn(&format!(
            "{} is no GPU but software on the processor, which is many times slower; `postil doctor` lists what there is",
            adapter.name
        ));
    }
    Ok(gpu)
}

/// What stands for standard input in place of a file.
const STDIN: &str = "-";

/// What messages call the data that an option names.
fn data_name(data: &str) -> &str {
    if data == STDIN { "standard input" } else { data }
}

/// Looks at a data set, and says what it is.
fn read_data(data: &str, args: &ReadArgs, json: bool) -> Result<Dataset> {
    let format = args.data_format.as_deref().map(str::parse).transpose()?.unwrap_or_default();
    let columns = args.columns.clone().unwrap_or_default();
    let data = match data {
        STDIN => Dataset::from_reader(std::io::stdin().lock(), data_name(data), format, columns)?,
        path => Dataset::open(Path::new(path), format, columns)?,
    };
    say(json, format!("{}: {}", data.name(), data.describe()));
    Ok(data)
}

/// What a person should know of a data set's rows before it is used, beside the report's own warnings.
fn warn_of_rows(name: &str, report: &DataReport) {
    const SHOWN: usize = 20;
    for line in report.skipped.first.iter().take(SHOWN) {
        warn(&format!("{name}: {} {} is left out: {}", report.unit, line.line, line.reason));
    }
    if report.skipped.count > SHOWN {
        let more = counted(report.skipped.count - SHOWN, &format!("more {}", report.unit));
        warn(&format!("{name}: {more} left out"));
    }
}

/// "demo" or "demo:NAME".
fn demo_data(data: &str) -> Result<Option<&'static demo::DemoData>> {
    match data.split_once(':') {
        _ if data == demo::NAME => Ok(Some(demo::DATA.first().expect("there is built-in data"))),
        Some((demo::NAME, name)) => demo::DATA.iter().find(|d| d.id == name).map(Some).ok_or_else(|| {
            let names: Vec<_> = demo::DATA.iter().map(|d| d.id).collect();
            Error::new(
                ErrorKind::Config,
                format!("there is no built-in data \"{name}\"; expected one of {}", names.join(", ")),
            )
        }),
        _ => Ok(None),
    }
}
