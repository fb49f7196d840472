//! The whole of a verification: open both, see whether they compare, compare the weights, run both, and report.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use super::corpus::{self, Corpus};
use super::groups::{self, Outcome};
use super::party::Party;
use super::report::{self, Check, Metrics, Noise, Running, SCHEMA, Slice, Status, Tool, Verdict};
use super::{Error, LayerDrift, Report, Result, Which, comparability, embed, extremes, weights};
use crate::checkpoint::Checkpoint;
use crate::run::PeakAnon;
use crate::run::executor::Settings;

/// A text to be scored.
#[derive(Clone, Debug)]
pub struct Text {
    /// The name of its slice: the file's.
    pub name: String,
    /// All of it.
    pub text: String,
}

impl Options {
    /// Tokens of a sequence at most.
    pub(super) fn context(&self) -> usize {
        match self.cut {
            Cut::Chunks { context } | Cut::Stride { context, .. } => context,
        }
    }
}

impl Text {
    /// The text of a file, UTF-8.
    pub fn read(path: &Path) -> Result<Text> {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|source| Error::Text { path: path.to_owned(), source })?;
        Ok(Text { name: path.display().to_string(), text })
    }
}

/// How sequences are cut from a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// [`Protocol::Chunks`](super::Protocol::Chunks), with the token that the tokenizer puts first.
    Chunks {
        /// Tokens of a chunk.
        context: usize,
    },
    /// [`Protocol::Stride`](super::Protocol::Stride).
    Stride {
        /// Tokens of a window.
        context: usize,
        /// Tokens between the beginnings of windows.
        stride: usize,
    },
}

/// How a verification is done.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How sequences are cut from a text.
    pub cut: Cut,
    /// Sequences of each text at most.
    pub limit: usize,
    /// Sequences that run together.
    pub batch: usize,
    /// How both are run.
    pub settings: Settings,
    /// How many of the worst tokens are reported.
    pub worst: usize,
}

/// What is done so far.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// Whether the two compare is known.
    Checked(&'a [Check]),
    /// Weights were compared.
    Weights {
        /// Tensors done.
        done: usize,
        /// Of how many.
        of: usize,
    },
    /// Both were run over a part of the text.
    Run {
        /// The share that is done, in 0..=1.
        share: f64,
        /// Tokens that all of it amounts to.
        tokens: usize,
    },
    /// A group of sequences is done.
    Group(Running),
}

/// Told what is done; asks to stop by [`ControlFlow::Break`].
pub type Observer<'a> = dyn FnMut(&Event<'_>) -> ControlFlow<()> + 'a;

/// Verifies `candidate` against `reference` on `texts`. The verdict is that of a run without gates:
/// [`Verdict::Incomparable`], [`Verdict::Interrupted`] or [`Verdict::Pass`].
///
/// # Errors
/// [`Error::Interrupted`] if nothing was scored before somebody stopped it.
pub fn verify(
    reference: &Checkpoint,
    candidate: &Checkpoint,
    texts: &[Text],
    options: &Options,
    observer: &mut Observer<'_>,
) -> Result<Report> {
    let (start, peak) = (Instant::now(), PeakAnon::start());
    let mut reference = Party::open(Which::Reference, reference)?;
    let mut candidate = Party::open(Which::Candidate, candidate)?;
    let vectors = embed::wanted(&mut reference, &mut candidate);
    let mut report = blank(&reference, &candidate, options);
    let (checks, ids) = comparability::check(&reference, &candidate, report.protocol.context, texts)?;
    report.comparability = checks;
    let pooling = if vectors { Some(embed::pooling(&reference, &candidate)?) } else { None };
    report.comparability.extend(pooling.map(comparability::pooling));
    go_on(observer(&Event::Checked(&report.comparability)))?;

    let different = report.comparability.iter().filter(|check| check.status == Status::Different);
    report.reasons = different.map(|check| check.message.clone()).collect();
    if report.reasons.is_empty() {
        let isa = options.settings.isa;
        report.tensors = weights::compare(isa, &reference, &candidate, &mut |done, of| {
            go_on(observer(&Event::Weights { done, of }))
        })?;
        report.coverage = weights::coverage(&report.tensors);
    }
    if !report.reasons.is_empty() {
        report.verdict = Verdict::Incomparable;
    } else if let Some(Ok(pooling)) = pooling {
        let drift = embed::run(&reference, &candidate, texts, pooling, options, observer)?;
        turned(&mut report, drift, texts, options);
    } else {
        let corpus = Corpus::new(&reference, &candidate, options, texts, ids)?;
        report.protocol = corpus.protocol(options);
        let outcome = groups::run(&reference, &candidate, &corpus.sequences, options, observer)?;
        measured(&mut report, &corpus, outcome, options.worst);
        noise(&mut report, [&reference, &candidate], &corpus, options, observer)?;
    }
    report.seconds = start.elapsed().as_secs_f64();
    report.peak_anon_bytes = peak.bytes();
    Ok(report)
}

pub(super) fn go_on(answer: ControlFlow<()>) -> Result<()> {
    if answer.is_break() { Err(Error::Interrupted) } else { Ok(()) }
}

/// What is known before anything is compared.
fn blank(reference: &Party<'_>, candidate: &Party<'_>, options: &Options) -> Report {
    let Settings { isa, precision, activations, .. } = options.settings;
    let used = options.settings.computed_in();
    Report {
        schema: SCHEMA,
        tool: Tool { name: env!("CARGO_PKG_NAME").to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() },
        verdict: Verdict::Pass,
        reasons: vec![],
        reference: reference.describe(),
        candidate: candidate.describe(),
        protocol: Corpus::default().protocol(options),
        precision: report::Precision { asked: precision.name().to_owned(), used: used.name().to_owned() },
        activations,
        comparability: vec![],
        coverage: report::Coverage::default(),
        tensors: vec![],
        rounding: None,
        metrics: None,
        embeddings: None,
        noise: None,
        layers: vec![],
        slices: vec![],
        running: vec![],
        worst: vec![],
        kld_histogram: vec![],
        gates: vec![],
        baseline: None,
        threads: rayon::current_num_threads(),
        isa: isa.name().to_owned(),
        seconds: 0.0,
        peak_anon_bytes: 0,
    }
}

/// Writes down what the groups have shown.
fn measured(report: &mut Report, corpus: &Corpus<'_>, outcome: Outcome, worst: usize) {
    let scores = &outcome.comparison.scores;
    report.protocol.sequences = outcome.sequences;
    if outcome.interrupted {
        report.verdict = Verdict::Interrupted;
        let (done, all) = (outcome.sequences, corpus.sequences.count());
        report.reasons.push(format!("interrupted after {done} of {all} sequences"));
    }
    report.metrics = Metrics::of(scores);
    report.layers = outcome.comparison.layers.iter().map(drifted).collect();
    report.slices = (corpus.slices.iter())
        .map(|slice| {
            let from = scores.partition_point(|score| score.sequence < slice.sequences.start);
            let to = scores.partition_point(|score| score.sequence < slice.sequences.end);
            let done = outcome.sequences.clamp(slice.sequences.start, slice.sequences.end);
            Slice {
                file: slice.name.clone(),
                text_tokens: slice.tokens,
                sequences: done - slice.sequences.start,
                metrics: Metrics::of(&scores[from..to]),
            }
        })
        .collect();
    report.running = outcome.running;
    report.worst = extremes::worst(scores, corpus, worst);
    report.kld_histogram = extremes::histogram(scores);
}

fn drifted(layer: &LayerDrift) -> report::Layer {
    let finite = |x: f64| x.is_finite().then_some(x);
    report::Layer {
        name: layer.name.clone(),
        block: layer.block,
        relative_error: finite(layer.relative_error),
        cosine: finite(layer.cosine),
    }
}

/// Writes down what became of vectors.
fn turned(report: &mut Report, drift: embed::Drift, texts: &[Text], options: &Options) {
    let sequences: usize = drift.lines.iter().sum();
    report.protocol = report::Protocol {
        name: "lines".to_owned(),
        description: "a vector for each line of the text".to_owned(),
        context: drift.context,
        stride: drift.context,
        bos: None,
        sequences,
        planned: sequences,
        batch: options.batch,
        corpus: format!("{:016x}", corpus::fingerprint(drift.ids.iter().map(|id| u64::from(*id)))),
    };
    report.layers = drift.layers.iter().map(drifted).collect();
    let slice = |(text, lines): (&Text, usize)| Slice {
        file: text.name.clone(),
        text_tokens: 0,
        sequences: lines,
        metrics: None,
    };
    report.slices = texts.iter().zip(drift.lines).map(slice).collect();
    report.embeddings = drift.embeddings;
}

/// How much of the drift is the arithmetic of this machine.
fn noise(
    report: &mut Report,
    [reference, candidate]: [&Party<'_>; 2],
    corpus: &Corpus<'_>,
    options: &Options,
    observer: &mut Observer<'_>,
) -> Result<()> {
    let Some(metrics) = &mut report.metrics else { return Ok(()) };
    let mut noise = if report.precision.used == "f32" {
        let note = match report.precision.asked.as_str() {
            "f32" => "f32: the same bits on every machine and any number of threads".to_owned(),
            asked => format!("this machine does not multiply {asked}: computed in f32"),
        };
        Noise { kld: 0.0, sequences: 0, tokens: 0, drift_below: false, note }
    } else {
        groups::noise(reference, candidate, &corpus.sequences, options, observer)?
    };
    noise.drift_below = metrics.kld.mean <= noise.kld && noise.kld > 0.0;
    metrics.noise_floor = Some(noise.kld);
    report.noise = Some(noise);
    Ok(())
}
