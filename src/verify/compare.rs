//! Both models over the same tokens, one layer of each at a time.

use std::ops::ControlFlow;

use planish_kernels::cpu::Drift;
use rayon::prelude::*;

use super::{Error, Result, Sequences, Which};
use crate::checkpoint::Pooling;
use crate::dialect::Tensors;
use crate::model::{Layer, Model};
use crate::run::executor::{Executor, Head, Input, Settings};

/// One of the two.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    /// The program over the names of `source`.
    pub model: &'a Model,
    /// Its weights.
    pub source: &'a Tensors,
    /// How it is run.
    pub settings: Settings,
}

/// How far a layer's result is from the reference's, over all tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerDrift {
    /// The reference's name of the layer.
    pub name: String,
    /// The number of its block, if it is one.
    pub block: Option<usize>,
    /// The norm of the difference over the norm of the reference's hidden states.
    pub relative_error: f64,
    /// The cosine between the two.
    pub cosine: f64,
    /// Of each sequence.
    sums: Vec<Sums>,
}

/// Squares of the reference, of the candidate and of the difference, and the product, over all elements.
type Sums = [f64; 4];

impl LayerDrift {
    fn new(name: &str, block: Option<usize>, sums: Vec<Sums>) -> LayerDrift {
        // Sequence after sequence, however they were grouped.
        let [aa, bb, dd, ab] = sums.iter().fold(Sums::default(), |mut all, sums| {
            add(&mut all, *sums);
            all
        });
        // Equal states are 1 to each other, not the rounded quotient; and nothing has no direction.
        let same = dd == 0.0;
        let cosine = if same { 1.0 } else { ab / (aa * bb).sqrt() };
        let relative_error = if same { 0.0 } else { (dd / aa).sqrt() };
        LayerDrift { name: name.to_owned(), block, relative_error, cosine, sums }
    }

    /// The drift over these sequences and those of `more`.
    fn and(&self, more: &LayerDrift) -> LayerDrift {
        LayerDrift::new(&self.name, self.block, [self.sums.as_slice(), &more.sums].concat())
    }
}

fn add(sums: &mut Sums, more: Sums) {
    sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
}

/// One scored token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Its sequence.
    pub sequence: usize,
    /// The row of its logits, counted over all sequences.
    pub row: usize,
    /// The token that came next, or that stood where the mask is.
    pub target: u32,
    /// The log-probability that the reference gave it, nats.
    pub reference: f64,
    /// The log-probability that the candidate gave it, nats.
    pub candidate: f64,
    /// KL(reference || candidate), nats.
    pub kl: f64,
    /// The token most likely to the reference.
    pub best_reference: u32,
    /// The token most likely to the candidate.
    pub best_candidate: u32,
}

impl Score {
    /// Whether both find the same token most likely.
    pub fn same_best(&self) -> bool {
        self.best_reference == self.best_candidate
    }
}

/// What a run of both has shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// In the order of execution; the first is the embedding.
    pub layers: Vec<LayerDrift>,
    /// In the order of the text.
    pub scores: Vec<Score>,
}

impl Comparison {
    /// Adds what the same two models have shown on further sequences, of `tokens` tokens each, of which `before` came
    /// before.
    pub fn append(&mut self, more: Comparison, before: usize, tokens: usize) {
        append_layers(&mut self.layers, more.layers);
        let place =
            |score: Score| Score { sequence: score.sequence + before, row: score.row + before * tokens, ..score };
        self.scores.extend(more.scores.into_iter().map(place));
    }
}

/// What is done so far.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// A layer of both.
    Layer {
        /// How many are done.
        done: usize,
        /// Of how many.
        of: usize,
        /// What it drifted.
        drift: LayerDrift,
    },
    /// A tile of the vocabulary.
    Head {
        /// Tokens of the vocabulary that are done.
        done: usize,
        /// Of how many.
        of: usize,
    },
}

/// Tokens of the vocabulary whose logits are in memory at once.
const TILE: usize = 2048;
/// Rows of them.
const ROWS: usize = 512;

/// Told what is done; asks to stop by [`ControlFlow::Break`].
pub type Watch<'a> = dyn FnMut(&Progress) -> ControlFlow<()> + 'a;

/// Runs both over `sequences`.
pub fn compare(
    reference: &Side<'_>,
    candidate: &Side<'_>,
    sequences: &Sequences,
    watch: &mut Watch<'_>,
) -> Result<Comparison> {
    let (mut reference, mut candidate, layers) = through([reference, candidate], sequences, watch)?;
    let rows: Vec<usize> = sequences.scored.iter().map(|(row, _)| *row).collect();
    let (a, b) = (reference.head(&rows)?, candidate.head(&rows)?);
    same("the vocabulary", a.vocab(), b.vocab())?;
    if let Some((_, id)) = sequences.scored.iter().find(|(_, id)| *id as usize >= a.vocab()) {
        return Err(Error::Target { id: *id, vocab: a.vocab() });
    }
    let drifts = reduce(&reference, &a, &candidate, &b, sequences, watch)?;
    let scores = drifts.iter().zip(&sequences.scored).map(|(drift, &(row, target))| {
        let (sequence, token) = (row / sequences.tokens, row % sequences.tokens);
        let not_finite = |which| Error::NotFinite { which, sequence, token };
        let log_prob = |which, side: &planish_kernels::cpu::Likelihood| {
            let found = side.log_prob().zip(side.best()).filter(|_| side.finite());
            found.ok_or_else(|| not_finite(which))
        };
        let (reference, best_reference) = log_prob(Which::Reference, &drift.reference)?;
        let (candidate, best_candidate) = log_prob(Which::Candidate, &drift.candidate)?;
        Ok(Score { sequence, row, target, reference, candidate, kl: drift.kl(), best_reference, best_candidate })
    });
    let scores = scores.collect::<Result<Vec<_>>>()?;
    Ok(Comparison { layers, scores })
}

/// What a run of two models without a head has shown.
pub(super) struct Vectors {
    pub layers: Vec<LayerDrift>,
    /// Between the vectors of each sequence.
    pub cosines: Vec<f64>,
}

/// Runs both, the reference first, over `sequences`, each of which becomes a vector.
pub(super) fn vectors(
    sides: [&Side<'_>; 2],
    sequences: &Sequences,
    pooling: Pooling,
    watch: &mut Watch<'_>,
) -> Result<Vectors> {
    let (reference, candidate, layers) = through(sides, sequences, watch)?;
    let (tokens, width) = (sequences.tokens, reference.executor.width());
    let mut states = vec![0.0; tokens * width];
    let mut cosines = Vec::with_capacity(sequences.count());
    for sequence in 0..sequences.count() {
        let mut vector = |run: &Run<'_>| {
            run.named(run.executor.hidden(sequence * tokens..(sequence + 1) * tokens, &mut states))?;
            let vector = pooling.vector(&states, width);
            let finite = vector.iter().all(|x| x.is_finite());
            if finite { Ok(vector) } else { Err(Error::NotFiniteVector { which: run.which, sequence }) }
        };
        cosines.push(cosine(&vector(&reference)?, &vector(&candidate)?));
    }
    Ok(Vectors { layers, cosines })
}

/// Equal vectors are 1 to each other, not the rounded quotient; and nothing has no direction.
fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    match (a == b, lengths > 0.0) {
        (true, _) => 1.0,
        (false, true) => dot(a, b) / lengths,
        (false, false) => 0.0,
    }
}

/// Adds the drift over further sequences to that of the sequences before them.
pub(super) fn append_layers(layers: &mut Vec<LayerDrift>, more: Vec<LayerDrift>) {
    if layers.is_empty() {
        *layers = more;
    } else {
        layers.iter_mut().zip(&more).for_each(|(layer, more)| *layer = layer.and(more));
    }
}

/// Both after their last step, and what drifted on the way.
fn through<'a>(
    [reference, candidate]: [&Side<'a>; 2],
    sequences: &'a Sequences,
    watch: &mut Watch<'_>,
) -> Result<(Run<'a>, Run<'a>, Vec<LayerDrift>)> {
    let mut reference = Run::new(Which::Reference, reference, sequences)?;
    let mut candidate = Run::new(Which::Candidate, candidate, sequences)?;
    same("the width of hidden states", reference.executor.width(), candidate.executor.width())?;
    let steps = reference.executor.steps();
    same("the number of layers", steps, candidate.executor.steps())?;

    let mut layers = Vec::with_capacity(steps);
    while let (Some(layer), Some(_)) = (reference.step()?, candidate.step()?) {
        let drift = drift(layer, &reference, &candidate, sequences)?;
        layers.push(drift.clone());
        tell(watch, &Progress::Layer { done: layers.len(), of: steps, drift })?;
    }
    Ok((reference, candidate, layers))
}

fn tell(watch: &mut Watch<'_>, progress: &Progress) -> Result<()> {
    if watch(progress).is_break() { Err(Error::Interrupted) } else { Ok(()) }
}

fn same(what: &'static str, reference: usize, candidate: usize) -> Result<()> {
    if reference == candidate { Ok(()) } else { Err(Error::Incomparable { what, reference, candidate }) }
}

/// An executor whose errors say whose they are.
struct Run<'a> {
    which: Which,
    settings: Settings,
    executor: Executor<'a>,
}

impl<'a> Run<'a> {
    fn new(which: Which, side: &Side<'a>, sequences: &'a Sequences) -> Result<Run<'a>> {
        let sources = sequences.sources.as_ref().map(|sources| (&sources.ids, sources.tokens, &sources.lengths));
        let inputs = sources.into_iter().chain([(&sequences.ids, sequences.tokens, &sequences.lengths)]);
        let input = |(ids, tokens, lengths): (&'a Vec<u32>, usize, &'a Vec<usize>)| {
            let lengths = (!lengths.is_empty()).then_some(lengths.as_slice());
            Input { ids, tokens, lengths }
        };
        let inputs: Vec<Input<'a>> = inputs.map(input).collect();
        let executor = Executor::over(side.model, side.source, &inputs, side.settings);
        Ok(Run {
            which,
            settings: side.settings,
            executor: executor.map_err(|source| Error::Run { which, source: Box::new(source) })?,
        })
    }

    fn named<T>(&self, result: crate::run::executor::Result<T>) -> Result<T> {
        result.map_err(|source| Error::Run { which: self.which, source: Box::new(source) })
    }

    fn step(&mut self) -> Result<Option<&'a Layer>> {
        let step = self.executor.step();
        self.named(step)
    }

    fn head(&mut self, rows: &[usize]) -> Result<Head<'a>> {
        let head = self.executor.head(rows);
        self.named(head)?.ok_or(Error::NoHead { which: self.which })
    }
}

fn drift(layer: &Layer, reference: &Run<'_>, candidate: &Run<'_>, sequences: &Sequences) -> Result<LayerDrift> {
    let (width, rows) = (reference.executor.width(), reference.executor.rows());
    let (mut a, mut b) = (vec![0.0; ROWS.min(rows) * width], vec![0.0; ROWS.min(rows) * width]);
    let tokens = reference.executor.tokens().max(1);
    let mut sums = vec![Sums::default(); sequences.count()];
    for first in (0..rows).step_by(ROWS) {
        let part = first..rows.min(first + ROWS);
        let (a, b) = (&mut a[..part.len() * width], &mut b[..part.len() * width]);
        reference.named(reference.executor.hidden(part.clone(), a))?;
        candidate.named(candidate.executor.hidden(part, b))?;
        let rows = a.par_chunks(width).zip(b.par_chunks(width)).map(|(a, b)| {
            a.iter().zip(b).fold(Sums::default(), |[aa, bb, dd, ab], (&a, &b)| {
                let (a, b) = (f64::from(a), f64::from(b));
                [aa + a * a, bb + b * b, dd + (a - b) * (a - b), ab + a * b]
            })
        });
        // Rows in order, whatever the threads did.
        for (row, sum) in (first..).zip(rows.collect::<Vec<_>>()) {
            // What only fills a sequence up says nothing.
            if !reference.executor.has(row) {
                continue;
            }
            add(&mut sums[row / tokens], sum);
        }
    }
    Ok(LayerDrift::new(&layer.name, layer.block, sums))
}

/// The logits of both for every scored row, reduced tile by tile.
fn reduce(
    reference: &Run<'_>,
    a: &Head<'_>,
    candidate: &Run<'_>,
    b: &Head<'_>,
    sequences: &Sequences,
    watch: &mut Watch<'_>,
) -> Result<Vec<Drift>> {
    let isa = reference.settings.isa;
    let mut drifts = vec![Drift::new(1); sequences.scored.len()];
    let (mut a_logits, mut b_logits) = (vec![], vec![]);
    let (mut a_spare, mut b_spare) = (None, None);
    for first in (0..a.vocab()).step_by(TILE) {
        let tokens = first..a.vocab().min(first + TILE);
        let a_tile = reference.named(a.tile(tokens.clone(), a_spare.take()))?;
        let b_tile = candidate.named(b.tile(tokens.clone(), b_spare.take()))?;
        for (block, drifts) in drifts.chunks_mut(ROWS).enumerate() {
            let rows = block * ROWS..block * ROWS + drifts.len();
            reference.named(a.logits(&a_tile, rows.clone(), &mut a_logits))?;
            candidate.named(b.logits(&b_tile, rows.clone(), &mut b_logits))?;
            let logits = a_logits.par_chunks(tokens.len()).zip(b_logits.par_chunks(tokens.len()));
            drifts.par_iter_mut().zip(logits).zip(&sequences.scored[rows]).for_each(|((drift, (a, b)), scored)| {
                drift.push(isa, first, a, b, scored.1);
            });
        }
        (a_spare, b_spare) = (Some(a_tile), Some(b_tile));
        tell(watch, &Progress::Head { done: tokens.end, of: a.vocab() })?;
    }
    Ok(drifts)
}
