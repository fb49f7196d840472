//! The micro-kernels of x86-64. One text for all of them: only the vector type and the multiply-add differ.

#![allow(unsafe_code)]
// Intrinsics carry their origin in their names.
#![allow(clippy::wildcard_imports)]

use super::{F32_WORDS, Micro, Operand, Place, has, pack};
use crate::Isa;
use std::arch::x86_64::*;

/// Words of a row of the panel that a hint is ahead; past the end it does nothing.
const PREFETCH: usize = 128;

macro_rules! micro {
    (
        $(#[$doc:meta])*
        $name:ident, feature $feature:literal, tile $mr:literal x $nr:literal, lanes $lanes:literal,
        words $words:expr, pairs $pairs:literal, pack $pack:ident,
        zero $zero:ident, splat $splat:ident, load $load:ident, mul_add $mul_add:ident,
        load_c $load_c:ident, add $add:ident, store $store:ident
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(crate) struct $name(());

        impl $name {
            #[target_feature(enable = $feature)]
            unsafe fn multiply(words: usize, a: *const u32, b: *const u32, c: *mut f32, stride: usize, add: bool) {
                // SAFETY: the caller of `tile` vouches for the panels. Whole rows of them leave nothing to check or to
                // compute in the loop, with debug assertions either.
                let (a, b) = unsafe {
                    (
                        std::slice::from_raw_parts(a.cast::<[u32; $mr]>(), words),
                        std::slice::from_raw_parts(b.cast::<[[u32; $lanes]; $nr / $lanes]>(), words),
                    )
                };
                // The tile's rows lie far apart; they arrive while the sums are made.
                for i in 0..$mr {
                    for j in (0..$nr).step_by(16) {
                        _mm_prefetch::<_MM_HINT_T0>(c.wrapping_add(i * stride + j).cast());
                    }
                }
                let mut sums = [[$zero(); $nr / $lanes]; $mr];
                for (a, b) in a.iter().zip(b) {
                    // The panel comes from the second-level cache, too fast for the processor's own foresight.
                    for line in b {
                        _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().wrapping_add(PREFETCH).cast());
                    }
                    let columns = b.each_ref().map(|b| $load(b));
                    for (sums, &a) in sums.iter_mut().zip(a) {
                        let a = $splat(a);
                        for (sum, &b) in sums.iter_mut().zip(&columns) {
                            *sum = $mul_add(a, b, *sum);
                        }
                    }
                }
                // SAFETY: the caller vouches for the tile.
                unsafe {
                    for (i, sums) in sums.iter().enumerate() {
                        for (j, &sum) in sums.iter().enumerate() {
                            let c = c.add(i * stride + j * $lanes);
                            $store(c, if add { $add($load_c(c), sum) } else { sum });
                        }
                    }
                }
            }
        }

        impl Micro for $name {
            const MR: usize = $mr;
            const NR: usize = $nr;
            const WORDS: usize = $words;
            const PAIRS: bool = $pairs;

            #[inline]
            unsafe fn tile(self, words: usize, a: *const u32, b: *const u32, c: *mut f32, stride: usize, add: bool) {
                // SAFETY: `self` exists only where the features were detected; the caller vouches for the rest.
                unsafe { Self::multiply(words, a, b, c, stride, add) }
            }

            fn pack(self, operand: Operand<'_>, place: Place, width: usize, out: &mut [u32]) {
                // SAFETY: the micro-kernel's instruction set includes the packer's.
                unsafe { pack::$pack(operand, Self::PAIRS, place, width, out) }
            }
        }
    };
}

micro! {
    /// AVX2 with FMA: 12 accumulators, 2 columns, 1 broadcast of 16 registers.
    Avx2, feature "avx2,fma", tile 6 x 16, lanes 8, words F32_WORDS, pairs false, pack avx2,
    zero _mm256_setzero_ps, splat splat8, load load8, mul_add _mm256_fmadd_ps,
    load_c _mm256_loadu_ps, add _mm256_add_ps, store _mm256_storeu_ps
}

micro! {
    /// AVX-512: 24 accumulators, 2 columns, the broadcasts from memory.
    Avx512, feature "avx512f", tile 12 x 32, lanes 16, words F32_WORDS, pairs false, pack avx512,
    zero _mm512_setzero_ps, splat splat16, load load16, mul_add _mm512_fmadd_ps,
    load_c _mm512_loadu_ps, add _mm512_add_ps, store _mm512_storeu_ps
}

micro! {
    /// AVX-512 BF16: `vdpbf16ps` multiplies pairs, at twice the rate of f32. Long blocks of `k` measured best.
    DotBf16, feature "avx512f,avx512bf16", tile 12 x 32, lanes 16, words 512, pairs true, pack avx512,
    zero _mm512_setzero_ps, splat splat_pairs, load load_pairs, mul_add dot_pairs,
    load_c _mm512_loadu_ps, add _mm512_add_ps, store _mm512_storeu_ps
}

impl Avx2 {
    pub(crate) fn new(isa: Isa) -> Option<Self> {
        (has(isa, Isa::Avx2) && is_x86_feature_detected!("fma")).then_some(Avx2(()))
    }
}

impl Avx512 {
    pub(crate) fn new(isa: Isa) -> Option<Self> {
        has(isa, Isa::Avx512).then_some(Avx512(()))
    }
}

impl DotBf16 {
    pub(crate) fn new(isa: Isa) -> Option<Self> {
        (has(isa, Isa::Avx512) && is_x86_feature_detected!("avx512bf16")).then_some(DotBf16(()))
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn splat8(word: u32) -> __m256 {
    _mm256_set1_ps(f32::from_bits(word))
}

#[inline]
#[target_feature(enable = "avx2")]
fn load8(from: &[u32; 8]) -> __m256 {
    // SAFETY: as many bits, of which any pattern will do. The intrinsic would bring its debug checks into the loop.
    unsafe { std::mem::transmute::<[u32; 8], __m256>(*from) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn splat16(word: u32) -> __m512 {
    _mm512_set1_ps(f32::from_bits(word))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load16(from: &[u32; 16]) -> __m512 {
    // SAFETY: as many bits, of which any pattern will do. The intrinsic would bring its debug checks into the loop.
    unsafe { std::mem::transmute::<[u32; 16], __m512>(*from) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn splat_pairs(word: u32) -> __m512i {
    _mm512_set1_epi32(word as i32)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_pairs(from: &[u32; 16]) -> __m512i {
    // SAFETY: as many bits, of which any pattern will do. The intrinsic would bring its debug checks into the loop.
    unsafe { std::mem::transmute::<[u32; 16], __m512i>(*from) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn dot_pairs(a: __m512i, b: __m512i, sum: __m512) -> __m512 {
    // SAFETY: both are 512 bits that any pattern may fill.
    let (a, b) = unsafe { (std::mem::transmute::<__m512i, __m512bh>(a), std::mem::transmute::<__m512i, __m512bh>(b)) };
    _mm512_dpbf16_ps(sum, a, b)
}
