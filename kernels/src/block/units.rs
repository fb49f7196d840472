//! The IQ types' way through rows: sixteen sub-blocks at a time, which are one or two whole super-blocks.

use super::codec::Input;
use super::super_block::SUPER;
use super::weights::{square_sums, sub_block_columns, sub_blocks, weigh};
use crate::lanes::{LANES, Lanes, Row, Vector, each};

/// A type with super-blocks of sub-blocks of `N` elements.
pub(super) trait Unit<const N: usize> {
    /// Importance is weighed by `sqrt(this * mean square + x * x)`.
    const LEVEL_FACTOR: f32;

    /// Weights where there is no importance. `level` is the super-block's mean square times the factor.
    #[inline(always)]
    fn plain_weights<L: Lanes>(lanes: L, _level: L::F, x: &[Row; N], w: &mut [Row; N]) {
        squares(lanes, x, w);
    }

    /// Encodes sixteen sub-blocks, or fewer at the end; the missing ones are zeros in `x`.
    fn encode<L: Lanes>(lanes: L, x: &[Row; N], w: &[Row; N], values: &[f32], out: &mut [u8]);
}

/// Encodes all rows.
#[inline(always)]
pub(super) fn encode<L: Lanes, B: Unit<N>, const N: usize>(
    lanes: L,
    input: &Input<'_>,
    out: &mut [u8],
    block_bytes: usize,
) {
    let per_unit = LANES * N / SUPER;
    let batches = input.values.chunks(LANES * SUPER).zip(out.chunks_mut(LANES * block_bytes));
    for (batch, (values, out)) in batches.enumerate() {
        let squares = square_sums(lanes, values, SUPER);
        let units = values.chunks(LANES * N).zip(out.chunks_mut(per_unit * block_bytes));
        for (unit, (values, out)) in units.enumerate() {
            let (mut x, mut w) = ([Row::default(); N], [Row::default(); N]);
            sub_blocks(lanes, values, &mut x);
            let square = |lane| squares[unit * per_unit + lane * N / SUPER];
            let level = lanes.load(&each(|lane| B::LEVEL_FACTOR * square(lane) / SUPER as f32));
            if let Some(importance) = input.importance {
                sub_block_columns(lanes, importance, batch * LANES * SUPER + unit * LANES * N, &mut w);
                weigh(lanes, level, &x, &mut w);
            } else {
                B::plain_weights(lanes, level, &x, &mut w);
            }
            B::encode(lanes, &x, &w, values, out);
        }
    }
}

/// `x * x`
#[inline(always)]
pub(super) fn squares<L: Lanes>(lanes: L, x: &[Row], w: &mut [Row]) {
    for (x, w) in x.iter().zip(w) {
        let x = lanes.load(&x.0);
        (x * x).store(&mut w.0);
    }
}

/// The second level of a super-block: odd multiples of a common step, `(2 * code + 1) * step`.
pub(super) struct OddScales {
    pub(super) step: f32,
    largest: f32,
    pub(super) codes: [u8; LANES],
}

impl OddScales {
    /// Codes `0 ..= high` of up to sixteen scales; the largest scale counts as the odd multiple `2 * high + 1`.
    #[inline(always)]
    pub(super) fn of(scales: &[f32], high: u8) -> OddScales {
        let max = scales.iter().fold(0.0f32, |max, &scale| if max > scale { max } else { scale });
        let step = max / f32::from(2 * high + 1);
        let inv = 1.0 / step;
        let mut codes = [0; LANES];
        if max != 0.0 {
            for (code, scale) in codes.iter_mut().zip(scales) {
                *code = nearest_int(0.5 * (inv * scale - 1.0)).clamp(0, i32::from(high)) as u8;
            }
        }
        OddScales { step, largest: max, codes }
    }

    /// Whether any scale is not 0.
    #[inline(always)]
    pub(super) fn any(&self) -> bool {
        self.largest != 0.0
    }

    /// Two codes a byte, the lower nibble first.
    #[inline(always)]
    pub(super) fn nibbles(&self) -> [u8; 8] {
        each(|i| self.codes[2 * i] | self.codes[2 * i + 1] << 4)
    }
}

/// [`Vector::nearest_int`] of one number.
#[inline(always)]
pub(super) fn nearest_int(v: f32) -> i32 {
    ((v + 12582912.0).to_bits() & 0x007f_ffff) as i32 - 0x0040_0000
}
