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
        let share = relative(task, weights, &rounded.values);
        rounded.account = Account { loss: share, nearest: share, ..Account::default() };
        Ok(rounded)
    }
}

/// The loss of `values` in place of `weights`, as a share of what there is to lose.
pub(super) fn relative(task: &Task<'_>, weights: &[f32], values: &[f32]) -> f64 {
    let errors: Vec<f32> = weights.par_iter().zip(values).map(|(w, q)| w - q).collect();
    let all = loss(task.isa, weights, task.moments);
    if all > 0.0 { loss(task.isa, &errors, task.moments) / all } else { 0.0 }
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
