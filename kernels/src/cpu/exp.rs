//! Exponentials and the complementary error function, without branches, so that loops over them vectorise.

/// `e^x` in f32, within 2 units in the last place of the exact value; 0 and infinity where f32 ends; NaN stays.
///
/// Cody and Waite's reduction by `ln 2` in two parts, and Cephes' polynomial for the rest.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Adding and taking away 1.5 * 2^23 rounds to the nearest integer, and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -105.0 { -105.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let y = p * (r * r) + r + 1.0;
    // Two steps reach the ends of the range.
    let n = shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    let half = n >> 1;
    let power = |n: i32| f32::from_bits((n.wrapping_add(127) << 23) as u32);
    y * power(half) * power(n.wrapping_sub(half))
}

/// `e^x` in f64 for `x <= 0`, within 2 units in the last place; anything under -708 gives `e^-708`.
#[inline(always)]
pub(super) fn exp_down(x: f64) -> f64 {
    const ROUND: f64 = 6_755_399_441_055_744.0;
    let x = if x < -708.0 { -708.0 } else { x };
    let shifted = x * std::f64::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * 6.931_471_803_691_238e-1 - n * 1.908_214_929_270_587_7e-10;
    // Taylor's series: the first term left out is under 2e-16 at |r| = ln(2)/2.
    let p = 1.0 / 479_001_600.0;
    let p = p * r + 1.0 / 39_916_800.0;
    let p = p * r + 1.0 / 3_628_800.0;
    let p = p * r + 1.0 / 362_880.0;
    let p = p * r + 1.0 / 40_320.0;
    let p = p * r + 1.0 / 5_040.0;
    let p = p * r + 1.0 / 720.0;
    let p = p * r + 1.0 / 120.0;
    let p = p * r + 1.0 / 24.0;
    let p = p * r + 1.0 / 6.0;
    let p = p * r + 0.5;
    let y = p * (r * r) + r + 1.0;
    let n = shifted.to_bits().wrapping_sub(ROUND.to_bits());
    y * f64::from_bits(n.wrapping_add(1023) << 52)
}

/// `1 - erf(z)` for `z >= 0`, within 4e-7 (relative below 1). Numerical Recipes' Chebyshev fit of its logarithm.
#[inline(always)]
pub(super) fn erfc(z: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.5 * z);
    let p = 0.170_872_77;
    let p = p * t - 0.822_152_23;
    let p = p * t + 1.488_515_9;
    let p = p * t - 1.135_204;
    let p = p * t + 0.278_868_07;
    let p = p * t - 0.186_288_06;
    let p = p * t + 0.096_784_18;
    let p = p * t + 0.374_091_96;
    let p = p * t + 1.000_023_7;
    let p = p * t - 1.265_512_2;
    t * exp(p - z * z)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_agrees_with_f64() {
        let mut worst = 0f64;
        for i in -110_000..=90_000 {
            let x = i as f32 * 1e-3;
            let (got, want) = (f64::from(exp(x)), f64::from(x).exp());
            if want > f64::from(f32::MAX) {
                continue;
            }
            let unit = want.max(f64::from(f32::MIN_POSITIVE)) * f64::from(f32::EPSILON);
            worst = worst.max((got - want).abs() / unit);
        }
        assert!(worst <= 2.0, "{worst} units");
        assert_eq!((exp(0.0), exp(f32::NEG_INFINITY), exp(f32::INFINITY)), (1.0, 0.0, f32::INFINITY));
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn exp_down_agrees_with_the_standard_one() {
        let mut worst = 0f64;
        for i in 0..=100_000 {
            let x = -f64::from(i) * 7.07e-3;
            let (got, want) = (exp_down(x), x.exp());
            worst = worst.max((got - want).abs() / (want * f64::EPSILON));
        }
        assert!(worst <= 2.0, "{worst} units");
        assert_eq!(exp_down(0.0), 1.0);
        assert!(exp_down(f64::NEG_INFINITY) < 1e-300);
        assert!(exp_down(f64::NAN).is_nan());
    }

    /// Maclaurin's series.
    fn erf_series(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            let n = f64::from(n);
            term *= -x * x / n;
            sum += term / (2.0 * n + 1.0);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    }

    #[test]
    fn erfc_agrees_with_its_series() {
        for i in 0..=4000 {
            let z = i as f32 * 1e-3;
            let (got, want) = (f64::from(erfc(z)), 1.0 - erf_series(f64::from(z)));
            assert!((got - want).abs() < 4e-7, "{z}: {got} {want}");
        }
        assert!(erfc(9.0) < 1e-30);
    }
}
