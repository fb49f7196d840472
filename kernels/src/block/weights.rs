//! What turns importance into the weights of a search.

use crate::Isa;
use crate::lanes::{Job, LANES, Lanes, Row, Vector, dispatch};

/// Sums of squares of up to sixteen rows of `len` elements, each summed in order.
#[inline(always)]
pub(super) fn square_sums<L: Lanes>(lanes: L, rows: &[f32], len: usize) -> [f32; LANES] {
    let mut sums = [0.0; LANES];
    if rows.len() == LANES * len && len.is_multiple_of(LANES) {
        let mut tile = [Row::default(); LANES];
        let mut sum = lanes.splat(0.0);
        for column in (0..len).step_by(LANES) {
            lanes.transpose(&rows[column..], len, &mut tile);
            for x in &tile {
                let x = lanes.load(&x.0);
                sum = sum + x * x;
            }
        }
        sum.store(&mut sums);
    } else {
        for (row, sum) in rows.chunks(len).zip(&mut sums) {
            *sum = row.iter().fold(0.0, |sum, x| sum + x * x);
        }
    }
    sums
}

/// The mean square of each row of `cols` elements, as encoders compute it: summed in order, in f32.
pub fn mean_squares(isa: Isa, rows: &[f32], cols: usize) -> Vec<f32> {
    assert!(cols > 0 && rows.len().is_multiple_of(cols), "whole rows");
    let mut out = Vec::with_capacity(rows.len() / cols);
    for rows in rows.chunks(LANES * cols) {
        let sums = dispatch(isa, SquareSums(rows, cols));
        out.extend(sums.iter().take(rows.len() / cols).map(|sum| sum / cols as f32));
    }
    out
}

struct SquareSums<'a>(&'a [f32], usize);

impl Job for SquareSums<'_> {
    type Out = [f32; LANES];

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> [f32; LANES] {
        square_sums(lanes, self.0, self.1)
    }
}

/// Turns importance into `importance * sqrt(mean_square + x * x)`.
#[inline(always)]
pub(super) fn weigh<L: Lanes>(lanes: L, mean_square: L::F, x: &[Row], w: &mut [Row]) {
    for (x, w) in x.iter().zip(w) {
        let x = lanes.load(&x.0);
        (lanes.load(&w.0) * (mean_square + x * x).sqrt()).store(&mut w.0);
    }
}

/// The columns' importance for `out.len()` elements that start at element `start` of rows of `importance.len()`.
#[inline(always)]
pub(super) fn columns(importance: &[f32], start: usize, out: &mut [f32]) {
    let mut column = start % importance.len();
    let mut done = 0;
    while done < out.len() {
        let n = (out.len() - done).min(importance.len() - column);
        out[done..done + n].copy_from_slice(&importance[column..column + n]);
        done += n;
        column = 0;
    }
}

/// Sixteen runs of `N` elements, run by lane.
#[inline(always)]
pub(super) fn transposed<L: Lanes, const N: usize>(lanes: L, src: &[f32], out: &mut [Row; N]) {
    for (i, tile) in out.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        lanes.transpose(&src[i * LANES..], N, tile);
    }
}

/// The weights of Q4_K and Q5_K without importance: the sub-block's root mean square plus `|x|`.
#[inline(always)]
pub(super) fn level_weights<L: Lanes>(lanes: L, x: &[Row; 32], w: &mut [Row; 32]) {
    let mut sum = lanes.splat(0.0);
    for x in x {
        let x = lanes.load(&x.0);
        sum = sum + x * x;
    }
    let level = (sum / lanes.splat(32.0)).sqrt();
    for (x, w) in x.iter().zip(w) {
        (level + lanes.load(&x.0).abs()).store(&mut w.0);
    }
}

/// Up to sixteen sub-blocks, one a lane; missing ones are zeros.
#[inline(always)]
pub(super) fn sub_blocks<L: Lanes, const N: usize>(lanes: L, values: &[f32], out: &mut [Row; N]) {
    if values.len() == LANES * N {
        return transposed(lanes, values, out);
    }
    let mut padded = [Row::default(); N];
    bytemuck::cast_slice_mut(&mut padded)[..values.len()].copy_from_slice(values);
    transposed(lanes, bytemuck::cast_slice(&padded), out);
}

/// The importance of sixteen sub-blocks that start at element `start` of the rows, one a lane.
#[inline(always)]
pub(super) fn sub_block_columns<L: Lanes, const N: usize>(
    lanes: L,
    importance: &[f32],
    start: usize,
    out: &mut [Row; N],
) {
    let mut natural = [Row::default(); N];
    columns(importance, start, bytemuck::cast_slice_mut(&mut natural));
    transposed(lanes, bytemuck::cast_slice(&natural), out);
}
