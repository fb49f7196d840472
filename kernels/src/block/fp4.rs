//! The sixteen values of E2M1, doubled so that they are integers: what MXFP4 and NVFP4 share.

use crate::lanes::{LANES, Lanes, Vector};

/// What a code stands for, in units of half the scale.
pub(super) const VALUES: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// The largest magnitude.
#[inline(always)]
pub(super) fn largest<L: Lanes>(x: &[L::F]) -> f32 {
    let mut max = x[0].abs();
    for x in &x[1..] {
        max = max.max(x.abs());
    }
    max.reduce_max()
}

/// The nearest codes, the first of equals. `d` is half the scale, a number of few bits; `size` is the largest magnitude.
#[inline(always)]
pub(super) fn codes<L: Lanes>(lanes: L, x: L::F, size: f32, d: f32) -> [u8; LANES] {
    // Otherwise differences overflow, or are so large that rounding makes them equal.
    if size <= 16.0 * d && (12.0 * d).is_finite() { by_thresholds(lanes, x, d) } else { by_differences(lanes, x, d) }
}

/// The middles between neighbouring magnitudes, and how far apart those are.
const MIDDLES: [(f32, f32); 7] = [(0.5, 1.0), (1.5, 1.0), (2.5, 1.0), (3.5, 1.0), (5.0, 2.0), (7.0, 2.0), (10.0, 4.0)];

/// The codes nearest to `x`, which is in units of half the scale, and their values. Ties go to the even code where `even`,
/// or else towards zero. What rounds to zero keeps its sign where `negative_zero`.
#[inline(always)]
pub(super) fn nearest<L: Lanes>(lanes: L, x: L::F, even: bool, negative_zero: bool) -> ([u8; LANES], L::F) {
    let (zero, one) = (lanes.splat(0.0), lanes.splat(1.0));
    let size = x.abs();
    let (mut code, mut value) = (zero, zero);
    for (i, (middle, gap)) in MIDDLES.into_iter().enumerate() {
        let middle = lanes.splat(middle);
        let mut above = middle.lt(size);
        if even && i % 2 == 1 {
            above = above | middle.eq(size);
        }
        code = code + L::F::select(above, one, zero);
        value = value + L::F::select(above, lanes.splat(gap), zero);
    }
    let negative = if negative_zero { x.lt(zero) } else { x.lt(zero) & code.gt(zero) };
    let code = L::F::select(negative, code + lanes.splat(8.0), code);
    // The integers have no negative zero.
    (code.to_bytes(), L::F::select(negative, zero - value, value))
}

/// Near the middle of two values all differences are exact, so the magnitude alone decides.
#[inline(always)]
fn by_thresholds<L: Lanes>(lanes: L, x: L::F, d: f32) -> [u8; LANES] {
    let (zero, one) = (lanes.splat(0.0), lanes.splat(1.0));
    let size = x.abs();
    let mut code = zero;
    for middle in [0.5, 1.5, 2.5, 3.5, 5.0, 7.0, 10.0] {
        code = code + L::F::select(size.gt(lanes.splat(middle * d)), one, zero);
    }
    // Never the code for -0.
    let negative = x.lt(zero) & code.gt(zero);
    L::F::select(negative, code + lanes.splat(8.0), code).to_bytes()
}

#[inline(always)]
fn by_differences<L: Lanes>(lanes: L, x: L::F, d: f32) -> [u8; LANES] {
    let mut code = lanes.splat(0.0);
    let mut best = x.abs();
    for (i, &value) in VALUES.iter().enumerate() {
        let difference = (lanes.splat(f32::from(value) * d) - x).abs();
        let better = difference.lt(best);
        best = L::F::select(better, difference, best);
        code = L::F::select(better, lanes.splat(i as f32), code);
    }
    code.to_bytes()
}
