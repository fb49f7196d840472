//! Blocks of 32 with one scale (and minimum) each: what Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0 share.

use super::codec::Input;
use super::search::{Fit, GROUPS, Groups, Levels, empty_groups, kept_codes};
use super::weights::{columns, square_sums, transposed, weigh};
use crate::lanes::{LANES, Lanes, Mask, Vector, each};

/// Elements of a block.
pub(super) const LEN: usize = 32;

/// The codes of a block.
pub(super) type Codes = [u8; LEN];

/// The value of largest magnitude, the first of equals; 0 where all are zero.
#[inline(always)]
pub(super) fn extreme<L: Lanes>(lanes: L, x: &[f32; LEN]) -> f32 {
    let [a, b] = halves(lanes, x);
    let (a, b) = (a.abs(), b.abs());
    let size = a.max(b).reduce_max();
    if size == 0.0 {
        return 0.0;
    }
    let all = lanes.splat(size);
    let places = u32::from(a.eq(all).bits()) | u32::from(b.eq(all).bits()) << LANES;
    // All NaN leaves no place; the last element then stands for the block.
    x[(places.trailing_zeros() as usize).min(LEN - 1)]
}

/// The least and the greatest value. Of zeros of both signs the first counts, as in a loop.
#[inline(always)]
pub(super) fn range<L: Lanes>(lanes: L, x: &[f32; LEN]) -> (f32, f32) {
    let [a, b] = halves(lanes, x);
    let (mut min, mut max) = (-a.neg().max(b.neg()).reduce_max(), a.max(b).reduce_max());
    if min == 0.0 {
        min = x.iter().copied().find(|x| *x == 0.0).unwrap_or(min);
    }
    if min == max {
        max = min;
    }
    (min, max)
}

#[inline(always)]
fn split(x: &[f32; LEN]) -> [&[f32; LANES]; 2] {
    let halves = x.as_chunks::<LANES>().0;
    [&halves[0], &halves[1]]
}

#[inline(always)]
pub(super) fn halves<L: Lanes>(lanes: L, x: &[f32; LEN]) -> [L::F; 2] {
    let [low, high] = split(x);
    [lanes.load(low), lanes.load(high)]
}

#[inline(always)]
pub(super) fn joined(halves: [[u8; LANES]; 2]) -> Codes {
    bytemuck::cast(halves)
}

/// Cut to `high`, as signed bytes.
#[inline(always)]
pub(super) fn capped(codes: &Codes, high: i8) -> Codes {
    each(|j| (codes[j] as i8).min(high) as u8)
}

/// `1 / d`, or 0 for 0.
#[inline(always)]
pub(super) fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

/// Low nibbles: byte `j` holds elements `j` and `j + 16`.
#[inline(always)]
pub(super) fn pack_nibbles(codes: &Codes) -> [u8; 16] {
    each(|j| codes[j] & 15 | codes[j + 16] << 4)
}

/// Bit 4 of element `j` in bit `j`, little-endian.
#[inline(always)]
pub(super) fn pack_fifth_bits(codes: &Codes) -> [u8; 4] {
    let eights: [u64; 4] = bytemuck::cast(*codes);
    // The multiplication moves bit 0 of byte `j` to bit `56 + j`.
    each(|i| ((eights[i] >> 4 & 0x0101_0101_0101_0101).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8)
}

/// The codes of a block with packed nibbles and, for five-bit types, packed fifth bits.
#[inline(always)]
pub(super) fn unpack(nibbles: &[u8; 16], fifth: [u8; 4]) -> Codes {
    let mut codes = [0; LEN];
    let (low, high) = codes.split_at_mut(LANES);
    for ((low, high), both) in low.iter_mut().zip(high).zip(nibbles) {
        (*low, *high) = (both & 15, both >> 4);
    }
    for (codes, bits) in codes.as_chunks_mut::<8>().0.iter_mut().zip(fifth) {
        // Each byte of the product has the eight bits; the mask leaves bit `j` of byte `j`, the sum carries it to bit 7.
        let spread = u64::from(bits).wrapping_mul(0x0101_0101_0101_0101) & 0x8040_2010_0804_0201;
        let fifth = (spread + 0x7f7f_7f7f_7f7f_7f7f) >> 3 & 0x1010_1010_1010_1010;
        *codes = (u64::from_le_bytes(*codes) | fifth).to_le_bytes();
    }
    codes
}

/// A type of this family, as importance-weighted encoding sees it.
pub(super) trait Weighted {
    const LEVELS: Levels;

    /// The searches of each group's blocks. `scratch` may hold anything.
    fn search<L: Lanes>(
        lanes: L,
        x: &Groups<LEN>,
        w: &Groups<LEN>,
        scratch: &mut Groups<LEN>,
        found: &mut [Fit; GROUPS],
    );

    fn write(scale: f32, min: f32, codes: &Codes, out: &mut [u8]);
}

/// Encodes sixteen rows at a time: their mean squares a row a lane, then their blocks a block a lane.
#[inline(always)]
pub(super) fn encode_weighted<L: Lanes, B: Weighted>(
    lanes: L,
    input: &Input<'_>,
    importance: &[f32],
    out: &mut [u8],
    block_bytes: usize,
) {
    let cols = input.cols;
    let (mut x_rows, mut w_rows, mut scratch) = (empty_groups(), empty_groups(), empty_groups());
    let mut found = [Fit::default(); GROUPS];
    // Rows of one block fill all groups only if there are more of them.
    let rows = if input.row_squares.is_some() { GROUPS * LANES } else { LANES };
    let batches = input.values.chunks(rows * cols).zip(out.chunks_mut(rows * cols / LEN * block_bytes));
    for (batch, (x, out)) in batches.enumerate() {
        let mut squares = [0.0; GROUPS * LANES];
        if let Some(given) = input.row_squares.and_then(|given| given.chunks(rows).nth(batch)) {
            squares[..given.len()].copy_from_slice(given);
        } else {
            squares[..LANES].copy_from_slice(&square_sums(lanes, x, cols));
            for sum in &mut squares {
                *sum /= cols as f32;
            }
        }
        let parts = x.chunks(GROUPS * LANES * LEN).zip(out.chunks_mut(GROUPS * LANES * block_bytes));
        for (i, (values, out)) in parts.enumerate() {
            for (g, (x, w)) in x_rows.iter_mut().zip(&mut w_rows).enumerate() {
                let start = (i * GROUPS + g) * LANES * LEN;
                let mean_squares = each(|lane| squares[((start + lane * LEN) / cols).min(rows - 1)]);
                let mut natural = [0.0; LANES * LEN];
                let values = values.chunks(LANES * LEN).nth(g).unwrap_or_default();
                natural[..values.len()].copy_from_slice(values);
                transposed(lanes, &natural, x);
                columns(importance, start, &mut natural);
                transposed(lanes, &natural, w);
                weigh(lanes, lanes.load(&mean_squares), x, w);
            }
            B::search(lanes, &x_rows, &w_rows, &mut scratch, &mut found);
            let groups = values.chunks(LANES * LEN).zip(out.chunks_mut(LANES * block_bytes)).zip(&found);
            for ((values, out), fit) in groups {
                write_group::<L, B>(lanes, values, fit, out, block_bytes);
            }
        }
    }
}

#[inline(always)]
fn write_group<L: Lanes, B: Weighted>(lanes: L, values: &[f32], fit: &Fit, out: &mut [u8], block_bytes: usize) {
    let blocks = values.as_chunks::<LEN>().0.iter().zip(out.chunks_exact_mut(block_bytes));
    for (lane, (x, out)) in blocks.enumerate() {
        let [low, high] = split(x);
        let low = kept_codes(lanes, low, fit.inv.0[lane], fit.origin.0[lane], B::LEVELS);
        let high = kept_codes(lanes, high, fit.inv.0[lane], fit.origin.0[lane], B::LEVELS);
        B::write(fit.scale.0[lane], fit.min.0[lane], &joined([low, high]), out);
    }
}
