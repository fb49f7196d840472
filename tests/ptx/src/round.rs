//! Roundings that Rust's arithmetic does not have, and 16-bit floats.

use crate::types::Round;

/// `value + error`, which together are exact, as f32. `error` is far smaller than `value`.
pub(crate) fn to_f32(value: f64, error: f64, mode: Round) -> f32 {
    let near = value as f32;
    if !near.is_finite() && value.is_finite() && mode != Round::Nearest {
        let toward = match mode {
            Round::Zero => true,
            Round::Down => value > 0.0,
            Round::Up => value < 0.0,
            Round::Nearest | Round::NearestAway => false,
        };
        return if toward { f32::MAX.copysign(near) } else { near };
    }
    if value.is_nan() || value.is_infinite() || mode == Round::Nearest {
        return if mode == Round::Nearest { odd(value, error) as f32 } else { near };
    }
    let back = f64::from(near);
    let above = back > value || (back == value && error < 0.0);
    let below = back < value || (back == value && error > 0.0);
    let mode = match mode {
        Round::Zero if value > 0.0 || (value == 0.0 && error > 0.0) => Round::Down,
        Round::Zero => Round::Up,
        other => other,
    };
    match mode {
        Round::Down if above => near.next_down(),
        Round::Up if below => near.next_up(),
        _ => near,
    }
}

/// `value + error` in f64 with the last bit set where it is not exact: rounding that once more rounds rightly.
pub(crate) fn odd(value: f64, error: f64) -> f64 {
    if error == 0.0 || !value.is_finite() || value.to_bits() & 1 == 1 {
        return value;
    }
    // Truncated towards zero, the exact value lies in (value, next) or (previous, value).
    if (error > 0.0) == (value > 0.0) {
        f64::from_bits(value.to_bits() | 1)
    } else {
        f64::from_bits((value.to_bits() - 1) | 1)
    }
}

/// `a + b` and what that sum lost.
pub(crate) fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let s = a + b;
    if !s.is_finite() {
        return (s, 0.0);
    }
    let t = s - a;
    (s, (a - (s - t)) + (b - t))
}

/// binary16 as f32, exactly.
pub(crate) fn f16_to_f32(h: u16) -> f32 {
    let sign = u32::from(h & 0x8000) << 16;
    let (exponent, fraction) = (u32::from(h >> 10 & 31), u32::from(h & 1023));
    match exponent {
        0 => f32::from_bits((fraction as f32 * 2f32.powi(-24)).to_bits() | sign),
        31 => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

/// bfloat16 as f32, exactly.
pub(crate) fn bf16_to_f32(b: u16) -> f32 {
    f32::from_bits(u32::from(b) << 16)
}

/// A float of fewer bits.
#[derive(Clone, Copy)]
struct Format {
    fraction: i32,
    min_exponent: i32,
    max: f64,
    nan: u16,
    infinity: u16,
}

const F16: Format = Format { fraction: 10, min_exponent: -14, max: 65504.0, nan: 0x7fff, infinity: 0x7c00 };
/// The largest bfloat16 is 255 * 2^120.
const BF16: Format =
    Format { fraction: 7, min_exponent: -126, max: 3.3895313892515355e38, nan: 0x7fff, infinity: 0x7f80 };

/// To binary16 in one rounding.
pub(crate) fn to_f16(v: f64, mode: Round) -> u16 {
    narrow(v, mode, F16)
}

/// To bfloat16 in one rounding.
pub(crate) fn to_bf16(v: f64, mode: Round) -> u16 {
    narrow(v, mode, BF16)
}

fn narrow(v: f64, mode: Round, f: Format) -> u16 {
    if v.is_nan() {
        return f.nan;
    }
    let sign = if v.is_sign_negative() { 0x8000 } else { 0 };
    let a = v.abs();
    if a.is_infinite() {
        return sign | f.infinity;
    }
    if a == 0.0 {
        return sign;
    }
    let exponent = ((a.to_bits() >> 52) as i32 - 1023).max(f.min_exponent);
    // A power of two whose product is exact: the scaled value's integral part is the fraction.
    let scaled = a * pow2(f.fraction - exponent);
    let integral = match (mode, sign == 0) {
        (Round::Nearest, _) => scaled.round_ties_even(),
        (Round::NearestAway, _) => scaled.round(),
        (Round::Zero, _) | (Round::Down, true) | (Round::Up, false) => scaled.floor(),
        (Round::Down, false) | (Round::Up, true) => scaled.ceil(),
    };
    if integral * pow2(exponent - f.fraction) > f.max {
        let kept = matches!((mode, sign == 0), (Round::Zero, _) | (Round::Down, true) | (Round::Up, false));
        return sign | if kept { f.infinity - 1 } else { f.infinity };
    }
    // The bits of a float continue from subnormals to normals and over each power of two.
    let bias = (exponent - f.min_exponent) << f.fraction;
    sign | (bias + integral as i32) as u16
}

fn pow2(e: i32) -> f64 {
    f64::from_bits(((e + 1023) as u64) << 52)
}

/// f32 with the 10 bits of fraction that tf32 keeps.
pub(crate) fn to_tf32(v: f32, mode: Round) -> u32 {
    let bits = v.to_bits();
    if !v.is_finite() {
        return bits & !0x1fff;
    }
    match mode {
        Round::NearestAway => bits.wrapping_add(0x1000) & !0x1fff,
        _ => bits.wrapping_add(0xfff + (bits >> 13 & 1)) & !0x1fff,
    }
}
