//! Eight signs in seven bits: what IQ2_XXS, IQ2_XS and IQ3_XXS share.

/// The eighth sign makes the number of negative ones even.
#[inline(always)]
pub(super) fn complete(seven: u8) -> u8 {
    seven & 127 | (seven.count_ones() as u8 & 1) << 7
}

/// `v` with its sign turned where bit `i` is set.
#[inline(always)]
pub(super) fn signed(v: f32, signs: u8, i: usize) -> f32 {
    f32::from_bits(v.to_bits() ^ u32::from(signs >> i & 1) << 31)
}
