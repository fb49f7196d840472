//! The sixteen values of E2M1, doubled so that they are integers: what MXFP4 and NVFP4 share.

use crate::lanes::{LANES, Lanes, Mask, Vector};

/// What a code stands for, in units of half the scale.
pub(super) const VALUES: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// The largest magnitude.
#[inline(always)]
pub(super) fn largest<L: Lanes>(x: &[L::F]) -> f32 {
    x.iter().skip(1).fold(x[0].abs(), |max, x| max.max(x.abs())).reduce_max()
}

/// The magnitudes above which the next code is nearer, in order. `d` is half the scale, with few enough bits that these
/// are exact; values that overflow are never chosen.
#[inline(always)]
pub(super) fn thresholds(d: f32) -> [f32; 7] {
    std::array::from_fn(|i| {
        let (low, high) = (f32::from(VALUES[i]), f32::from(VALUES[i + 1]));
        // Without a scale all codes are equally far, and the first one counts.
        if d > 0.0 && (high * d).is_finite() { (low + high) * 0.5 * d } else { f32::INFINITY }
    })
}

/// The nearest codes, the lower one of two; never the one for -0.
#[inline(always)]
pub(super) fn codes<L: Lanes>(lanes: L, x: L::F, thresholds: &[f32; 7]) -> [u8; LANES] {
    let (zero, one) = (lanes.splat(0.0), lanes.splat(1.0));
    let size = x.abs();
    let mut code = zero;
    for &threshold in thresholds {
        code = code + L::F::select(size.gt(lanes.splat(threshold)), one, zero);
    }
    let negative = x.lt(zero) & code.gt(zero);
    let sign = if negative.any() { L::F::select(negative, lanes.splat(8.0), zero) } else { zero };
    (code + sign).to_bytes()
}
