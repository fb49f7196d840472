//! AVX2 and F16C: two registers of eight lanes.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m128, _mm256_add_epi32, _mm256_blendv_epi8, _mm256_broadcast_ps, _mm256_castsi256_ps, _mm256_cvtepu16_epi32,
    _mm256_or_ps, _mm256_permutevar_ps, _mm256_permutevar8x32_ps, _mm256_slli_epi32, _mm256_srli_epi32,
};
use std::arch::x86_64::{
    __m128i, __m256, __m256i, _CMP_EQ_OQ, _CMP_LT_OQ, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT, _mm256_add_ps,
    _mm256_and_ps, _mm256_and_si256, _mm256_andnot_ps, _mm256_blendv_ps, _mm256_castps_si256, _mm256_cmp_ps,
    _mm256_cvtepi32_ps, _mm256_cvtph_ps, _mm256_cvtps_ph, _mm256_cvttps_epi32, _mm256_div_ps, _mm256_loadu_ps,
    _mm256_max_ps, _mm256_min_ps, _mm256_movemask_ps, _mm256_mul_ps, _mm256_packs_epi32, _mm256_packus_epi16,
    _mm256_permute2f128_ps, _mm256_permutevar8x32_epi32, _mm256_round_ps, _mm256_set1_epi32, _mm256_set1_ps,
    _mm256_setr_epi32, _mm256_shuffle_ps, _mm256_sqrt_ps, _mm256_storeu_ps, _mm256_sub_epi32, _mm256_sub_ps,
    _mm256_unpackhi_ps, _mm256_unpacklo_ps, _mm256_xor_ps,
};
use std::arch::x86_64::{
    _mm_cvtss_f32, _mm_max_ps, _mm_max_ss, _mm_movehl_ps, _mm_shuffle_ps, _mm256_castps256_ps128,
    _mm256_castsi256_si128, _mm256_extractf128_ps,
};
use std::mem::transmute;
use std::ops::{Add, BitAnd, BitOr, Div, Mul, Sub};

use super::{Codes, Job, LANES, Lanes, Mask, Row, Vector};

/// Proof that the machine has AVX2 and F16C.
#[derive(Clone, Copy)]
pub(super) struct Avx2(());

/// Exists only where an [`Avx2`] made it.
#[derive(Clone, Copy)]
pub(super) struct Avx2F(__m256, __m256);

/// Words of the two halves.
#[derive(Clone, Copy)]
pub(super) struct Avx2Codes(__m256i, __m256i);

/// All ones in the lanes that are true.
#[derive(Clone, Copy)]
pub(super) struct Avx2Mask(__m256, __m256);

/// Runs the job; the caller has seen [`crate::Isa::Avx2`] available.
pub(super) fn enter<J: Job>(job: J) -> J::Out {
    assert!(crate::Isa::Avx2.available());
    // SAFETY: asserted just above.
    unsafe { run(job) }
}

#[target_feature(enable = "avx2,f16c")]
#[inline(never)]
fn run<J: Job>(job: J) -> J::Out {
    job.run(Avx2(()))
}

/// An intrinsic on values that only an [`Avx2`] can have made.
macro_rules! isa {
    ($e:expr) => {
        // SAFETY: an `Avx2` or a vector made by one is in scope, so the machine has the instruction; loads and stores
        // go through references to whole arrays.
        unsafe { $e }
    };
}

impl Lanes for Avx2 {
    type F = Avx2F;
    type Codes = Avx2Codes;

    #[inline(always)]
    fn apart<J: Job>(self, job: J) -> J::Out {
        // SAFETY: `self` proves that the machine has the instructions.
        unsafe { run(job) }
    }

    #[inline(always)]
    fn splat(self, v: f32) -> Avx2F {
        let v = isa!(_mm256_set1_ps(v));
        Avx2F(v, v)
    }

    #[inline(always)]
    fn load(self, v: &[f32; LANES]) -> Avx2F {
        isa!(Avx2F(_mm256_loadu_ps(v.as_ptr()), _mm256_loadu_ps(v.as_ptr().add(8))))
    }

    #[inline(always)]
    fn load_f16(self, v: &[u16; LANES]) -> Avx2F {
        isa!({
            let [low, high] = transmute::<[u16; LANES], [__m128i; 2]>(*v);
            Avx2F(_mm256_cvtph_ps(low), _mm256_cvtph_ps(high))
        })
    }

    #[inline(always)]
    fn transpose(self, src: &[f32], stride: usize, out: &mut [Row; LANES]) {
        // SAFETY: `self` proves that the machine has the instructions.
        unsafe { transpose(src, stride, out) };
    }

    #[inline(always)]
    fn splat_codes(self, v: u32) -> Avx2Codes {
        let v = isa!(_mm256_set1_epi32(v as i32));
        Avx2Codes(v, v)
    }

    #[inline(always)]
    fn load_codes(self, v: &[u32; LANES]) -> Avx2Codes {
        isa!({
            let [low, high] = transmute::<[u32; LANES], [__m256i; 2]>(*v);
            Avx2Codes(low, high)
        })
    }

    #[inline(always)]
    fn load_short_codes(self, v: &[u16; LANES]) -> Avx2Codes {
        isa!({
            let [low, high] = transmute::<[u16; LANES], [__m128i; 2]>(*v);
            Avx2Codes(_mm256_cvtepu16_epi32(low), _mm256_cvtepu16_epi32(high))
        })
    }

    #[inline(always)]
    fn pick4(self, table: &[f32; 4], codes: Avx2Codes) -> Avx2F {
        isa!({
            let table = _mm256_broadcast_ps(&transmute::<[f32; 4], __m128>(*table));
            Avx2F(_mm256_permutevar_ps(table, codes.0), _mm256_permutevar_ps(table, codes.1))
        })
    }

    #[inline(always)]
    fn pick8(self, table: &[f32; 8], codes: Avx2Codes) -> Avx2F {
        isa!({
            let table = _mm256_loadu_ps(table.as_ptr());
            Avx2F(_mm256_permutevar8x32_ps(table, codes.0), _mm256_permutevar8x32_ps(table, codes.1))
        })
    }

    #[inline(always)]
    fn pick16(self, table: &[f32; LANES], codes: Avx2Codes) -> Avx2F {
        isa!({
            let [low, high] = transmute::<[f32; LANES], [__m256; 2]>(*table);
            let half = |codes: __m256i| {
                let is_high = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(codes));
                let low = _mm256_permutevar8x32_ps(low, codes);
                _mm256_blendv_ps(low, _mm256_permutevar8x32_ps(high, codes), is_high)
            };
            Avx2F(half(codes.0), half(codes.1))
        })
    }

    #[inline(always)]
    fn least_of_eight(self, tables: &[[f32; 8]; 4], words: &[u16; 8]) -> usize {
        // SAFETY: `self` proves that the machine has the instructions.
        unsafe { least_of_eight(tables, words) }
    }
}

/// One register holds the eight sums. Also what AVX-512 uses.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn least_of_eight(tables: &[[f32; 8]; 4], words: &[u16; 8]) -> usize {
    // SAFETY: each load is of a whole array.
    let (table, words) =
        unsafe { (tables.map(|t| _mm256_loadu_ps(t.as_ptr())), transmute::<[u16; 8], __m128i>(*words)) };
    let words = _mm256_cvtepu16_epi32(words);
    let mut sum = _mm256_permutevar8x32_ps(table[0], words);
    sum = _mm256_add_ps(sum, _mm256_permutevar8x32_ps(table[1], _mm256_srli_epi32::<3>(words)));
    sum = _mm256_add_ps(sum, _mm256_permutevar8x32_ps(table[2], _mm256_srli_epi32::<6>(words)));
    sum = _mm256_add_ps(sum, _mm256_permutevar8x32_ps(table[3], _mm256_srli_epi32::<9>(words)));
    let m = _mm256_min_ps(sum, _mm256_permute2f128_ps::<1>(sum, sum));
    let m = _mm256_min_ps(m, _mm256_shuffle_ps::<0x4e>(m, m));
    let least = _mm256_min_ps(m, _mm256_shuffle_ps::<0xb1>(m, m));
    _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_EQ_OQ>(sum, least)).trailing_zeros() as usize
}

impl Codes for Avx2Codes {
    type Mask = Avx2Mask;

    #[inline(always)]
    fn store(self, out: &mut [u32; LANES]) {
        *out = isa!(transmute::<[__m256i; 2], [u32; LANES]>([self.0, self.1]));
    }

    #[inline(always)]
    fn shift<const BITS: i32>(self) -> Self {
        isa!(Avx2Codes(_mm256_srli_epi32::<BITS>(self.0), _mm256_srli_epi32::<BITS>(self.1)))
    }

    #[inline(always)]
    fn push(self, mask: Avx2Mask) -> Self {
        // A true lane is -1.
        let half = |codes, mask| isa!(_mm256_sub_epi32(_mm256_add_epi32(codes, codes), _mm256_castps_si256(mask)));
        Avx2Codes(half(self.0, mask.0), half(self.1, mask.1))
    }

    #[inline(always)]
    fn select(mask: Avx2Mask, yes: Self, no: Self) -> Self {
        let half = |mask, yes, no| isa!(_mm256_blendv_epi8(no, yes, _mm256_castps_si256(mask)));
        Avx2Codes(half(mask.0, yes.0, no.0), half(mask.1, yes.1, no.1))
    }
}

/// Four 8 x 8 tiles. Also what AVX-512 uses.
#[target_feature(enable = "avx2")]
#[inline(never)]
pub(super) fn transpose(src: &[f32], stride: usize, out: &mut [Row; LANES]) {
    assert!(src.len() >= stride * (LANES - 1) + LANES);
    for lane in [0, 8] {
        for column in [0, 8] {
            // SAFETY: rows lane..lane+8, columns column..column+8 lie below the length asserted above; `out` has
            // sixteen rows of sixteen.
            let r: [__m256; 8] =
                std::array::from_fn(|k| unsafe { _mm256_loadu_ps(src.as_ptr().add((lane + k) * stride + column)) });
            let t = [
                _mm256_unpacklo_ps(r[0], r[1]),
                _mm256_unpackhi_ps(r[0], r[1]),
                _mm256_unpacklo_ps(r[2], r[3]),
                _mm256_unpackhi_ps(r[2], r[3]),
                _mm256_unpacklo_ps(r[4], r[5]),
                _mm256_unpackhi_ps(r[4], r[5]),
                _mm256_unpacklo_ps(r[6], r[7]),
                _mm256_unpackhi_ps(r[6], r[7]),
            ];
            let u = [
                _mm256_shuffle_ps::<0x44>(t[0], t[2]),
                _mm256_shuffle_ps::<0xee>(t[0], t[2]),
                _mm256_shuffle_ps::<0x44>(t[1], t[3]),
                _mm256_shuffle_ps::<0xee>(t[1], t[3]),
                _mm256_shuffle_ps::<0x44>(t[4], t[6]),
                _mm256_shuffle_ps::<0xee>(t[4], t[6]),
                _mm256_shuffle_ps::<0x44>(t[5], t[7]),
                _mm256_shuffle_ps::<0xee>(t[5], t[7]),
            ];
            for k in 0..4 {
                let to = |row: &mut Row, v| {
                    // SAFETY: `lane` is 0 or 8, so eight lanes follow.
                    unsafe { _mm256_storeu_ps(row.0.as_mut_ptr().add(lane), v) };
                };
                to(&mut out[column + k], _mm256_permute2f128_ps::<0x20>(u[k], u[k + 4]));
                to(&mut out[column + k + 4], _mm256_permute2f128_ps::<0x31>(u[k], u[k + 4]));
            }
        }
    }
}

macro_rules! operator {
    ($($trait:ident $name:ident $intrinsic:ident)*) => {$(
        impl $trait for Avx2F {
            type Output = Avx2F;
            #[inline(always)]
            fn $name(self, other: Avx2F) -> Avx2F {
                isa!(Avx2F($intrinsic(self.0, other.0), $intrinsic(self.1, other.1)))
            }
        }
    )*};
}
operator! { Add add _mm256_add_ps Sub sub _mm256_sub_ps Mul mul _mm256_mul_ps Div div _mm256_div_ps }

const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

#[inline(always)]
fn nearest_int(v: __m256) -> __m256 {
    isa!({
        let moved = _mm256_castps_si256(_mm256_add_ps(v, _mm256_set1_ps(12582912.0)));
        let mantissa = _mm256_and_si256(moved, _mm256_set1_epi32(0x007f_ffff));
        _mm256_cvtepi32_ps(_mm256_sub_epi32(mantissa, _mm256_set1_epi32(0x0040_0000)))
    })
}

impl Vector for Avx2F {
    type Mask = Avx2Mask;

    #[inline(always)]
    fn store(self, out: &mut [f32; LANES]) {
        isa!({
            _mm256_storeu_ps(out.as_mut_ptr(), self.0);
            _mm256_storeu_ps(out.as_mut_ptr().add(8), self.1);
        });
    }

    #[inline(always)]
    fn store_f16(self, out: &mut [u16; LANES]) {
        isa!({
            let low = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.0);
            let high = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.1);
            *out = transmute::<[__m128i; 2], [u16; LANES]>([low, high]);
        });
    }

    #[inline(always)]
    fn to_bytes(self) -> [u8; LANES] {
        isa!({
            let low = _mm256_set1_epi32(0xff);
            let a = _mm256_and_si256(_mm256_cvttps_epi32(self.0), low);
            let b = _mm256_and_si256(_mm256_cvttps_epi32(self.1), low);
            let words = _mm256_packs_epi32(a, b);
            let bytes = _mm256_packus_epi16(words, words);
            // The packs work in halves: a0..3 b0..3 | a4..7 b4..7.
            let order: __m256i = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
            let bytes = _mm256_permutevar8x32_epi32(bytes, order);
            transmute::<__m128i, [u8; LANES]>(_mm256_castsi256_si128(bytes))
        })
    }

    #[inline(always)]
    fn to_words(self, out: &mut [u32; LANES]) {
        isa!(Avx2Codes(_mm256_cvttps_epi32(self.0), _mm256_cvttps_epi32(self.1))).store(out);
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        isa!(Avx2F(_mm256_min_ps(self.0, other.0), _mm256_min_ps(self.1, other.1)))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        isa!(Avx2F(_mm256_max_ps(self.0, other.0), _mm256_max_ps(self.1, other.1)))
    }

    #[inline(always)]
    fn abs(self) -> Self {
        let sign = isa!(_mm256_set1_ps(-0.0));
        isa!(Avx2F(_mm256_andnot_ps(sign, self.0), _mm256_andnot_ps(sign, self.1)))
    }

    #[inline(always)]
    fn neg(self) -> Self {
        let sign = isa!(_mm256_set1_ps(-0.0));
        isa!(Avx2F(_mm256_xor_ps(sign, self.0), _mm256_xor_ps(sign, self.1)))
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        isa!(Avx2F(_mm256_sqrt_ps(self.0), _mm256_sqrt_ps(self.1)))
    }

    #[inline(always)]
    fn round(self) -> Self {
        isa!(Avx2F(_mm256_round_ps::<NEAREST>(self.0), _mm256_round_ps::<NEAREST>(self.1)))
    }

    #[inline(always)]
    fn nearest_int(self) -> Self {
        Avx2F(nearest_int(self.0), nearest_int(self.1))
    }

    #[inline(always)]
    fn lt(self, other: Self) -> Avx2Mask {
        isa!(Avx2Mask(_mm256_cmp_ps::<_CMP_LT_OQ>(self.0, other.0), _mm256_cmp_ps::<_CMP_LT_OQ>(self.1, other.1)))
    }

    #[inline(always)]
    fn eq(self, other: Self) -> Avx2Mask {
        isa!(Avx2Mask(_mm256_cmp_ps::<_CMP_EQ_OQ>(self.0, other.0), _mm256_cmp_ps::<_CMP_EQ_OQ>(self.1, other.1)))
    }

    #[inline(always)]
    fn select(mask: Avx2Mask, yes: Self, no: Self) -> Self {
        isa!(Avx2F(_mm256_blendv_ps(no.0, yes.0, mask.0), _mm256_blendv_ps(no.1, yes.1, mask.1)))
    }

    #[inline(always)]
    fn reduce_max(self) -> f32 {
        isa!({
            let m = _mm256_max_ps(self.0, self.1);
            let m = _mm_max_ps(_mm256_castps256_ps128(m), _mm256_extractf128_ps::<1>(m));
            let m = _mm_max_ps(m, _mm_movehl_ps(m, m));
            _mm_cvtss_f32(_mm_max_ss(m, _mm_shuffle_ps::<1>(m, m)))
        })
    }
}

impl BitAnd for Avx2Mask {
    type Output = Avx2Mask;
    #[inline(always)]
    fn bitand(self, other: Avx2Mask) -> Avx2Mask {
        isa!(Avx2Mask(_mm256_and_ps(self.0, other.0), _mm256_and_ps(self.1, other.1)))
    }
}

impl BitOr for Avx2Mask {
    type Output = Avx2Mask;
    #[inline(always)]
    fn bitor(self, other: Avx2Mask) -> Avx2Mask {
        isa!(Avx2Mask(_mm256_or_ps(self.0, other.0), _mm256_or_ps(self.1, other.1)))
    }
}

impl Mask for Avx2Mask {
    #[inline(always)]
    fn bits(self) -> u16 {
        isa!(_mm256_movemask_ps(self.0) | _mm256_movemask_ps(self.1) << 8) as u16
    }
}
