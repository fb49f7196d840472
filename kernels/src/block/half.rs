//! Half precision and bfloat16, one number at a time, as llama.cpp rounds them.

/// Rounds to half precision, ties to even. NaN gives the quiet NaN of its sign.
#[inline(always)]
pub(crate) fn f16_bits(v: f32) -> u16 {
    let sign = (v.to_bits() >> 16) as u16 & 0x8000;
    let size = v.to_bits() & 0x7fff_ffff;
    let rounded = if size > f32::INFINITY.to_bits() {
        0x7e00
    } else if size >= 0x4780_0000 {
        0x7c00 // 65536 and more
    } else if size < 0x3880_0000 {
        // Below 2^-14: beside 0.5, one unit in the last place is the subnormal step 2^-24.
        (f32::from_bits(size) + 0.5).to_bits() - 0.5f32.to_bits()
    } else {
        (size - (112 << 23) + 0xfff + ((size >> 13) & 1)) >> 13
    };
    sign | rounded as u16
}

/// The exact value. NaN becomes quiet.
#[inline(always)]
pub(crate) fn f16_value(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let size = u32::from(bits & 0x7fff) << 13;
    let value = if size < 0x0f80_0000 {
        f32::from_bits(size) * f32::from_bits(0x7780_0000) // 2^112
    } else {
        f32::from_bits(size | 0x7f80_0000 | u32::from(size > 0x0f80_0000) << 22)
    };
    f32::from_bits(value.to_bits() | sign)
}

/// Rounds to bfloat16, ties to even. NaN stays NaN and becomes quiet.
#[inline(always)]
pub(crate) fn bf16_bits(v: f32) -> u16 {
    let bits = v.to_bits();
    let rounded = (u64::from(bits) + 0x7fff + u64::from((bits >> 16) & 1)) >> 16;
    if bits & 0x7fff_ffff > f32::INFINITY.to_bits() { (bits >> 16) as u16 | 64 } else { rounded as u16 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_survives_the_way_through_f32() {
        for bits in 0..=u16::MAX {
            let value = f16_value(bits);
            assert_eq!(value.to_bits(), half::f16::from_bits(bits).to_f32_const().to_bits());
            if !value.is_nan() {
                assert_eq!(f16_bits(value), bits);
            }
        }
    }

    #[test]
    fn rounding_is_halfs() {
        let mut state = 1u32;
        for _ in 0..2_000_000 {
            state = state.wrapping_mul(1664525).wrapping_add(1013904223);
            let v = f32::from_bits(state);
            if !v.is_nan() {
                assert_eq!(f16_bits(v), half::f16::from_f32_const(v).to_bits(), "{v:e}");
                assert_eq!(bf16_bits(v), half::bf16::from_f32_const(v).to_bits(), "{v:e}");
            }
        }
    }
}
