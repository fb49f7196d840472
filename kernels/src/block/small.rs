//! Blocks of 32 with one scale (and minimum) each: what Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0 share.

use super::codec::Input;
use super::search::{Fit, Levels, kept_codes};
use super::weights::{columns, square_sums, transposed, weigh};
use crate::lanes::{LANES, Lanes, Mask, Row, Vector};

/// Elements of a block.
pub(super) const LEN: usize = 32;

/// The codes of a block.
pub(super) type Codes = [u8; LEN];

/// The value of largest magnitude, the first of equals; 0 where all are zero.
#[inline(always)]
pub(super) fn extreme<L: Lanes>(lanes: L, x: &[f32; LEN]) -> f32 {
    let [a, b] = halves(lanes, x).map(Vector::abs);
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
pub(super) fn halves<L: Lanes>(lanes: L, x: &[f32; LEN]) -> [L::F; 2] {
    let (low, high) = x.split_at(LANES);
    [low, high].map(|half| lanes.load(half.first_chunk().expect("half of a block")))
}

#[inline(always)]
pub(super) fn joined(halves: [[u8; LANES]; 2]) -> Codes {
    bytemuck::cast(halves)
}

/// `1 / d`, or 0 for 0.
#[inline(always)]
pub(super) fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

/// Low nibbles: byte `j` holds elements `j` and `j + 16`.
#[inline(always)]
pub(super) fn pack_nibbles(codes: &Codes) -> [u8; 16] {
    std::array::from_fn(|j| codes[j] & 15 | codes[j + 16] << 4)
}

/// Bit 4 of element `j` in bit `j`, little-endian.
#[inline(always)]
pub(super) fn pack_fifth_bits(codes: &Codes) -> [u8; 4] {
    let bits = codes.iter().enumerate().fold(0u32, |bits, (j, code)| bits | u32::from(code >> 4 & 1) << j);
    bits.to_le_bytes()
}

/// The codes of a block with packed nibbles and, for five-bit types, packed fifth bits.
#[inline(always)]
pub(super) fn unpack(nibbles: &[u8; 16], fifth: [u8; 4]) -> Codes {
    let fifth = u32::from_le_bytes(fifth);
    std::array::from_fn(|j| nibbles[j % 16] >> (j / 16 * 4) & 15 | ((fifth >> j & 1) as u8) << 4)
}

/// A type of this family, as importance-weighted encoding sees it.
pub(super) trait Weighted {
    const LEVELS: Levels;

    /// The search of sixteen blocks. `scratch` may hold anything.
    fn search<L: Lanes>(lanes: L, x: &[Row; LEN], w: &[Row; LEN], scratch: &mut [Row; LEN]) -> Fit<L::F>;

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
    let batches = input.values.chunks(LANES * cols).zip(out.chunks_mut(LANES * cols / LEN * block_bytes));
    for (x, out) in batches {
        let squares = square_sums(lanes, x, cols);
        let groups = x.chunks(LANES * LEN).zip(out.chunks_mut(LANES * block_bytes));
        for (group, (x, out)) in groups.enumerate() {
            let start = group * LANES * LEN;
            let square = |lane: usize| squares[((start + lane * LEN) / cols).min(LANES - 1)];
            let mean_squares = std::array::from_fn(|lane| square(lane) / cols as f32);
            encode_group::<L, B>(lanes, x, (importance, start), &mean_squares, out, block_bytes);
        }
    }
}

#[inline(always)]
fn encode_group<L: Lanes, B: Weighted>(
    lanes: L,
    values: &[f32],
    (importance, start): (&[f32], usize),
    mean_squares: &[f32; LANES],
    out: &mut [u8],
    block_bytes: usize,
) {
    let (mut x, mut w, mut scratch) = ([Row::default(); LEN], [Row::default(); LEN], [Row::default(); LEN]);
    let mut natural = [0.0; LANES * LEN];
    natural[..values.len()].copy_from_slice(values);
    transposed(lanes, &natural, &mut x);
    columns(importance, start, &mut natural);
    transposed(lanes, &natural, &mut w);
    weigh(lanes, lanes.load(mean_squares), &x, &mut w);
    let fit = B::search(lanes, &x, &w, &mut scratch);

    let stored = |v: L::F| {
        let mut row = [0.0; LANES];
        v.store(&mut row);
        row
    };
    let (scale, min, inv, origin) = (stored(fit.scale), stored(fit.min), stored(fit.inv), stored(fit.origin));
    let blocks = values.as_chunks::<LEN>().0.iter().zip(out.chunks_exact_mut(block_bytes));
    for (lane, (x, out)) in blocks.enumerate() {
        let (low, high) = x.split_at(LANES);
        let codes = [low, high]
            .map(|x| kept_codes(lanes, x.first_chunk().expect("half of a block"), inv[lane], origin[lane], B::LEVELS));
        B::write(scale[lane], min[lane], &joined(codes), out);
    }
}
