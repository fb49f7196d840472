//! A tensor to which something is added while it is read.

use std::ops::Deref;

use planish_formats::View;

/// The product of two narrow matrices, `[rows, rank] x [rank, cols]`: what an adapter adds to a weight (LoRA,
/// arXiv 2106.09685).
#[derive(Debug)]
pub struct Delta {
    rank: usize,
    cols: usize,
    scale: f32,
    /// `[rows, rank]`.
    up: Vec<f32>,
    /// `[rank, cols]`.
    down: Vec<f32>,
}

impl Delta {
    /// `scale * up x down`; `None` if the two do not fit each other.
    pub fn new(rank: usize, scale: f32, up: Vec<f32>, down: Vec<f32>) -> Option<Delta> {
        let whole = rank > 0 && !down.is_empty() && up.len().is_multiple_of(rank) && down.len().is_multiple_of(rank);
        whole.then(|| Delta { rank, cols: down.len() / rank, scale, up, down })
    }

    /// Columns of the one and rows of the other.
    pub(crate) fn rank(&self) -> usize {
        self.rank
    }

    /// What the product is multiplied by.
    pub(crate) fn scale(&self) -> f32 {
        self.scale
    }

    /// `[rows, rank]`.
    pub(crate) fn up(&self) -> &[f32] {
        &self.up
    }

    /// `[rank, cols]`.
    pub(crate) fn down(&self) -> &[f32] {
        &self.down
    }

    /// `[rows, cols]`.
    pub fn shape(&self) -> [usize; 2] {
        [self.up.len() / self.rank, self.cols]
    }

    /// Adds it to the elements from `first` on, which `out` has. Products of a row are added in the order of the rank.
    pub(crate) fn add(&self, first: usize, out: &mut [f32]) {
        let (mut at, mut out) = (first, out);
        while !out.is_empty() {
            let (row, col) = (at / self.cols, at % self.cols);
            let (piece, rest) = out.split_at_mut((self.cols - col).min(out.len()));
            let ups = &self.up[row * self.rank..][..self.rank];
            for (up, down) in ups.iter().zip(self.down.chunks_exact(self.cols)) {
                let up = up * self.scale;
                for (out, down) in piece.iter_mut().zip(&down[col..]) {
                    *out += up * down;
                }
            }
            at += piece.len();
            out = rest;
        }
    }
}

/// A tensor of a source, and what is added to it.
#[derive(Clone, Debug)]
pub struct Whole<'a> {
    pub(super) view: View<'a>,
    pub(super) deltas: &'a [Delta],
}

impl Whole<'_> {
    /// What is added when it is read.
    pub(crate) fn deltas(&self) -> &[Delta] {
        self.deltas
    }
}

impl<'a> Deref for Whole<'a> {
    type Target = View<'a>;

    fn deref(&self) -> &View<'a> {
        &self.view
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_piece_gets_what_is_its_own() {
        let (up, down): (Vec<f32>, Vec<f32>) = ((0..6).map(|x| x as f32).collect(), (0..8).map(|x| x as f32).collect());
        let delta = Delta::new(2, 0.5, up.clone(), down.clone()).expect("they fit");
        assert_eq!(delta.shape(), [3, 4]);
        let at = |r: usize, c: usize| 0.5 * (up[2 * r] * down[c] + up[2 * r + 1] * down[4 + c]);
        let want: Vec<f32> = (0..12).map(|i| 1.0 + at(i / 4, i % 4)).collect();
        for (first, last) in [(0, 12), (3, 6), (5, 12), (7, 8)] {
            let mut out = vec![1.0; last - first];
            delta.add(first, &mut out);
            assert_eq!(out, want[first..last]);
        }
        assert!(Delta::new(4, 1.0, up, down.clone()).is_none() && Delta::new(0, 1.0, vec![], down).is_none());
    }
}
