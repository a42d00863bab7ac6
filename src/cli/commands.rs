//! `postil eval`, `generate`, `params` and `doctor`.

use std::io::Write;
use std::path::Path;
use std::rc::Rc;

use postil::base::{Base, OpenedBase};
use postil::checkpoint::Adapter;
use postil::config::{ModelConfig, Precision, TrainConfig, parameter_report};
use postil::data::Rows;
use postil::generate::{Adapted, Decoder, Prompt, SamplingOptions, capacity};
use postil::gpu::{Gpu, human_bytes, list_adapters};
use postil::memory::Work;
use postil::model::Lora;
use postil::tokenizer::Message;
use postil::train::{Evaluator, prepare_for};
use postil::{Context, Error, ErrorKind, Result, counted, kernels};

use super::args::{DeviceArg, EvalArgs, GenerateArgs, ParamsArgs};
use super::model::{base_files, load_opened, model_config};
use super::{demo_data, gpu_options, open_gpu, read_data, say, warn, warn_of_rows};

/// An adapter of the model.
fn read_adapter(dir: Option<&Path>, model: &ModelConfig) -> Result<Option<Adapter>> {
    let Some(dir) = dir else { return Ok(None) };
    let adapter = Adapter::load(dir)?;
    adapter.check(model).context(|| dir.display())?;
    Ok(Some(adapter))
}

fn load_adapter(base: &Base, adapter: Option<&Adapter>) -> Result<Option<Rc<Lora>>> {
    let load = |adapter| Lora::from_adapter(base.model.gpu(), adapter, base.model.config());
    Ok(adapter.map(load).transpose()?.map(Rc::new))
}

/// Mean loss in nats per target token.
pub async fn eval(args: &EvalArgs, json: bool) -> Result<()> {
    let config = TrainConfig {
        max_length: args.max_length,
        per_device_train_batch_size: args.batch_size,
        assistant_only_loss: !args.train_on_all,
        ..TrainConfig::default()
    };
    config.validate()?;
    let data = match demo_data(&args.data)? {
        Some(demo) => args.read.refuse().and_then(|()| demo.evaluation())?,
        None => read_data(&args.data, &args.read, json)?,
    };
    let gpu = open_gpu(&args.device).await?;
    let opened = OpenedBase::open(base_files(args.model.name(), json).await?)?;
    let adapter = read_adapter(args.adapter.as_deref(), &opened.config)?;
    let prepared = prepare_for(&opened.config, &opened.tokenizer, &data, &config)?;
    warn_of_rows(data.name(), &prepared.report);
    prepared.report.warnings.iter().for_each(|warning| warn(warning));
    let rows = Rows::single(prepared.examples);
    let (lora, weights) = (adapter.as_ref().map(|adapter| &adapter.config), opened.weight_bytes(&gpu)?);
    let arithmetic = gpu.arithmetic(args.precision.map_or(Precision::Auto, Into::into))?;
    let plan = Evaluator::plan(&gpu, &opened.config, lora, weights, &rows, args.batch_size, arithmetic)?;
    args.memory.check(&gpu, Work::Evaluation, plan).await?;
    let base = load_opened(&gpu, opened, json).await?;
    let lora = load_adapter(&base, adapter.as_ref())?;
    let make = || Evaluator::new(&base.model, lora, &rows, args.batch_size, arithmetic);
    let mut evaluator = gpu.make_room("the evaluation", make).await?;
    let result = evaluator.loss(&rows, args.batch_size).await?;
    if json {
        println!(
            "{}",
            serde_json::json!({
                "loss": result.loss, "target_tokens": result.targets, "examples": rows.len(),
            })
        );
    } else {
        println!(
            "loss {:.6} nats per target token over {} in {}",
            result.loss,
            counted(result.targets, "target token"),
            counted(rows.len(), "example")
        );
    }
    Ok(())
}

/// Streams the continuation of a prompt.
pub async fn generate(args: &GenerateArgs, json: bool) -> Result<()> {
    let options = SamplingOptions {
        max_new_tokens: args.max_new_tokens,
        temperature: args.temperature,
        top_k: args.top_k,
        top_p: args.top_p,
        seed: args.seed,
    };
    let prompt = if args.chat {
        Prompt::Chat(vec![Message { role: "user".to_owned(), content: args.prompt.clone() }])
    } else {
        Prompt::Text(args.prompt.clone())
    };
    let gpu = open_gpu(&args.device).await?;
    let opened = OpenedBase::open(base_files(args.model.name(), json).await?)?;
    let adapter = read_adapter(args.adapter.as_deref(), &opened.config)?;
    let tokens = prompt.encode(&opened.tokenizer)?.len();
    let capacity = capacity(&opened.config, tokens, &options)?;
    let (lora, weights) = (adapter.as_ref().map(|adapter| &adapter.config), opened.weight_bytes(&gpu)?);
    let plan = Decoder::plan(&gpu, &opened.config, lora, weights, capacity)?;
    args.memory.check(&gpu, Work::Generation, plan).await?;
    let base = load_opened(&gpu, opened, json).await?;
    let lora = load_adapter(&base, adapter.as_ref())?;
    let mut out = std::io::stdout();
    let mut failed = None;
    let mut on_text = |piece: &str| {
        if json {
            return true;
        }
        // A closed pipe ends the generation; it is not an error of ours.
        let written = write!(out, "{piece}").and_then(|()| out.flush());
        failed = written.err();
        failed.is_none()
    };
    let adapter = lora.as_deref().map(|lora| Adapted { lora, scale: args.adapter_scale });
    let result = postil::generate::generate(&base, adapter, &prompt, &options, &mut on_text).await?;
    if let Some(error) = failed.filter(|error| error.kind() != std::io::ErrorKind::BrokenPipe) {
        return Err(Error::io("writing to the terminal", &error));
    }
    if json {
        let line = serde_json::to_string(&result)
            .map_err(|error| Error::config(format!("the result cannot be written: {error}")))?;
        println!("{line}");
    } else {
        let _ = writeln!(out);
        say(json, format!("[{}, {:.1} tokens/s]", counted(result.tokens, "token"), result.tokens_per_second));
    }
    Ok(())
}

/// Trainable and total parameters, as PEFT's `print_trainable_parameters` counts them.
pub async fn params(args: &ParamsArgs, json: bool) -> Result<()> {
    let lora = args.lora.config()?;
    let model = model_config(args.model.name(), json).await?;
    let report = parameter_report(&lora, &model)?;
    lora.warnings(&model).iter().for_each(|warning| warn(warning));
    if json {
        let line = serde_json::to_string(&report)
            .map_err(|error| Error::config(format!("the report cannot be written: {error}")))?;
        println!("{line}");
        return Ok(());
    }
    println!("{:<12} {:>7} {:>14} {:>6} {:>12}", "module", "layers", "in x out", "rank", "parameters");
    for m in &report.modules {
        let shape = format!("{} x {}", m.in_features, m.out_features);
        println!("{:<12} {:>7} {shape:>14} {:>6} {:>12}", m.projection, m.count, m.r, m.parameters);
    }
    println!(
        "trainable params: {} || all params: {} || trainable%: {:.4}",
        report.trainable, report.total, report.percent
    );
    Ok(())
}

/// Kernels and their variants, labelled `kernel/variant`, a kernel a paragraph and no line too long.
fn kernel_table(labels: &[String]) -> String {
    const NAME: usize = 24;
    const WIDTH: usize = 100;
    let mut kernels: Vec<(&str, Vec<&str>)> = Vec::new();
    for label in labels {
        let (kernel, variant) = label.split_once('/').unwrap_or((label, ""));
        match kernels.iter_mut().find(|(name, _)| *name == kernel) {
            Some((_, variants)) => variants.push(variant),
            None => kernels.push((kernel, vec![variant])),
        }
    }
    let mut text = String::new();
    for (kernel, variants) in kernels {
        let mut line = format!("  {kernel:<NAME$}");
        for (i, variant) in variants.iter().enumerate() {
            let word = format!(" {variant}{}", if i + 1 < variants.len() { "," } else { "" });
            if line.len() + word.len() > WIDTH {
                text += &format!("{line}\n");
                line = " ".repeat(NAME + 2);
            }
            line += &word;
        }
        text += &format!("{}\n", line.trim_end());
    }
    text
}

/// What this machine has, and what would run on it.
pub async fn doctor(args: &DeviceArg, json: bool) -> Result<()> {
    let adapters = list_adapters().await;
    let opened = Gpu::open_with(args.device.as_deref(), gpu_options()).await;
    let shaders: Vec<_> = kernels::all_shaders().iter().map(|shader| shader.label()).collect();
    if json {
        let chosen = opened.as_ref().ok().map(|gpu| gpu.caps().adapter.clone());
        let pipelines = opened.as_ref().ok().and_then(|gpu| gpu.pipeline_file());
        let report = serde_json::json!({
            "adapters": adapters, "chosen": chosen, "kernels": shaders, "pipeline_file": pipelines
        });
        println!("{report}");
    } else {
        for (i, a) in adapters.iter().enumerate() {
            println!("{i}: {} ({}, {}, {})", a.name, a.backend, a.device_type, a.driver);
            println!(
                "   features: {}",
                if a.features.is_empty() { "none".into() } else { a.features.join(", ") }
            );
            println!(
                "   limits: buffer {}, storage binding {}, workgroup memory {}, {} invocations, {} storage buffers",
                human_bytes(a.max_buffer_size),
                human_bytes(a.max_storage_buffer_binding_size),
                human_bytes(a.max_compute_workgroup_storage_size.into()),
                a.max_compute_invocations_per_workgroup,
                a.max_storage_buffers_per_shader_stage
            );
        }
        if let Ok(gpu) = &opened {
            println!("would run on: {}", gpu.caps().adapter.name);
            match gpu.pipeline_file() {
                Some(path) => println!("compiled pipelines are kept in: {}", path.display()),
                None => println!(
                    "compiled pipelines are not kept: the backend cannot, or there is no cache folder"
                ),
            }
            print!("kernel variants (f32 arithmetic, WebGPU's default limits):\n{}", kernel_table(&shaders));
        }
    }
    match opened {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NoGpu && adapters.is_empty() => Err(Error::new(
            ErrorKind::NoGpu,
            "no GPU found. Install a driver with Vulkan (on Linux also the loader, `libvulkan1`), Metal or DX12",
        )),
        Err(error) => Err(error),
    }
}
