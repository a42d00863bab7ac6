//! `postil train`.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use postil::base::{Base, OpenedBase};
use postil::checkpoint::Adapter;
use postil::config::RunData;
use postil::data::{Columns, Dataset};
use postil::gpu::{Gpu, human_bytes};
use postil::memory::MemoryReport;
use postil::train::{
    Job, Made, MemoryOptions, ReadyJob, RunDir, Start, StepReport, Trainer, latest_checkpoint,
};
use postil::{Error, Result, counted};

use super::args::{ReadArgs, TrainArgs};
use super::log::Log;
use super::memory::{adjustment, checked, print_plan};
use super::model::{download, load_opened, outlined_files};
use super::run_file::repeatable;
use super::{
    End, INTERRUPTED, STDIN, bar, data_name, demo_data, open_gpu, read_data, say, warn, warn_of_rows,
};

/// Trains, from the first step to the written adapter.
pub async fn train(args: &TrainArgs, json: bool) -> Result<End> {
    // Everything that can be wrong without a GPU is found before one is opened.
    let run_file = args.run_file()?;
    let config = run_file.train.clone();
    let (data, evaluation) = read(&run_file.data, json)?;
    let first = match (&run_file.init_adapter, &run_file.lora) {
        (Some(dir), _) => Start::Adapter(Adapter::load(Path::new(dir))?),
        (None, lora) => Start::New(lora.clone().unwrap_or_default().config()?),
    };
    // A plan leaves no trace.
    let out = args.out.as_deref();
    let dir = match out.filter(|_| !args.plan) {
        Some(out) => Some((out, RunDir::open(out, args.resume)?)),
        None => None,
    };
    let start = match out.filter(|_| args.resume) {
        Some(out) => resume(out, first, json).await?,
        None => first,
    };
    if let Some(log) = &args.log {
        Log::check(
            log,
            [Some(&*run_file.data.train), run_file.data.eval.as_deref()].map(|data| data.map(Path::new)),
        )?;
    }

    let stop = Stop::new(dir.as_ref().map(|(_, dir)| dir.made()).unwrap_or_default())?;
    let gpu = open_gpu(&args.device).await?;
    say(json, format!("GPU: {} ({})", gpu.caps().adapter.name, gpu.caps().adapter.backend));
    let packing = config.packing;
    let memory = MemoryOptions { budget: args.memory.budget(&gpu), auto: args.auto };
    let job = Job { start, train: config, data, evaluation, eval_split: run_file.data.eval_split, memory };
    // Whether it fits is known before the weights are loaded or, from the Hub, even downloaded.
    let (files, missing) = outlined_files(&run_file.model, json).await?;
    let opened = OpenedBase::open(files)?;
    let mut job = job.tokenize(&opened.config, &opened.tokenizer)?;
    let weights = opened.weight_bytes(&gpu)?;
    let fit = job.fit(&gpu, &opened.config, &opened.tokenizer, weights).await?;
    let adjustment = adjustment(&fit);
    let Some((out, dir)) = dir else {
        job.warnings().iter().chain(&adjustment).for_each(|warning| warn(warning));
        return print_plan(fit.report, json).map(|()| End::Whole);
    };
    let memory = checked(fit.report)?;
    say(json, format!("memory: {} (budget {})", memory.plan.summary(), human_bytes(memory.budget.bytes)));
    let opened = download(opened, missing.as_ref(), json).await?;
    let base = load_opened(&gpu, opened, json).await?;
    let mut job = job.start(&base).await?;
    dir.save_run(&repeatable(&run_file, &job.trainer, out)?)?;
    adjustment.iter().for_each(|warning| warn(warning));
    warn_of_rows(data_name(&run_file.data.train), &job.data);
    if let (Some(report), Some(name)) = (&job.evaluation, &run_file.data.eval) {
        warn_of_rows(data_name(name), report);
    }
    job.warnings.iter().for_each(|warning| warn(warning));
    if run_file.train.eval_steps.is_some() && job.eval_examples == 0 {
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
        Ok(()) => error.context(format!("the adapter so far is in {}", out.display())),
        Err(_) => error,
    })?;
    saved?;
    finish(out, &base, &gpu, &job, &outcome, memory, json)?;
    Ok(if outcome.stopped { End::Interrupted } else { End::Whole })
}

/// The data to train on and the held-out data, each built in or a file.
fn read(data: &RunData, json: bool) -> Result<(Dataset, Option<Dataset>)> {
    let columns = (!data.columns.is_empty()).then(|| Columns::new(data.columns.clone())).transpose()?;
    let read = ReadArgs { data_format: data.format.clone(), columns };
    if data.train == STDIN && data.eval.as_deref() == Some(STDIN) {
        return Err(Error::config(
            "--data and --eval-data are both standard input, which can be read only once; put one of them into a file",
        ));
    }
    let own = data.eval.as_deref().map(|name| match demo_data(name)? {
        Some(demo) => demo.evaluation(),
        None => read_data(name, &read, json),
    });
    let own = own.transpose()?;
    let Some(demo) = demo_data(&data.train)? else {
        return Ok((read_data(&data.train, &read, json)?, own));
    };
    if data.eval.as_deref().is_none_or(|name| matches!(demo_data(name), Ok(Some(_)))) {
        read.refuse()?;
    }
    let evaluation = match (own, data.eval_split) {
        (None, None) => Some(demo.evaluation()?),
        (own, _) => own,
    };
    Ok((demo.train()?, evaluation))
}

/// The newest checkpoint in `out`, for a run that was to start as `first`; `first` if there is none.
async fn resume(out: &Path, first: Start, json: bool) -> Result<Start> {
    let Some((path, checkpoint)) = latest_checkpoint(out).await? else {
        warn(&format!("{} has no checkpoint yet; the run starts from its beginning", out.display()));
        return Ok(first);
    };
    say(json, format!("resuming from {}", path.display()));
    let lora = match first {
        Start::New(config) => Some(config),
        Start::Adapter(adapter) => Some(adapter.config),
        Start::Checkpoint { lora, .. } => lora,
    };
    Ok(Start::Checkpoint { checkpoint: Box::new(checkpoint), lora, extend: true })
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
        if let Some(note) = &report.note {
            self.note(note.clone());
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
    out: &Path,
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
    if json {
        let profile = job.trainer.session().profiler().map(|p| p.report());
        let summary = serde_json::json!({
            "out": out, "model": base.name, "steps": progress.step, "total_steps": progress.total,
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
        println!("best held-out loss {loss:.4} after step {step}: {}/best", out.display());
    }
    println!("adapter: {}", out.display());
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
