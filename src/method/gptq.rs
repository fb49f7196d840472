//! GPTQ: columns are rounded one after another, and what each loses is made good by those that are not rounded yet.
//!
//! With `H^-1 = V^T V`, `V` upper triangular, the error of column `j` is `e = (w - q) / V[j, j]`, the columns `k` after it
//! become `w - e V[j, k]`, and the loss is the sum of all `e^2` (Frantar et al. 2022, arXiv 2210.17323). So a column's
//! error counts by `1 / V[j, j]^2`: that is the importance by which each block's grid is chosen, when its turn comes, from
//! the weights as they then are.
//!
//! Blocks come in the order of what flows through them, and so do the columns of a block: the grid stays where the type has
//! it, and no reader needs to know of an order. Afterwards single codes are improved until a sweep changes little: see
//! `descent`.

use planish_kernels::block::{Rounder, mean_squares};
use planish_kernels::cpu::{self, Strided};
use rayon::prelude::*;

use super::descent::{self, Curvature};
use super::nearest::{Stake, encode};
use super::{Account, Error, Method, Result, Rounded, Task};

/// GPTQ with its settings.
#[derive(Clone, Copy, Debug)]
pub struct Gptq {
    /// What is added to the diagonal of `H`, as a share of its mean.
    pub damping: f64,
    /// How often all codes are looked at again.
    pub sweeps: usize,
}

/// Rows that are solved together: enough for vectors, few enough to stay in a second-level cache.
const ROWS: usize = 64;
/// Columns whose errors reach those beyond in one product.
const PANEL: usize = 32;
/// Where a factor cannot be had, the damping becomes so many times as much.
const RAISE: f64 = 4.0;
/// The damping after none.
const SMALLEST: f64 = 1e-3;
/// The largest damping that is tried.
const LARGEST: f64 = 1.0;

impl Gptq {
    /// The usual settings.
    pub const DEFAULT: Gptq = Gptq { damping: 0.01, sweeps: 4 };
}

impl Method for Gptq {
    fn name(&self) -> &'static str {
        "gptq"
    }

    fn round(&self, task: &Task<'_>, weights: &[f32]) -> Result<Rounded> {
        if let Some(channel) = task.moments.not_finite() {
            return Err(Error::Activation { tensor: task.name.to_owned(), channel });
        }
        let stake = Stake::new(task, weights);
        let nearest = stake.lost(&encode(task, weights).values);
        let plain = |account: Account| {
            Ok(Rounded { account: Account { loss: nearest, nearest, ..account }, ..encode(task, weights) })
        };
        // Types of one number a block lose too little to be worth it, and without tokens there is nothing to go by.
        if task.codec.block_len() == 1 || nearest == 0.0 {
            return plain(Account::default());
        }
        let plan = Plan::new(task, self.damping)?;
        let n = task.cols;
        let row_bytes = n / task.codec.block_len() * task.codec.block_bytes();
        let blocks = vec![0; weights.len() / n.max(1) * row_bytes];
        let mut rounded = Rounded { values: vec![0.0; weights.len()], blocks, account: Account::default() };
        let chunks = rounded.values.par_chunks_mut(ROWS * n).zip(rounded.blocks.par_chunks_mut(ROWS * row_bytes));
        chunks
            .zip(weights.par_chunks(ROWS * n))
            .try_for_each(|((values, blocks), weights)| plan.rows(task, weights, self.sweeps, values, blocks))?;
        let (damping, dead) = (plan.damping, plan.dead);
        drop(plan);
        let loss = stake.lost(&rounded.values);
        rounded.account = Account { loss, nearest, damping, dead, fell_back: false };
        if loss > nearest {
            return plain(Account { fell_back: true, ..rounded.account });
        }
        Ok(rounded)
    }
}

/// What all rows of a matrix have in common.
struct Plan<'a> {
    /// The column at each place of the order; blocks stay together.
    order: Vec<usize>,
    /// `V` in that order, `[in, in]`; below the diagonal nothing counts.
    factor: Vec<f32>,
    /// `1 / V[j, j]^2` of each column.
    importance: Vec<f32>,
    curvature: Curvature<'a>,
    damping: f64,
    dead: usize,
}

impl<'a> Plan<'a> {
    fn new(task: &Task<'a>, damping: f64) -> Result<Plan<'a>> {
        let (n, moments) = (task.cols, task.moments);
        let diagonal = moments.diagonal();
        let order = order(&diagonal, task.codec.block_len());
        let dead = diagonal.iter().filter(|sum| **sum == 0.0).count();
        let (mut share, mut factor) = (damping, vec![0.0; n * n]);
        // A channel through which nothing flows stands alone: its weights are rounded to nearest.
        while cpu::factor(task.isa, moments.matrix(), n, share as f32, &order, &mut factor).is_err() {
            if share >= LARGEST {
                return Err(Error::Singular { tensor: task.name.to_owned(), damping: share });
            }
            share = (share * RAISE).clamp(SMALLEST, LARGEST);
        }
        let mut importance = vec![0.0; n];
        for (place, &column) in order.iter().enumerate() {
            importance[column] = factor[place * n + place].powi(-2);
        }
        let curvature = Curvature::new(moments);
        Ok(Plan { order, factor, importance, curvature, damping: share, dead })
    }

    /// Rounds some rows: the values, `[rows, in]`, and their blocks.
    fn rows(
        &self,
        task: &Task<'_>,
        weights: &[f32],
        sweeps: usize,
        values: &mut [f32],
        blocks: &mut [u8],
    ) -> Result<()> {
        let (n, codec) = (task.cols, task.codec);
        let rows = weights.len() / n;
        let mut grids = self.solve(task, weights, values)?;
        if sweeps > 0 {
            descent::sweep(task.isa, &self.curvature, weights, values, &mut grids, sweeps);
        }
        let (block, row_bytes) = (codec.block_bytes(), blocks.len() / rows.max(1));
        let mut packed = vec![0; rows * block];
        for (at, grid) in grids.iter().enumerate() {
            grid.pack(&mut packed);
            for (row, packed) in blocks.chunks_mut(row_bytes).zip(packed.chunks(block)) {
                row[at * block..][..block].copy_from_slice(packed);
            }
        }
        Ok(())
    }

    /// One way through the columns. Gives back the grid of each block.
    fn solve(&self, task: &Task<'_>, weights: &[f32], values: &mut [f32]) -> Result<Vec<Box<dyn Rounder>>> {
        let (n, len) = (task.cols, task.codec.block_len());
        let rows = weights.len() / n;
        let squares = mean_squares(task.isa, weights, n);
        let mut grids = grids(task, rows)?;
        // In the order of `order`.
        let mut left: Vec<f32> =
            weights.chunks(n).flat_map(|row| self.order.iter().map(|&column| row[column])).collect();
        let (mut tile, mut errors) = (vec![0.0; PANEL * rows], vec![0.0; PANEL * rows]);
        let (mut block, mut rounded) = (vec![0.0; len * rows], vec![0.0; rows]);
        let panels = (0..n).step_by(len).flat_map(|block| {
            (block..block + len).step_by(PANEL).map(move |first| (block, first, (first + PANEL).min(block + len)))
        });
        for (start, first, last) in panels {
            let at = self.order[start] / len;
            let grid = &mut grids[at];
            if first == start {
                for (row, block) in left.chunks(n).zip(block.chunks_mut(len)) {
                    for (value, &column) in row[start..start + len].iter().zip(&self.order[start..start + len]) {
                        block[column % len] = *value;
                    }
                }
                grid.fit(&block, Some(&self.importance[at * len..(at + 1) * len]), &squares);
            }
            let width = last - first;
            transpose(&left, n, first, width, rows, &mut tile);
            for j in 0..width {
                let factors = &self.factor[(first + j) * n..(first + j + 1) * n];
                let (done, rest) = tile.split_at_mut((j + 1) * rows);
                let column = &done[j * rows..];
                let natural = self.order[first + j];
                grid.snap(natural % len, column, &mut rounded);
                let scale = 1.0 / factors[first + j];
                let errors = &mut errors[j * rows..(j + 1) * rows];
                for (row, ((error, w), q)) in errors.iter_mut().zip(column).zip(&rounded).enumerate() {
                    *error = (w - q) * scale;
                    values[row * n + natural] = *q;
                }
                cpu::subtract_outer(
                    task.isa,
                    &mut rest[..(width - j - 1) * rows],
                    &factors[first + j + 1..last],
                    errors,
                );
            }
            if last < n {
                let errors: Vec<f32> =
                    (0..rows).flat_map(|row| errors[row..].iter().step_by(rows).take(width).copied()).collect();
                let errors = Strided { data: &errors, stride: width };
                let factors = Strided { data: &self.factor[first * n + last..], stride: n };
                cpu::subtract_product(task.isa, &mut left[last..], n, errors, factors, rows, width, n - last);
            }
        }
        Ok(grids)
    }
}

/// A grid for each block of these rows.
fn grids(task: &Task<'_>, rows: usize) -> Result<Vec<Box<dyn Rounder>>> {
    let Task { isa, cols, codec, name, .. } = *task;
    let none = || Error::NoRounder { tensor: name.to_owned(), ty: codec.name().to_owned() };
    (0..cols / codec.block_len()).map(|_| codec.rounder(isa, rows).ok_or_else(none)).collect()
}

/// The columns in the order of what flows through them, the blocks by all of theirs.
pub(super) fn order(diagonal: &[f32], len: usize) -> Vec<usize> {
    let mut blocks: Vec<(usize, &[f32])> = diagonal.chunks(len).enumerate().collect();
    let sum = |block: &[f32]| block.iter().map(|sum| f64::from(*sum)).sum::<f64>();
    blocks.sort_by(|a, b| sum(b.1).total_cmp(&sum(a.1)));
    let columns = blocks.into_iter().flat_map(|(at, block)| {
        let mut columns: Vec<usize> = (at * len..at * len + block.len()).collect();
        columns.sort_by(|a, b| diagonal[*b].total_cmp(&diagonal[*a]));
        columns
    });
    columns.collect()
}

/// `tile[column][row]` of the columns from `first` on.
fn transpose(left: &[f32], n: usize, first: usize, width: usize, rows: usize, tile: &mut [f32]) {
    for (row, left) in left.chunks(n).enumerate() {
        for (column, value) in left[first..first + width].iter().enumerate() {
            tile[column * rows + row] = *value;
        }
    }
}
