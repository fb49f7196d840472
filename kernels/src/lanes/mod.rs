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
    /// Runs part of a job as a function of its own, which all callers share.
    fn apart<J: Job>(self, job: J) -> J::Out;

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

    /// The first of the least of eight sums; none may be NaN. A sum has an entry of each table, chosen by three bits of its
    /// word, from the lowest.
    #[inline(always)]
    fn least_of_eight(self, tables: &[[f32; 8]; 4], words: &[u16; 8]) -> usize {
        let [a, b, c, d] = tables;
        let sums = words.map(|word| {
            let entry = |table: &[f32; 8], i: usize| table[usize::from(word >> (3 * i) & 7)];
            entry(a, 0) + entry(b, 1) + entry(c, 2) + entry(d, 3)
        });
        (1..8).fold(0, |least, i| if sums[i] < sums[least] { i } else { least })
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs every operation and collects the bits.
    struct Everything<'a>(&'a [f32]);

    impl Job for Everything<'_> {
        type Out = Vec<u32>;

        #[inline(always)]
        fn run<L: Lanes>(self, lanes: L) -> Vec<u32> {
            let mut seen = Vec::new();
            let mut see = |v: L::F| {
                let mut out = [0.0; LANES];
                v.store(&mut out);
                // Which NaN comes out of two is the operands' order, which compilers may swap.
                seen.extend(out.map(|v| if v.is_nan() { f32::NAN.to_bits() } else { v.to_bits() }));
            };
            let values = self.0.as_chunks::<LANES>().0;
            let one = lanes.splat(1.0);
            for (a, b) in values.iter().flat_map(|a| values.iter().map(move |b| (a, b))) {
                let (a, b) = (lanes.load(a), lanes.load(b));
                for v in [a + b, a - b, a * b, a / b, a.min(b), a.max(b)] {
                    see(v);
                }
                see(L::F::select(a.lt(b) & b.gt(one), a, b));
                see(L::F::select(a.eq(b), one, a));
                see(lanes.splat(f32::from(a.lt(b).bits())));
            }
            for a in values {
                let a = lanes.load(a);
                for v in [a.abs(), a.neg(), a.sqrt(), a.nearest_int()] {
                    see(v);
                }
                let small = L::F::select(a.abs().lt(lanes.splat(4194304.0)), a, one);
                // The sign of a rounded zero is nobody's business.
                see(small.round() + lanes.splat(0.0));
                see(lanes.load(&a.to_bytes().map(f32::from)));
                see(lanes.splat(L::F::select(a.eq(a), a, one).reduce_max()));
                let mut halves = [0; LANES];
                L::F::select(a.eq(a), a, one).store_f16(&mut halves);
                see(lanes.load_f16(&halves));
            }
            for (a, b) in values.iter().zip(values.iter().skip(1)) {
                let below = lanes.load(a).lt(lanes.load(b));
                see(L::F::select(below | lanes.load(b).eq(one), one, lanes.splat(0.0)));
                see(L::F::select(lanes.mask(below.bits()), one, lanes.splat(0.0)));
                let small = L::F::select(lanes.load(a).abs().lt(lanes.splat(4194304.0)), lanes.load(a), one);
                let mut words = [0; LANES];
                small.to_words(&mut words);
                let codes = lanes.load_codes(&words);
                let short = lanes.load_short_codes(&words.map(|word| word as u16));
                let codes = L::Codes::select(below, codes.shift::<2>().push(below), short.shift::<3>());
                see(lanes.pick4(a.first_chunk().expect("four of sixteen"), codes));
                see(lanes.pick8(a.first_chunk().expect("eight of sixteen"), codes));
                see(lanes.pick16(b, codes));
                let mut stored = [0; LANES];
                codes.store(&mut stored);
                see(lanes.load(&stored.map(|code| code as f32)));
                see(lanes.pick16(b, lanes.splat_codes(5)));
            }
            let mut tile = [Row::default(); LANES];
            lanes.transpose(self.0, 3, &mut tile);
            for row in &tile {
                see(lanes.load(&row.0));
            }
            seen
        }
    }

    #[test]
    fn every_isa_computes_alike() {
        let mut values: Vec<f32> = [0.0, 0.4, 0.5, 1.0, 1.5, 2.5, 127.5, 255.9, 65519.9, 65520.0, 4194303.5, 4194304.0]
            .into_iter()
            .chain([1e7, 2147483648.0, 1e20, f32::MAX, f32::INFINITY, f32::NAN, f32::MIN_POSITIVE, 1e-40, 3e-8, 1e-5])
            .chain([12582912.0, 8388607.5, 0.49999997, 1e-30])
            .flat_map(|v: f32| [v, -v])
            .collect();
        values.resize(64, 0.75);
        let plain = dispatch(Isa::Scalar, Everything(&values));
        for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
            let found = dispatch(isa, Everything(&values));
            let at = found.iter().zip(&plain).position(|(a, b)| a != b);
            let pair = at.map(|i| (i / LANES, f32::from_bits(found[i]), f32::from_bits(plain[i])));
            assert_eq!(pair, None, "{}: step, found, plain", isa.name());
        }
    }
}
