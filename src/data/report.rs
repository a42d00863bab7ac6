//! What a data set is and what became of its rows, in numbers.

use std::fmt;

use serde::Serialize;

use super::columns::Columns;
use super::dataset::Dataset;
use super::examples::PrepareOptions;
use super::records::{Format, SkippedLine};
use super::rows::packed_rows;
use crate::error::{Error, counted};

/// Rows of which the reason is kept; a large file may be wrong from its first line to its last.
const KEPT_REASONS: usize = 1000;
/// The most bars of a histogram.
const BARS: usize = 16;

/// Rows that were left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Rejected {
    /// How many.
    pub count: usize,
    /// The first thousand of them, with the reasons.
    pub first: Vec<SkippedLine>,
}

impl Rejected {
    pub(super) fn add(&mut self, line: usize, reason: String) {
        self.count += 1;
        if self.first.len() < KEPT_REASONS {
            self.first.push(SkippedLine { line, reason });
        }
    }
}

/// How long examples are, in tokens, before they are cut. Percentile p is the shortest length that p % of the
/// examples do not exceed.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[allow(missing_docs)]
pub struct Lengths {
    pub min: usize,
    pub p5: usize,
    pub p25: usize,
    pub p50: usize,
    pub p75: usize,
    pub p95: usize,
    pub p99: usize,
    pub max: usize,
    pub mean: f64,
}

/// A bar of the histogram of lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bar {
    /// The shortest length that it counts, in tokens.
    pub from: usize,
    /// The longest one.
    pub to: usize,
    /// Examples of these lengths.
    pub examples: usize,
}

/// What packing would give.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Packing {
    /// Rows that hold all examples.
    pub rows: usize,
    /// Tokens that a row has room for: `max_length`.
    pub max_length: usize,
    /// Share of that room that is used.
    pub efficiency: f64,
}

/// What a data set is and what of it is trained on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DataReport {
    /// The kind of file.
    pub file_format: String,
    /// The format of the records.
    pub format: String,
    /// The columns that are read as fields of other names, by these.
    pub columns: Columns,
    /// What the numbers in `skipped` and `refused` count: lines, rows, items.
    pub unit: &'static str,
    /// Records that the file holds.
    pub records: usize,
    /// Rows that gave no record.
    pub skipped: Rejected,
    /// Records that the model's chat template refused.
    pub refused: Rejected,
    /// Examples to train on.
    pub examples: usize,
    /// The most tokens that an example may have: `max_length` or, if that is less, the model's context.
    pub limit: usize,
    /// How many lost tokens to that limit, those left without targets included.
    pub truncated: usize,
    /// How many were left out since no token of theirs is trained on.
    pub without_targets: usize,
    /// How many of those had targets before they were cut.
    pub cut_away: usize,
    /// Examples that are equal to one before them.
    pub duplicates: usize,
    /// Trained tokens of all examples.
    pub target_tokens: u64,
    /// Tokens of all examples.
    pub total_tokens: u64,
    /// Lengths of all records that were tokenised.
    pub lengths: Lengths,
    /// The same lengths, counted; bars without examples are there too.
    pub histogram: Vec<Bar>,
    /// What packing makes of the examples.
    pub packing: Packing,
    /// What a person should know before training beside the `skipped` rows, one sentence each.
    pub warnings: Vec<String>,
}

/// The counts while a data set is prepared.
#[derive(Default)]
pub(super) struct Tally {
    pub records: usize,
    pub chats: usize,
    pub skipped: Rejected,
    pub refused: Rejected,
    pub examples: usize,
    pub without_targets: usize,
    pub joined: usize,
    truncated: usize,
    cut_away: usize,
    target_tokens: u64,
    total_tokens: u64,
    full_lengths: Vec<u32>,
    lengths: Vec<u32>,
    hashes: Vec<u64>,
}

impl Tally {
    /// Counts an example of `full_length` tokens before it was cut; whether it has a target and so stays.
    pub fn example(
        &mut self,
        full_length: usize,
        is_cut: bool,
        ids: &[u32],
        trained: &[bool],
        had_targets: bool,
    ) -> bool {
        self.full_lengths.push(full_length as u32);
        self.truncated += usize::from(is_cut);
        let targets = trained.iter().filter(|&&trained| trained).count();
        if targets == 0 {
            self.without_targets += 1;
            self.cut_away += usize::from(had_targets);
            return false;
        }
        self.examples += 1;
        self.target_tokens += targets as u64;
        self.total_tokens += ids.len() as u64;
        self.lengths.push(ids.len() as u32);
        self.hashes.push(hash(ids, trained));
        true
    }

    /// Why there is no example.
    pub fn nothing_left(&self, dataset: &Dataset, limit: usize) -> Error {
        let mut reasons = Vec::new();
        if self.cut_away > 0 {
            let (begins, they) = if self.cut_away == 1 { ("begins", "it is") } else { ("begin", "they are") };
            reasons.push(format!(
                "{} {begins} with more than {limit} tokens that are not trained on, so that nothing is left when {they} \
                 cut (raise max_length or shorten the prompts)",
                self.cut_away
            ));
        }
        let masked = self.without_targets - self.cut_away;
        if masked > 0 {
            let (has, is, their) = if masked == 1 { ("has", "is", "its") } else { ("have", "are", "their") };
            reasons.push(match dataset.format() {
                Format::Messages | Format::ShareGpt => format!(
                    "{masked} {has} no assistant turn, or a chat template whose {{% generation %}} tags mark none (turn \
                     assistant_only_loss off to train on all tokens)"
                ),
                _ => format!("{masked} {is} too short, or {their} completion is part of the prompt's last token"),
            });
        }
        if let Some(SkippedLine { line, reason }) = self.refused.first.first() {
            let unit = dataset.file_format().unit();
            let were = if self.refused.count == 1 { "was" } else { "were" };
            reasons.push(format!("{} {were} refused ({unit} {line}: {reason})", self.refused.count));
        }
        Error::data(format!(
            "none of {} has a token to train on: {}",
            counted(self.records, "record"),
            reasons.join("; ")
        ))
    }

    pub fn report(mut self, dataset: &Dataset, has_eos: bool, options: &PrepareOptions) -> DataReport {
        let warnings = self.warnings(dataset, has_eos, options);
        let rows = packed_rows(&self.lengths, options.max_length);
        let room = rows as f64 * options.max_length as f64;
        let duplicates = self.duplicates();
        self.full_lengths.sort_unstable();
        DataReport {
            file_format: dataset.file_format().to_string(),
            format: dataset.format().to_string(),
            columns: dataset.read_as().clone(),
            unit: dataset.file_format().unit(),
            records: self.records,
            skipped: self.skipped,
            refused: self.refused,
            examples: self.examples,
            limit: options.max_length.min(options.context),
            truncated: self.truncated,
            without_targets: self.without_targets,
            cut_away: self.cut_away,
            duplicates,
            target_tokens: self.target_tokens,
            total_tokens: self.total_tokens,
            lengths: Lengths::of(&self.full_lengths),
            histogram: histogram(&self.full_lengths),
            packing: Packing {
                rows,
                max_length: options.max_length,
                efficiency: self.total_tokens as f64 / room.max(1.0),
            },
            warnings,
        }
    }

    fn duplicates(&mut self) -> usize {
        self.hashes.sort_unstable();
        self.hashes.windows(2).filter(|pair| pair[0] == pair[1]).count()
    }

    fn warnings(&mut self, dataset: &Dataset, has_eos: bool, options: &PrepareOptions) -> Vec<String> {
        let (total, unit) = (self.records, dataset.file_format().unit());
        let mut warnings = Vec::new();
        let mut warn = |text: fmt::Arguments<'_>| warnings.push(text.to_string());
        if let Some(SkippedLine { line, reason }) = self.refused.first.first() {
            let were = if self.refused.count == 1 { "was" } else { "were" };
            warn(format_args!(
                "{} of {} {were} left out ({unit} {line}: {reason}).",
                self.refused.count,
                counted(total, "record")
            ));
        }
        if self.truncated > 0 {
            let (limit, whose) = if options.max_length > options.context {
                (options.context, "the model's context")
            } else {
                (options.max_length, "max_length")
            };
            let (n, were) = (self.truncated, if self.truncated == 1 { "was" } else { "were" });
            warn(format_args!("{n} of {} {were} cut to {limit} tokens, {whose}.", counted(total, "example")));
        }
        if self.without_targets > 0 {
            let n = self.without_targets;
            let (has, were) = if n == 1 { ("has", "was") } else { ("have", "were") };
            warn(format_args!(
                "{n} of {} {has} no token to train on and {were} left out.",
                counted(total, "example")
            ));
        }
        if self.joined > 0 {
            warn(format_args!(
                "In {} of {} one token holds the prompt's end and the completion's beginning; it is not \
                 trained on. A space or line break between the two belongs at the beginning of the completion.",
                self.joined,
                counted(total, "example")
            ));
        }
        if self.examples > 1 && self.duplicates() + 1 == self.examples {
            warn(format_args!("All {} examples are the same.", self.examples));
        }
        if self.chats == 0 && !has_eos {
            warn(format_args!(
                "The tokenizer names no eos_token, so none was put behind the examples; generation may not stop by itself."
            ));
        }
        warnings
    }
}

impl Lengths {
    /// Of lengths in ascending order.
    fn of(sorted: &[u32]) -> Self {
        let Some((&min, &max)) = sorted.first().zip(sorted.last()) else { return Self::default() };
        let percentile = |p: usize| sorted[(sorted.len() * p).div_ceil(100).max(1) - 1] as usize;
        let sum: u64 = sorted.iter().map(|&length| u64::from(length)).sum();
        Self {
            min: min as usize,
            p5: percentile(5),
            p25: percentile(25),
            p50: percentile(50),
            p75: percentile(75),
            p95: percentile(95),
            p99: percentile(99),
            max: max as usize,
            mean: sum as f64 / sorted.len() as f64,
        }
    }
}

/// At most [`BARS`] bars from the shortest length to the longest, of a width that is 1, 2 or 5 times a power of ten.
fn histogram(sorted: &[u32]) -> Vec<Bar> {
    let Some((&min, &max)) = sorted.first().zip(sorted.last()) else { return Vec::new() };
    let (min, max) = (min as usize, max as usize);
    let widths = (0..).flat_map(|power| [1, 2, 5].map(|digit| digit * 10usize.saturating_pow(power)));
    let width = widths.into_iter().find(|width| max / width - min / width < BARS).unwrap_or(usize::MAX);
    let first = min / width;
    let mut bars: Vec<_> = (first..=max / width)
        .map(|bar| Bar { from: bar * width, to: bar * width + width - 1, examples: 0 })
        .collect();
    for &length in sorted {
        bars[length as usize / width - first].examples += 1;
    }
    bars
}

/// 64-bit FNV-1a over an example. Among a hundred million different ones two are alike with a chance of 3 in 10,000.
fn hash(ids: &[u32], trained: &[bool]) -> u64 {
    let tokens = ids.iter().zip(trained).map(|(&id, &trained)| u64::from(id) << 1 | u64::from(trained));
    tokens.fold(0xcbf2_9ce4_8422_2325, |hash, token| {
        token
            .to_le_bytes()
            .iter()
            .fold(hash, |hash: u64, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
    })
}
