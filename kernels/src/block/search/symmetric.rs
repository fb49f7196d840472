//! Scale alone: `x ~ scale * level`, levels `-half ..= half - 1`.

use super::{ALL_ZERO, Fit, Levels};
use crate::lanes::{Lanes, Row, Vector};

/// The value of largest magnitude in each lane, the first of equals, and that magnitude.
#[inline(always)]
pub(super) fn extreme<L: Lanes, const N: usize>(lanes: L, x: &[Row; N]) -> (L::F, L::F) {
    let mut max = lanes.splat(0.0);
    let mut size = max;
    for x in x {
        let x = lanes.load(&x.0);
        let bigger = x.abs().gt(size);
        size = L::F::select(bigger, x.abs(), size);
        max = L::F::select(bigger, x, max);
    }
    (max, size)
}

/// The scale that maximises the weighted correlation, over 19 trials around `-half / extreme`. `wx` is scratch.
#[inline(always)]
pub(in crate::block) fn search<L: Lanes, const N: usize>(
    lanes: L,
    x: &[Row; N],
    w: &[Row; N],
    levels: Levels,
    wx: &mut [Row; N],
) -> Fit<L::F> {
    let zero = lanes.splat(0.0);
    let half = -levels.low;
    let (max, size) = extreme(lanes, x);
    let nothing = size.lt(lanes.splat(ALL_ZERO));
    for ((x, w), wx) in x.iter().zip(w).zip(wx.iter_mut()) {
        (lanes.load(&w.0) * lanes.load(&x.0)).store(&mut wx.0);
    }

    let mut inv = lanes.splat(-half) / max;
    let (mut sum_lx, sum_l2) = sums(lanes, x, w, wx, inv, levels, true);
    // A sum that is NaN counts as non-zero.
    let mut scale = L::F::select(sum_l2.eq(zero), zero, sum_lx / sum_l2);
    let mut best = scale * sum_lx;
    for trial in -9..=9 {
        if trial == 0 {
            continue;
        }
        let this_inv = lanes.splat(-(half + 0.1 * trial as f32)) / max;
        // Up to +4 the extreme rounds to -half by itself: only the upper end needs a bound.
        let (lx, l2) = sums(lanes, x, w, wx, this_inv, levels, trial > 4);
        sum_lx = lx;
        let better = l2.gt(zero) & (sum_lx * sum_lx).gt(best * l2);
        let this = sum_lx / l2;
        scale = L::F::select(better, this, scale);
        best = L::F::select(better, this * sum_lx, best);
        inv = L::F::select(better, this_inv, inv);
    }
    Fit { scale: L::F::select(nothing, zero, scale), min: zero, inv: L::F::select(nothing, zero, inv), origin: zero }
}

/// [`search`] of each group.
#[inline(always)]
pub(in crate::block) fn search_groups<L: Lanes, const N: usize, const G: usize>(
    lanes: L,
    x: &[[Row; N]; G],
    w: &[[Row; N]; G],
    levels: Levels,
    scratch: &mut [[Row; N]; G],
) -> [Fit<L::F>; G] {
    let mut found = [search(lanes, &x[0], &w[0], levels, &mut scratch[0]); G];
    for g in 1..G {
        found[g] = search(lanes, &x[g], &w[g], levels, &mut scratch[g]);
    }
    found
}

/// The sums of `w * x * level` and `w * level * level`.
#[inline(always)]
fn sums<L: Lanes, const N: usize>(
    lanes: L,
    x: &[Row; N],
    w: &[Row; N],
    wx: &[Row; N],
    inv: L::F,
    levels: Levels,
    bound_below: bool,
) -> (L::F, L::F) {
    let (low, high) = (lanes.splat(levels.low), lanes.splat(levels.high));
    let (mut sum_lx, mut sum_l2) = (lanes.splat(0.0), lanes.splat(0.0));
    for ((x, w), wx) in x.iter().zip(w).zip(wx) {
        let level = (inv * lanes.load(&x.0)).round();
        let level = if bound_below { level.max(low) } else { level }.min(high);
        sum_lx = sum_lx + lanes.load(&wx.0) * level;
        sum_l2 = sum_l2 + lanes.load(&w.0) * level * level;
    }
    (sum_lx, sum_l2)
}
