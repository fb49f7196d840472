//! Both models over the whole text, a group of sequences after another.
//!
//! Every layer of both runs over one group before the next group begins. So the hidden states in memory are those of a
//! group, however long the text; numbers exist after the first group, and an interrupted run has measured something.
//! The price is that weights are read and decoded once a group: with the usual 8 sequences of 512 tokens some 1 % of
//! the time, and even from a disk less than the products take. No number depends on the size of a group.

use planish_kernels::cpu::Precision;

use super::job::{Event, Observer, Options};
use super::party::Party;
use super::report::{Activations, Noise, Running};
use super::stats::mean;
use super::{Comparison, Error, Metrics, Progress, Result, Score, Sequences, Side, compare};
use crate::model::{Model, Op};
use crate::run::executor::Settings;

/// What was measured, and of how much.
pub(super) struct Outcome {
    pub comparison: Comparison,
    /// Sequences that were scored.
    pub sequences: usize,
    pub running: Vec<Running>,
    /// Whether somebody stopped it before the last.
    pub interrupted: bool,
}

/// Sequences on which the noise of the arithmetic is measured.
const NOISE_SEQUENCES: usize = 1;

/// Runs both over all of `sequences`.
pub(super) fn run(
    reference: &Party<'_>,
    candidate: &Party<'_>,
    sequences: &Sequences,
    options: &Options,
    observer: &mut Observer<'_>,
) -> Result<Outcome> {
    let settings = options.settings;
    // The reference is what the candidate was made from: nothing is rounded in it.
    let exact = reference.side(Settings { activations: Activations::Exact, ..settings });
    let candidate = candidate.side(settings);
    let mut work = Work::new(&reference.subject.model, sequences);
    let mut outcome = Outcome { comparison: Comparison::default(), sequences: 0, running: vec![], interrupted: false };
    let (count, batch) = (sequences.count(), options.batch.max(1));
    for first in (0..count).step_by(batch) {
        let group = first..count.min(first + batch);
        let part = sequences.part(group.clone());
        let done = compare(&exact, &candidate, &part, &mut |progress| {
            work.progress(&part, progress);
            observer(&Event::Run { share: work.share(), tokens: sequences.ids.len() })
        });
        match done {
            Ok(more) => outcome.comparison.append(more, first, sequences.tokens),
            Err(Error::Interrupted) if first > 0 => {
                outcome.interrupted = true;
                break;
            }
            Err(error) => return Err(placed(error, first)),
        }
        work.group_done(&part);
        outcome.sequences = group.end;
        let running = running(&outcome.comparison.scores, group.end);
        outcome.running.push(running);
        if observer(&Event::Group(running)).is_break() && group.end < count {
            outcome.interrupted = true;
            break;
        }
    }
    Ok(outcome)
}

/// Sequences are counted over the whole text in messages.
fn placed(error: Error, before: usize) -> Error {
    match error {
        Error::NotFinite { which, sequence, token } => Error::NotFinite { which, sequence: sequence + before, token },
        error => error,
    }
}

/// The means alone: intervals after every group would take longer than the groups.
fn running(scores: &[Score], sequences: usize) -> Running {
    let of = |value: fn(&Score) -> f64| (!scores.is_empty()).then(|| mean(scores.iter().map(value)).value);
    Running {
        sequences,
        tokens: scores.len(),
        ppl_ref: of(|score| -score.reference).map(f64::exp),
        ppl_cand: of(|score| -score.candidate).map(f64::exp),
        kld: of(|score| score.kl),
    }
}

/// Each model against itself: in f32, and in the precision that was used. The larger of the two counts.
pub(super) fn noise(
    reference: &Party<'_>,
    candidate: &Party<'_>,
    sequences: &Sequences,
    options: &Options,
    observer: &mut Observer<'_>,
) -> Result<Noise> {
    let sample = sequences.part(0..NOISE_SEQUENCES);
    let settings = Settings { activations: Activations::Exact, ..options.settings };
    let (mut kld, mut tokens) = (0f64, 0);
    for party in [reference, candidate] {
        let exact: Side<'_> = party.side(Settings { precision: Precision::F32, ..settings });
        let found = compare(&exact, &party.side(settings), &sample, &mut |_| {
            observer(&Event::Run { share: 1.0, tokens: sequences.ids.len() })
        })?;
        tokens = found.scores.len();
        kld = Metrics::of(&found.scores).map_or(kld, |metrics| kld.max(metrics.kld.mean));
    }
    let note = "each model in this precision against itself in f32, the larger of both".to_owned();
    Ok(Noise { kld, sequences: sample.count(), tokens, drift_below: false, note })
}

/// How much of the work is done, counted in products of a weight and a token.
struct Work {
    /// Weights that each step multiplies.
    steps: Vec<u64>,
    head: u64,
    all: u64,
    /// Of the groups before this one.
    before: u64,
    now: u64,
}

impl Work {
    fn new(model: &Model, sequences: &Sequences) -> Work {
        let layers = model.stacks.iter().flat_map(|stack| &stack.layers);
        let linear = |op: &Op| match op {
            Op::Linear { w, .. } | Op::Heads { w, .. } => w.shape.iter().product::<usize>() as u64,
            // A token goes to some of the matrices only.
            Op::Experts { w, .. } => w.shape.iter().skip(1).product::<usize>() as u64,
            _ => 0,
        };
        let mut steps: Vec<u64> = layers.map(|layer| layer.ops.iter().map(linear).sum()).collect();
        let head = steps.pop().unwrap_or(0);
        let mut work = Work { steps, head, all: 1, before: 0, now: 0 };
        work.all = work.of(sequences).max(1);
        work
    }

    fn of(&self, part: &Sequences) -> u64 {
        self.steps.iter().sum::<u64>() * part.ids.len() as u64 + self.head * part.scored.len() as u64
    }

    fn progress(&mut self, part: &Sequences, progress: &Progress) {
        self.now = match progress {
            Progress::Layer { done, .. } => self.steps.iter().take(*done).sum::<u64>() * part.ids.len() as u64,
            Progress::Head { done, of } => {
                let share = *done as f64 / (*of).max(1) as f64;
                let head = self.head as f64 * part.scored.len() as f64;
                self.steps.iter().sum::<u64>() * part.ids.len() as u64 + (head * share) as u64
            }
        };
    }

    fn group_done(&mut self, part: &Sequences) {
        self.before += self.of(part);
        self.now = 0;
    }

    fn share(&self) -> f64 {
        (self.before + self.now) as f64 / self.all as f64
    }
}
