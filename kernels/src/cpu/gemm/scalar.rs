//! The micro-kernel in plain Rust: the oracle of the others, and the fast one where the compiler knows a fused
//! multiply-add (aarch64).

#![allow(unsafe_code)]

use super::{F32_WORDS, Micro, Operand, Place, pack};

/// Plain Rust. `mul_add` rounds once, as the vector instructions do.
#[derive(Clone, Copy)]
pub(crate) struct Scalar;

impl Micro for Scalar {
    const MR: usize = 4;
    const NR: usize = 8;
    const WORDS: usize = F32_WORDS;
    const PAIRS: bool = false;

    unsafe fn tile(self, words: usize, a: *const u32, b: *const u32, c: *mut f32, stride: usize, add: bool) {
        // SAFETY: the caller vouches for the panels.
        let (a, b) = unsafe {
            (std::slice::from_raw_parts(a, words * Self::MR), std::slice::from_raw_parts(b, words * Self::NR))
        };
        let mut sums = [[0f32; Self::NR]; Self::MR];
        for (a, b) in a.chunks_exact(Self::MR).zip(b.chunks_exact(Self::NR)) {
            for (sums, &a) in sums.iter_mut().zip(a) {
                for (sum, &b) in sums.iter_mut().zip(b) {
                    *sum = f32::from_bits(a).mul_add(f32::from_bits(b), *sum);
                }
            }
        }
        for (i, sums) in sums.iter().enumerate() {
            // SAFETY: the caller vouches for the tile.
            let row = unsafe { std::slice::from_raw_parts_mut(c.add(i * stride), Self::NR) };
            for (c, &sum) in row.iter_mut().zip(sums) {
                *c = if add { *c + sum } else { sum };
            }
        }
    }

    fn pack(self, operand: Operand<'_>, place: Place, width: usize, out: &mut [u32]) {
        pack::scalar(operand, Self::PAIRS, place, width, out);
    }
}
