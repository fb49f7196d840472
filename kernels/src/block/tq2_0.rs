//! TQ2_0: 256 ternary codes of two bits around the largest magnitude. 2.0625 bits a weight.

use bytemuck::{Pod, Zeroable};

use super::codec::{Block, Input, blocks};
use super::half::{f16_bits, f16_value};
use super::rounder::{self, Parts, Points, Rounder, Snapped, Step, Ties};
use super::super_block::{Codes, SUPER, pack_two_bits, unpack_two_bits};
use super::ternary::{codes, inverse, largest};
use crate::Isa;
use crate::lanes::Lanes;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Layout {
    /// Byte `l` of a half holds elements `l`, `l + 32`, `l + 64`, `l + 96`.
    codes: [u8; 64],
    d: u16,
}
const _: () = assert!(size_of::<Layout>() == 66);

pub(super) struct Tq2_0;

impl Block for Tq2_0 {
    const NAME: &'static str = "TQ2_0";
    const LEN: usize = SUPER;
    const BYTES: usize = size_of::<Layout>();
    const FALLBACK: Option<&'static str> = Some("Q4_0");
    const WEIGHS: bool = false;
    const TOLERANCE: f32 = 0.89;

    #[inline(always)]
    fn encode<L: Lanes>(lanes: L, input: &Input<'_>, out: &mut [u8]) {
        for (x, out) in input.values.as_chunks::<SUPER>().0.iter().zip(out.as_chunks_mut::<{ Self::BYTES }>().0) {
            let d = largest(lanes, x);
            let mut block = Layout { codes: [0; 64], d: f16_bits(d) };
            pack_two_bits(&codes(lanes, x, inverse(d)), &mut block.codes);
            *out = bytemuck::cast(block);
        }
    }

    #[inline(always)]
    fn decode<L: Lanes>(_: L, bytes: &[u8], out: &mut [f32]) {
        for (block, out) in blocks::<Layout, SUPER>(bytes, out) {
            let d = f16_value(block.d);
            for (i, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                let (codes, shift) = (&block.codes[i / 4 * 32..][..32], i % 4 * 2);
                for (out, code) in out.iter_mut().zip(codes) {
                    *out = f32::from((code >> shift & 3) as i8 - 1) * d;
                }
            }
        }
    }

    fn rounder(isa: Isa, rows: usize) -> Option<Box<dyn Rounder>> {
        Some(rounder::Of::<Self, SUPER>::rounder(isa, rows))
    }
}

impl Snapped<SUPER> for Tq2_0 {
    type Layout = Layout;
    const POINTS: Points = Points::Uniform { span: 2, ties: Ties::Away };

    fn step(block: &Layout, _: usize) -> Step {
        Step { step: f16_value(block.d), min: 0.0, low: -1.0 }
    }

    fn codes(block: &Layout) -> Codes {
        unpack_two_bits(&block.codes)
    }

    fn set_codes(block: &mut Layout, codes: &Codes) {
        pack_two_bits(codes, &mut block.codes);
    }

    fn parts(block: &Layout) -> Option<Parts> {
        Some(Parts::scale(f16_value(block.d)))
    }

    fn set_parts(block: &mut Layout, parts: &Parts) {
        block.d = f16_bits(parts.d);
    }
}
