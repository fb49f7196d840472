//! `planish verify`: how far a release drifted from the original, and whether that is still good.

mod table;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::Context;
use indicatif::ProgressBar;
use planish::checkpoint::Checkpoint;
use planish::run::executor::{Activations, Settings};
use planish::verify::baseline::{self, Allowance};
use planish::verify::report::{Check, Report, Status as CheckStatus, Verdict};
use planish::verify::{Condition, Cut, Event, Op, Options, Policy, Text, judge, verify};

use super::device;
use super::exit::Status;
use super::options::{Adapters, AskedPrecision, parse_bytes};
use super::reports::Reports;
use super::rounding;
use super::show::Out;
use super::work::threads;
use super::{progress, signals};

/// Run the original and a quantized model on the same text, layer by layer in lock-step, and measure the drift.
///
/// Exit status: 0 pass; 1 a gate failed; 2 usage; 3 bad or unsafe input; 4 unsupported; 5 not comparable;
/// 6 inconclusive; 74 input or output failed; 75 interrupted.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The original: a checkpoint folder, a GGUF, or `owner/name` in the local Hugging Face cache.
    reference: PathBuf,
    /// The model to be judged: the same kinds.
    candidate: PathBuf,
    /// Of the reference.
    #[command(flatten)]
    adapters: Adapters,
    /// A text to score, UTF-8. Repeatable: each file is a slice of its own in the report. For an encoder with a decoder (T5,
    /// BART) pairs, one a line: a source, a tab and its target, or a JSON object with `source` and `target`; a line that is
    /// neither is its own target.
    #[arg(long, value_name = "FILE", required = true)]
    text: Vec<PathBuf>,
    /// Number of threads; by default one a core. Changes no number.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    #[command(flatten)]
    scoring: Scoring,
    #[command(flatten)]
    gates: Gates,
    /// What `quantize --method --json` told of the candidate: its account of every matrix goes into the reports.
    #[arg(long, value_name = "FILE")]
    rounding: Option<PathBuf>,
    #[command(flatten)]
    reports: Reports,
}

/// What is asked of the candidate.
#[derive(clap::Args)]
#[command(next_help_heading = "Gates")]
pub(crate) struct Gates {
    /// A condition: kld.mean<=0.12, top1>=0.9, ppl_ratio<=1.05, kld.p99<=0.5 ... Repeatable. An unknown name lists all.
    #[arg(long = "gate", value_name = "METRIC<=VALUE")]
    gates: Vec<Condition>,
    /// The least that the cosine between both models' vectors of any line may be, of models without a head: the gate
    /// cosine.min>=X.
    #[arg(long, value_name = "X", value_parser = parse_cosine)]
    min_cosine: Option<f64>,
    /// A file of gates (verify.toml).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The JSON report of an earlier release, than which this one may not be much worse.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// How much worse than the baseline a metric may be; by default kld.mean=10%, ppl_ratio=1% and top1=0.01. Repeatable.
    #[arg(long, value_name = "METRIC=AMOUNT", requires = "baseline")]
    worse: Vec<Allowance>,
}

impl Gates {
    /// Whether anything is asked.
    pub(crate) fn asked(&self) -> bool {
        !self.gates.is_empty() || self.min_cosine.is_some() || self.config.is_some() || self.baseline.is_some()
    }

    /// The conditions of the command line and of the file, and the earlier report.
    fn read(&self) -> anyhow::Result<(Policy, Option<Report>)> {
        let mut policy = self.config.as_deref().map_or(Ok(Policy::default()), Policy::read)?;
        policy.conditions.extend(self.gates.iter().cloned());
        policy.conditions.extend(self.min_cosine.map(|limit| Condition {
            metric: "cosine.min".to_owned(),
            op: Op::AtLeast,
            limit,
            source: "--min-cosine".to_owned(),
        }));
        if self.baseline.is_some() {
            policy.baseline.clone_from(&self.baseline);
        }
        if !self.worse.is_empty() {
            policy.allowances.clone_from(&self.worse);
        }
        let earlier = policy.baseline.as_deref().map(baseline::read).transpose()?;
        if policy.allowances.is_empty() {
            policy.allowances = earlier.as_ref().map_or_else(Allowance::usual, Allowance::usual_of);
        }
        Ok((policy, earlier))
    }
}

/// How texts are scored.
#[derive(clap::Args)]
#[command(next_help_heading = "Scoring")]
pub(crate) struct Scoring {
    /// Tokens of a sequence.
    #[arg(long, value_name = "TOKENS", default_value_t = 512)]
    ctx: usize,
    /// Sequences of each text at most; by default all.
    #[arg(long, value_name = "N", value_parser = parse_count)]
    chunks: Option<usize>,
    /// Score as Hugging Face does: windows that begin N tokens apart, each token scored once.
    #[arg(long, value_name = "TOKENS", conflicts_with = "full")]
    stride: Option<usize>,
    /// Score every token of windows side by side. By default the second half of each, as llama-perplexity does.
    #[arg(long)]
    full: bool,
    /// How products are computed, of a verification and of quantize --method. What the faster ones change of a verification
    /// is measured and reported as the noise floor; what --method makes depends on the machine with them.
    #[arg(long, value_enum, default_value_t = AskedPrecision::F32)]
    pub(crate) precision: AskedPrecision,
    /// What becomes of activations: nothing, or rounded in blocks as llama.cpp's CPU engine does.
    #[arg(long, value_enum, default_value_t = AskedActivations::WeightsOnly)]
    activations: AskedActivations,
    /// Sequences that run together. Changes no number.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = parse_count)]
    batch: usize,
    /// Hidden states kept in memory; more go to a temporary file: 500M, 2G (decimal).
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = parse_bytes)]
    memory: u64,
    /// How many of the worst tokens the report holds.
    #[arg(long, value_name = "N", default_value_t = 20)]
    worst: usize,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum AskedActivations {
    /// Exact: the drift is that of the weights.
    WeightsOnly,
    /// Rounded: the drift that users of llama.cpp's CPU engine get.
    Q8,
}

fn parse_count(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "expected a whole number above 0".to_owned())
}

fn parse_cosine(text: &str) -> Result<f64, String> {
    let cosine = text.parse().ok().filter(|x: &f64| (-1.0..=1.0).contains(x));
    cosine.ok_or_else(|| "expected a number from -1 to 1".to_owned())
}

impl Scoring {
    fn options(&self) -> anyhow::Result<Options> {
        let context = self.ctx;
        let cut = match (self.stride, self.full) {
            (Some(stride), _) => Cut::Stride { context, stride },
            (None, true) => Cut::Stride { context, stride: context },
            (None, false) => Cut::Chunks { context },
        };
        let activations = match self.activations {
            AskedActivations::WeightsOnly => Activations::Exact,
            AskedActivations::Q8 => Activations::Q8,
        };
        let memory = usize::try_from(self.memory).unwrap_or(usize::MAX);
        let settings = Settings {
            precision: self.precision.into(),
            activations,
            memory,
            place: device::place()?,
            ..Settings::default()
        };
        let limit = self.chunks.unwrap_or(usize::MAX);
        Ok(Options { cut, limit, batch: self.batch, settings, worst: self.worst })
    }
}

/// All that a verification needs to know beside the two models.
pub(crate) struct Job {
    texts: Vec<Text>,
    options: Options,
    policy: Policy,
    earlier: Option<Report>,
    threads: usize,
}

impl Job {
    /// Reads the texts, the gates and the baseline: what is wrong with them shows before anything long begins.
    pub(crate) fn new(text: &[PathBuf], scoring: &Scoring, gates: &Gates, threads: usize) -> anyhow::Result<Job> {
        let texts = text.iter().map(|path| Text::read(path)).collect::<Result<Vec<_>, _>>()?;
        let (policy, earlier) = gates.read()?;
        Ok(Job { texts, options: scoring.options()?, policy, earlier, threads })
    }

    /// Compares the two, tells how it goes, and judges.
    pub(crate) fn run(
        &self,
        reference: &Checkpoint,
        candidate: &Checkpoint,
        cancel: &AtomicBool,
    ) -> anyhow::Result<Report> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(self.threads).build();
        let pool = pool.context("cannot start threads")?;
        let mut meter = Meter { bar: progress::steps(), start: Instant::now(), measured: String::new() };
        let report = pool.install(|| {
            verify(reference, candidate, &self.texts, &self.options, &mut |event| {
                meter.show(event);
                if cancel.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
        });
        meter.bar.finish_and_clear();
        let mut report = report?;
        let earlier = match &self.earlier {
            Some(earlier) => baseline::conditions(&mut report, earlier, &self.policy.allowances)?,
            None => vec![],
        };
        report.baseline = self.policy.baseline.as_ref().map(|path| path.display().to_string());
        judge(&mut report, &self.policy.conditions, &earlier);
        Ok(report)
    }
}

/// What the bar shows.
struct Meter {
    bar: ProgressBar,
    /// When the models began to run.
    start: Instant,
    /// Perplexities and drift so far.
    measured: String,
}

impl Meter {
    fn show(&mut self, event: &Event<'_>) {
        match event {
            Event::Checked(_) => self.bar.set_message("comparing weights"),
            Event::Weights { done, of } => {
                self.bar.set_length(*of as u64);
                self.bar.set_position(*done as u64);
                if done == of {
                    self.start = Instant::now();
                    self.bar.reset();
                    self.bar.set_length(progress::WHOLE);
                }
            }
            Event::Run { share, tokens } => {
                let speed = share * *tokens as f64 / self.start.elapsed().as_secs_f64().max(1e-3);
                self.bar.set_position((share * progress::WHOLE as f64) as u64);
                self.bar.set_message(format!("{speed:.0} tokens/s{}", self.measured));
            }
            Event::Group(running) => {
                let Some(((a, b), kld)) = running.ppl_ref.zip(running.ppl_cand).zip(running.kld) else { return };
                self.measured = format!("  PPL {a:.3} -> {b:.3}  KLD {kld:.5}");
            }
        }
    }
}

pub(crate) fn run(args: &Args, out: &Out) -> anyhow::Result<Status> {
    args.reports.check()?;
    let account = args.rounding.as_deref().map(rounding::read).transpose()?;
    let cancel = signals::cancel()?;
    let job = Job::new(&args.text, &args.scoring, &args.gates, threads(args.threads))?;
    let (reference, candidate) = (args.adapters.open(&args.reference)?, Checkpoint::open(&args.candidate)?);
    let mut report = job.run(&reference, &candidate, &cancel)?;
    report.rounding = account;
    warn(&report, out);
    out.result(|| table::text(&report), || json(&report))?;
    complain(&report, out);
    args.reports.write(&report)?;
    Ok(status(&report))
}

/// What is odd about the two, but does no harm to the numbers.
pub(crate) fn warn(report: &Report, out: &Out) {
    let odd = |check: &&Check| matches!(check.status, CheckStatus::Warning | CheckStatus::Unknown);
    report.comparability.iter().filter(odd).for_each(|check| out.warning(&check.message));
}

/// Why it is no pass.
pub(crate) fn complain(report: &Report, out: &Out) {
    report.reasons.iter().for_each(|reason| out.complain(reason, None));
}

/// Says why what was to stand at `output` does not, if it did not pass.
pub(crate) fn release_status(report: &Report, output: &Path, out: &Out) -> Status {
    if report.verdict != Verdict::Pass {
        complain(report, out);
        out.complain(&format!("{}: not written, since it did not pass", output.display()), None);
    }
    status(report)
}

pub(crate) fn text(report: &Report) -> String {
    table::text(report)
}

pub(crate) fn json(report: &Report) -> serde_json::Value {
    serde_json::to_value(report).unwrap_or_default()
}

pub(crate) fn status(report: &Report) -> Status {
    match report.verdict {
        Verdict::Pass => Status::Done,
        Verdict::Fail => Status::GateFailed,
        Verdict::Incomparable => Status::Incomparable,
        Verdict::Inconclusive => Status::Inconclusive,
        Verdict::Interrupted => Status::Interrupted,
    }
}
