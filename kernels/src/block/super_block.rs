//! The k-quants' way through rows: super-blocks of 256 in batches of sixteen.
//!
//! Sub-blocks are searched sixteen at a time (one or two super-blocks, a sub-block a lane); what belongs to whole
//! super-blocks (mean squares, codes for the scales) is done sixteen super-blocks at a time, a super-block a lane.

use super::codec::Input;
use super::search::{Fit, GROUPS, Groups, Levels, empty_groups, kept_codes, nearest_codes, scales, step};
use super::weights::{columns, square_sums, transposed, weigh};
use crate::lanes::{LANES, Lanes, Row, Vector, each};

/// Elements of a super-block.
pub(super) const SUPER: usize = 256;

/// What the searches found in a batch, sixteen sub-blocks each.
pub(super) struct Fits(pub(super) [Fit; LANES]);

/// The codes of one super-block.
pub(super) type Codes = [u8; SUPER];

/// A k-quant with sub-blocks of `N` elements.
pub(super) trait Searched<const N: usize> {
    const LEVELS: Levels;
    /// Importance is weighed by `sqrt(this * mean square + x * x)`.
    const LEVEL_FACTOR: f32;

    /// Sub-block weights where there is no importance.
    fn plain_weights<L: Lanes>(lanes: L, x: &[Row; N], w: &mut [Row; N]);

    /// Turns importance into weights; `mean_square` is each lane's super-block's.
    #[inline(always)]
    fn weights<L: Lanes>(lanes: L, mean_square: L::F, x: &[Row; N], w: &mut [Row; N]) {
        weigh(lanes, mean_square, x, w);
    }

    /// The searches of each group's sub-blocks. `scratch` may hold anything.
    fn search<L: Lanes>(
        lanes: L,
        x: &Groups<N>,
        w: &Groups<N>,
        weighted: bool,
        scratch: &mut Groups<N>,
        found: &mut [Fit; GROUPS],
    );

    /// Writes the super-blocks of a batch.
    fn finish<L: Lanes>(lanes: L, x: &[f32], fits: &Fits, weighted: bool, out: &mut [u8]);
}

/// Encodes all rows of a k-quant.
#[inline(always)]
pub(super) fn encode<L: Lanes, B: Searched<N>, const N: usize>(
    lanes: L,
    input: &Input<'_>,
    out: &mut [u8],
    block_bytes: usize,
) {
    const BATCH: usize = LANES * SUPER;
    let weighted = input.importance.is_some();
    let mut fits = Fits([Fit::default(); LANES]);
    let (mut x_rows, mut w_rows, mut scratch) = (empty_groups(), empty_groups(), empty_groups());
    let batches = input.values.chunks(BATCH).zip(out.chunks_mut(LANES * block_bytes));
    for (batch, (x, out)) in batches.enumerate() {
        let squares = if weighted { square_sums(lanes, x, SUPER) } else { [0.0; LANES] };
        for (i, values) in x.chunks(GROUPS * LANES * N).enumerate() {
            let start = i * GROUPS * LANES * N;
            for (g, (x, w)) in x_rows.iter_mut().zip(&mut w_rows).enumerate() {
                let start = start + g * LANES * N;
                let square = |lane| squares[(start + lane * N) / SUPER % LANES];
                let mean_squares = each(|lane| B::LEVEL_FACTOR * square(lane) / SUPER as f32);
                let columns = input.importance.map(|w| (w, batch * BATCH + start));
                let values = values.get(g * LANES * N..).unwrap_or_default();
                load_group::<L, B, N>(lanes, values, columns, &mean_squares, x, w);
            }
            let found = &mut fits.0.as_chunks_mut::<GROUPS>().0[i];
            B::search(lanes, &x_rows, &w_rows, weighted, &mut scratch, found);
        }
        B::finish(lanes, x, &fits, weighted, out);
    }
}

/// Fills `x` and `w` with sixteen sub-blocks and their weights; missing ones count as zeros. `importance` comes with the
/// place of `values` in the rows.
#[inline(always)]
fn load_group<L: Lanes, B: Searched<N>, const N: usize>(
    lanes: L,
    values: &[f32],
    importance: Option<(&[f32], usize)>,
    mean_squares: &[f32; LANES],
    x: &mut [Row; N],
    w: &mut [Row; N],
) {
    if values.len() >= LANES * N {
        transposed(lanes, values, x);
    } else {
        let mut padded = [0.0; 2 * SUPER];
        padded[..values.len()].copy_from_slice(values);
        transposed(lanes, &padded, x);
    }
    if let Some((importance, start)) = importance {
        let at = start % importance.len();
        if let Some(columns) = importance.get(at..at + LANES * N) {
            transposed(lanes, columns, w);
        } else {
            let mut wrapped = [0.0; 2 * SUPER];
            columns(importance, at, &mut wrapped[..LANES * N]);
            transposed(lanes, &wrapped, w);
        }
        B::weights(lanes, lanes.load(mean_squares), x, w);
    } else {
        B::plain_weights(lanes, x, w);
    }
}

impl Fits {
    /// Row `j` of the result: sub-block `j` of each super-block.
    #[inline(always)]
    pub(super) fn by_super_block<L: Lanes, const N: usize>(&self, lanes: L, of: fn(&Fit) -> &Row) -> [Row; LANES] {
        let subs = SUPER / N;
        // A batch ends after sixteen super-blocks; the last tile row of short super-blocks reaches past it.
        let mut values = [0.0; SUPER];
        for (fit, values) in self.0.iter().zip(values.as_chunks_mut::<LANES>().0) {
            *values = of(fit).0;
        }
        let mut rows = [Row::default(); LANES];
        lanes.transpose(&values, subs, &mut rows);
        rows
    }

    /// The codes of super-block `s`, given each sub-block's step and minimum: the nearest ones, or where the step is
    /// zero those that the search left.
    #[inline(always)]
    pub(super) fn codes<L: Lanes, const N: usize>(
        &self,
        lanes: L,
        s: usize,
        x: &[f32],
        levels: Levels,
        step_and_min: impl Fn(usize) -> (f32, f32),
    ) -> Codes {
        let mut codes = [0; SUPER];
        let chunks = x.as_chunks::<LANES>().0.iter().zip(codes.as_chunks_mut::<LANES>().0);
        for (i, (x, codes)) in chunks.enumerate() {
            let sub = i * LANES / N;
            let (step, min) = step_and_min(sub);
            let at = s * (SUPER / N) + sub;
            let (fit, lane) = (&self.0[at / LANES], at % LANES);
            *codes = if step == 0.0 {
                kept_codes(lanes, x, fit.inv.0[lane], fit.origin.0[lane], levels)
            } else {
                nearest_codes(lanes, x, step, min, levels)
            };
        }
        codes
    }
}

/// The numbers that an affine super-block stores.
pub(super) struct AffineParts {
    /// Half-precision bits of the scales' scale and of the minima's.
    pub(super) d: u16,
    pub(super) dmin: u16,
    /// A code a sub-block.
    pub(super) scales: [u8; LANES],
    pub(super) mins: [u8; LANES],
    pub(super) codes: Codes,
}

/// Writes a batch of super-blocks whose sub-blocks have a scale and a minimum, with codes `0 ..= high` for both.
#[inline(always)]
pub(super) fn finish_affine<L: Lanes, const N: usize>(
    lanes: L,
    x: &[f32],
    fits: &Fits,
    weighted: bool,
    levels: Levels,
    high: f32,
    mut write: impl FnMut(usize, &AffineParts),
) {
    let subs = SUPER / N;
    let scale = &fits.by_super_block::<L, N>(lanes, |fit| &fit.scale)[..subs];
    let min = &fits.by_super_block::<L, N>(lanes, |fit| &fit.min)[..subs];
    let (mut scale_codes, mut min_codes) = ([Row::default(); LANES], [Row::default(); LANES]);
    let (mut d, mut dmin) = (Row::default(), Row::default());
    if weighted {
        let w = &fits.by_super_block::<L, N>(lanes, |fit| &fit.weight)[..subs];
        lanes.apart(scales::Search { x: scale, w, high, codes: &mut scale_codes[..subs], scale: &mut d });
        lanes.apart(scales::Search { x: min, w, high, codes: &mut min_codes[..subs], scale: &mut dmin });
    } else {
        scales::by_max(lanes, scale, high, &mut scale_codes, &mut d);
        scales::by_max(lanes, min, high, &mut min_codes, &mut dmin);
    }
    let (mut d_bits, mut dmin_bits) = ([0; LANES], [0; LANES]);
    lanes.load(&d.0).store_f16(&mut d_bits);
    lanes.load(&dmin.0).store_f16(&mut dmin_bits);
    let (scale_codes, min_codes) = (rows_to_bytes(lanes, &scale_codes), rows_to_bytes(lanes, &min_codes));
    for (s, x) in x.chunks_exact(SUPER).enumerate() {
        let (d, dmin) = (d_bits[s], dmin_bits[s]);
        let (scales, mins) = (column(&scale_codes, s), column(&min_codes, s));
        let step_and_min = |sub: usize| (step(d, scales[sub] as i8), step(dmin, mins[sub] as i8));
        let codes = fits.codes::<L, N>(lanes, s, x, levels, step_and_min);
        write(s, &AffineParts { d, dmin, scales, mins, codes });
    }
}

/// Numbers `0 ..= 255`, as bytes.
#[inline(always)]
pub(super) fn rows_to_bytes<L: Lanes>(lanes: L, rows: &[Row; LANES]) -> [[u8; LANES]; LANES] {
    let mut bytes = [[0; LANES]; LANES];
    for (row, bytes) in rows.iter().zip(&mut bytes) {
        *bytes = lanes.load(&row.0).to_bytes();
    }
    bytes
}

/// One lane of all rows.
#[inline(always)]
pub(super) fn column(rows: &[[u8; LANES]; LANES], lane: usize) -> [u8; LANES] {
    let mut column = [0; LANES];
    for (row, out) in rows.iter().zip(&mut column) {
        *out = row[lane];
    }
    column
}

/// Four codes of two bits a byte: byte `l` of a half holds elements `l`, `l + 32`, `l + 64`, `l + 96`.
#[inline(always)]
pub(super) fn pack_two_bits(codes: &Codes, out: &mut [u8; 64]) {
    for (codes, out) in codes.as_chunks::<128>().0.iter().zip(out.as_chunks_mut::<32>().0) {
        for (l, out) in out.iter_mut().enumerate() {
            *out = codes[l] & 3 | (codes[l + 32] & 3) << 2 | (codes[l + 64] & 3) << 4 | (codes[l + 96] & 3) << 6;
        }
    }
}

/// What [`pack_two_bits`] packed.
pub(super) fn unpack_two_bits(packed: &[u8; 64]) -> Codes {
    let mut codes = [0; SUPER];
    for (codes, packed) in codes.as_chunks_mut::<128>().0.iter_mut().zip(packed.as_chunks::<32>().0) {
        for (i, code) in codes.iter_mut().enumerate() {
            *code = packed[i % 32] >> (i / 32 * 2) & 3;
        }
    }
    codes
}

/// Two low nibbles a byte: byte `l` of each 32 holds elements `l` and `l + 32` of its 64.
#[inline(always)]
pub(super) fn pack_nibbles(codes: &Codes, out: &mut [u8; 128]) {
    for (codes, out) in codes.as_chunks::<64>().0.iter().zip(out.as_chunks_mut::<32>().0) {
        for (l, out) in out.iter_mut().enumerate() {
            *out = codes[l] & 15 | codes[l + 32] << 4;
        }
    }
}

/// What [`pack_nibbles`] packed.
pub(super) fn unpack_nibbles(packed: &[u8; 128]) -> Codes {
    let mut codes = [0; SUPER];
    for (codes, packed) in codes.as_chunks_mut::<64>().0.iter_mut().zip(packed.as_chunks::<32>().0) {
        for (i, code) in codes.iter_mut().enumerate() {
            *code = packed[i % 32] >> (i / 32 * 4) & 15;
        }
    }
    codes
}

/// One bit of each code: bit `i` of byte `l` is of element `32 * i + l`.
#[inline(always)]
pub(super) fn pack_bits(codes: &Codes, bit: u8, out: &mut [u8; 32]) {
    for (i, codes) in codes.as_chunks::<32>().0.iter().enumerate() {
        for (code, out) in codes.iter().zip(&mut *out) {
            *out |= (code >> bit & 1) << i;
        }
    }
}

/// Adds what [`pack_bits`] packed.
pub(super) fn unpack_bits(packed: &[u8; 32], bit: u8, codes: &mut Codes) {
    for (i, codes) in codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        for (code, packed) in codes.iter_mut().zip(packed) {
            *code |= (packed >> i & 1) << bit;
        }
    }
}
