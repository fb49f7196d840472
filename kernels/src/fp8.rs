//! Numbers of eight bits and fewer: E4M3, E5M2, E8M0 and E2M1, as OCP defines them (E4M3 is the "fn" kind: no infinity).
//!
//! Encoders round to nearest even and saturate, as quantizers do; NaN stays NaN.

/// The largest number of E4M3.
pub const E4M3_MAX: f32 = 448.0;

/// The largest number of E5M2.
pub const E5M2_MAX: f32 = 57344.0;

/// The largest number of E2M1.
pub const E2M1_MAX: f32 = 6.0;

/// What the sixteen codes of E2M1 stand for.
pub const E2M1: [f32; 16] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];

/// What all codes of E4M3 stand for.
static E4M3: [f32; 256] = table(3, 7, false);

/// What all codes of E5M2 stand for.
static E5M2: [f32; 256] = table(2, 15, true);

/// Exact.
#[inline]
pub fn decode_e4m3(code: u8) -> f32 {
    E4M3[usize::from(code)]
}

/// Exact.
#[inline]
pub fn decode_e5m2(code: u8) -> f32 {
    E5M2[usize::from(code)]
}

/// `2^(code - 127)`; 255 is NaN.
#[inline]
pub fn decode_e8m0(code: u8) -> f32 {
    match code {
        0 => f32::from_bits(1 << 22),
        255 => f32::NAN,
        _ => f32::from_bits(u32::from(code) << 23),
    }
}

/// Of the lower four bits; exact.
#[inline]
pub fn decode_e2m1(code: u8) -> f32 {
    E2M1[usize::from(code & 15)]
}

/// To nearest even; magnitudes beyond 448 give 448.
#[inline(always)]
pub fn encode_e4m3(v: f32) -> u8 {
    small(v, 3, 7, 0x7e)
}

/// To nearest even; magnitudes beyond 57344 give 57344, infinity too.
#[inline(always)]
pub fn encode_e5m2(v: f32) -> u8 {
    small(v, 2, 15, 0x7b)
}

/// The power of two at or below a positive number; what is below `2^-127` gives `2^-127`, as do zero and negative
/// numbers.
#[inline]
pub fn encode_e8m0(v: f32) -> u8 {
    if v.is_nan() {
        255
    } else if v > 0.0 {
        // Infinity is beyond the largest power.
        (v.to_bits() >> 23).min(254) as u8
    } else {
        0
    }
}

/// To nearest, ties to the even code; magnitudes beyond 6 give 6. The code of NaN is that of 6, since there is none.
#[inline]
pub fn encode_e2m1(v: f32) -> u8 {
    let size = v.abs();
    let code = match size {
        _ if size <= 0.25 => 0,
        _ if size < 0.75 => 1,
        _ if size <= 1.25 => 2,
        _ if size < 1.75 => 3,
        _ if size <= 2.5 => 4,
        _ if size < 3.5 => 5,
        _ if size <= 5.0 => 6,
        _ => 7,
    };
    code | u8::from(v.is_sign_negative()) << 3
}

/// Sign, exponent with this bias, `mantissa` bits. No branches, so that loops over it vectorise.
#[inline(always)]
fn small(v: f32, mantissa: u32, bias: u32, largest: u32) -> u8 {
    let size = v.to_bits() & 0x7fff_ffff;
    let dropped = 23 - mantissa;
    // From 2^(1 - bias) on: a carry out of the mantissa is right as it is.
    let normal = size.wrapping_sub((127 - bias) << 23);
    let normal = normal.wrapping_add((1 << (dropped - 1)) - 1 + (size >> dropped & 1)) >> dropped;
    // Below, beside 1.5 * 2^n one unit in the last place is the subnormal step.
    let magic = f32::from_bits((127 - bias + 1 + dropped) << 23 | 1 << 22);
    let subnormal = (f32::from_bits(size) + magic).to_bits() - magic.to_bits();
    let code = if size < (128 - bias) << 23 { subnormal } else { normal.min(largest) };
    let code = if size > f32::INFINITY.to_bits() { 0x7f } else { code };
    code as u8 | (v.to_bits() >> 24) as u8 & 0x80
}

/// All numbers of a sign, an exponent with this bias, and `mantissa` bits. With `infinite`, the highest exponent is kept
/// for infinity and NaN; otherwise only all ones are NaN.
const fn table(mantissa: u32, bias: u32, infinite: bool) -> [f32; 256] {
    let mut out = [0.0; 256];
    let mut code = 0u32;
    while code < 256 {
        let (size, sign) = (code & 0x7f, (code & 0x80) << 24);
        let exponent = size >> mantissa;
        let bits = if infinite && exponent == 0x7f >> mantissa {
            let payload = size & ((1 << mantissa) - 1);
            0x7f80_0000 | payload << (23 - mantissa)
        } else if !infinite && size == 0x7f {
            0x7fc0_0000
        } else if exponent == 0 {
            // A few units of 2^(1 - bias - mantissa).
            (size as f32 * f32::from_bits((128 - bias - mantissa) << 23)).to_bits()
        } else {
            (size << (23 - mantissa)) + ((127 - bias) << 23)
        };
        out[code as usize] = f32::from_bits(bits | sign);
        code += 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number format with its largest finite code.
    struct Format {
        decode: fn(u8) -> f32,
        encode: fn(f32) -> u8,
        mantissa: i32,
        bias: i32,
        largest: u8,
    }

    const FORMATS: [Format; 2] = [
        Format { decode: decode_e4m3, encode: |v| encode_e4m3(v), mantissa: 3, bias: 7, largest: 0x7e },
        Format { decode: decode_e5m2, encode: |v| encode_e5m2(v), mantissa: 2, bias: 15, largest: 0x7b },
    ];

    #[test]
    fn codes_are_what_the_definition_says() {
        for f in &FORMATS {
            for code in 0..=255u8 {
                let (size, exponent) = (code & 0x7f, i32::from(code & 0x7f) >> f.mantissa);
                let fraction = f64::from(size & ((1 << f.mantissa) - 1)) / f64::from(1 << f.mantissa);
                let want = if exponent == 0 {
                    fraction * 2f64.powi(1 - f.bias)
                } else {
                    (1.0 + fraction) * 2f64.powi(exponent - f.bias)
                };
                let want = if code > 0x7f { -want } else { want };
                let got = (f.decode)(code);
                if size > f.largest {
                    assert!(!got.is_finite());
                } else {
                    assert_eq!(f64::from(got).to_bits(), want.to_bits(), "{code:02x}");
                }
            }
        }
        assert_eq!((decode_e4m3(0x7e), decode_e5m2(0x7b)), (E4M3_MAX, E5M2_MAX));
        assert_eq!((decode_e5m2(0x7c), decode_e5m2(0xfc)), (f32::INFINITY, f32::NEG_INFINITY));
        assert!(decode_e4m3(0x7f).is_nan() && decode_e5m2(0x7d).is_nan());
        for code in 0..255 {
            assert_eq!(f64::from(decode_e8m0(code)), 2f64.powi(i32::from(code) - 127));
        }
    }

    #[test]
    fn every_code_survives_decoding() {
        for f in &FORMATS {
            for code in 0..=255u8 {
                let value = (f.decode)(code);
                if value.is_nan() {
                    assert_eq!((f.encode)(value) & 0x7f, 0x7f);
                } else {
                    let kept = if value.is_infinite() { f.largest | code & 0x80 } else { code };
                    assert_eq!((f.encode)(value), kept, "{code:02x}");
                }
            }
        }
        for code in 0..16 {
            assert_eq!(encode_e2m1(decode_e2m1(code)), code);
        }
        for code in 0..=254 {
            assert_eq!(encode_e8m0(decode_e8m0(code)), code);
        }
        assert_eq!(encode_e8m0(decode_e8m0(255)), 255);
    }

    #[test]
    fn rounding_is_to_nearest_even() {
        for f in &FORMATS {
            for code in 0..f.largest {
                let (low, high) = ((f.decode)(code), (f.decode)(code + 1));
                let middle = f32::midpoint(low, high);
                let (below, above) = (f32::from_bits(middle.to_bits() - 1), f32::from_bits(middle.to_bits() + 1));
                for (sign, bit) in [(1.0, 0), (-1.0, 0x80)] {
                    assert_eq!((f.encode)(sign * below), code | bit);
                    assert_eq!((f.encode)(sign * middle), (code + code % 2) | bit, "tie above {low}");
                    assert_eq!((f.encode)(sign * above), (code + 1) | bit);
                }
            }
            let top = (f.decode)(f.largest);
            for beyond in [top * 1.01, top * 2.0, f32::MAX, f32::INFINITY] {
                assert_eq!((f.encode)(beyond), f.largest);
                assert_eq!((f.encode)(-beyond), f.largest | 0x80);
            }
            for tiny in [f32::from_bits(1), f32::MIN_POSITIVE, 1e-30] {
                assert_eq!(((f.encode)(tiny), (f.encode)(-tiny)), (0, 0x80));
            }
        }
        for code in 0..7u8 {
            let middle = f32::midpoint(E2M1[usize::from(code)], E2M1[usize::from(code) + 1]);
            assert_eq!(encode_e2m1(middle), code + code % 2);
            assert_eq!(encode_e2m1(-f32::from_bits(middle.to_bits() + 1)), code + 9);
            assert_eq!(encode_e2m1(f32::from_bits(middle.to_bits() - 1)), code);
        }
        assert_eq!((encode_e2m1(1e9), encode_e2m1(f32::NEG_INFINITY)), (7, 15));
    }

    #[test]
    fn powers_are_cut() {
        for (v, code) in [(0.0, 0), (-1.0, 0), (1e-45, 0), (1.0, 127), (1.99, 127), (2.0, 128), (f32::INFINITY, 254)] {
            assert_eq!(encode_e8m0(v), code, "{v}");
        }
    }
}
