//! Scale and minimum: `x ~ scale * level - min`, levels `0 ..= high`, min >= 0.

use super::Fit;
use crate::lanes::{Lanes, Mask, Row, Vector};

/// The grid of a search: trial `i` of `0 ..= steps` spans the range with `high + first + i * delta` levels.
#[derive(Clone, Copy)]
pub(in crate::block) struct Trials {
    pub(in crate::block) high: f32,
    pub(in crate::block) first: f32,
    pub(in crate::block) delta: f32,
    pub(in crate::block) steps: u32,
    /// Judge by absolute instead of squared error.
    pub(in crate::block) absolute: bool,
}

impl Trials {
    /// What importance-weighted encoding uses, for every type.
    pub(in crate::block) const fn weighted(high: u8) -> Trials {
        Trials { high: high as f32, first: -0.9, delta: 0.05, steps: 36, absolute: false }
    }
}

/// The best fit and each lane's sum of weights. `codes` is scratch.
#[inline(always)]
pub(in crate::block) fn search<L: Lanes, const N: usize>(
    lanes: L,
    x: &[Row; N],
    w: &[Row; N],
    trials: Trials,
    codes: &mut [Row; N],
) -> (Fit<L::F>, L::F) {
    let zero = lanes.splat(0.0);
    let high = lanes.splat(trials.high);
    let mut min = lanes.load(&x[0].0);
    let mut max = min;
    let mut sum_w = lanes.load(&w[0].0);
    let mut sum_x = sum_w * min;
    for (x, w) in x.iter().zip(w).skip(1) {
        let (x, w) = (lanes.load(&x.0), lanes.load(&w.0));
        min = x.min(min);
        max = x.max(max);
        sum_w = sum_w + w;
        sum_x = sum_x + w * x;
    }
    min = zero.min(min);
    let flat = max.eq(min);
    let flat_min = min;

    let mut inv = high / (max - min);
    let mut scale = lanes.splat(1.0) / inv;
    let (mut best_inv, mut best_origin) = (inv, min);
    for ((x, code), _) in x.iter().zip(codes.iter_mut()).zip(w) {
        let level = (inv * (lanes.load(&x.0) - min)).round().max(zero).min(high);
        level.store(&mut code.0);
    }
    let mut best = error(lanes, x, w, codes, scale, min, trials.absolute);

    for trial in 0..=trials.steps {
        let span = trials.first + trials.delta * trial as f32 + trials.high;
        inv = lanes.splat(span) / (max - min);
        let (mut sum_l, mut sum_l2, mut sum_xl) = (zero, zero, zero);
        for ((x, w), code) in x.iter().zip(w).zip(codes.iter_mut()) {
            let (x, w) = (lanes.load(&x.0), lanes.load(&w.0));
            let level = (inv * (x - min)).round().max(zero).min(high);
            level.store(&mut code.0);
            let wl = w * level;
            sum_l = sum_l + wl;
            sum_l2 = sum_l2 + wl * level;
            sum_xl = sum_xl + wl * x;
        }
        let det = sum_w * sum_l2 - sum_l * sum_l;
        let solvable = det.gt(zero);
        if !solvable.any() {
            continue;
        }
        let both = (sum_w * sum_xl - sum_x * sum_l) / det;
        let offset = (sum_l2 * sum_x - sum_l * sum_xl) / det;
        let above = offset.gt(zero);
        let this_scale = L::F::select(above, sum_xl / sum_l2, both);
        let this_min = L::F::select(above, zero, offset);
        let this = error(lanes, x, w, codes, this_scale, this_min, trials.absolute);
        let better = solvable & this.lt(best);
        best = L::F::select(better, this, best);
        best_inv = L::F::select(better, inv, best_inv);
        best_origin = L::F::select(better, min, best_origin);
        scale = L::F::select(better, this_scale, scale);
        min = L::F::select(better, this_min, min);
    }
    let fit = Fit {
        scale: L::F::select(flat, zero, scale),
        min: L::F::select(flat, flat_min, min).neg(),
        inv: L::F::select(flat, zero, best_inv),
        origin: best_origin,
    };
    (fit, sum_w)
}

#[inline(always)]
fn error<L: Lanes, const N: usize>(
    lanes: L,
    x: &[Row; N],
    w: &[Row; N],
    levels: &[Row; N],
    scale: L::F,
    min: L::F,
    absolute: bool,
) -> L::F {
    let mut sum = lanes.splat(0.0);
    for ((x, w), level) in x.iter().zip(w).zip(levels) {
        let diff = scale * lanes.load(&level.0) + min - lanes.load(&x.0);
        sum = sum + lanes.load(&w.0) * if absolute { diff.abs() } else { diff * diff };
    }
    sum
}
