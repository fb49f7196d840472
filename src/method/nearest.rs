//! Each block by itself: what the codec makes of it, weighed by the mean square of each channel.

use rayon::prelude::*;

use super::{Account, Method, Result, Rounded, Task, loss};

/// Round to nearest.
pub struct Nearest;

/// Rows that a thread encodes at a time.
const ROWS: usize = 16;

impl Method for Nearest {
    fn name(&self) -> &'static str {
        "nearest"
    }

    fn round(&self, task: &Task<'_>, weights: &[f32]) -> Result<Rounded> {
        let mut rounded = encode(task, weights);
        let share = Stake::new(task, weights).lost(&rounded.values);
        rounded.account = Account { loss: share, nearest: share, ..Account::default() };
        Ok(rounded)
    }
}

/// What there is to lose with a matrix.
pub(super) struct Stake<'a> {
    task: &'a Task<'a>,
    weights: &'a [f32],
    all: f64,
}

impl<'a> Stake<'a> {
    pub(super) fn new(task: &'a Task<'a>, weights: &'a [f32]) -> Stake<'a> {
        Stake { task, weights, all: loss(task.isa, weights, task.moments) }
    }

    /// The share of it that is lost with `values` in place of the weights.
    pub(super) fn lost(&self, values: &[f32]) -> f64 {
        let errors: Vec<f32> = self.weights.par_iter().zip(values).map(|(w, q)| w - q).collect();
        if self.all > 0.0 { loss(self.task.isa, &errors, self.task.moments) / self.all } else { 0.0 }
    }
}

/// The codec's own encoding and what it decodes to, without an account.
pub(super) fn encode(task: &Task<'_>, weights: &[f32]) -> Rounded {
    let Task { isa, cols, codec, .. } = *task;
    let importance = importance(task);
    let row_bytes = cols / codec.block_len() * codec.block_bytes();
    let mut blocks = vec![0; weights.len() / cols.max(1) * row_bytes];
    let mut values = vec![0.0; weights.len()];
    let bands = blocks.par_chunks_mut(ROWS * row_bytes).zip(values.par_chunks_mut(ROWS * cols));
    bands.zip(weights.par_chunks(ROWS * cols)).for_each(|((blocks, values), weights)| {
        codec.encode(isa, weights, cols, importance.as_deref(), blocks);
        codec.decode(isa, blocks, values);
    });
    Rounded { blocks, values, account: Account::default() }
}

/// The mean square of each channel; without tokens nothing is known.
fn importance(task: &Task<'_>) -> Option<Vec<f32>> {
    let tokens = task.moments.tokens() as f32;
    (tokens > 0.0).then(|| task.moments.diagonal().iter().map(|sum| sum / tokens).collect())
}
