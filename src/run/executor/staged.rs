//! A layer in stages: each value that linear ops read is made for all tokens before anything reads it, so that its
//! readers' weights can be decided on by all of it.
//!
//! Every product is made once, with the weights that were decided on. So a value shows what flows there once everything
//! before it is quantized, and one pass over the tokens serves statistics and propagation. What lies between two stages
//! is kept as hidden states are: in memory, or past the limit in a temporary file.

use std::collections::BTreeMap;

use super::buffers::Buffers;
use super::carry::Hidden;
use super::layer::hidden_result;
use super::ready::Ready;
use super::weights::Loaded;
use super::{Executor, Result};
use crate::model::{Carry, Layer, Op, Value, across, widths};

/// Decides on weights by what flows into them.
pub trait Stages {
    /// Some of `value`, `[rows, width]`: whole sequences, in order.
    fn see(&mut self, layer: &Layer, value: Value, x: &[f32]) -> Result<()>;

    /// All of `value` was seen: the matrices by which its readers multiply, `[out, in]` by the names of the weights. What
    /// has no entry is multiplied as it is stored.
    fn decide(&mut self, layer: &Layer, value: Value) -> Result<BTreeMap<String, Vec<f32>>>;

    /// What takes the place of vectors of `layer`, by name, from the beginning.
    fn vectors(&mut self, layer: &Layer) -> Result<BTreeMap<String, Vec<f32>>>;
}

impl<'a> Executor<'a> {
    /// [`Executor::step`] in stages; `None` after the last.
    pub fn step_in_stages(&mut self, stages: &mut dyn Stages) -> Result<Option<&'a Layer>> {
        if self.next >= self.steps() {
            return Ok(None);
        }
        self.enter()?;
        let layer = self.layers[self.next];
        let spans = self.spans(layer)?;
        let mut replaced = stages.vectors(layer)?;
        let mut between: BTreeMap<usize, Kept> = BTreeMap::new();
        let mut from = 0;
        for cut in cuts(layer).into_iter().map(Some).chain([None]) {
            let to = cut.map_or(layer.ops.len(), |value| value.index() + 1);
            let ops = &layer.ops[from..to];
            let weights = Loaded::replaced(self.settings.isa, self.source, ops, &mut replaced)?;
            let weights = Ready::new(&self.settings, ops, weights)?;
            let keep = alive(layer, to);
            if cut.is_some() {
                for value in keep.iter().filter(|value| value.index() >= from) {
                    let kept = self.room(spans[value.index()], &between)?;
                    between.insert(value.index(), kept);
                }
            }
            for (group, sequences) in self.groups().enumerate() {
                let made = self.stage(layer, from, &weights, &mut between, group, &sequences, &spans, &keep)?;
                if let Some(value) = cut {
                    stages.see(layer, value, made[value.index()].as_deref().unwrap_or_default())?;
                }
                for (at, value) in made.into_iter().enumerate() {
                    let Some(value) = value else { continue };
                    match (between.get_mut(&at), cut) {
                        (Some(kept), Some(_)) => {
                            let row = sequences.start * spans[at].tokens;
                            kept.put(group, row, at >= from, value, &mut self.buffers)?;
                        }
                        (_, None) => {
                            self.hidden.write(sequences.start * spans[at].tokens, &value)?;
                            self.buffers.give(value);
                        }
                        (None, Some(_)) => self.buffers.give(value),
                    }
                }
            }
            between.retain(|at, _| keep.iter().any(|value| value.index() == *at));
            if let Some(value) = cut {
                replaced.extend(stages.decide(layer, value)?);
            }
            from = to;
        }
        self.next += 1;
        Ok(Some(layer))
    }

    /// Runs the ops from `from` on that `weights` are for over these rows: the values to keep.
    #[allow(clippy::too_many_arguments)]
    fn stage(
        &mut self,
        layer: &'a Layer,
        from: usize,
        weights: &Ready<'_>,
        between: &mut BTreeMap<usize, Kept>,
        group: usize,
        sequences: &std::ops::Range<usize>,
        spans: &[Span],
        keep: &[Value],
    ) -> Result<Vec<Option<Vec<f32>>>> {
        let rows = self.group(sequences);
        let ops = &layer.ops[from..from + weights.len()];
        let flow = self.flow(ops, sequences)?;
        let mut made = Vec::with_capacity(layer.ops.len());
        for (at, Span { tokens, width }) in spans[..from].iter().enumerate() {
            let (row, len) = (sequences.start * tokens, sequences.len() * tokens * width);
            made.push(match between.get_mut(&at) {
                Some(kept) => Some(kept.take(group, row, len, &mut self.buffers)?),
                None => None,
            });
        }
        for op in ops {
            self.turns_of(op);
        }
        let Executor { settings, buffers, turns, .. } = self;
        weights.run_on(settings, buffers, &layer.ops, made, &rows, flow, super::find(turns), keep)
    }

    /// How large each value of a layer is.
    fn spans(&self, layer: &Layer) -> Result<Vec<Span>> {
        let before = self.stack.checked_sub(1).map(|before| &self.parts[before]);
        let width = |carry| match carry {
            Carry::Encoded => before.map(|part| part.width),
            Carry::Hidden | Carry::Logits => Some(self.width()),
        };
        let widths = widths(layer, width).map_err(crate::run::Error::from)?;
        let tokens = |across| before.filter(|_| across).map_or(self.tokens(), |part| part.input.tokens);
        Ok(across(layer)
            .into_iter()
            .zip(widths)
            .map(|(across, width)| Span { tokens: tokens(across), width })
            .collect())
    }

    /// Room for a value beside those that are kept already.
    fn room(&mut self, Span { tokens, width }: Span, between: &BTreeMap<usize, Kept>) -> Result<Kept> {
        let (rows, memory) = (self.part().count() * tokens, self.settings.memory);
        let carried = self.hidden.in_memory() + self.encoded.as_ref().map_or(0, Hidden::in_memory);
        let used = between.values().map(Kept::in_memory).sum::<usize>() + carried;
        let bytes = rows * width * size_of::<f32>();
        if bytes > memory.saturating_sub(used) {
            return Ok(Kept::File(Hidden::new(rows, width, 0)?));
        }
        if bytes > memory.saturating_sub(used + self.buffers.bytes()) {
            self.buffers.clear();
        }
        Ok(Kept::Memory { parts: vec![vec![]; self.groups().count()], bytes })
    }
}

/// How large a value is.
#[derive(Clone, Copy)]
struct Span {
    /// Rows of a sequence.
    tokens: usize,
    /// Elements of a row.
    width: usize,
}

/// A value between two stages, `[rows, width]`.
enum Kept {
    /// The vectors that it was made in, one a group of rows.
    Memory { parts: Vec<Vec<f32>>, bytes: usize },
    /// Past the limit.
    File(Hidden),
}

impl Kept {
    /// Bytes that it takes in memory once it is all there.
    fn in_memory(&self) -> usize {
        match self {
            Kept::Memory { bytes, .. } => *bytes,
            Kept::File(_) => 0,
        }
    }

    /// What was kept of a group, which begins at `row` and has `len` elements.
    fn take(&mut self, group: usize, row: usize, len: usize, buffers: &mut Buffers) -> Result<Vec<f32>> {
        match self {
            Kept::Memory { parts, .. } => Ok(std::mem::take(&mut parts[group])),
            Kept::File(hidden) => {
                let mut value = buffers.take(len);
                hidden.read(row, &mut value)?;
                Ok(value)
            }
        }
    }

    /// Keeps what a group's rows, from `row` on, are; unless it is `new`, they have been kept before.
    fn put(&mut self, group: usize, row: usize, new: bool, value: Vec<f32>, buffers: &mut Buffers) -> Result<()> {
        match self {
            Kept::Memory { parts, .. } => parts[group] = value,
            Kept::File(hidden) => {
                if new {
                    hidden.write(row, &value)?;
                }
                buffers.give(value);
            }
        }
        Ok(())
    }
}

/// The values that linear ops read, in the order in which they are made.
fn cuts(layer: &Layer) -> Vec<Value> {
    let mut cuts: Vec<Value> = layer.ops.iter().filter_map(Op::reads).map(|(value, _)| value).collect();
    cuts.sort_unstable();
    cuts.dedup();
    cuts
}

/// The values made before the op `to` that it or a later one reads, or that the layer leaves.
fn alive(layer: &Layer, to: usize) -> Vec<Value> {
    let mut alive: Vec<Value> = layer.ops[to..].iter().flat_map(Op::inputs).chain(hidden_result(layer)).collect();
    alive.retain(|value| value.index() < to);
    alive.sort_unstable();
    alive.dedup();
    alive
}
