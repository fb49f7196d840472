//! Rows of an operand into a panel `[word][row]`.

#![allow(unsafe_code)]
// Intrinsics carry their origin in their names.
#![allow(clippy::wildcard_imports)]

use super::{Data, Operand, Place};

/// Word by word.
pub(super) fn scalar(operand: Operand<'_>, pairs: bool, place: Place, width: usize, out: &mut [u32]) {
    for (w, out) in out.chunks_exact_mut(width).take(place.words).enumerate() {
        for (i, out) in out.iter_mut().enumerate() {
            *out = if i < place.rows { operand.word(pairs, place.row + i, place.word + w) } else { 0 };
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::avx2;

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Data, Operand, Place, scalar};
    use std::arch::x86_64::*;

    /// Groups of eight rows in a panel; the widest has 32.
    const GROUPS: usize = 4;

    /// Eight rows by eight words at a time.
    #[target_feature(enable = "avx2")]
    pub(in super::super) fn avx2(operand: Operand<'_>, pairs: bool, place: Place, width: usize, out: &mut [u32]) {
        let Place { row, rows, word, words } = place;
        assert!(out.len() >= words * width && width <= 8 * GROUPS && rows <= width);
        // Only the rows that exist are loaded; `bytes` and `step` place the first word of each.
        let (bytes, size) = match operand.data {
            Data::Columns(data) => return columns(data, operand.stride, place, width, out),
            Data::F32(data) => (bytemuck::cast_slice::<f32, u8>(data), 4),
            Data::Bf16(bytes) => (bytes, 2),
        };
        let per_word = if pairs { 2 } else { 1 };
        // Whole blocks of eight words inside the row; the rest goes word by word.
        let whole = ((operand.k / per_word).saturating_sub(word)).min(words) / 8 * 8;
        let end =
            if rows == 0 || whole == 0 { 0 } else { (row + rows - 1) * operand.stride + (word + whole) * per_word };
        assert!(end * size <= bytes.len());
        for block in (0..whole).step_by(8) {
            let mut parts = [[_mm256_setzero_si256(); 8]; GROUPS];
            for (i, part) in parts.as_flattened_mut().iter_mut().enumerate().take(rows) {
                let at = ((row + i) * operand.stride + (word + block) * per_word) * size;
                // SAFETY: `at` and the 16 or 32 bytes there lie before `end`, which was checked.
                *part = unsafe {
                    let from = bytes.as_ptr().add(at);
                    if size == 2 && !pairs {
                        _mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast())))
                    } else {
                        _mm256_loadu_si256(from.cast())
                    }
                };
            }
            for part in parts.iter_mut().take(width.div_ceil(8)) {
                transpose(part);
            }
            for i in 0..8 {
                for (g, part) in parts.iter().enumerate().take(width.div_ceil(8)) {
                    let at = (block + i) * width + 8 * g;
                    if at + 8 <= words * width {
                        // What spills past `width` is overwritten by the next word.
                        // SAFETY: checked, and `out` holds `words * width`.
                        unsafe { _mm256_storeu_si256(out.as_mut_ptr().add(at).cast(), part[i]) };
                    } else {
                        let lanes: [u32; 8] = bytemuck::cast(part[i]);
                        let rest = &mut out[at..words * width];
                        rest.copy_from_slice(&lanes[..rest.len()]);
                    }
                }
            }
        }
        if whole < words {
            let rest = Place { word: word + whole, words: words - whole, ..place };
            scalar(operand, pairs, rest, width, &mut out[whole * width..]);
        }
    }

    /// Rows run fastest: each word of the panel is a run of the operand.
    #[target_feature(enable = "avx2")]
    fn columns(data: &[f32], stride: usize, place: Place, width: usize, out: &mut [u32]) {
        for (w, out) in out.chunks_exact_mut(width).take(place.words).enumerate() {
            let from = (place.word + w) * stride + place.row;
            let (there, past) = out.split_at_mut(place.rows);
            there.copy_from_slice(bytemuck::cast_slice(&data[from..from + place.rows]));
            past.fill(0);
        }
    }

    #[target_feature(enable = "avx2")]
    fn transpose(r: &mut [__m256i; 8]) {
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
}
