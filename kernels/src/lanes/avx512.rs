//! AVX-512: one register of sixteen lanes.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m128, __m512i, _mm_cvtsi32_si128, _mm256_loadu_ps, _mm512_add_epi32, _mm512_broadcast_f32x4,
    _mm512_broadcast_f32x8, _mm512_cvtepu16_epi32, _mm512_mask_add_epi32, _mm512_mask_mov_epi32, _mm512_permutevar_ps,
    _mm512_permutexvar_ps, _mm512_srl_epi32,
};
use std::arch::x86_64::{
    __m128i, __m256i, __m512, __mmask16, _CMP_EQ_OQ, _CMP_LT_OQ, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT,
    _mm512_abs_ps, _mm512_add_ps, _mm512_and_si512, _mm512_castps_si512, _mm512_cmp_ps_mask, _mm512_cvtepi32_epi8,
    _mm512_cvtepi32_ps, _mm512_cvtph_ps, _mm512_cvtps_ph, _mm512_cvttps_epi32, _mm512_div_ps, _mm512_loadu_ps,
    _mm512_mask_mov_ps, _mm512_max_ps, _mm512_min_ps, _mm512_mul_ps, _mm512_reduce_max_ps, _mm512_roundscale_ps,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_sqrt_ps, _mm512_storeu_ps, _mm512_sub_epi32, _mm512_sub_ps,
    _mm512_xor_ps,
};
use std::mem::transmute;
use std::ops::{Add, BitAnd, BitOr, Div, Mul, Sub};

use super::{Codes, Job, LANES, Lanes, Mask, Row, Vector, avx2};

/// Proof that the machine has AVX-512 F, BW, DQ and VL.
#[derive(Clone, Copy)]
pub(super) struct Avx512(());

/// Exists only where an [`Avx512`] made it.
#[derive(Clone, Copy)]
pub(super) struct Avx512F(__m512);

#[derive(Clone, Copy)]
pub(super) struct Avx512Codes(__m512i);

#[derive(Clone, Copy)]
pub(super) struct Avx512Mask(__mmask16);

/// Runs the job; the caller has seen [`crate::Isa::Avx512`] available.
pub(super) fn enter<J: Job>(job: J) -> J::Out {
    assert!(crate::Isa::Avx512.available());
    // SAFETY: asserted just above.
    unsafe { run(job) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,f16c")]
#[inline(never)]
fn run<J: Job>(job: J) -> J::Out {
    job.run(Avx512(()))
}

/// An intrinsic on values that only an [`Avx512`] can have made.
macro_rules! isa {
    ($e:expr) => {
        // SAFETY: an `Avx512` or a vector made by one is in scope, so the machine has the instruction; loads and stores
        // go through references to whole arrays.
        unsafe { $e }
    };
}

impl Lanes for Avx512 {
    type F = Avx512F;
    type Codes = Avx512Codes;

    #[inline(always)]
    fn apart<J: Job>(self, job: J) -> J::Out {
        // SAFETY: `self` proves that the machine has the instructions.
        unsafe { run(job) }
    }

    #[inline(always)]
    fn splat(self, v: f32) -> Avx512F {
        Avx512F(isa!(_mm512_set1_ps(v)))
    }

    #[inline(always)]
    fn load(self, v: &[f32; LANES]) -> Avx512F {
        Avx512F(isa!(_mm512_loadu_ps(v.as_ptr())))
    }

    #[inline(always)]
    fn load_f16(self, v: &[u16; LANES]) -> Avx512F {
        Avx512F(isa!(_mm512_cvtph_ps(transmute::<[u16; LANES], __m256i>(*v))))
    }

    #[inline(always)]
    fn transpose(self, src: &[f32], stride: usize, out: &mut [Row; LANES]) {
        // SAFETY: `self` proves more than AVX2.
        unsafe { avx2::transpose(src, stride, out) };
    }

    #[inline(always)]
    fn splat_codes(self, v: u32) -> Avx512Codes {
        Avx512Codes(isa!(_mm512_set1_epi32(v as i32)))
    }

    #[inline(always)]
    fn load_codes(self, v: &[u32; LANES]) -> Avx512Codes {
        Avx512Codes(isa!(transmute::<[u32; LANES], __m512i>(*v)))
    }

    #[inline(always)]
    fn load_short_codes(self, v: &[u16; LANES]) -> Avx512Codes {
        Avx512Codes(isa!(_mm512_cvtepu16_epi32(transmute::<[u16; LANES], __m256i>(*v))))
    }

    #[inline(always)]
    fn pick4(self, table: &[f32; 4], codes: Avx512Codes) -> Avx512F {
        isa!({
            let table = _mm512_broadcast_f32x4(transmute::<[f32; 4], __m128>(*table));
            Avx512F(_mm512_permutevar_ps(table, codes.0))
        })
    }

    #[inline(always)]
    fn pick8(self, table: &[f32; 8], codes: Avx512Codes) -> Avx512F {
        // The fourth bit chooses between two copies.
        isa!({
            let table = _mm512_broadcast_f32x8(_mm256_loadu_ps(table.as_ptr()));
            Avx512F(_mm512_permutexvar_ps(codes.0, table))
        })
    }

    #[inline(always)]
    fn pick16(self, table: &[f32; LANES], codes: Avx512Codes) -> Avx512F {
        Avx512F(isa!(_mm512_permutexvar_ps(codes.0, _mm512_loadu_ps(table.as_ptr()))))
    }

    #[inline(always)]
    fn least_of_eight(self, tables: &[[f32; 8]; 4], words: &[u16; 8]) -> usize {
        // SAFETY: `self` proves more than AVX2.
        unsafe { avx2::least_of_eight(tables, words) }
    }
}

impl Codes for Avx512Codes {
    type Mask = Avx512Mask;

    #[inline(always)]
    fn store(self, out: &mut [u32; LANES]) {
        *out = isa!(transmute::<__m512i, [u32; LANES]>(self.0));
    }

    #[inline(always)]
    fn shift<const BITS: i32>(self) -> Self {
        Avx512Codes(isa!(_mm512_srl_epi32(self.0, _mm_cvtsi32_si128(BITS))))
    }

    #[inline(always)]
    fn push(self, mask: Avx512Mask) -> Self {
        isa!({
            let doubled = _mm512_add_epi32(self.0, self.0);
            Avx512Codes(_mm512_mask_add_epi32(doubled, mask.0, doubled, _mm512_set1_epi32(1)))
        })
    }

    #[inline(always)]
    fn select(mask: Avx512Mask, yes: Self, no: Self) -> Self {
        Avx512Codes(isa!(_mm512_mask_mov_epi32(no.0, mask.0, yes.0)))
    }
}

macro_rules! operator {
    ($($trait:ident $name:ident $intrinsic:ident)*) => {$(
        impl $trait for Avx512F {
            type Output = Avx512F;
            #[inline(always)]
            fn $name(self, other: Avx512F) -> Avx512F {
                Avx512F(isa!($intrinsic(self.0, other.0)))
            }
        }
    )*};
}
operator! { Add add _mm512_add_ps Sub sub _mm512_sub_ps Mul mul _mm512_mul_ps Div div _mm512_div_ps }

const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

impl Vector for Avx512F {
    type Mask = Avx512Mask;

    #[inline(always)]
    fn store(self, out: &mut [f32; LANES]) {
        isa!(_mm512_storeu_ps(out.as_mut_ptr(), self.0));
    }

    #[inline(always)]
    fn store_f16(self, out: &mut [u16; LANES]) {
        *out = isa!(transmute::<__m256i, [u16; LANES]>(_mm512_cvtps_ph::<NEAREST>(self.0)));
    }

    #[inline(always)]
    fn to_bytes(self) -> [u8; LANES] {
        isa!(transmute::<__m128i, [u8; LANES]>(_mm512_cvtepi32_epi8(_mm512_cvttps_epi32(self.0))))
    }

    #[inline(always)]
    fn to_words(self, out: &mut [u32; LANES]) {
        Avx512Codes(isa!(_mm512_cvttps_epi32(self.0))).store(out);
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Avx512F(isa!(_mm512_min_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Avx512F(isa!(_mm512_max_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn abs(self) -> Self {
        Avx512F(isa!(_mm512_abs_ps(self.0)))
    }

    #[inline(always)]
    fn neg(self) -> Self {
        Avx512F(isa!(_mm512_xor_ps(self.0, _mm512_set1_ps(-0.0))))
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        Avx512F(isa!(_mm512_sqrt_ps(self.0)))
    }

    #[inline(always)]
    fn round(self) -> Self {
        Avx512F(isa!(_mm512_roundscale_ps::<NEAREST>(self.0)))
    }

    #[inline(always)]
    fn nearest_int(self) -> Self {
        isa!({
            let moved = _mm512_castps_si512(_mm512_add_ps(self.0, _mm512_set1_ps(12582912.0)));
            let mantissa = _mm512_and_si512(moved, _mm512_set1_epi32(0x007f_ffff));
            Avx512F(_mm512_cvtepi32_ps(_mm512_sub_epi32(mantissa, _mm512_set1_epi32(0x0040_0000))))
        })
    }

    #[inline(always)]
    fn lt(self, other: Self) -> Avx512Mask {
        Avx512Mask(isa!(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, other.0)))
    }

    #[inline(always)]
    fn eq(self, other: Self) -> Avx512Mask {
        Avx512Mask(isa!(_mm512_cmp_ps_mask::<_CMP_EQ_OQ>(self.0, other.0)))
    }

    #[inline(always)]
    fn select(mask: Avx512Mask, yes: Self, no: Self) -> Self {
        Avx512F(isa!(_mm512_mask_mov_ps(no.0, mask.0, yes.0)))
    }

    #[inline(always)]
    fn reduce_max(self) -> f32 {
        isa!(_mm512_reduce_max_ps(self.0))
    }
}

impl BitAnd for Avx512Mask {
    type Output = Avx512Mask;
    #[inline(always)]
    fn bitand(self, other: Avx512Mask) -> Avx512Mask {
        Avx512Mask(self.0 & other.0)
    }
}

impl BitOr for Avx512Mask {
    type Output = Avx512Mask;
    #[inline(always)]
    fn bitor(self, other: Avx512Mask) -> Avx512Mask {
        Avx512Mask(self.0 | other.0)
    }
}

impl Mask for Avx512Mask {
    #[inline(always)]
    fn bits(self) -> u16 {
        self.0
    }
}
