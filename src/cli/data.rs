//! `postil data`: what a data set is, before anything is trained on it. Needs no GPU and no weights.

use std::io::Write;

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use postil::config::TrainConfig;
use postil::data::{Bar, DataReport, Dataset, PreviewToken, preview};
use postil::train::prepare_for;
use postil::{Context, Error, Result, counted};

use super::args::DataArgs;
use super::model::text_files;
use super::{demo_data, read_data, warn, warn_of_rows};

/// Columns of the longest bar.
const BAR_WIDTH: usize = 40;

/// Counts, lengths and the first examples.
pub async fn data(args: &DataArgs, json: bool) -> Result<()> {
    let config = TrainConfig {
        max_length: args.max_length,
        assistant_only_loss: !args.train_on_all,
        ..TrainConfig::default()
    };
    config.validate()?;
    let data = match demo_data(&args.data)? {
        Some(demo) => args.read.refuse().and_then(|()| demo.train())?,
        None => read_data(&args.data, &args.read, json)?,
    };
    let model = args.model.name();
    let (model, tokenizer) = text_files(model, json).await?.read().context(|| model)?;
    let prepared = prepare_for(&model, &tokenizer, &data, &config)?;
    let shown = preview(&prepared.examples, &tokenizer, args.rows)?;
    let report = &prepared.report;
    if json {
        let mut value = serde_json::to_value(report)
            .map_err(|error| Error::config(format!("the report cannot be written: {error}")))?;
        value["preview"] = serde_json::json!(shown);
        println!("{value}");
        return Ok(());
    }
    warn_of_rows(data.name(), report);
    report.warnings.iter().for_each(|warning| warn(warning));
    let in_colour = AutoStream::choice(&std::io::stdout()) != ColorChoice::Never;
    let mut text = counts(&data, report, args.max_length) + &lengths(report);
    for (i, tokens) in shown.iter().enumerate() {
        text += &format!("\nexample {} of {}, {}\n", i + 1, report.examples, legend(in_colour));
        text += &if in_colour { coloured(tokens) } else { bracketed(tokens) };
        text.push('\n');
    }
    // A closed pipe is no error of ours.
    match write!(AutoStream::auto(std::io::stdout()), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::io("writing to the terminal", &error))
        }
        _ => Ok(()),
    }
}

fn counts(data: &Dataset, report: &DataReport, max_length: usize) -> String {
    let packing = &report.packing;
    let limit = match report.limit < max_length {
        true => format!("{} tokens, the model's context (--max-length is {max_length})", report.limit),
        false => format!("{} tokens, --max-length", report.limit),
    };
    let share = |part: u64| 100.0 * part as f64 / (report.total_tokens as f64).max(1.0);
    let masked = report.total_tokens - report.target_tokens;
    // A plain text has parts of the size that is read at once, and no records.
    let records = if report.unit == "part" { "parts" } else { "records" };
    let lines = [
        ("format", data.describe()),
        (records, report.records.to_string()),
        ("skipped", format!("{} that cannot be used", counted(report.skipped.count, report.unit))),
        ("refused", format!("{} by the chat template", report.refused.count)),
        ("without targets", format!("{} ({} of them cut away)", report.without_targets, report.cut_away)),
        ("examples", report.examples.to_string()),
        ("truncated", format!("{} cut to {limit}", report.truncated)),
        ("duplicates", format!("{} equal to one before them", report.duplicates)),
        ("tokens", report.total_tokens.to_string()),
        ("trained", format!("{} ({:.1} %)", report.target_tokens, share(report.target_tokens))),
        ("masked", format!("{masked} ({:.1} %)", share(masked))),
        (
            "with --packing",
            format!(
                "{} of up to {} tokens (--max-length), {:.1} % full",
                counted(packing.rows, "row"),
                packing.max_length,
                100.0 * packing.efficiency
            ),
        ),
    ];
    lines.iter().map(|(name, value)| format!("{name:<16} {value}\n")).collect()
}

fn lengths(report: &DataReport) -> String {
    let l = &report.lengths;
    let mut text = format!("\ntokens per record, before cutting (mean {:.1})\n", l.mean);
    let percentiles = [
        ("min", l.min),
        ("5 %", l.p5),
        ("25 %", l.p25),
        ("50 %", l.p50),
        ("75 %", l.p75),
        ("95 %", l.p95),
        ("99 %", l.p99),
        ("max", l.max),
    ];
    text += &percentiles.map(|(name, length)| format!("{name} {length}")).join("   ");
    text.push('\n');
    let digits = |n: usize| n.to_string().len();
    let width = report.histogram.iter().map(|bar| digits(bar.to)).max().unwrap_or(1);
    let counts = report.histogram.iter().map(|bar| digits(bar.examples)).max().unwrap_or(1);
    let most = report.histogram.iter().map(|bar| bar.examples).max().unwrap_or(1).max(1);
    for Bar { from, to, examples } in &report.histogram {
        // A bar is never empty unless nothing is counted in it.
        let filled = (examples * BAR_WIDTH).div_ceil(most);
        let line = format!("{from:>width$}-{to:<width$} {examples:>counts$} {}", "█".repeat(filled));
        text += line.trim_end();
        text.push('\n');
    }
    text
}

fn legend(in_colour: bool) -> &'static str {
    if in_colour {
        "trained tokens in green, the others dimmed"
    } else {
        "trained tokens in [brackets], | between tokens"
    }
}

/// Control characters in data must not reach the terminal.
fn visible(token: &PreviewToken) -> String {
    let mut text = String::new();
    for c in token.text.chars() {
        match c {
            '\n' => text += "⏎\n",
            '\t' => text += "⇥",
            c if c.is_control() => text.extend(c.escape_default()),
            c => text.push(c),
        }
    }
    text
}

/// Trained tokens alternate between two greens, so that one can be told from the next.
fn coloured(tokens: &[PreviewToken]) -> String {
    let styled = |(i, token): (usize, &PreviewToken)| {
        let green = Style::new().fg_color(Some(AnsiColor::Green.into()));
        let style = match (token.trained, i % 2) {
            (false, 0) => Style::new().dimmed(),
            (false, _) => Style::new().dimmed().italic(),
            (true, 0) => green,
            (true, _) => green.bold(),
        };
        format!("{style}{}{style:#}", visible(token))
    };
    tokens.iter().enumerate().map(styled).collect()
}

fn bracketed(tokens: &[PreviewToken]) -> String {
    let run = |run: &[PreviewToken]| {
        let text = run.iter().map(visible).collect::<Vec<_>>().join("|");
        if run[0].trained { format!("[{text}]") } else { text }
    };
    tokens.chunk_by(|a, b| a.trained == b.trained).map(run).collect()
}
