//! Coordinate descent: each code in turn is set to what loses least while all others stay.
//!
//! With the errors `E = W - Q` and `G = E H`, the loss as a function of one weight `q` alone is least at
//! `q + G[j] / H[j, j]`; the nearest point of the grid is its minimum there, since the loss is a parabola. Rounding column
//! by column leaves codes that later ones have made worse than they need be.

use planish_kernels::Isa;
use planish_kernels::block::Rounder;
use planish_kernels::cpu::{self, Precision, Strided, Weight};

use super::Moments;

/// Columns that see each other's changes at once.
const PANEL: usize = 32;
/// Where fewer than one in so many codes of a panel change, as is usual, each change goes its own way.
const FEW: usize = 4;

/// What the loss looks like around a solution.
pub(super) struct Curvature<'a> {
    n: usize,
    matrix: &'a [f32],
    /// `1 / H[j, j]`, and 0 for a channel through which nothing flows.
    inverse: Vec<f32>,
}

impl<'a> Curvature<'a> {
    pub(super) fn new(moments: &'a Moments) -> Curvature<'a> {
        let inverse = moments.diagonal().iter().map(|sum| if *sum > 0.0 { 1.0 / sum } else { 0.0 }).collect();
        Curvature { n: moments.width(), matrix: moments.matrix(), inverse }
    }
}

/// Improves the codes of some rows, whose `values` they are, up to `sweeps` times.
pub(super) fn sweep(
    isa: Isa,
    curvature: &Curvature<'_>,
    weights: &[f32],
    values: &mut [f32],
    grids: &mut [Box<dyn Rounder>],
    sweeps: usize,
) {
    let n = curvature.n;
    let (rows, len) = (weights.len() / n, n / grids.len().max(1));
    let errors: Vec<f32> = weights.iter().zip(&*values).map(|(w, q)| w - q).collect();
    let mut gradient = vec![0.0; errors.len()];
    cpu::matmul(isa, &errors, rows, n, Weight::F32(curvature.matrix), n, None, &mut gradient, Precision::F32);
    let panel = PANEL.min(n);
    let mut state = Columns { rows, gradient: vec![0.0; panel * rows], changes: vec![0.0; panel * rows] };
    let (mut target, mut before, mut after) = (vec![0.0; rows], vec![0.0; rows], vec![0.0; rows]);
    for _ in 0..sweeps {
        let mut changed = 0;
        for first in (0..n).step_by(panel) {
            let (last, mut here) = (n.min(first + panel), 0);
            state.load(&gradient, n, first..last);
            for j in 0..last - first {
                let column = first + j;
                let inverse = curvature.inverse[column];
                if inverse == 0.0 {
                    state.changes[j * rows..(j + 1) * rows].fill(0.0);
                    continue;
                }
                for row in 0..rows {
                    before[row] = values[row * n + column];
                    target[row] = before[row] + state.gradient[j * rows + row] * inverse;
                }
                grids[column / len].snap(column % len, &target, &mut after);
                let changes = &mut state.changes[j * rows..(j + 1) * rows];
                for row in 0..rows {
                    changes[row] = after[row] - before[row];
                    here += usize::from(changes[row] != 0.0);
                    values[row * n + column] = after[row];
                }
                let factors = &curvature.matrix[column * n + first..column * n + last];
                cpu::subtract_outer(isa, &mut state.gradient[..(last - first) * rows], factors, changes);
            }
            changed += here;
            let factors = &curvature.matrix[first * n..last * n];
            if here * FEW < rows * (last - first) {
                for (row, gradient) in gradient.chunks_mut(n).enumerate() {
                    for (changes, factors) in state.changes.chunks(rows).zip(factors.chunks(n)) {
                        if changes[row] != 0.0 {
                            cpu::subtract_outer(isa, gradient, &changes[row..=row], factors);
                        }
                    }
                }
                continue;
            }
            let changes = state.changes_by_row(last - first);
            let changes = Strided { data: &changes, stride: last - first };
            let factors = Strided { data: factors, stride: n };
            cpu::subtract_product(isa, &mut gradient, n, changes, factors, rows, last - first, n);
        }
        // What a thousandth of the codes would still gain is not worth another sweep.
        if changed * 1000 < values.len() {
            break;
        }
    }
}

/// A panel of columns, each contiguous.
struct Columns {
    rows: usize,
    gradient: Vec<f32>,
    changes: Vec<f32>,
}

impl Columns {
    fn load(&mut self, gradient: &[f32], n: usize, columns: std::ops::Range<usize>) {
        for (row, gradient) in gradient.chunks(n).enumerate() {
            for (j, value) in gradient[columns.clone()].iter().enumerate() {
                self.gradient[j * self.rows + row] = *value;
            }
        }
    }

    /// `[rows, width]`.
    fn changes_by_row(&self, width: usize) -> Vec<f32> {
        (0..self.rows).flat_map(|row| self.changes[row..].iter().step_by(self.rows).take(width).copied()).collect()
    }
}
