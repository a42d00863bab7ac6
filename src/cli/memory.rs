//! Memory plans as the command line says them.

use postil::gpu::{Gpu, MemoryBudget, human_bytes};
use postil::memory::{Changes, MemoryPlan, MemoryReport, Work};
use postil::train::Fit;
use postil::{Error, ErrorKind, Result};

use super::args::BudgetArg;

impl BudgetArg {
    /// The budget on a device.
    pub fn budget(&self, gpu: &Gpu) -> MemoryBudget {
        MemoryBudget::for_gpu(gpu, self.memory_budget)
    }

    /// Refuses work that does not fit.
    pub async fn check(&self, gpu: &Gpu, work: Work, plan: MemoryPlan) -> Result<()> {
        let mut budget = self.budget(gpu);
        budget.correct(gpu, plan.peak).await;
        checked(MemoryReport::new(work, plan, budget)).map(drop)
    }
}

/// Changes as options.
fn options(changes: &Changes) -> String {
    let checkpointing = changes.gradient_checkpointing.map(|_| "--gradient-checkpointing".to_owned());
    let number = |name: &str, value: Option<usize>| value.map(|value| format!("{name} {value}"));
    let all = [
        checkpointing,
        number("--batch-size", changes.per_device_train_batch_size),
        number("--grad-accum", changes.gradient_accumulation_steps),
        number("--max-length", changes.max_length),
    ];
    all.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// The report itself if it fits, and otherwise the error for it.
pub fn checked(report: MemoryReport) -> Result<MemoryReport> {
    if report.fits {
        return Ok(report);
    }
    let auto = if report.choice.is_some() { ", or let --auto make it" } else { "" };
    let text = report.shortage(&options);
    Err(Error::new(
        ErrorKind::OverBudget,
        format!("{text}{auto}. If the device has more memory, allow it with --memory-budget"),
    ))
}

/// What `--auto` has changed.
pub fn adjustment(fit: &Fit) -> Option<String> {
    let before = fit.before.as_ref()?;
    Some(format!(
        "to fit {} of GPU memory instead of {}, the run goes with {}",
        human_bytes(before.budget.bytes),
        human_bytes(before.plan.peak),
        options(&before.chosen()?.changes)
    ))
}

/// The memory plan, as a table or as JSON.
pub fn print_plan(report: MemoryReport, json: bool) -> Result<()> {
    if json {
        let line = serde_json::to_string(&report)
            .map_err(|error| Error::config(format!("the plan cannot be written: {error}")))?;
        println!("{line}");
        return Ok(());
    }
    let report = checked(report)?;
    let budget = human_bytes(report.budget.bytes);
    println!("{}fits the budget of {budget} ({})", report.plan.table(), report.budget.source);
    Ok(())
}
