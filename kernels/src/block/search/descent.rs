//! Scale alone, weights `x * x`, by coordinate descent: each code is moved while that raises the correlation.

use super::symmetric::extreme;
use super::{ALL_ZERO, Levels};
use crate::lanes::{Lanes, Mask, Row, Vector};

/// The scale; `codes` gets the stored codes (all 0 in lanes that count as zero).
#[inline(always)]
pub(in crate::block) fn search<L: Lanes, const N: usize>(
    lanes: L,
    x: &[Row; N],
    levels: Levels,
    codes: &mut [Row; N],
) -> L::F {
    let zero = lanes.splat(0.0);
    let (low, high) = (lanes.splat(levels.low), lanes.splat(levels.high));
    let (max, size) = extreme(lanes, x);
    let nothing = size.lt(lanes.splat(ALL_ZERO));

    let inv = low / max;
    let (mut sum_lx, mut sum_l2) = (zero, zero);
    for (x, code) in x.iter().zip(codes.iter_mut()) {
        let x = lanes.load(&x.0);
        let level = (inv * x).nearest_int().min(high).max(low);
        level.store(&mut code.0);
        let w = x * x;
        sum_lx = sum_lx + w * x * level;
        sum_l2 = sum_l2 + w * level * level;
    }
    // A lane without a change in one round has none in the next: its state is the same.
    for _ in 0..5 {
        let mut changed = false;
        for (x, code) in x.iter().zip(codes.iter_mut()) {
            let (x, old) = (lanes.load(&x.0), lanes.load(&code.0));
            let w = x * x;
            let wx = w * x;
            let lx = sum_lx - wx * old;
            let l2 = sum_l2 - w * old * old;
            let new = (x * l2 / lx).nearest_int().min(high).max(low);
            let lx_new = lx + wx * new;
            let l2_new = l2 + w * new * new;
            let better = lx.gt(zero) & l2_new.gt(zero) & (lx_new * lx_new * sum_l2).gt(sum_lx * sum_lx * l2_new);
            let moved = L::F::select(better, new, old);
            let stay = moved.eq(old);
            if stay.bits() == u16::MAX {
                continue;
            }
            changed = true;
            moved.store(&mut code.0);
            sum_lx = L::F::select(stay, sum_lx, lx_new);
            sum_l2 = L::F::select(stay, sum_l2, l2_new);
        }
        if !changed {
            break;
        }
    }
    for code in codes {
        L::F::select(nothing, zero, lanes.load(&code.0) - low).store(&mut code.0);
    }
    let scale = L::F::select(sum_l2.gt(zero), sum_lx / sum_l2, zero);
    L::F::select(nothing, zero, scale)
}
