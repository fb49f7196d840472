//! Sixteen numbers at once: what the searches of [`crate::block`] are written over.
//!
//! A lane holds one sub-block, so a search runs sixteen sub-blocks side by side and each lane sees the operations of the
//! scalar algorithm in the scalar order. Every operation here is exact IEEE arithmetic, so all instances give the same
//! bits. Sixteen is one AVX-512 register, or two AVX2 registers whose independent chains hide each other's latency.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod scalar;

use std::ops::{Add, BitAnd, BitOr, Div, Mul, Sub};

use crate::Isa;

/// Lanes of a [`Vector`].
pub(crate) const LANES: usize = 16;

/// One number a lane, in memory.
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Row(pub(crate) [f32; LANES]);

/// An instruction set at work. A value of the type is the permission to use it: only [`dispatch`] makes one.
pub(crate) trait Lanes: Copy {
    /// Its vector.
    type F: Vector;
    /// Its vector of code words.
    type Codes: Codes<Mask = <Self::F as Vector>::Mask>;

    /// The same number in every lane.
    fn splat(self, v: f32) -> Self::F;
    /// Sixteen consecutive numbers.
    fn load(self, v: &[f32; LANES]) -> Self::F;
    /// Sixteen half-precision numbers, widened.
    fn load_f16(self, v: &[u16; LANES]) -> Self::F;
    /// `out[i]` gets `src[lane * stride + i]` in each lane.
    fn transpose(self, src: &[f32], stride: usize, out: &mut [Row; LANES]);

    /// True where a bit is set, lane 0 the lowest.
    #[inline(always)]
    fn mask(self, bits: u16) -> <Self::F as Vector>::Mask {
        self.load(&each(|lane| f32::from(bits >> lane & 1))).gt(self.splat(0.0))
    }

    /// The same word in every lane.
    fn splat_codes(self, v: u32) -> Self::Codes;
    /// Sixteen consecutive words.
    fn load_codes(self, v: &[u32; LANES]) -> Self::Codes;
    /// Sixteen consecutive short words, widened.
    fn load_short_codes(self, v: &[u16; LANES]) -> Self::Codes;
    /// In each lane the entry that the lowest two bits of its word choose.
    fn pick4(self, table: &[f32; 4], codes: Self::Codes) -> Self::F;
    /// In each lane the entry that the lowest three bits of its word choose.
    fn pick8(self, table: &[f32; 8], codes: Self::Codes) -> Self::F;
    /// In each lane the entry that the lowest four bits of its word choose.
    fn pick16(self, table: &[f32; LANES], codes: Self::Codes) -> Self::F;
}

/// Sixteen words of 32 bits: indices into small tables, packed from the lowest bit.
pub(crate) trait Codes: Copy {
    type Mask: Mask;

    fn store(self, out: &mut [u32; LANES]);
    /// Drops the lowest `BITS` bits.
    fn shift<const BITS: i32>(self) -> Self;
    /// Doubles each word and adds one in the lanes of `mask`.
    fn push(self, mask: Self::Mask) -> Self;
    /// `yes` in the lanes of `mask`, `no` elsewhere.
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self;
}

/// Sixteen `f32`.
pub(crate) trait Vector:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    /// One truth value a lane.
    type Mask: Mask;

    fn store(self, out: &mut [f32; LANES]);
    /// Rounds to half precision, to nearest even.
    fn store_f16(self, out: &mut [u16; LANES]);
    /// The low byte of each number, cut to `i32`; numbers that `i32` cannot hold give 0.
    fn to_bytes(self) -> [u8; LANES];
    /// `if self < other { self } else { other }`.
    fn min(self, other: Self) -> Self;
    /// `if self > other { self } else { other }`.
    fn max(self, other: Self) -> Self;
    fn abs(self) -> Self;
    fn neg(self) -> Self;
    fn sqrt(self) -> Self;
    /// To the nearest integer, ties to even; exact below 2^22 in magnitude. NaN and infinity stay.
    fn round(self) -> Self;
    /// Cuts to an integer; numbers that `i32` cannot hold give anything.
    fn to_words(self, out: &mut [u32; LANES]);
    /// What adding 1.5 * 2^23 leaves in the mantissa: the nearest integer below 2^22 in magnitude, and llama.cpp's own
    /// answer beyond (NaN gives 0, infinity -2^22).
    fn nearest_int(self) -> Self;
    fn lt(self, other: Self) -> Self::Mask;
    /// Equality; false for NaN.
    fn eq(self, other: Self) -> Self::Mask;
    /// `yes` in the lanes of `mask`, `no` elsewhere.
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self;
    /// The largest lane; no lane may be NaN.
    fn reduce_max(self) -> f32;

    #[inline(always)]
    fn gt(self, other: Self) -> Self::Mask {
        other.lt(self)
    }
}

/// Sixteen truth values.
pub(crate) trait Mask: Copy + BitAnd<Output = Self> + BitOr<Output = Self> {
    /// Lane 0 in the lowest bit.
    fn bits(self) -> u16;

    #[inline(always)]
    fn any(self) -> bool {
        self.bits() != 0
    }
}

/// `std::array::from_fn`, but inlined without fail: what is not inlined is not compiled for the instruction set.
#[inline(always)]
pub(crate) fn each<T: Copy + Default, const N: usize>(mut of: impl FnMut(usize) -> T) -> [T; N] {
    let mut out = [T::default(); N];
    for (i, out) in out.iter_mut().enumerate() {
        *out = of(i);
    }
    out
}

/// Work that is written once and compiled for each instruction set. `run` must be `#[inline(always)]`.
pub(crate) trait Job {
    type Out;
    fn run<L: Lanes>(self, lanes: L) -> Self::Out;
}

/// Runs the job with this instruction set; with plain Rust where the machine lacks it.
pub(crate) fn dispatch<J: Job>(isa: Isa, job: J) -> J::Out {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 if isa.available() => avx512::enter(job),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 if isa.available() => avx2::enter(job),
        Isa::Scalar | Isa::Avx2 | Isa::Avx512 => job.run(scalar::Plain),
    }
}
