//! TQ1_0: 256 ternary codes, five a byte, around the largest magnitude. 1.6875 bits a weight.

use bytemuck::{Pod, Zeroable};

use super::codec::{Block, Input, blocks};
use super::half::{f16_bits, f16_value};
use super::rounder::{self, Parts, Points, Rounder, Snapped, Step, Ties};
use super::super_block::{Codes, SUPER};
use super::ternary::{codes, inverse, largest};
use crate::Isa;
use crate::lanes::{Lanes, each};

/// A byte is a fraction of 256 whose first five ternary digits are the codes. Byte `m` of the first 32 holds elements
/// `m + 32 * n`, of the next 16 elements `160 + m + 16 * n`, of the last four elements `240 + m + 4 * n` (four of them).
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Layout {
    wide: [u8; 32],
    narrow: [u8; 16],
    last: [u8; 4],
    d: u16,
}
const _: () = assert!(size_of::<Layout>() == 54);

pub(super) struct Tq1_0;

impl Block for Tq1_0 {
    const NAME: &'static str = "TQ1_0";
    const LEN: usize = SUPER;
    const BYTES: usize = size_of::<Layout>();
    const FALLBACK: Option<&'static str> = Some("Q4_0");
    const WEIGHS: bool = false;
    const TOLERANCE: f32 = 0.89;

    #[inline(always)]
    fn encode<L: Lanes>(lanes: L, input: &Input<'_>, out: &mut [u8]) {
        for (x, out) in input.values.as_chunks::<SUPER>().0.iter().zip(out.as_chunks_mut::<{ Self::BYTES }>().0) {
            let d = largest(lanes, x);
            let codes = codes(lanes, x, inverse(d));
            *out = bytemuck::cast(encoded(&codes, f16_bits(d)));
        }
    }

    #[inline(always)]
    fn decode<L: Lanes>(_: L, bytes: &[u8], out: &mut [f32]) {
        for (block, out) in blocks::<Layout, SUPER>(bytes, out) {
            let d = f16_value(block.d);
            let (wide, rest) = out.split_at_mut(160);
            let (narrow, last) = rest.split_at_mut(80);
            unpack(&block.wide, d, wide);
            unpack(&block.narrow, d, narrow);
            unpack(&block.last, d, last);
        }
    }

    fn rounder(isa: Isa, rows: usize) -> Option<Box<dyn Rounder>> {
        Some(rounder::Of::<Self, SUPER>::rounder(isa, rows))
    }
}

impl Snapped<SUPER> for Tq1_0 {
    type Layout = Layout;
    const POINTS: Points = Points::Uniform { span: 2, ties: Ties::Away };

    fn step(block: &Layout, _: usize) -> Step {
        Step { step: f16_value(block.d), min: 0.0, low: -1.0 }
    }

    fn codes(block: &Layout) -> Codes {
        let mut codes = [0; SUPER];
        let (wide, rest) = codes.split_at_mut(160);
        let (narrow, last) = rest.split_at_mut(80);
        digits(&block.wide, wide);
        digits(&block.narrow, narrow);
        digits(&block.last, last);
        codes
    }

    fn set_codes(block: &mut Layout, codes: &Codes) {
        *block = encoded(codes, block.d);
    }

    fn parts(block: &Layout) -> Option<Parts> {
        Some(Parts::scale(f16_value(block.d)))
    }

    fn set_parts(block: &mut Layout, parts: &Parts) {
        block.d = f16_bits(parts.d);
    }
}

#[inline(always)]
fn encoded(codes: &Codes, d: u16) -> Layout {
    Layout { wide: pack(&codes[..160]), narrow: pack(&codes[160..240]), last: pack(&codes[240..]), d }
}

/// Packs up to five runs of `N` codes; missing runs count as zeros.
#[inline(always)]
fn pack<const N: usize>(codes: &[u8]) -> [u8; N] {
    let mut digits = [0u16; N];
    for n in 0..5 {
        for (m, digits) in digits.iter_mut().enumerate() {
            *digits = *digits * 3 + codes.get(n * N + m).copied().map_or(0, u16::from);
        }
    }
    // Rounded up, so that cutting gives the digits back.
    each(|m| (digits[m] * 256).div_ceil(243) as u8)
}

/// Unpacks as many runs as `out` has room for.
#[inline(always)]
fn unpack<const N: usize>(bytes: &[u8; N], d: f32, out: &mut [f32]) {
    let mut fractions = *bytes;
    for out in out.as_chunks_mut::<N>().0 {
        for (out, fraction) in out.iter_mut().zip(&mut fractions) {
            let scaled = u16::from(*fraction) * 3;
            *out = f32::from((scaled >> 8) as i8 - 1) * d;
            *fraction = scaled as u8;
        }
    }
}

/// The codes of as many runs as `out` has room for.
fn digits<const N: usize>(bytes: &[u8; N], out: &mut [u8]) {
    let mut fractions = *bytes;
    for out in out.as_chunks_mut::<N>().0 {
        for (out, fraction) in out.iter_mut().zip(&mut fractions) {
            let scaled = u16::from(*fraction) * 3;
            (*out, *fraction) = ((scaled >> 8) as u8, scaled as u8);
        }
    }
}
