//! The rounder of every type: rows are lanes, and what the rows' grids are made of lies a column after the other.

use super::points::{Points, Steps};
use super::refit::{SUBS, Sums, refit};
use super::{Grid, Rounder};
use crate::Isa;
use crate::lanes::{Job, LANES, Lanes, Row, Vector, dispatch};

/// One block in each of many rows.
pub(crate) struct Columns<G> {
    grid: G,
    isa: Isa,
    rows: usize,
    /// What `encode` gave; its codes are stale once a column was rounded.
    bytes: Vec<u8>,
    /// `[sub-block][sixteen rows]`
    steps: Vec<Steps>,
    /// `[column][sixteen rows]`
    codes: Vec<[u8; LANES]>,
    /// By column, the elements that `encode` did not put on the nearest point.
    kept: Vec<Vec<Kept>>,
}

/// An element that `encode` did not put on the nearest point.
#[derive(Clone, Copy)]
struct Kept {
    row: u32,
    /// Of the fitted value.
    bits: u32,
    code: u8,
    value: f32,
}

impl<G: Grid> Columns<G> {
    pub(crate) fn new(grid: G, isa: Isa, rows: usize) -> Self {
        let tiles = rows.div_ceil(LANES);
        let (len, subs) = (grid.elements(), grid.elements() / grid.sub_len());
        Columns {
            isa,
            rows,
            bytes: vec![0; rows * grid.bytes()],
            steps: vec![Steps::default(); subs * tiles],
            codes: vec![[0; LANES]; len * tiles],
            kept: vec![Vec::new(); len],
            grid,
        }
    }

    fn tiles(&self) -> usize {
        self.rows.div_ceil(LANES)
    }

    /// Better parts for one row, in place of its old ones.
    fn refit_row(&mut self, row: usize, x: &[f32], importance: Option<&[f32]>) -> bool {
        let (tiles, tile, lane) = (self.tiles(), row / LANES, row % LANES);
        let block = &mut self.bytes[row * self.grid.bytes()..][..self.grid.bytes()];
        let Some(parts) = self.grid.parts(block) else { return false };
        let mut sums = [Sums::default(); SUBS];
        let sub_len = self.grid.sub_len();
        for (col, x) in x.iter().enumerate() {
            let low = self.steps[col / sub_len * tiles + tile].lane(lane).low;
            let level = self.grid.points().level(self.codes[col * tiles + tile][lane], low);
            sums[col / sub_len].add(importance.map_or(1.0, |w| w[col]), level, *x);
        }
        let sums = &sums[..x.len() / sub_len];
        let Some(better) = refit(&parts, sums, |scale| self.grid.stored(scale)) else { return false };
        self.grid.set_parts(block, &better);
        for sub in 0..sums.len() {
            self.steps[sub * tiles + tile].set_lane(lane, self.grid.step(block, sub));
        }
        for kept in &mut self.kept {
            kept.retain(|kept| kept.row as usize != row);
        }
        true
    }

    /// Steps and codes from the bytes.
    fn read(&mut self) {
        let (tiles, len) = (self.tiles(), self.grid.elements());
        let subs = len / self.grid.sub_len();
        let mut codes = vec![0; LANES * len];
        for (tile, blocks) in self.bytes.chunks(LANES * self.grid.bytes()).enumerate() {
            for (lane, block) in blocks.chunks_exact(self.grid.bytes()).enumerate() {
                for sub in 0..subs {
                    self.steps[sub * tiles + tile].set_lane(lane, self.grid.step(block, sub));
                }
                self.grid.codes(block, &mut codes[lane * len..][..len]);
            }
            for col in 0..len {
                for lane in 0..LANES {
                    self.codes[col * tiles + tile][lane] = codes[lane * len + col];
                }
            }
        }
    }
}

impl<G: Grid> Rounder for Columns<G> {
    fn block_len(&self) -> usize {
        self.grid.elements()
    }

    fn fit(&mut self, x: &[f32], importance: Option<&[f32]>, row_squares: &[f32]) {
        let len = self.grid.elements();
        assert_eq!((x.len(), row_squares.len()), (self.rows * len, self.rows), "a block and a mean square a row");
        assert!(importance.is_none_or(|w| w.len() == len), "one weight a column");
        self.grid.choose(self.isa, x, importance, row_squares, &mut self.bytes);
        self.read();
        let settle = Settle {
            points: self.grid.points(),
            x,
            rows: self.rows,
            len,
            sub_len: self.grid.sub_len(),
            steps: &self.steps,
            codes: &self.codes,
            kept: &mut self.kept,
        };
        dispatch(self.isa, settle);
    }

    fn snap(&mut self, col: usize, x: &[f32], out: &mut [f32]) {
        assert!(col < self.grid.elements() && x.len() == self.rows && out.len() == self.rows, "a column of the block");
        let (tiles, sub) = (self.tiles(), col / self.grid.sub_len());
        let codes = &mut self.codes[col * tiles..][..tiles];
        let steps = &self.steps[sub * tiles..][..tiles];
        dispatch(self.isa, Snap { points: self.grid.points(), x, steps, codes, out });
        for kept in &self.kept[col] {
            let row = kept.row as usize;
            if x[row].to_bits() == kept.bits {
                codes[row / LANES][row % LANES] = kept.code;
                out[row] = kept.value;
            }
        }
    }

    fn refit(&mut self, x: &[f32], importance: Option<&[f32]>) -> bool {
        let len = self.grid.elements();
        assert_eq!(x.len(), self.rows * len, "a block a row");
        assert!(importance.is_none_or(|w| w.len() == len), "one weight a column");
        let mut changed = false;
        for (row, x) in x.chunks_exact(len).enumerate() {
            changed |= self.refit_row(row, x, importance);
        }
        changed
    }

    fn pack(&self, out: &mut [u8]) {
        assert_eq!(out.len(), self.bytes.len(), "the bytes of the blocks");
        out.copy_from_slice(&self.bytes);
        let (tiles, len) = (self.tiles(), self.grid.elements());
        let mut codes = vec![0; LANES * len];
        for (tile, blocks) in out.chunks_mut(LANES * self.grid.bytes()).enumerate() {
            for col in 0..len {
                for lane in 0..LANES {
                    codes[lane * len + col] = self.codes[col * tiles + tile][lane];
                }
            }
            for (block, codes) in blocks.chunks_exact_mut(self.grid.bytes()).zip(codes.chunks_exact(len)) {
                self.grid.set_codes(block, codes);
            }
        }
    }
}

/// Rounds one column.
struct Snap<'a> {
    points: Points,
    x: &'a [f32],
    steps: &'a [Steps],
    codes: &'a mut [[u8; LANES]],
    out: &'a mut [f32],
}

impl Job for Snap<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let (x, x_rest) = self.x.as_chunks::<LANES>();
        let (out, out_rest) = self.out.as_chunks_mut::<LANES>();
        for (((x, out), steps), codes) in x.iter().zip(out).zip(self.steps).zip(self.codes.iter_mut()) {
            let (code, value) = self.points.nearest(lanes, lanes.load(x), steps);
            *codes = code;
            value.store(out);
        }
        if let ([_, ..], [.., steps], [.., codes]) = (x_rest, self.steps, self.codes) {
            let mut padded = [0.0; LANES];
            padded[..x_rest.len()].copy_from_slice(x_rest);
            let (code, value) = self.points.nearest(lanes, lanes.load(&padded), steps);
            *codes = code;
            value.store(&mut padded);
            out_rest.copy_from_slice(&padded[..out_rest.len()]);
        }
    }
}

/// Notes where the codes are not the nearest ones.
struct Settle<'a> {
    points: Points,
    x: &'a [f32],
    rows: usize,
    len: usize,
    sub_len: usize,
    steps: &'a [Steps],
    codes: &'a [[u8; LANES]],
    kept: &'a mut [Vec<Kept>],
}

impl Job for Settle<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let (len, tiles) = (self.len, self.rows.div_ceil(LANES));
        self.kept.iter_mut().for_each(Vec::clear);
        for (tile, x) in self.x.chunks(LANES * len).enumerate() {
            for first in (0..len).step_by(LANES) {
                let mut columns = [Row::default(); LANES];
                if x.len() == LANES * len && first + LANES <= len {
                    lanes.transpose(&x[first..], len, &mut columns);
                } else {
                    for (lane, x) in x.chunks_exact(len).enumerate() {
                        for (column, x) in columns.iter_mut().zip(&x[first..]) {
                            column.0[lane] = *x;
                        }
                    }
                }
                for (col, x) in (first..len).zip(&columns) {
                    let steps = &self.steps[col / self.sub_len * tiles + tile];
                    let codes = &self.codes[col * tiles + tile];
                    let (nearest, _) = self.points.nearest(lanes, lanes.load(&x.0), steps);
                    if nearest == *codes {
                        continue;
                    }
                    for lane in 0..LANES.min(self.rows - tile * LANES) {
                        let code = codes[lane];
                        if nearest[lane] != code {
                            let row = (tile * LANES + lane) as u32;
                            let value = self.points.value(code, steps.lane(lane));
                            self.kept[col].push(Kept { row, bits: x.0[lane].to_bits(), code, value });
                        }
                    }
                }
            }
        }
    }
}
