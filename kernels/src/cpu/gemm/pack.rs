//! Rows of an operand into a panel `[word][row]`.

#![allow(unsafe_code)]
// Intrinsics carry their origin in their names.
#![allow(clippy::wildcard_imports)]

use super::{Data, Operand, Place, rounded};

/// Word by word.
pub(super) fn scalar(operand: Operand<'_>, pairs: bool, place: Place, width: usize, out: &mut [u32]) {
    for (w, out) in out.chunks_exact_mut(width).take(place.words).enumerate() {
        for (i, out) in out.iter_mut().enumerate() {
            *out = if i < place.rows { operand.word(pairs, place.row + i, place.word + w) } else { 0 };
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{avx2, avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Data, Operand, Place, rounded, scalar};
    use std::arch::x86_64::*;

    /// The most rows of a panel.
    const WIDTH: usize = 32;

    /// A packer that transposes squares of `$lanes` rows by as many words.
    macro_rules! packer {
        (
            $(#[$doc:meta])*
            $name:ident, feature $feature:literal, lanes $lanes:literal,
            vector $vector:ident, zero $zero:ident, load $load:ident, store $store:ident,
            widen $widen:ident, narrow $narrow:ident, transpose $transpose:ident, columns $columns:ident
        ) => {
            $(#[$doc])*
            #[target_feature(enable = $feature)]
            pub(in super::super) fn $name(
                operand: Operand<'_>,
                pairs: bool,
                place: Place,
                width: usize,
                out: &mut [u32],
            ) {
                const N: usize = $lanes;
                // `line(row, word)` gives a vector's worth of words. A loop for each kind of them, so that the lines of a
                // square stay in registers.
                #[inline]
                #[target_feature(enable = $feature)]
                fn squares(
                    rows: usize,
                    words: usize,
                    width: usize,
                    line: impl Fn(usize, usize) -> $vector,
                    out: &mut [u32],
                ) {
                    for block in (0..words).step_by(N) {
                        for first in (0..width).step_by(N) {
                            let there = rows.saturating_sub(first);
                            let mut square = if there >= N {
                                std::array::from_fn(|i| line(first + i, block))
                            } else {
                                let mut square = [$zero(); N];
                                for (i, into) in square.iter_mut().enumerate().take(there) {
                                    *into = line(first + i, block);
                                }
                                square
                            };
                            $transpose(&mut square);
                            for (i, line) in square.into_iter().enumerate() {
                                let at = (block + i) * width + first;
                                // What the only square of a word spills is overwritten by the next word.
                                if at + N <= out.len() && (first == 0 || first + N <= width) {
                                    // SAFETY: checked.
                                    unsafe { $store(out.as_mut_ptr().add(at).cast(), line) };
                                } else {
                                    let mut lanes = [0u32; N];
                                    // SAFETY: as many words as the vector has.
                                    unsafe { $store(lanes.as_mut_ptr().cast(), line) };
                                    let there = N.min(width - first);
                                    out[at..at + there].copy_from_slice(&lanes[..there]);
                                }
                            }
                        }
                    }
                }
                let Place { row, rows, word, words } = place;
                assert!(out.len() >= words * width && width <= WIDTH && rows <= width);
                // Only the rows that exist are loaded; `bytes` and `size` place the first word of each.
                let (bytes, size) = match operand.data {
                    Data::Columns(data) => return $columns(data, operand, pairs, place, width, out),
                    Data::F32(data) => (bytemuck::cast_slice::<f32, u8>(data), 4),
                    Data::Bf16(bytes) => (bytes, 2),
                };
                let per_word = if pairs { 2 } else { 1 };
                // Whole squares inside the row; the rest goes word by word.
                let whole = ((operand.k / per_word).saturating_sub(word)).min(words) / N * N;
                let end = if rows == 0 || whole == 0 {
                    0
                } else {
                    (row + rows - 1) * operand.stride + (word + whole) * per_word
                };
                assert!(end * size <= bytes.len());
                let from = |i: usize, block: usize| {
                    let at = ((row + i) * operand.stride + (word + block) * per_word) * size;
                    // SAFETY: rows that exist lie before `end`, which was checked.
                    unsafe { bytes.as_ptr().add(at) }
                };
                let squared = &mut out[..words * width];
                // `from` is the place of as many words as a vector has, of every row and square that exists.
                match (size, pairs) {
                    (2, false) => {
                        // SAFETY: see above.
                        squares(rows, whole, width, |i, w| unsafe { $widen(from(i, w).cast()) }, squared)
                    }
                    (4, true) => {
                        // SAFETY: see above.
                        squares(rows, whole, width, |i, w| unsafe { $narrow(from(i, w).cast()) }, squared)
                    }
                    _ => {
                        // SAFETY: see above.
                        squares(rows, whole, width, |i, w| unsafe { $load(from(i, w).cast()) }, squared)
                    }
                }
                if whole < words {
                    let rest = Place { word: word + whole, words: words - whole, ..place };
                    scalar(operand, pairs, rest, width, &mut out[whole * width..]);
                }
            }
        };
    }

    packer! {
        /// Eight rows by eight words at a time.
        avx2, feature "avx2", lanes 8,
        vector __m256i, zero _mm256_setzero_si256, load _mm256_loadu_si256, store _mm256_storeu_si256,
        widen widen8, narrow narrow8, transpose transpose8, columns columns
    }

    packer! {
        /// Sixteen rows by sixteen words at a time.
        avx512, feature "avx512f", lanes 16,
        vector __m512i, zero _mm512_setzero_si512, load _mm512_loadu_si512, store _mm512_storeu_si512,
        widen widen16, narrow narrow16, transpose transpose16, columns columns16
    }

    /// Rows run fastest: each word of the panel is a run of the operand, or two of them.
    #[inline(always)]
    fn columns(data: &[f32], operand: Operand<'_>, pairs: bool, place: Place, width: usize, out: &mut [u32]) {
        let run = |k: usize| &data[k * operand.stride + place.row..][..place.rows];
        for (w, out) in out.chunks_exact_mut(width).take(place.words).enumerate() {
            let (there, past) = out.split_at_mut(place.rows);
            past.fill(0);
            let word = place.word + w;
            if !pairs {
                there.copy_from_slice(bytemuck::cast_slice(run(word)));
                continue;
            }
            for (out, low) in there.iter_mut().zip(run(2 * word)) {
                *out = u32::from(rounded(*low));
            }
            if 2 * word + 1 < operand.k {
                for (out, high) in there.iter_mut().zip(run(2 * word + 1)) {
                    *out |= u32::from(rounded(*high)) << 16;
                }
            }
        }
    }

    /// [`columns`], 16 rows at a time.
    #[target_feature(enable = "avx512f")]
    fn columns16(data: &[f32], operand: Operand<'_>, pairs: bool, place: Place, width: usize, out: &mut [u32]) {
        let per_word = if pairs { 2 } else { 1 };
        let run = |k: usize| &data[k * operand.stride + place.row..][..place.rows];
        for (w, out) in out.chunks_exact_mut(width).take(place.words).enumerate() {
            let k = (place.word + w) * per_word;
            let low = run(k);
            let high = (pairs && k + 1 < operand.k).then(|| run(k + 1));
            for first in (0..width).step_by(16) {
                let lanes = |len: usize| (1u32 << len.saturating_sub(first).min(16)) - 1;
                let (there, kept) = (lanes(place.rows) as __mmask16, lanes(width) as __mmask16);
                // SAFETY: only lanes inside of the runs and of this word are loaded and stored.
                unsafe {
                    let load = |run: &[f32]| _mm512_maskz_loadu_ps(there, run.as_ptr().wrapping_add(first));
                    let words = if pairs {
                        let high = high.map_or(_mm512_setzero_si512(), |high| nearest16(load(high)));
                        let low = _mm512_srli_epi32::<16>(nearest16(load(low)));
                        _mm512_or_si512(low, _mm512_slli_epi32::<16>(_mm512_srli_epi32::<16>(high)))
                    } else {
                        _mm512_castps_si512(load(low))
                    };
                    _mm512_mask_storeu_epi32(out.as_mut_ptr().add(first).cast(), kept, words);
                }
            }
        }
    }

    /// # Safety
    /// Eight bf16 are at `from`.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn widen8(from: *const __m128i) -> __m256i {
        // SAFETY: the caller vouches for the place.
        _mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(unsafe { _mm_loadu_si128(from) }))
    }

    /// # Safety
    /// Sixteen bf16 are at `from`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn widen16(from: *const __m256i) -> __m512i {
        // SAFETY: the caller vouches for the place.
        _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(unsafe { _mm256_loadu_si256(from) }))
    }

    /// Rounds to bf16, see [`super::super::rounded`].
    ///
    /// # Safety
    /// Sixteen f32 are at `from`.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn narrow8(from: *const f32) -> __m256i {
        let rounded = |x: __m256| {
            let bits = _mm256_castps_si256(x);
            let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
            let nearest = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
            let nan = _mm256_or_si256(bits, _mm256_set1_epi32(0x0040_0000));
            let is_nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(x, x));
            _mm256_srli_epi32::<16>(_mm256_blendv_epi8(nearest, nan, is_nan))
        };
        // SAFETY: the caller vouches for the place.
        let (low, high) = unsafe { (_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))) };
        // Packing goes by halves of the vectors.
        _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi32(rounded(low), rounded(high)))
    }

    /// Rounds to bf16, see [`super::super::rounded`].
    ///
    /// # Safety
    /// 32 f32 are at `from`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn narrow16(from: *const f32) -> __m512i {
        let rounded = |x: __m512| _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(nearest16(x)));
        // SAFETY: the caller vouches for the place.
        let (low, high) = unsafe { (_mm512_loadu_ps(from), _mm512_loadu_ps(from.add(16))) };
        _mm512_inserti64x4::<1>(_mm512_castsi256_si512(rounded(low)), rounded(high))
    }

    /// The nearest bf16 in the upper half of each lane; what is below is to be cut off.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn nearest16(x: __m512) -> __m512i {
        let bits = _mm512_castps_si512(x);
        let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
        let nearest = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
        let is_nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
        _mm512_mask_or_epi32(nearest, is_nan, bits, _mm512_set1_epi32(0x0040_0000))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn transpose8(r: &mut [__m256i; 8]) {
        let mut t = *r;
        for i in 0..4 {
            t[2 * i] = _mm256_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
            t[2 * i + 1] = _mm256_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
        }
        for i in 0..2 {
            for j in 0..2 {
                r[4 * i + 2 * j] = _mm256_unpacklo_epi64(t[4 * i + j], t[4 * i + 2 + j]);
                r[4 * i + 2 * j + 1] = _mm256_unpackhi_epi64(t[4 * i + j], t[4 * i + 2 + j]);
            }
        }
        for i in 0..4 {
            t[i] = _mm256_permute2x128_si256::<0x20>(r[i], r[i + 4]);
            t[i + 4] = _mm256_permute2x128_si256::<0x31>(r[i], r[i + 4]);
        }
        *r = t;
    }

    /// Pairs of words, then of pairs, then quarters and halves of the vectors.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn transpose16(r: &mut [__m512i; 16]) {
        let mut t = *r;
        for i in 0..8 {
            t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
            t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
        }
        for i in 0..4 {
            for j in 0..2 {
                r[4 * i + 2 * j] = _mm512_unpacklo_epi64(t[4 * i + j], t[4 * i + 2 + j]);
                r[4 * i + 2 * j + 1] = _mm512_unpackhi_epi64(t[4 * i + j], t[4 * i + 2 + j]);
            }
        }
        for i in 0..4 {
            for half in [0, 8] {
                t[half + i] = _mm512_shuffle_i32x4::<0x88>(r[half + i], r[half + i + 4]);
                t[half + i + 4] = _mm512_shuffle_i32x4::<0xdd>(r[half + i], r[half + i + 4]);
            }
        }
        for i in 0..8 {
            r[i] = _mm512_shuffle_i32x4::<0x88>(t[i], t[i + 8]);
            r[i + 8] = _mm512_shuffle_i32x4::<0xdd>(t[i], t[i + 8]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pack_any;
    use super::*;
    use crate::cpu::testing::{isas, numbers};
    use proptest::prelude::*;

    proptest! {
        /// Against [`Operand::word`], with numbers that rounding must not lose among them.
        #[test]
        fn packers_agree(
            rows in 1usize..40, k in 1usize..90, width in proptest::sample::select(vec![6usize, 12, 16, 32]), pairs: bool,
            from: proptest::sample::Index, start: proptest::sample::Index, seed: u64,
        ) {
            let mut x = numbers(rows * k, seed);
            for (i, odd) in [f32::NAN, f32::INFINITY, f32::MAX, f32::from_bits(0x7fff_ffff), 1e-42].into_iter().enumerate() {
                let at = (seed as usize).wrapping_add(i * 31) % x.len();
                x[at] = odd;
            }
            let bytes: Vec<u8> = x.iter().flat_map(|&x| half::bf16::from_f32(x).to_le_bytes()).collect();
            let all = if pairs { k.div_ceil(2) } else { k };
            let (row, word) = (from.index(rows), start.index(all));
            let place = Place { row, rows: width.min(rows - row), word, words: all - word };
            let turned: Vec<f32> = (0..rows * k).map(|i| x[i % rows * k + i / rows]).collect();
            let columns = Operand { data: Data::Columns(&turned), stride: rows, k };
            for operand in [Operand::rows(&x, k), Operand::bf16(&bytes, k), columns] {
                let mut want = vec![7; place.words * width];
                scalar(operand, pairs, place, width, &mut want);
                for isa in isas() {
                    let mut got = vec![9; place.words * width];
                    pack_any(isa, operand, pairs, place, width, &mut got);
                    prop_assert!(got == want, "{isa:?}");
                }
            }
        }
    }
}
