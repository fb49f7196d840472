//! Fused multiply-add of a row. Without the processor's instruction each lane is a call into the C library.

use super::warp::Row32;

/// `a * b + c`, rounded once, lane by lane.
#[inline]
pub(super) fn row(a: &Row32, b: &Row32, c: &Row32) -> Row32 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
        // SAFETY: the processor has the features that the function is compiled for.
        #[expect(unsafe_code, reason = "a function for processors with FMA")]
        return unsafe { with_fma(a, b, c) };
    }
    plain(a, b, c)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn with_fma(a: &Row32, b: &Row32, c: &Row32) -> Row32 {
    plain(a, b, c)
}

#[inline(always)]
fn plain(a: &Row32, b: &Row32, c: &Row32) -> Row32 {
    std::array::from_fn(|l| f32::from_bits(a[l]).mul_add(f32::from_bits(b[l]), f32::from_bits(c[l])).to_bits())
}
