//! Scale alone: `x ~ scale * level`, levels `-half ..= half - 1`.

use super::{ALL_ZERO, Fit, GROUPS, Groups, Levels};
use crate::lanes::{Job, Lanes, Row, Vector};

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

/// A search of one group for the scale that maximises the weighted correlation, over 19 trials around `-half / extreme`.
/// `wx` is scratch.
pub(in crate::block) struct Search<'a, const N: usize> {
    pub(in crate::block) x: &'a [Row; N],
    pub(in crate::block) w: &'a [Row; N],
    pub(in crate::block) levels: Levels,
    pub(in crate::block) wx: &'a mut [Row; N],
    pub(in crate::block) found: &'a mut Fit,
}

impl<const N: usize> Job for Search<'_, N> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Search { x, w, levels, wx, found } = self;
        let zero = lanes.splat(0.0);
        let half = -levels.low;
        let (max, size) = extreme(lanes, x);
        let nothing = size.lt(lanes.splat(ALL_ZERO));
        let mut sum_w = zero;
        for ((x, w), wx) in x.iter().zip(w).zip(wx.iter_mut()) {
            let w = lanes.load(&w.0);
            sum_w = sum_w + w;
            (w * lanes.load(&x.0)).store(&mut wx.0);
        }

        let mut inv = lanes.splat(-half) / max;
        let (sum_lx, sum_l2) = sums(lanes, x, w, wx, inv, levels);
        // A sum that is NaN counts as non-zero.
        let mut scale = L::F::select(sum_l2.eq(zero), zero, sum_lx / sum_l2);
        let mut best = scale * sum_lx;
        for trial in -9..=9 {
            if trial == 0 {
                continue;
            }
            let this_inv = lanes.splat(-(half + 0.1 * trial as f32)) / max;
            // Up to +4 the extreme rounds to -half by itself: only the upper end needs a bound.
            let (sum_lx, sum_l2) = if trial > 4 {
                sums(lanes, x, w, wx, this_inv, levels)
            } else {
                sums_bounded_above(lanes, x, w, wx, this_inv, levels)
            };
            let better = sum_l2.gt(zero) & (sum_lx * sum_lx).gt(best * sum_l2);
            let this = sum_lx / sum_l2;
            scale = L::F::select(better, this, scale);
            best = L::F::select(better, this * sum_lx, best);
            inv = L::F::select(better, this_inv, inv);
        }
        L::F::select(nothing, zero, scale).store(&mut found.scale.0);
        L::F::select(nothing, zero, inv).store(&mut found.inv.0);
        zero.store(&mut found.min.0);
        zero.store(&mut found.origin.0);
        sum_w.store(&mut found.weight.0);
    }
}

/// Searches each group.
#[inline(always)]
pub(in crate::block) fn search_groups<L: Lanes, const N: usize>(
    lanes: L,
    x: &Groups<N>,
    w: &Groups<N>,
    levels: Levels,
    scratch: &mut Groups<N>,
    found: &mut [Fit; GROUPS],
) {
    for (((x, w), wx), found) in x.iter().zip(w).zip(scratch).zip(found) {
        lanes.apart(Search { x, w, levels, wx, found });
    }
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
) -> (L::F, L::F) {
    let (low, high) = (lanes.splat(levels.low), lanes.splat(levels.high));
    let (mut sum_lx, mut sum_l2) = (lanes.splat(0.0), lanes.splat(0.0));
    for ((x, w), wx) in x.iter().zip(w).zip(wx) {
        let level = (inv * lanes.load(&x.0)).round().max(low).min(high);
        sum_lx = sum_lx + lanes.load(&wx.0) * level;
        sum_l2 = sum_l2 + lanes.load(&w.0) * level * level;
    }
    (sum_lx, sum_l2)
}

/// [`sums`] where no element is below the lowest level.
#[inline(always)]
fn sums_bounded_above<L: Lanes, const N: usize>(
    lanes: L,
    x: &[Row; N],
    w: &[Row; N],
    wx: &[Row; N],
    inv: L::F,
    levels: Levels,
) -> (L::F, L::F) {
    let high = lanes.splat(levels.high);
    let (mut sum_lx, mut sum_l2) = (lanes.splat(0.0), lanes.splat(0.0));
    for ((x, w), wx) in x.iter().zip(w).zip(wx) {
        let level = (inv * lanes.load(&x.0)).round().min(high);
        sum_lx = sum_lx + lanes.load(&wx.0) * level;
        sum_l2 = sum_l2 + lanes.load(&w.0) * level * level;
    }
    (sum_lx, sum_l2)
}
