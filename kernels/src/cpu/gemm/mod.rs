//! The one matrix product under every linear layer, Gram matrix and attention tile.
//!
//! Both operands are packed into panels of 32-bit *words*, `[word of k][row]`, and a micro-kernel multiplies two panels.
//! A word is one `f32`, or two neighbouring `bf16` of a row. Every output element is summed in one order that depends
//! on `k` alone: words in order within a block of [`Micro::WORDS`], blocks in order. So the f32 product has the same
//! bits on every instruction set, for any number of threads and however many rows are multiplied at once.

#![allow(unsafe_code)]

mod pack;
mod panels;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use panels::{Out, Packed, pack_words, product, scratch, tiles};
pub(crate) use scalar::Scalar;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512, DotBf16};

use crate::Isa;

/// Words of an f32 block of `k`. Panels this deep come from the second-level cache and measured best: shorter ones read
/// and write the output more often.
const F32_WORDS: usize = 768;

/// A micro-kernel: the permission to use an instruction set, and the tile that suits it.
pub(crate) trait Micro: Copy + Send + Sync {
    /// Rows of a tile.
    const MR: usize;
    /// Columns of a tile.
    const NR: usize;
    /// Words of `k` in a block.
    const WORDS: usize;
    /// Whether a word holds two bf16 rather than one f32.
    const PAIRS: bool;

    /// `c = a * b`, or `c += a * b` where `add`.
    ///
    /// # Safety
    /// `a` holds `words * MR` words, `b` holds `words * NR`, and `c` is an `MR x NR` tile, rows `stride` apart, that
    /// nobody else touches.
    unsafe fn tile(self, words: usize, a: *const u32, b: *const u32, c: *mut f32, stride: usize, add: bool);

    /// Writes `out[word][i]` for `width` rows from `place`; rows past the operand's end are zero.
    fn pack(self, operand: Operand<'_>, place: Place, width: usize, out: &mut [u32]);
}

/// Where a panel begins in an operand and how much of it is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub row: usize,
    pub rows: usize,
    pub word: usize,
    pub words: usize,
}

/// A matrix of `rows x k`, somewhere in memory.
#[derive(Clone, Copy)]
pub(crate) struct Operand<'a> {
    pub data: Data<'a>,
    /// Elements between the starts of two rows, or of two `k` where the data is `Columns`.
    pub stride: usize,
    pub k: usize,
}

#[derive(Clone, Copy)]
pub(crate) enum Data<'a> {
    /// `k` runs fastest. Rounded where words are pairs of bf16.
    F32(&'a [f32]),
    /// Rows run fastest. Rounded where words are pairs of bf16.
    Columns(&'a [f32]),
    /// `k` runs fastest; little-endian bf16 at any address.
    Bf16(&'a [u8]),
}

/// The bits of the nearest bf16, of two the even one; a NaN stays one.
#[inline(always)]
pub(crate) fn rounded(x: f32) -> u16 {
    let bits = x.to_bits();
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    (if x.is_nan() { bits >> 16 | 0x40 } else { nearest }) as u16
}

impl<'a> Operand<'a> {
    pub(crate) fn rows(data: &'a [f32], k: usize) -> Self {
        Operand { data: Data::F32(data), stride: k, k }
    }

    pub(crate) fn bf16(data: &'a [u8], k: usize) -> Self {
        Operand { data: Data::Bf16(data), stride: k, k }
    }

    /// The word at `word` of `row`. The slow and obvious way that the fast packers are tested against.
    fn word(&self, pairs: bool, row: usize, word: usize) -> u32 {
        match self.data {
            Data::F32(data) if pairs => self.pair(word, |k| rounded(data[row * self.stride + k])),
            Data::F32(data) => data[row * self.stride + word].to_bits(),
            Data::Columns(data) if pairs => self.pair(word, |k| rounded(data[k * self.stride + row])),
            Data::Columns(data) => data[word * self.stride + row].to_bits(),
            Data::Bf16(bytes) => {
                let at = |k: usize| {
                    let i = 2 * (row * self.stride + k);
                    u16::from_le_bytes([bytes[i], bytes[i + 1]])
                };
                if pairs { self.pair(word, at) } else { u32::from(at(word)) << 16 }
            }
        }
    }

    /// Two neighbours, the second zero past the end.
    fn pair(&self, word: usize, at: impl Fn(usize) -> u16) -> u32 {
        let second = if 2 * word + 1 < self.k { at(2 * word + 1) } else { 0 };
        u32::from(at(2 * word)) | u32::from(second) << 16
    }
}

/// Calls `$body` with `$micro` bound to the micro-kernel of `$isa` for `$precision`, or to the best f32 one that can run here.
macro_rules! with_micro {
    ($isa:expr, $precision:expr, $micro:ident => $body:expr) => {{
        #[cfg(target_arch = "x86_64")]
        {
            use $crate::cpu::gemm::{Avx2, Avx512, DotBf16, Scalar};
            if let ($crate::cpu::Precision::Bf16, Some($micro)) = ($precision, DotBf16::new($isa)) {
                $body
            } else if let Some($micro) = Avx512::new($isa) {
                $body
            } else if let Some($micro) = Avx2::new($isa) {
                $body
            } else {
                let $micro = Scalar;
                $body
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            let _ = ($isa, $precision);
            let $micro = $crate::cpu::gemm::Scalar;
            $body
        }
    }};
}
pub(crate) use with_micro;

/// Whether `isa` includes another and this machine has it.
#[cfg(target_arch = "x86_64")]
fn has(isa: Isa, part: Isa) -> bool {
    isa >= part && part.available()
}

/// The packing that the vector micro-kernels share, for tests of micro-kernels that this machine lacks.
#[cfg(test)]
pub(crate) fn pack_any(isa: Isa, operand: Operand<'_>, pairs: bool, place: Place, width: usize, out: &mut [u32]) {
    #[cfg(target_arch = "x86_64")]
    if has(isa, Isa::Avx512) {
        // SAFETY: detected.
        return unsafe { pack::avx512(operand, pairs, place, width, out) };
    }
    #[cfg(target_arch = "x86_64")]
    if has(isa, Isa::Avx2) {
        // SAFETY: detected.
        return unsafe { pack::avx2(operand, pairs, place, width, out) };
    }
    let _ = isa;
    pack::scalar(operand, pairs, place, width, out);
}
