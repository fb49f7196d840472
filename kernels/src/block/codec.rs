//! From a static block type to a [`Codec`] object: the checks and the dispatch, once.

use std::marker::PhantomData;

use super::{Codec, Rounder};
use crate::Isa;
use crate::lanes::{Job, Lanes, dispatch};

/// What a block type's file says.
pub(super) trait Block: Sync + 'static {
    const NAME: &'static str;
    /// Elements a block.
    const LEN: usize;
    /// Bytes a block.
    const BYTES: usize;
    const FALLBACK: Option<&'static str>;
    /// Whether importance changes the bytes.
    const WEIGHS: bool;
    /// Whether there is no encoding without importance.
    const NEEDS_IMPORTANCE: bool = false;
    const TOLERANCE: f32;

    /// Lengths are checked already. Must be `#[inline(always)]`, as must `decode`.
    fn encode<L: Lanes>(lanes: L, input: &Input<'_>, out: &mut [u8]);
    fn decode<L: Lanes>(lanes: L, bytes: &[u8], out: &mut [f32]);

    /// As [`Codec::rounder`].
    fn rounder(_isa: Isa, _rows: usize) -> Option<Box<dyn Rounder>> {
        None
    }
}

/// Whole rows and the importance of their columns.
pub(super) struct Input<'a> {
    pub(super) values: &'a [f32],
    pub(super) cols: usize,
    pub(super) importance: Option<&'a [f32]>,
    /// Mean squares of the rows, where these values are only a part of each.
    pub(super) row_squares: Option<&'a [f32]>,
}

/// The codec of a block type.
pub(super) struct Of<B>(PhantomData<B>);

impl<B> Of<B> {
    pub(super) const CODEC: Of<B> = Of(PhantomData);
}

struct Encode<'a, B>(Input<'a>, &'a mut [u8], PhantomData<B>);

impl<B: Block> Job for Encode<'_, B> {
    type Out = ();
    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        B::encode(lanes, &self.0, self.1);
    }
}

struct Decode<'a, B>(&'a [u8], &'a mut [f32], PhantomData<B>);

impl<B: Block> Job for Decode<'_, B> {
    type Out = ();
    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        B::decode(lanes, self.0, self.1);
    }
}

/// Encodes whole rows whose lengths are checked already.
pub(super) fn encode_rows<B: Block>(isa: Isa, input: Input<'_>, out: &mut [u8]) {
    dispatch(isa, Encode::<B>(input, out, PhantomData));
}

/// Decodes whole blocks whose lengths are checked already.
pub(super) fn decode_blocks<B: Block>(isa: Isa, bytes: &[u8], out: &mut [f32]) {
    dispatch(isa, Decode::<B>(bytes, out, PhantomData));
}

impl<B: Block> Codec for Of<B> {
    fn name(&self) -> &'static str {
        B::NAME
    }

    fn block_len(&self) -> usize {
        B::LEN
    }

    fn block_bytes(&self) -> usize {
        B::BYTES
    }

    fn fallback(&self) -> Option<&'static str> {
        B::FALLBACK
    }

    fn weighs(&self) -> bool {
        B::WEIGHS
    }

    fn needs_importance(&self) -> bool {
        B::NEEDS_IMPORTANCE
    }

    fn tolerance(&self) -> f32 {
        B::TOLERANCE
    }

    fn encode(&self, isa: Isa, rows: &[f32], cols: usize, importance: Option<&[f32]>, out: &mut [u8]) {
        if rows.is_empty() {
            assert!(out.is_empty(), "bytes for no rows");
            return;
        }
        assert!(cols > 0 && cols.is_multiple_of(B::LEN) && rows.len().is_multiple_of(cols), "rows of whole blocks");
        assert_eq!(out.len(), rows.len() / B::LEN * B::BYTES, "bytes of the rows");
        let importance = importance.filter(|_| B::WEIGHS);
        assert!(importance.is_some() || !B::NEEDS_IMPORTANCE, "{} without importance", B::NAME);
        assert!(importance.is_none_or(|w| w.len() == cols), "one weight a column");
        encode_rows::<B>(isa, Input { values: rows, cols, importance, row_squares: None }, out);
    }

    fn decode(&self, isa: Isa, bytes: &[u8], out: &mut [f32]) {
        assert!(out.len().is_multiple_of(B::LEN), "whole blocks");
        assert_eq!(bytes.len(), out.len() / B::LEN * B::BYTES, "bytes of the elements");
        decode_blocks::<B>(isa, bytes, out);
    }

    fn rounder(&self, isa: Isa, rows: usize) -> Option<Box<dyn Rounder>> {
        B::rounder(isa, rows)
    }
}

/// The blocks, read by value since `bytes` may start anywhere, and their elements' places.
#[inline(always)]
pub(super) fn blocks<'a, P: bytemuck::Pod, const LEN: usize>(
    bytes: &'a [u8],
    out: &'a mut [f32],
) -> impl Iterator<Item = (P, &'a mut [f32; LEN])> {
    bytes.chunks_exact(size_of::<P>()).map(bytemuck::pod_read_unaligned).zip(out.as_chunks_mut::<LEN>().0)
}
