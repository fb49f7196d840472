//! A layer in stages: each value that linear ops read is made for all tokens before anything reads it, so that its
//! readers' weights can be decided on by all of it.
//!
//! Every product is made once, with the weights that were decided on. So a value shows what flows there once everything
//! before it is quantized, and one pass over the tokens serves statistics and propagation. What lies between two stages
//! is kept as hidden states are: in memory, or past the limit in a temporary file.

use std::collections::BTreeMap;

use super::carry::Hidden;
use super::layer::{Group, hidden_result, run_on};
use super::weights::Loaded;
use super::{Executor, Result};
use crate::model::{Layer, Op, Value, widths};

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
        let layer = self.layers[self.next];
        let widths = widths(layer, |_| Some(self.width)).map_err(crate::run::Error::from)?;
        let mut replaced = stages.vectors(layer)?;
        let mut between: BTreeMap<usize, Hidden> = BTreeMap::new();
        let mut from = 0;
        for cut in cuts(layer).into_iter().map(Some).chain([None]) {
            let to = cut.map_or(layer.ops.len(), |value| value.index() + 1);
            let ops = &layer.ops[from..to];
            let weights = Loaded::replaced(self.settings.isa, self.source, ops, &mut replaced)?;
            let keep = alive(layer, to);
            let mut stores = match cut {
                Some(_) => self.stores(keep.iter().map(|v| v.index()).filter(|at| *at >= from), &widths, &between)?,
                None => BTreeMap::new(),
            };
            for rows in self.groups() {
                let made = self.part(layer, from, &weights, &between, rows.clone(), &widths, &keep)?;
                if let Some(value) = cut {
                    stages.see(layer, value, made[value.index()].as_deref().unwrap_or_default())?;
                }
                for (at, value) in made.into_iter().enumerate() {
                    let Some(value) = value else { continue };
                    match (stores.get_mut(&at), cut) {
                        (Some(store), _) => store.write(rows.start, &value)?,
                        (None, None) => self.hidden.write(rows.start, &value)?,
                        (None, Some(_)) => {}
                    }
                    self.buffers.give(value);
                }
            }
            let read = |at: &usize| keep.iter().any(|value| value.index() == *at);
            let done = between.extract_if(.., |at, _| !read(at)).map(|(_, store)| store);
            self.spare.extend(done);
            between.append(&mut stores);
            if let Some(value) = cut {
                replaced.extend(stages.decide(layer, value)?);
            }
            from = to;
        }
        self.spare.extend(between.into_values());
        self.next += 1;
        Ok(Some(layer))
    }

    /// Runs the ops from `from` on that `weights` are for over these rows: the values to keep.
    #[allow(clippy::too_many_arguments)]
    fn part(
        &mut self,
        layer: &'a Layer,
        from: usize,
        weights: &[Loaded<'_>],
        between: &BTreeMap<usize, Hidden>,
        rows: std::ops::Range<usize>,
        widths: &[usize],
        keep: &[Value],
    ) -> Result<Vec<Option<Vec<f32>>>> {
        let group = Group { ids: &self.ids[rows.clone()], tokens: self.tokens, rows: rows.len() };
        let ops = &layer.ops[from..from + weights.len()];
        let mut hidden = vec![];
        if ops.iter().any(|op| matches!(op, Op::Carried(_))) && self.next > 0 {
            hidden = self.buffers.take(rows.len() * self.width);
            self.hidden.read(rows.start, &mut hidden)?;
        }
        let mut made = Vec::with_capacity(layer.ops.len());
        for (at, width) in widths[..from].iter().enumerate() {
            made.push(match between.get(&at) {
                Some(store) => {
                    let mut value = self.buffers.take(rows.len() * width);
                    store.read(rows.start, &mut value)?;
                    Some(value)
                }
                None => None,
            });
        }
        for op in ops {
            self.turns_of(op);
        }
        let Executor { settings, buffers, turns, .. } = self;
        run_on(settings, buffers, &layer.ops, made, weights, &group, hidden, super::find(turns), keep)
    }

    /// Room for these values, beside those that are kept already. Room that was used before is used again, since the first
    /// touch of fresh memory costs more than the copy.
    fn stores(
        &mut self,
        values: impl Iterator<Item = usize>,
        widths: &[usize],
        between: &BTreeMap<usize, Hidden>,
    ) -> Result<BTreeMap<usize, Hidden>> {
        let mut stores = BTreeMap::new();
        for at in values {
            let width = widths[at];
            let store = if let Some(at) = self.spare.iter().position(|spare| spare.width() == width) {
                self.spare.swap_remove(at)
            } else {
                let used = between.values().chain(stores.values()).chain([&self.hidden]);
                let used: usize = used.map(Hidden::in_memory).sum();
                let spare: usize = self.spare.iter().map(Hidden::in_memory).sum();
                let mut left = self.settings.memory.saturating_sub(used + spare);
                if self.ids.len() * width * size_of::<f32>() > left {
                    self.spare.clear();
                    left = self.settings.memory.saturating_sub(used);
                }
                Hidden::new(self.ids.len(), width, left)?
            };
            stores.insert(at, store);
        }
        Ok(stores)
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
