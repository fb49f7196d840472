//! The second level of a k-quant: codes for the sub-blocks' scales, one super-block a lane.

use super::ALL_ZERO;
use crate::lanes::{Job, Lanes, Mask, Row, Vector};

/// Codes `0 ..= high`, weighted (negative `x` get what a byte keeps of their code, as in llama.cpp): eight trials around `high / max`, then single codes are moved while
/// that helps, at most five times over.
pub(in crate::block) struct Search<'a> {
    pub(in crate::block) x: &'a [Row],
    pub(in crate::block) w: &'a [Row],
    pub(in crate::block) high: f32,
    pub(in crate::block) codes: &'a mut [Row],
    pub(in crate::block) scale: &'a mut Row,
}

impl Job for Search<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        search(lanes, self.x, self.w, self.high, self.codes).store(&mut self.scale.0);
    }
}

#[inline(always)]
fn search<L: Lanes>(lanes: L, x: &[Row], w: &[Row], high: f32, codes: &mut [Row]) -> L::F {
    let (zero, one, top) = (lanes.splat(0.0), lanes.splat(1.0), lanes.splat(high));
    let mut max = zero;
    for x in x {
        // In this order a NaN among the scales would win, as it does in C.
        max = max.max(lanes.load(&x.0));
    }
    let nothing = max.lt(lanes.splat(ALL_ZERO));

    let mut inv = top / max;
    let mut best = deviation(lanes, x, w, inv, one / inv, None);
    for trial in -4..=4 {
        if trial == 0 {
            continue;
        }
        let this_inv = lanes.splat(0.1 * trial as f32 + high) / max;
        let this = deviation(lanes, x, w, this_inv, one / this_inv, Some(top));
        let better = this.lt(best);
        best = L::F::select(better, this, best);
        inv = L::F::select(better, this_inv, inv);
    }

    let (mut sum_lx, mut sum_l2) = (zero, zero);
    for ((x, w), code) in x.iter().zip(w).zip(codes.iter_mut()) {
        let (x, w) = (lanes.load(&x.0), lanes.load(&w.0));
        let level = (inv * x).nearest_int().min(top);
        byte(lanes, level).store(&mut code.0);
        sum_lx = sum_lx + w * x * level;
        sum_l2 = sum_l2 + w * level * level;
    }
    for _ in 0..5 {
        let mut changed = false;
        for ((x, w), code) in x.iter().zip(w).zip(codes.iter_mut()) {
            let (x, w, old) = (lanes.load(&x.0), lanes.load(&w.0), lanes.load(&code.0));
            let lx = sum_lx - w * x * old;
            let l2 = sum_l2 - w * old * old;
            let new = (x * l2 / lx).nearest_int().min(top);
            let same = new.eq(old);
            let lx_new = lx + w * x * new;
            let l2_new = l2 + w * new * new;
            let better = lx.gt(zero) & l2.gt(zero) & (lx_new * lx_new * sum_l2).gt(sum_lx * sum_lx * l2_new);
            let moved = L::F::select(same, old, L::F::select(better, new, old));
            let stay = moved.eq(old);
            if stay.bits() == u16::MAX {
                continue;
            }
            changed = true;
            byte(lanes, moved).store(&mut code.0);
            sum_lx = L::F::select(stay, sum_lx, lx_new);
            sum_l2 = L::F::select(stay, sum_l2, l2_new);
        }
        if !changed {
            break;
        }
    }
    for code in codes.iter_mut().take(x.len()) {
        L::F::select(nothing, zero, lanes.load(&code.0)).store(&mut code.0);
    }
    let scale = L::F::select(sum_l2.gt(zero), sum_lx / sum_l2, zero);
    L::F::select(nothing, zero, scale)
}

/// What an integer leaves in an unsigned byte.
#[inline(always)]
fn byte<L: Lanes>(lanes: L, level: L::F) -> L::F {
    if !level.lt(lanes.splat(0.0)).any() {
        return level;
    }
    // Between integers, so that rounding is cutting.
    let turns = ((level - lanes.splat(127.5)) / lanes.splat(256.0)).round();
    level - turns * lanes.splat(256.0)
}

/// The weighted squared error of rounding `x` with `inv`.
#[inline(always)]
fn deviation<L: Lanes>(lanes: L, x: &[Row], w: &[Row], inv: L::F, scale: L::F, top: Option<L::F>) -> L::F {
    let mut sum = lanes.splat(0.0);
    for (x, w) in x.iter().zip(w) {
        let x = lanes.load(&x.0);
        let level = (inv * x).nearest_int();
        let diff = x - scale
            * match top {
                Some(top) => level.min(top),
                None => byte(lanes, level),
            };
        sum = sum + lanes.load(&w.0) * diff * diff;
    }
    sum
}

/// Codes `0 ..= high` for non-negative `x`, by the largest alone.
#[inline(always)]
pub(in crate::block) fn by_max<L: Lanes>(lanes: L, x: &[Row], high: f32, codes: &mut [Row], scale: &mut Row) {
    let (zero, top) = (lanes.splat(0.0), lanes.splat(high));
    let mut max = zero;
    for x in x {
        max = lanes.load(&x.0).max(max);
    }
    let inv = L::F::select(max.gt(zero), top / max, zero);
    for (x, code) in x.iter().zip(codes) {
        (inv * lanes.load(&x.0)).nearest_int().store(&mut code.0);
    }
    L::F::select(max.gt(zero), max / top, zero).store(&mut scale.0);
}
