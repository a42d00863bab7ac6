//! `postil train`.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use postil::base::{Base, OpenedBase};
use postil::checkpoint::Adapter;
use postil::data::Dataset;
use postil::gpu::{Gpu, human_bytes};
use postil::train::{
    Job, Made, MemoryOptions, MemoryReport, ReadyJob, RunDir, Start, StepReport, Trainer, latest_checkpoint,
};
use postil::{Error, Result, counted};

use super::args::TrainArgs;
use super::log::Log;
use super::model::{base_files, load_opened};
use super::{End, INTERRUPTED, bar, demo_data, open_gpu, read_data, say, warn, warn_of_rows};

/// Trains, from the first step to the written adapter.
pub async fn train(args: &TrainArgs, json: bool) -> Result<End> {
    // Everything that can be wrong without a GPU is found before one is opened.
    let config = args.config()?;
    let lora = args.lora.config()?;
    let (data, evaluation) = read(args, json)?;
    if args.init_adapter.is_some() && args.lora.any() {
        return Err(Error::config(
            "--init-adapter brings its own rank, alpha, dropout and target modules; leave --rank, --alpha, \
             --dropout and --target-modules out",
        ));
    }
    let init = args.init_adapter.as_deref().map(Adapter::load).transpose()?;
    let dir = if args.plan { None } else { Some(RunDir::open(&args.out, args.resume)?) };
    let start = start(args, lora, init, json).await?;
    if let Some(log) = &args.log {
        Log::check(log, [Some(Path::new(&args.data)), args.eval_data.as_deref()])?;
    }

    let stop = Stop::new(dir.as_ref().map(RunDir::made).unwrap_or_default())?;
    let gpu = open_gpu(&args.device).await?;
    say(json, format!("GPU: {} ({})", gpu.caps().adapter.name, gpu.caps().adapter.backend));
    let packing = config.packing;
    let memory = MemoryOptions { budget: args.memory_budget.map(|size| size.as_u64()), auto: args.auto };
    let job = Job { start, train: config, data, evaluation, eval_split: args.eval_split, memory };
    // Whether it fits is known before the weights are loaded.
    let opened = OpenedBase::open(base_files(&args.model.model, json).await?)?;
    let mut job = job.tokenize(&opened.config, &opened.tokenizer)?;
    let weights = opened.weight_bytes(&gpu)?;
    let Some(dir) = dir else {
        let report = if args.auto {
            job.fit(&gpu, &opened.config, &opened.tokenizer, weights, 0).await?
        } else {
            job.memory(&gpu, &opened.config, weights, 0).await?
        };
        job.warnings().iter().for_each(|warning| warn(warning));
        return print_plan(&report, json).map(|()| End::Whole);
    };
    let memory = job.fit(&gpu, &opened.config, &opened.tokenizer, weights, 0).await?;
    say(json, format!("memory: {} (budget {})", memory.plan.summary(), human_bytes(memory.budget.bytes)));
    let base = load_opened(&gpu, opened, json).await?;
    let mut job = job.start(&base)?;
    warn_of_rows(&args.data, &job.data);
    if let (Some(report), Some(path)) = (&job.evaluation, &args.eval_data) {
        warn_of_rows(&path.display().to_string(), report);
    }
    job.warnings.iter().for_each(|warning| warn(warning));
    if args.eval_steps.is_some() && job.eval_examples == 0 {
        warn("--eval-steps does nothing without held-out data; add --eval-data or --eval-split");
    }
    let packed = match packing {
        true => format!(" in {}", counted(job.trainer.rows(), "packed row")),
        false => String::new(),
    };
    say(
        json,
        format!(
            "training on {}{packed} ({} target tokens), {} held out; {}",
            counted(job.examples, "example"),
            job.target_tokens,
            job.eval_examples,
            counted(job.trainer.progress().total, "step")
        ),
    );
    if args.profile {
        job.trainer.profile()?;
    }
    let mut run = Run {
        dir,
        saved: None,
        log: args.log.as_deref().map(|path| Log::open(path, job.trainer.progress().step)).transpose()?,
        bar: bar(json, "{wide_bar} {pos}/{len} {msg} eta {eta}"),
        json,
    };
    let outcome = run.steps(&mut job.trainer, &stop).await;
    run.bar.finish_and_clear();
    // Whatever happened, what was learned is kept.
    let saved = run.save(&job.trainer, outcome.as_ref().ok()).await;
    let outcome = outcome.map_err(|error| match &saved {
        Ok(()) => error.context(format!("the adapter so far is in {}", args.out.display())),
        Err(_) => error,
    })?;
    saved?;
    finish(args, &base, &gpu, &job, &outcome, memory, json)?;
    Ok(if outcome.stopped { End::Interrupted } else { End::Whole })
}

/// The memory plan, as a table or as JSON.
fn print_plan(memory: &MemoryReport, json: bool) -> Result<()> {
    if json {
        let line = serde_json::to_string(memory)
            .map_err(|error| Error::config(format!("the plan cannot be written: {error}")))?;
        println!("{line}");
        return Ok(());
    }
    if !memory.fits {
        return Err(memory.error());
    }
    let budget = human_bytes(memory.budget.bytes);
    println!("{}fits the budget of {budget} ({})", memory.plan.table(), memory.budget.source);
    Ok(())
}

fn read(args: &TrainArgs, json: bool) -> Result<(Dataset, Option<Dataset>)> {
    let own = args.eval_data.as_deref().map(|path| read_data(path, &args.read, json)).transpose()?;
    let Some(demo) = demo_data(&args.data)? else {
        return Ok((read_data(Path::new(&args.data), &args.read, json)?, own));
    };
    if own.is_none() {
        args.read.refuse()?;
    }
    let data = demo.train()?;
    let evaluation = match (own, args.eval_split) {
        (None, None) => Some(demo.evaluation()?),
        (own, _) => own,
    };
    Ok((data, evaluation))
}

async fn start(
    args: &TrainArgs,
    lora: postil::config::LoraConfig,
    init: Option<Adapter>,
    json: bool,
) -> Result<Start> {
    if args.resume {
        if let Some((path, checkpoint)) = latest_checkpoint(&args.out).await? {
            say(json, format!("resuming from {}", path.display()));
            let expected = init.map_or(lora, |adapter| adapter.config);
            return Ok(Start::Checkpoint(Box::new(checkpoint), expected));
        }
        warn(&format!("{} has no checkpoint yet; the run starts from its beginning", args.out.display()));
    }
    Ok(init.map_or_else(|| Start::New(lora), Start::Adapter))
}

/// What Ctrl-C does: ends the program at once while there is nothing to save, and during the steps asks them to
/// end; there a second one ends the program.
#[derive(Clone, Default)]
struct Stop {
    asked: Arc<AtomicBool>,
    steps: Arc<AtomicBool>,
}

impl Stop {
    /// `made` are the folders that are of no use without a step.
    fn new(made: Made) -> Result<Self> {
        let stop = Self::default();
        let handler = stop.clone();
        ctrlc::set_handler(move || {
            if !handler.steps.load(Ordering::SeqCst) {
                eprintln!("\nstopped before the first step; nothing was trained");
                made.remove_empty();
                std::process::exit(INTERRUPTED.into());
            }
            if handler.asked.swap(true, Ordering::SeqCst) {
                std::process::exit(INTERRUPTED.into());
            }
            eprintln!(
                "\nstopping after this step; press Ctrl-C again to stop at once (the last checkpoint stays)"
            );
        })
        .map_err(|error| Error::config(format!("Ctrl-C cannot be caught: {error}")))?;
        Ok(stop)
    }

    fn asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }
}

/// A run as it goes.
struct Run {
    dir: RunDir,
    /// The step of the newest checkpoint that this run wrote.
    saved: Option<usize>,
    log: Option<Log>,
    bar: indicatif::ProgressBar,
    json: bool,
}

/// How the steps ended.
struct Outcome {
    stopped: bool,
    /// The step of the checkpoint that was gone on from; 0 for a new run. What follows is of the steps after it.
    from: usize,
    last: Option<StepReport>,
    first_eval: Option<f64>,
    tokens: usize,
    seconds: f64,
}

impl Run {
    async fn steps(&mut self, trainer: &mut Trainer, stop: &Stop) -> Result<Outcome> {
        let total = trainer.progress().total;
        self.bar.set_length(total as u64);
        self.bar.set_position(trainer.progress().step as u64);
        let first_eval = if trainer.progress().step == 0 { trainer.evaluate().await? } else { None };
        if let Some(loss) = first_eval {
            self.note(format!("held-out loss before training: {loss:.4}"));
        }
        stop.steps.store(true, Ordering::SeqCst);
        let asked = stop.clone();
        trainer.evaluate_while(Rc::new(move || !asked.asked()));
        if let Some((loss, improved)) = trainer.evaluate_if_due().await? {
            self.note_evaluation(trainer.progress().step, loss, improved);
            if improved {
                self.dir.save_best(&trainer.adapter().await?)?;
            }
        }
        let start = Instant::now();
        let from = trainer.progress().step;
        let mut outcome = Outcome { stopped: false, from, last: None, first_eval, tokens: 0, seconds: 0.0 };
        loop {
            outcome.stopped = stop.asked();
            let report = if outcome.stopped { trainer.drain().await? } else { trainer.step().await? };
            let Some(report) = report else { break };
            outcome.tokens += report.tokens;
            outcome.seconds = start.elapsed().as_secs_f64();
            self.report(&report, total)?;
            if report.improved {
                self.dir.save_best(&trainer.adapter().await?)?;
            }
            if trainer.saves_after(report.step) && !outcome.stopped {
                self.save_checkpoint(trainer).await?;
            }
            outcome.last = Some(report);
        }
        outcome.stopped &= trainer.progress().step < total;
        Ok(outcome)
    }

    fn report(&mut self, report: &StepReport, total: usize) -> Result<()> {
        if let Some(log) = &mut self.log {
            log.add(report)?;
        }
        self.bar.set_position(report.step as u64);
        self.bar.set_message(format!("loss {:.4}  {:.0} tok/s ", report.loss, report.tokens_per_second));
        if let Some(loss) = report.eval_loss {
            self.note_evaluation(report.step, loss, report.improved);
        } else if self.bar.is_hidden() && (report.step == 1 || report.step.is_multiple_of(total.div_ceil(10)))
        {
            // Without a terminal there is no bar: a line now and then.
            let line = format!(
                "step {}/{total}: loss {:.4}, {:.0} tok/s",
                report.step, report.loss, report.tokens_per_second
            );
            say(self.json, line);
        }
        Ok(())
    }

    fn note_evaluation(&self, step: usize, loss: f64, improved: bool) {
        let best = if improved { " (best so far)" } else { "" };
        self.note(format!("step {step}: held-out loss {loss:.4}{best}"));
    }

    fn note(&self, line: String) {
        if self.bar.is_hidden() {
            say(self.json, line);
        } else {
            self.bar.println(line);
        }
    }

    /// The adapter as it is, and unless the run failed a checkpoint of its last step.
    async fn save(&mut self, trainer: &Trainer, outcome: Option<&Outcome>) -> Result<()> {
        if let Some(outcome) = outcome {
            let step = trainer.progress().step;
            if self.saved != Some(step) {
                self.save_checkpoint(trainer).await?;
            }
            if outcome.stopped {
                say(self.json, format!("stopped after step {step}; go on with --resume"));
            }
        }
        self.dir.save_adapter(&trainer.adapter().await?)
    }

    async fn save_checkpoint(&mut self, trainer: &Trainer) -> Result<()> {
        self.dir.save_checkpoint(&trainer.checkpoint().await?)?;
        self.saved = Some(trainer.progress().step);
        Ok(())
    }
}

fn finish(
    args: &TrainArgs,
    base: &Base,
    gpu: &Gpu,
    job: &ReadyJob,
    outcome: &Outcome,
    memory: MemoryReport,
    json: bool,
) -> Result<()> {
    let progress = job.trainer.progress();
    let per_second = outcome.tokens as f64 / outcome.seconds.max(1e-9);
    let last_eval = outcome.last.as_ref().and_then(|report| report.eval_loss);
    let best = job.trainer.best();
    let out = args.out.display();
    if json {
        let profile = job.trainer.session().profiler().map(|p| p.report());
        let summary = serde_json::json!({
            "out": args.out, "model": base.name, "steps": progress.step, "total_steps": progress.total,
            "steps_now": progress.step - outcome.from, "interrupted": outcome.stopped,
            "loss": outcome.last.as_ref().map(|r| r.loss), "eval_loss_before": outcome.first_eval,
            "eval_loss": last_eval, "best_eval_loss": best.map(|b| b.1), "best_step": best.map(|b| b.0),
            "tokens": outcome.tokens, "tokens_per_second": per_second, "seconds": outcome.seconds,
            "allocated_bytes": gpu.allocated_bytes(), "memory": memory, "device": gpu.caps().adapter.name, "profile": profile,
        });
        println!("{summary}");
        return Ok(());
    }
    let now = counted(progress.step - outcome.from, "step");
    let now = match outcome.from {
        0 => now,
        from => format!("{now} after the first {from} of the run"),
    };
    println!(
        "{now}, {} in {:.1} s ({per_second:.0} tokens/s), {} of GPU memory",
        counted(outcome.tokens, "token"),
        outcome.seconds,
        human_bytes(gpu.allocated_bytes())
    );
    if let (Some(before), Some(after)) = (outcome.first_eval, last_eval) {
        println!("held-out loss {before:.4} -> {after:.4}");
    }
    if let Some((step, loss)) = best {
        println!("best held-out loss {loss:.4} after step {step}: {out}/best");
    }
    println!("adapter: {out}");
    if let Some(profiler) = job.trainer.session().profiler() {
        println!("\n{:<34} {:>10} {:>12}", "kernel", "dispatches", "ms");
        for time in profiler.report() {
            println!("{:<34} {:>10} {:>12.3}", time.kernel, time.dispatches, time.seconds * 1e3);
        }
        if profiler.untimed() > 0 {
            println!(
                "{} more dispatches were not timed: a submission times a limited number",
                profiler.untimed()
            );
        }
    }
    Ok(())
}
