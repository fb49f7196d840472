//! The searches for the scale (and minimum) of a sub-block, sixteen sub-blocks at once.
//!
//! The rows of `x` and `w` are elements, the lanes are sub-blocks. Each lane does llama.cpp's operations in llama.cpp's
//! order; where the scalar code would skip or leave early, a mask keeps the lane's state.

pub(super) mod affine;
pub(super) mod descent;
pub(super) mod lattice;
mod nearest;
pub(super) mod nonlinear;
pub(super) mod scales;
pub(super) mod splits;
pub(super) mod symmetric;

use super::half::f16_value;
use crate::lanes::{LANES, Lanes, Row, Vector};

/// Sub-blocks whose largest magnitude is below this count as zero.
const ALL_ZERO: f32 = 1e-15;

/// The integers that a code stands for: `low ..= high`, stored as `code - low`.
#[derive(Clone, Copy)]
pub(super) struct Levels {
    pub(super) low: f32,
    pub(super) high: f32,
}

impl Levels {
    /// `0 ..= high`
    pub(super) const fn from_zero(high: u8) -> Levels {
        Levels { low: 0.0, high: high as f32 }
    }

    /// `-half ..= half - 1`
    pub(super) const fn around_zero(half: u8) -> Levels {
        Levels { low: -(half as f32), high: half as f32 - 1.0 }
    }
}

/// Groups of sixteen sub-blocks that a search is given at once.
pub(super) const GROUPS: usize = 2;

/// What a search found for sixteen sub-blocks: `x` is about `scale * level - min`, and the levels of the best trial were
/// `round(inv * (x - origin))`. Where `inv` is zero, every stored code is 0.
#[derive(Clone, Copy, Default)]
pub(super) struct Fit {
    pub(super) scale: Row,
    pub(super) min: Row,
    pub(super) inv: Row,
    pub(super) origin: Row,
    /// The sum of the weights.
    pub(super) weight: Row,
}

/// Elements or weights of sixteen sub-blocks, twice.
pub(super) type Groups<const N: usize> = [[Row; N]; GROUPS];

/// Zeros.
#[inline(always)]
pub(super) fn empty_groups<const N: usize>() -> Groups<N> {
    [[Row([0.0; LANES]); N]; GROUPS]
}

/// The codes that the search itself left for elements of one sub-block.
#[inline(always)]
pub(super) fn kept_codes<L: Lanes>(lanes: L, x: &[f32; LANES], inv: f32, origin: f32, levels: Levels) -> [u8; LANES] {
    if inv == 0.0 {
        return [0; LANES];
    }
    store((lanes.splat(inv) * (lanes.load(x) - lanes.splat(origin))).nearest_int(), lanes, levels)
}

/// The codes nearest to `(x + min) / step`.
#[inline(always)]
pub(super) fn nearest_codes<L: Lanes>(lanes: L, x: &[f32; LANES], step: f32, min: f32, levels: Levels) -> [u8; LANES] {
    store(((lanes.load(x) + lanes.splat(min)) / lanes.splat(step)).nearest_int(), lanes, levels)
}

#[inline(always)]
fn store<L: Lanes>(level: L::F, lanes: L, levels: Levels) -> [u8; LANES] {
    let low = lanes.splat(levels.low);
    (level.max(low).min(lanes.splat(levels.high)) - low).to_bytes()
}

/// `bits` as the number that decoding sees, times a sub-block's scale code.
#[inline(always)]
pub(super) fn step(bits: u16, code: i8) -> f32 {
    f16_value(bits) * f32::from(code)
}
