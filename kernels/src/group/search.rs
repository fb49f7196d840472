//! The search for the grids of sixteen groups of integers, a group a lane.

use super::{IntGroup, Tool, Zero};
use crate::block::rounder::{Grid, Steps};
use crate::lanes::{Job, LANES, Lanes, Mask, Row, Vector, each};

/// Trials shrink the range to `1 - TRIAL * i`, for these `i`. Negative ones widen it: where the largest magnitude is
/// positive, the highest symmetric code does not reach it otherwise.
const TRIALS: std::ops::RangeInclusive<i32> = -6..=48;
const TRIAL: f32 = 0.0125;

/// Least-squares rounds after the trials.
const ROUNDS: usize = 3;

/// Up to sixteen groups as they lie in memory, and room for them a lane each.
pub(super) struct Batches<'a> {
    /// Group by group.
    pub(super) x: &'a [f32],
    pub(super) importance: Option<&'a [f32]>,
    /// The column where the first group starts.
    pub(super) start: usize,
    pub(super) columns: &'a mut [Row],
    /// As long as `columns` where there is importance.
    pub(super) weights: &'a mut [Row],
}

/// Finds the grids and the codes.
pub(super) struct Search<'a> {
    pub(super) group: &'a IntGroup,
    pub(super) batches: Batches<'a>,
    pub(super) codes: &'a mut [[u8; LANES]],
}

impl Job for Search<'_> {
    type Out = Steps;

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> Steps {
        let Search { group, batches: Batches { x, importance, start, columns, weights }, codes } = self;
        let len = group.len;
        by_lane(lanes, x, len, columns);
        let (min, max) = range(lanes, columns);
        let plain = grid(lanes, group, min, max);
        let mut found = plain;
        if let Some(importance) = importance {
            for (lane, first) in (0..LANES).map(|lane| (lane, (start + lane * len) % importance.len())) {
                for (w, importance) in weights.iter_mut().zip(&importance[first..]) {
                    w.0[lane] = *importance;
                }
            }
            found = search(lanes, group, columns, weights, (min, max), plain);
        }
        let steps = found.steps();
        for (x, codes) in columns.iter().zip(codes) {
            *codes = group.points().nearest(lanes, lanes.load(&x.0), &steps).0;
        }
        steps
    }
}

/// A scale and a zero point a lane.
#[derive(Clone, Copy)]
struct Found<F> {
    scale: F,
    zero: F,
}

impl<F: Vector> Found<F> {
    #[inline(always)]
    fn steps(self) -> Steps {
        let mut steps = Steps::default();
        self.scale.store(&mut steps.step.0);
        self.zero.store(&mut steps.low.0);
        for low in &mut steps.low.0 {
            *low = 0.0 - *low;
        }
        steps
    }
}

/// `x` with a group a lane; missing groups are zeros.
#[inline(always)]
fn by_lane<L: Lanes>(lanes: L, x: &[f32], len: usize, out: &mut [Row]) {
    let whole = if x.len() == LANES * len { len / LANES * LANES } else { 0 };
    for (i, tile) in out[..whole].as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        lanes.transpose(&x[i * LANES..], len, tile);
    }
    for (i, row) in out.iter_mut().enumerate().skip(whole) {
        row.0 = each(|lane| x.get(lane * len + i).copied().unwrap_or(0.0));
    }
}

/// The least and the greatest value of each group, and of zero.
#[inline(always)]
fn range<L: Lanes>(lanes: L, x: &[Row]) -> (L::F, L::F) {
    let (mut min, mut max) = (lanes.splat(0.0), lanes.splat(0.0));
    for x in x {
        let x = lanes.load(&x.0);
        min = x.min(min);
        max = x.max(max);
    }
    (min, max)
}

/// The grid that spans a range, as it is stored.
#[inline(always)]
fn grid<L: Lanes>(lanes: L, group: &IntGroup, min: L::F, max: L::F) -> Found<L::F> {
    let (zero, one, high) = (lanes.splat(0.0), lanes.splat(1.0), lanes.splat(f32::from(group.high())));
    let (scale, lowest) = match group.zero {
        Zero::Middle => (min.neg().max(max) / lanes.splat(f32::from(group.high()) / 2.0), zero),
        Zero::Anywhere => ((max - min) / high, zero),
        Zero::AboveLowest => {
            let scale = (max - min) / high;
            // With code 0 out of reach of zero, the others have to span what is positive.
            let cut = (min.neg() / scale).lt(lanes.splat(0.5));
            (L::F::select(cut, max / (high - one), scale), one)
        }
    };
    let scale = stored(lanes, group, scale);
    let code = match group.zero {
        Zero::Middle => lanes.splat(f32::from(1u8 << (group.bits - 1))),
        Zero::Anywhere | Zero::AboveLowest => (min.neg() / scale).max(lowest).min(high).round(),
    };
    Found { scale, zero: code }
}

/// The scale as it is stored, with what the tool gives zeros.
#[inline(always)]
fn stored<L: Lanes>(lanes: L, group: &IntGroup, scale: L::F) -> L::F {
    let mut scales = [0.0; LANES];
    scale.store(&mut scales);
    let high = f32::from(group.high());
    let of_zeros = match group.tool {
        Tool::Gptq => 2.0 / high,
        Tool::Awq => 1e-5 / high,
        Tool::CompressedTensors => group.scale.epsilon(),
    };
    let least = if group.tool == Tool::Awq { of_zeros } else { 0.0 };
    lanes.load(&each(|lane| {
        let scale = if scales[lane] > 0.0 { scales[lane] } else { of_zeros };
        group.scale.stored(if scale < least { least } else { scale })
    }))
}

/// The best of all trials by the correlation that the scale of least squares reaches, then a few rounds of least squares
/// around it; the plain grid where that is as good.
#[inline(always)]
fn search<L: Lanes>(
    lanes: L,
    group: &IntGroup,
    x: &[Row],
    w: &[Row],
    (min, max): (L::F, L::F),
    plain: Found<L::F>,
) -> Found<L::F> {
    let (zero, one, high) = (lanes.splat(0.0), lanes.splat(1.0), lanes.splat(f32::from(group.high())));
    let (mut best, mut best_score) = (plain, lanes.splat(-1.0));
    for trial in TRIALS {
        let part = lanes.splat(1.0 - TRIAL * trial as f32);
        let this = grid(lanes, group, min * part, max * part);
        let (sum_lx, sum_l2) = sums(lanes, x, w, this, high);
        let score = L::F::select(sum_l2.gt(zero) & sum_lx.gt(zero), sum_lx * (sum_lx / sum_l2), zero);
        let better = best_score.lt(score);
        best_score = L::F::select(better, score, best_score);
        best.scale = L::F::select(better, L::F::select(sum_l2.gt(zero), sum_lx / sum_l2, this.scale), best.scale);
        best.zero = L::F::select(better, this.zero, best.zero);
    }
    best.scale = stored(lanes, group, best.scale);
    let (mut found, mut least) = (plain, error(lanes, group, x, w, plain));
    let mut around = best;
    for _ in 0..ROUNDS {
        for shift in [0.0, -1.0, 1.0] {
            let lowest = if group.zero == Zero::AboveLowest { one } else { zero };
            let code = match group.zero {
                Zero::Middle if shift != 0.0 => continue,
                Zero::Middle => around.zero,
                Zero::Anywhere | Zero::AboveLowest => (around.zero + lanes.splat(shift)).max(lowest).min(high),
            };
            let mut this = Found { scale: around.scale, zero: code };
            for refit in [false, true] {
                if refit {
                    let (sum_lx, sum_l2) = sums(lanes, x, w, this, high);
                    let good = sum_l2.gt(zero) & sum_lx.gt(zero);
                    this.scale = stored(lanes, group, L::F::select(good, sum_lx / sum_l2, this.scale));
                }
                let cost = error(lanes, group, x, w, this);
                let better = cost.lt(least);
                least = L::F::select(better, cost, least);
                found.scale = L::F::select(better, this.scale, found.scale);
                found.zero = L::F::select(better, this.zero, found.zero);
            }
        }
        if (around.scale.eq(found.scale) & around.zero.eq(found.zero)).bits() == u16::MAX {
            break;
        }
        around = found;
    }
    found
}

/// The sums of `w * level * x` and `w * level * level`.
#[inline(always)]
fn sums<L: Lanes>(lanes: L, x: &[Row], w: &[Row], grid: Found<L::F>, high: L::F) -> (L::F, L::F) {
    let (mut sum_lx, mut sum_l2) = (lanes.splat(0.0), lanes.splat(0.0));
    let inv = lanes.splat(1.0) / grid.scale;
    let low = lanes.splat(0.0) - grid.zero;
    let top = high - grid.zero;
    for (x, w) in x.iter().zip(w) {
        let x = lanes.load(&x.0);
        let level = (x * inv).max(low).min(top).round();
        let weighted = lanes.load(&w.0) * level;
        sum_lx = sum_lx + weighted * x;
        sum_l2 = sum_l2 + weighted * level;
    }
    (sum_lx, sum_l2)
}

/// The weighted squared error of the codes as they would be stored.
#[inline(always)]
fn error<L: Lanes>(lanes: L, group: &IntGroup, x: &[Row], w: &[Row], grid: Found<L::F>) -> L::F {
    let steps = grid.steps();
    let mut sum = lanes.splat(0.0);
    for (x, w) in x.iter().zip(w) {
        let x = lanes.load(&x.0);
        let diff = x - group.points().nearest(lanes, x, &steps).1;
        sum = sum + lanes.load(&w.0) * (diff * diff);
    }
    sum
}
