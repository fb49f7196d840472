//! Columns of many rows onto a type's grid, one block at a time: what error-compensated rounding needs.

mod alone;
mod columns;
mod points;
mod refit;

pub(super) use alone::Alone;
pub(crate) use columns::Columns;
pub(crate) use points::{Points, Steps, Ties};
pub(crate) use refit::Parts;

use std::marker::PhantomData;

use super::codec::{Block, Input, encode_rows};
use super::half::{f16_bits, f16_value};
use crate::Isa;

/// Rounds columns of many rows onto a type's grid, one block of columns at a time.
///
/// Laws, tested for every codec that has one: `fit`, then `snap` of every column with the values that were fitted, then
/// `pack` gives the bytes of [`super::Codec::encode`]; what `snap` gives is what decoding gives, bit for bit; every
/// [`Isa`] gives the same bytes. Other values go to the nearest point of the grid, and where two are as near, to the one
/// that `encode` would take. (Some encoders leave elements off the nearest point, since they round before the scale is
/// settled. Exactly the fitted value of such an element is rounded as the encoder did.)
///
/// A rounder works on one thread. Panics if the lengths do not fit together.
pub trait Rounder: Send {
    /// Columns of a block: all of them share the grid that `fit` chooses.
    fn block_len(&self) -> usize;

    /// Chooses the grid of one block in each row. `x` is `[rows, block_len]` row-major, `importance` one weight a column
    /// of the block; `row_squares` the mean square of each whole row, since some types weigh by it, as
    /// [`super::mean_squares`] computes it. Values must be finite.
    fn fit(&mut self, x: &[f32], importance: Option<&[f32]>, row_squares: &[f32]);

    /// Rounds column `col` of the block in all rows to the nearest points of their grids: `x[rows]` to `out[rows]`, the
    /// values that decoding gives. Columns may come in any order, each may be rounded again (the last counts); a column
    /// that is never rounded keeps what `encode` gave it.
    fn snap(&mut self, col: usize, x: &[f32], out: &mut [f32]);

    /// The bytes of the block in each row, `[rows, block_bytes]`.
    fn pack(&self, out: &mut [u8]);

    /// Chooses better scales for the present codes, by least squares against `x` (`[rows, block_len]`), as the format can
    /// hold them; `importance` is one weight a column. A row changes only where its weighted squared error falls. Says
    /// whether any row did: then what `snap` gave is out of date (`pack` and decode), and columns are rounded onto the new
    /// grid from now on. Types whose scales are not free numbers never change.
    fn refit(&mut self, _x: &[f32], _importance: Option<&[f32]>) -> bool {
        false
    }
}

/// What a sub-block's codes stand for: `step * level - min`, where uniform levels are `low + code`.
#[derive(Clone, Copy)]
pub(crate) struct Step {
    pub(crate) step: f32,
    pub(crate) min: f32,
    pub(crate) low: f32,
}

/// A type as [`Columns`] sees it.
pub(crate) trait Grid: Send {
    fn points(&self) -> Points;
    /// Elements of a block.
    fn elements(&self) -> usize;
    /// Bytes of a block.
    fn bytes(&self) -> usize;
    /// Elements that share a [`Step`].
    fn sub_len(&self) -> usize;
    /// Encodes one block a row.
    fn choose(&self, isa: Isa, x: &[f32], importance: Option<&[f32]>, row_squares: &[f32], out: &mut [u8]);
    /// Of sub-block `sub`.
    fn step(&self, block: &[u8], sub: usize) -> Step;
    fn codes(&self, block: &[u8], out: &mut [u8]);
    fn set_codes(&self, block: &mut [u8], codes: &[u8]);
    /// How the steps are stored, where they may be chosen.
    fn parts(&self, _block: &[u8]) -> Option<Parts> {
        None
    }
    fn set_parts(&self, _block: &mut [u8], _parts: &Parts) {}
    /// What the format keeps of a scale.
    fn stored(&self, scale: f32) -> f32 {
        f16_value(f16_bits(scale))
    }
}

/// A static block type whose elements round alone.
pub(super) trait Snapped<const LEN: usize>: Block {
    type Layout: bytemuck::Pod;
    const POINTS: Points;
    /// Elements that share a [`Step`].
    const SUB: usize = LEN;

    fn step(block: &Self::Layout, sub: usize) -> Step;
    fn codes(block: &Self::Layout) -> [u8; LEN];
    fn set_codes(block: &mut Self::Layout, codes: &[u8; LEN]);

    /// How the steps are stored, where they may be chosen; `d` and `dmin` in half precision.
    fn parts(_block: &Self::Layout) -> Option<Parts> {
        None
    }
    fn set_parts(_block: &mut Self::Layout, _parts: &Parts) {}
}

/// The grid of a block type.
pub(super) struct Of<B, const LEN: usize>(PhantomData<B>);

impl<B: Snapped<LEN> + Send, const LEN: usize> Of<B, LEN> {
    pub(super) fn rounder(isa: Isa, rows: usize) -> Box<dyn Rounder> {
        Box::new(Columns::new(Of::<B, LEN>(PhantomData), isa, rows))
    }
}

impl<B: Snapped<LEN> + Send, const LEN: usize> Grid for Of<B, LEN> {
    fn points(&self) -> Points {
        B::POINTS
    }

    fn elements(&self) -> usize {
        LEN
    }

    fn bytes(&self) -> usize {
        B::BYTES
    }

    fn sub_len(&self) -> usize {
        B::SUB
    }

    fn choose(&self, isa: Isa, x: &[f32], importance: Option<&[f32]>, row_squares: &[f32], out: &mut [u8]) {
        let importance = importance.filter(|_| B::WEIGHS);
        encode_rows::<B>(isa, Input { values: x, cols: LEN, importance, row_squares: Some(row_squares) }, out);
    }

    fn step(&self, block: &[u8], sub: usize) -> Step {
        B::step(&bytemuck::pod_read_unaligned(block), sub)
    }

    fn codes(&self, block: &[u8], out: &mut [u8]) {
        out.copy_from_slice(&B::codes(&bytemuck::pod_read_unaligned(block)));
    }

    fn set_codes(&self, block: &mut [u8], codes: &[u8]) {
        let codes = codes.first_chunk().expect("the codes of a block");
        edit::<B, LEN>(block, |layout| B::set_codes(layout, codes));
    }

    fn parts(&self, block: &[u8]) -> Option<Parts> {
        B::parts(&bytemuck::pod_read_unaligned(block))
    }

    fn set_parts(&self, block: &mut [u8], parts: &Parts) {
        edit::<B, LEN>(block, |layout| B::set_parts(layout, parts));
    }
}

fn edit<B: Snapped<LEN>, const LEN: usize>(block: &mut [u8], change: impl FnOnce(&mut B::Layout)) {
    let mut layout = bytemuck::pod_read_unaligned(block);
    change(&mut layout);
    block.copy_from_slice(bytemuck::bytes_of(&layout));
}
