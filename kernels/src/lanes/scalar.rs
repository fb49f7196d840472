//! Plain Rust: what the other instances must equal.

use std::ops::{Add, BitAnd, BitOr, Div, Mul, Sub};

use super::{Codes, Job, LANES, Lanes, Mask, Row, Vector, each};
use crate::block::half::{f16_bits, f16_value};

/// Adding it to a number below 2^22 rounds to an integer, ties to even.
const MAGIC: f32 = 12582912.0;

#[derive(Clone, Copy)]
pub(super) struct Plain;

#[derive(Clone, Copy)]
pub(super) struct PlainF([f32; LANES]);

#[derive(Clone, Copy)]
pub(super) struct PlainCodes([u32; LANES]);

#[derive(Clone, Copy)]
pub(super) struct PlainMask([bool; LANES]);

#[inline(never)]
fn run<J: Job>(job: J) -> J::Out {
    job.run(Plain)
}

impl Lanes for Plain {
    type F = PlainF;
    type Codes = PlainCodes;

    #[inline(always)]
    fn apart<J: Job>(self, job: J) -> J::Out {
        run(job)
    }

    #[inline(always)]
    fn splat(self, v: f32) -> PlainF {
        PlainF([v; LANES])
    }

    #[inline(always)]
    fn load(self, v: &[f32; LANES]) -> PlainF {
        PlainF(*v)
    }

    #[inline(always)]
    fn load_f16(self, v: &[u16; LANES]) -> PlainF {
        PlainF(each(|i| f16_value(v[i])))
    }

    #[inline(always)]
    fn transpose(self, src: &[f32], stride: usize, out: &mut [Row; LANES]) {
        for (lane, row) in (0..LANES).map(|lane| (lane, &src[lane * stride..])) {
            for i in 0..LANES {
                out[i].0[lane] = row[i];
            }
        }
    }

    #[inline(always)]
    fn splat_codes(self, v: u32) -> PlainCodes {
        PlainCodes([v; LANES])
    }

    #[inline(always)]
    fn load_codes(self, v: &[u32; LANES]) -> PlainCodes {
        PlainCodes(*v)
    }

    #[inline(always)]
    fn load_short_codes(self, v: &[u16; LANES]) -> PlainCodes {
        PlainCodes(each(|i| u32::from(v[i])))
    }

    #[inline(always)]
    fn pick4(self, table: &[f32; 4], codes: PlainCodes) -> PlainF {
        PlainF(each(|i| table[codes.0[i] as usize & 3]))
    }

    #[inline(always)]
    fn pick8(self, table: &[f32; 8], codes: PlainCodes) -> PlainF {
        PlainF(each(|i| table[codes.0[i] as usize & 7]))
    }

    #[inline(always)]
    fn pick16(self, table: &[f32; LANES], codes: PlainCodes) -> PlainF {
        PlainF(each(|i| table[codes.0[i] as usize & 15]))
    }
}

impl Codes for PlainCodes {
    type Mask = PlainMask;

    #[inline(always)]
    fn store(self, out: &mut [u32; LANES]) {
        *out = self.0;
    }

    #[inline(always)]
    fn shift<const BITS: i32>(self) -> Self {
        PlainCodes(each(|i| self.0[i] >> BITS))
    }

    #[inline(always)]
    fn push(self, mask: PlainMask) -> Self {
        PlainCodes(each(|i| self.0[i] << 1 | u32::from(mask.0[i])))
    }

    #[inline(always)]
    fn select(mask: PlainMask, yes: Self, no: Self) -> Self {
        PlainCodes(each(|i| if mask.0[i] { yes.0[i] } else { no.0[i] }))
    }
}

macro_rules! operator {
    ($($trait:ident $name:ident $op:tt)*) => {$(
        impl $trait for PlainF {
            type Output = PlainF;
            #[inline(always)]
            fn $name(self, other: PlainF) -> PlainF {
                PlainF(each(|i| self.0[i] $op other.0[i]))
            }
        }
    )*};
}
operator! { Add add + Sub sub - Mul mul * Div div / }

impl Vector for PlainF {
    type Mask = PlainMask;

    #[inline(always)]
    fn store(self, out: &mut [f32; LANES]) {
        *out = self.0;
    }

    #[inline(always)]
    fn store_f16(self, out: &mut [u16; LANES]) {
        *out = each(|i| f16_bits(self.0[i]));
    }

    #[inline(always)]
    fn to_bytes(self) -> [u8; LANES] {
        each(|i| {
            let v = self.0[i];
            if v.abs() < 2147483648.0 { v as i32 as u8 } else { 0 }
        })
    }

    #[inline(always)]
    fn to_words(self, out: &mut [u32; LANES]) {
        *out = each(|i| self.0[i] as i32 as u32);
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        PlainF(each(|i| if self.0[i] < other.0[i] { self.0[i] } else { other.0[i] }))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        PlainF(each(|i| if self.0[i] > other.0[i] { self.0[i] } else { other.0[i] }))
    }

    #[inline(always)]
    fn abs(self) -> Self {
        PlainF(each(|i| self.0[i].abs()))
    }

    #[inline(always)]
    fn neg(self) -> Self {
        PlainF(each(|i| -self.0[i]))
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        PlainF(each(|i| self.0[i].sqrt()))
    }

    #[inline(always)]
    fn round(self) -> Self {
        PlainF(each(|i| (self.0[i] + MAGIC) - MAGIC))
    }

    #[inline(always)]
    fn nearest_int(self) -> Self {
        PlainF(each(|i| (((self.0[i] + MAGIC).to_bits() & 0x007f_ffff) as i32 - 0x0040_0000) as f32))
    }

    #[inline(always)]
    fn lt(self, other: Self) -> PlainMask {
        PlainMask(each(|i| self.0[i] < other.0[i]))
    }

    #[inline(always)]
    fn eq(self, other: Self) -> PlainMask {
        PlainMask(each(|i| self.0[i] == other.0[i]))
    }

    #[inline(always)]
    fn select(mask: PlainMask, yes: Self, no: Self) -> Self {
        PlainF(each(|i| if mask.0[i] { yes.0[i] } else { no.0[i] }))
    }

    #[inline(always)]
    fn reduce_max(self) -> f32 {
        self.0.into_iter().fold(f32::NEG_INFINITY, |a, b| if b > a { b } else { a })
    }
}

impl BitAnd for PlainMask {
    type Output = PlainMask;
    #[inline(always)]
    fn bitand(self, other: PlainMask) -> PlainMask {
        PlainMask(each(|i| self.0[i] & other.0[i]))
    }
}

impl BitOr for PlainMask {
    type Output = PlainMask;
    #[inline(always)]
    fn bitor(self, other: PlainMask) -> PlainMask {
        PlainMask(each(|i| self.0[i] | other.0[i]))
    }
}

impl Mask for PlainMask {
    #[inline(always)]
    fn bits(self) -> u16 {
        (0..LANES).fold(0, |bits, i| bits | u16::from(self.0[i]) << i)
    }
}
