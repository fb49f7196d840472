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

/// Words of an f32 block of `k`: 16 columns of it fill half of a 32 KiB first-level cache.
const F32_WORDS: usize = 256;

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
    /// `k` runs fastest.
    F32(&'a [f32]),
    /// Rows run fastest.
    Columns(&'a [f32]),
    /// `k` runs fastest; little-endian bf16 at any address.
    Bf16(&'a [u8]),
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
            Data::F32(data) => data[row * self.stride + word].to_bits(),
            Data::Columns(data) => data[word * self.stride + row].to_bits(),
            Data::Bf16(bytes) => {
                let at = |k: usize| {
                    let i = 2 * (row * self.stride + k);
                    u32::from(u16::from_le_bytes([bytes[i], bytes[i + 1]]))
                };
                if !pairs {
                    at(word) << 16
                } else if 2 * word + 1 < self.k {
                    at(2 * word) | at(2 * word + 1) << 16
                } else {
                    at(2 * word)
                }
            }
        }
    }
}

/// Calls `$body` with `$micro` bound to the f32 micro-kernel of `$isa`, or of the best one below it that can run here.
macro_rules! with_micro {
    ($isa:expr, $micro:ident => $body:expr) => {{
        #[cfg(target_arch = "x86_64")]
        {
            use $crate::cpu::gemm::{Avx2, Avx512, Scalar};
            if let Some($micro) = Avx512::new($isa) {
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
            let _ = $isa;
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
    if has(isa, Isa::Avx2) {
        // SAFETY: detected.
        return unsafe { pack::avx2(operand, pairs, place, width, out) };
    }
    let _ = isa;
    pack::scalar(operand, pairs, place, width, out);
}
