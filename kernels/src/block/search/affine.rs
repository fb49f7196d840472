//! Scale and minimum: `x ~ scale * level - min`, levels `0 ..= high`, min >= 0.

use super::{Fit, GROUPS, Groups};
use crate::lanes::{Job, Lanes, Row, Vector};

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

/// One group of sixteen sub-blocks under search.
#[derive(Clone, Copy)]
struct State<F: Vector> {
    sum_w: F,
    sum_x: F,
    max: F,
    /// The sub-block's minimum, at most 0.
    lowest: F,
    /// The best trial so far: its error, its result, and what its levels were rounded with.
    best: F,
    scale: F,
    min: F,
    best_inv: F,
    origin: F,
    /// The trial in progress.
    inv: F,
    this_scale: F,
    this_min: F,
    solvable: F::Mask,
}

/// A search of two groups. `levels` is scratch.
pub(in crate::block) struct Search<'a, const N: usize> {
    pub(in crate::block) x: &'a Groups<N>,
    pub(in crate::block) w: &'a Groups<N>,
    pub(in crate::block) trials: Trials,
    pub(in crate::block) levels: &'a mut Groups<N>,
    pub(in crate::block) found: &'a mut [Fit; GROUPS],
}

/// A trial has two passes over the elements with a chain of divisions after the first one; the groups take turns, so
/// that one's chain hides behind the other's pass.
impl<const N: usize> Job for Search<'_, N> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Search { x, w, trials, levels, found } = self;
        let mut states = [start(lanes, &x[0], &w[0], trials, &mut levels[0]); GROUPS];
        for g in 1..GROUPS {
            states[g] = start(lanes, &x[g], &w[g], trials, &mut levels[g]);
        }
        for trial in 0..=trials.steps {
            let span = trials.first + trials.delta * trial as f32 + trials.high;
            // The greatest element lands on `span` itself, so only a wide span needs the upper bound.
            if span < trials.high + 0.49 {
                for (((s, x), w), levels) in states.iter_mut().zip(x).zip(w).zip(levels.iter_mut()) {
                    *s = solve(lanes, *s, x, w, span, None, levels);
                }
            } else {
                let high = Some(lanes.splat(trials.high));
                for (((s, x), w), levels) in states.iter_mut().zip(x).zip(w).zip(levels.iter_mut()) {
                    *s = solve(lanes, *s, x, w, span, high, levels);
                }
            }
            for (((s, x), w), levels) in states.iter_mut().zip(x).zip(w).zip(levels.iter()) {
                let this = error(lanes, x, w, levels, s.this_scale, s.this_min, trials.absolute);
                let better = s.solvable & this.lt(s.best);
                s.best = L::F::select(better, this, s.best);
                s.best_inv = L::F::select(better, s.inv, s.best_inv);
                s.origin = L::F::select(better, s.min, s.origin);
                s.scale = L::F::select(better, s.this_scale, s.scale);
                s.min = L::F::select(better, s.this_min, s.min);
            }
        }
        for (s, found) in states.into_iter().zip(found) {
            finish(lanes, s, found);
        }
    }
}

/// Sums, range, and the error of the plain grid over the range.
#[inline(always)]
fn start<L: Lanes, const N: usize>(
    lanes: L,
    x: &[Row; N],
    w: &[Row; N],
    trials: Trials,
    levels: &mut [Row; N],
) -> State<L::F> {
    let (zero, high) = (lanes.splat(0.0), lanes.splat(trials.high));
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
    let inv = high / (max - min);
    let scale = lanes.splat(1.0) / inv;
    for (x, level) in x.iter().zip(levels.iter_mut()) {
        (inv * (lanes.load(&x.0) - min)).round().max(zero).min(high).store(&mut level.0);
    }
    let best = error(lanes, x, w, levels, scale, min, trials.absolute);
    State {
        sum_w,
        sum_x,
        max,
        lowest: min,
        best,
        scale,
        min,
        best_inv: inv,
        origin: min,
        inv,
        this_scale: scale,
        this_min: min,
        solvable: zero.lt(zero),
    }
}

/// Rounds with this span, and solves for the scale and minimum that fit the levels best.
#[inline(always)]
fn solve<L: Lanes, const N: usize>(
    lanes: L,
    mut s: State<L::F>,
    x: &[Row; N],
    w: &[Row; N],
    span: f32,
    high: Option<L::F>,
    levels: &mut [Row; N],
) -> State<L::F> {
    let zero = lanes.splat(0.0);
    let (min, inv) = (s.min, lanes.splat(span) / (s.max - s.min));
    let (mut sum_l, mut sum_l2, mut sum_xl) = (zero, zero, zero);
    for ((x, w), level) in x.iter().zip(w).zip(levels) {
        let (x, w) = (lanes.load(&x.0), lanes.load(&w.0));
        let l = (inv * (x - min)).round().max(zero);
        let l = if let Some(high) = high { l.min(high) } else { l };
        l.store(&mut level.0);
        let wl = w * l;
        sum_l = sum_l + wl;
        sum_l2 = sum_l2 + wl * l;
        sum_xl = sum_xl + wl * x;
    }
    let det = s.sum_w * sum_l2 - sum_l * sum_l;
    let scale = (s.sum_w * sum_xl - s.sum_x * sum_l) / det;
    let min = (sum_l2 * s.sum_x - sum_l * sum_xl) / det;
    let above = min.gt(zero);
    s.inv = inv;
    s.this_scale = L::F::select(above, sum_xl / sum_l2, scale);
    s.this_min = L::F::select(above, zero, min);
    s.solvable = det.gt(zero);
    s
}

#[inline(always)]
fn finish<L: Lanes>(lanes: L, s: State<L::F>, found: &mut Fit) {
    let zero = lanes.splat(0.0);
    let flat = s.max.eq(s.lowest);
    L::F::select(flat, zero, s.scale).store(&mut found.scale.0);
    L::F::select(flat, s.lowest, s.min).neg().store(&mut found.min.0);
    L::F::select(flat, zero, s.best_inv).store(&mut found.inv.0);
    s.origin.store(&mut found.origin.0);
    s.sum_w.store(&mut found.weight.0);
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
    let parts = x.iter().zip(w).zip(levels);
    if absolute {
        for ((x, w), level) in parts {
            let diff = scale * lanes.load(&level.0) + min - lanes.load(&x.0);
            sum = sum + lanes.load(&w.0) * diff.abs();
        }
    } else {
        for ((x, w), level) in parts {
            let diff = scale * lanes.load(&level.0) + min - lanes.load(&x.0);
            sum = sum + lanes.load(&w.0) * (diff * diff);
        }
    }
    sum
}
