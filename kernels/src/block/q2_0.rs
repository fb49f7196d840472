//! Q2_0: 64 codes of two bits, -1 to 2, around the largest magnitude. 2.25 bits a weight.
//!
//! The encoder divides by the largest magnitude, so it never gives the code that stands for 2.

use bytemuck::{Pod, Zeroable};

use super::codec::{Block, Input, blocks};
use super::half::{f16_bits, f16_value};
use super::rounder::{self, Parts, Points, Rounder, Snapped, Step, Ties};
use super::ternary::{codes, inverse, largest};
use crate::Isa;
use crate::lanes::{Lanes, each};

const LEN: usize = 64;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Layout {
    d: u16,
    /// Element `j` in bits `2 * (j % 4) ..` of byte `j / 4`.
    codes: [u8; 16],
}
const _: () = assert!(size_of::<Layout>() == 18);

pub(super) struct Q2_0;

impl Block for Q2_0 {
    const NAME: &'static str = "Q2_0";
    const LEN: usize = LEN;
    const BYTES: usize = size_of::<Layout>();
    const FALLBACK: Option<&'static str> = Some("Q4_0");
    const WEIGHS: bool = false;
    const TOLERANCE: f32 = 0.79;

    #[inline(always)]
    fn encode<L: Lanes>(lanes: L, input: &Input<'_>, out: &mut [u8]) {
        for (x, out) in input.values.as_chunks::<LEN>().0.iter().zip(out.as_chunks_mut::<{ Self::BYTES }>().0) {
            let d = largest(lanes, x);
            let inv = inverse(d);
            // llama.cpp turns what no integer holds into the lowest code.
            let levels = if inv.is_infinite() { [0; LEN] } else { codes(lanes, x, inv) };
            *out = bytemuck::cast(Layout { d: f16_bits(d), codes: pack(&levels) });
        }
    }

    #[inline(always)]
    fn decode<L: Lanes>(_: L, bytes: &[u8], out: &mut [f32]) {
        for (block, out) in blocks::<Layout, LEN>(bytes, out) {
            let d = f16_value(block.d);
            for (out, codes) in out.as_chunks_mut::<4>().0.iter_mut().zip(block.codes) {
                *out = each(|j| f32::from((codes >> (2 * j) & 3) as i8 - 1) * d);
            }
        }
    }

    fn rounder(isa: Isa, rows: usize) -> Option<Box<dyn Rounder>> {
        Some(rounder::Of::<Self, LEN>::rounder(isa, rows))
    }
}

impl Snapped<LEN> for Q2_0 {
    type Layout = Layout;
    const POINTS: Points = Points::Uniform { span: 3, ties: Ties::Away };

    fn step(block: &Layout, _: usize) -> Step {
        Step { step: f16_value(block.d), min: 0.0, low: -1.0 }
    }

    fn codes(block: &Layout) -> [u8; LEN] {
        each(|j| block.codes[j / 4] >> (j % 4 * 2) & 3)
    }

    fn set_codes(block: &mut Layout, codes: &[u8; LEN]) {
        block.codes = pack(codes);
    }

    fn parts(block: &Layout) -> Option<Parts> {
        Some(Parts::scale(f16_value(block.d)))
    }

    fn set_parts(block: &mut Layout, parts: &Parts) {
        block.d = f16_bits(parts.d);
    }
}

#[inline(always)]
fn pack(codes: &[u8; LEN]) -> [u8; 16] {
    let codes = codes.as_chunks::<4>().0;
    // One multiplication moves the four codes, a byte apart, next to each other in the top byte.
    each(|i| (u32::from_le_bytes(codes[i]).wrapping_mul(0x0104_1040) >> 24) as u8)
}
