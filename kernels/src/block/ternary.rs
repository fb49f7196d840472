//! Codes -1, 0, 1 around the largest magnitude: what Q2_0, TQ1_0 and TQ2_0 share.

use crate::lanes::{LANES, Lanes, Vector, each};

/// The largest number below 0.5: adding it before cutting rounds half away from zero.
const BELOW_HALF: f32 = 0.49999997;

/// The largest magnitude.
#[inline(always)]
pub(super) fn largest<L: Lanes, const N: usize>(lanes: L, x: &[f32; N]) -> f32 {
    // A loop, not a fold: closures may end up outside the function compiled for the instruction set.
    let mut max = lanes.splat(0.0);
    for x in x.as_chunks().0 {
        max = lanes.load(x).abs().max(max);
    }
    max.reduce_max()
}

/// What scales to -1 ..= 1: `1 / d`, or 0 for 0. Infinite for the least subnormals.
#[inline(always)]
pub(super) fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

/// The codes 0, 1, 2 of elements in -1 ..= 1 after scaling; all 1 where `inv` is infinite.
#[inline(always)]
pub(super) fn codes<L: Lanes, const N: usize>(lanes: L, x: &[f32; N], inv: f32) -> [u8; N] {
    let (zero, inv) = (lanes.splat(0.0), lanes.splat(inv));
    let (up, down) = (lanes.splat(BELOW_HALF), lanes.splat(-BELOW_HALF));
    let mut codes = [0; N];
    for (x, codes) in x.as_chunks::<LANES>().0.iter().zip(codes.as_chunks_mut::<LANES>().0) {
        let level = lanes.load(x) * inv;
        let level = (level + L::F::select(level.lt(zero), down, up)).to_bytes();
        *codes = each(|i| level[i].wrapping_add(1));
    }
    codes
}
