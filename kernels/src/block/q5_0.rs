//! Q5_0: 32 five-bit codes and a scale. 5.5 bits a weight.

use bytemuck::{Pod, Zeroable};

use super::codec::{Block, Input, blocks};
use super::half::{f16_bits, f16_value};
use super::rounder::{self, Parts, Points, Rounder, Snapped, Step, Ties};
use super::search::symmetric;
use super::search::{Fit, GROUPS, Groups, Levels};
use super::small::{
    Codes, LEN, Weighted, capped, encode_weighted, extreme, halves, inverse, joined, pack_fifth_bits, pack_nibbles,
    unpack,
};
use crate::Isa;
use crate::lanes::{Lanes, Vector, each};

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Layout {
    d: u16,
    fifth: [u8; 4],
    codes: [u8; 16],
}
const _: () = assert!(size_of::<Layout>() == 22);

pub(super) struct Q5_0;

impl Block for Q5_0 {
    const NAME: &'static str = "Q5_0";
    const LEN: usize = LEN;
    const BYTES: usize = size_of::<Layout>();
    const FALLBACK: Option<&'static str> = Some("F16");
    const WEIGHS: bool = true;
    const TOLERANCE: f32 = 0.052;

    #[inline(always)]
    fn encode<L: Lanes>(lanes: L, input: &Input<'_>, out: &mut [u8]) {
        if let Some(importance) = input.importance {
            return encode_weighted::<L, Self>(lanes, input, importance, out, Self::BYTES);
        }
        for (x, out) in input.values.as_chunks().0.iter().zip(out.as_chunks_mut::<{ Self::BYTES }>().0) {
            let d = extreme(lanes, x) / -16.0;
            let (inv, half) = (lanes.splat(inverse(d)), lanes.splat(16.5));
            let [a, b] = halves(lanes, x);
            let codes = capped(&joined([(a * inv + half).to_bytes(), (b * inv + half).to_bytes()]), 31);
            *out = bytemuck::cast(pack(d, &codes));
        }
    }

    #[inline(always)]
    fn decode<L: Lanes>(_: L, bytes: &[u8], out: &mut [f32]) {
        for (block, out) in blocks::<Layout, LEN>(bytes, out) {
            let d = f16_value(block.d);
            let codes = unpack(&block.codes, block.fifth);
            *out = each(|j| f32::from(codes[j] as i8 - 16) * d);
        }
    }

    fn rounder(isa: Isa, rows: usize) -> Option<Box<dyn Rounder>> {
        Some(rounder::Of::<Self, LEN>::rounder(isa, rows))
    }
}

impl Snapped<LEN> for Q5_0 {
    type Layout = Layout;
    const POINTS: Points = Points::Uniform { span: 31, ties: Ties::Up };

    fn step(block: &Layout, _: usize) -> Step {
        Step { step: f16_value(block.d), min: 0.0, low: -16.0 }
    }

    fn codes(block: &Layout) -> Codes {
        unpack(&block.codes, block.fifth)
    }

    fn set_codes(block: &mut Layout, codes: &Codes) {
        (block.fifth, block.codes) = (pack_fifth_bits(codes), pack_nibbles(codes));
    }

    fn parts(block: &Layout) -> Option<Parts> {
        Some(Parts::scale(f16_value(block.d)))
    }

    fn set_parts(block: &mut Layout, parts: &Parts) {
        block.d = f16_bits(parts.d);
    }
}

impl Weighted for Q5_0 {
    const LEVELS: Levels = Levels::around_zero(16);

    #[inline(always)]
    fn search<L: Lanes>(
        lanes: L,
        x: &Groups<LEN>,
        w: &Groups<LEN>,
        scratch: &mut Groups<LEN>,
        found: &mut [Fit; GROUPS],
    ) {
        symmetric::search_groups(lanes, x, w, Self::LEVELS, scratch, found);
    }

    #[inline(always)]
    fn write(scale: f32, _: f32, codes: &Codes, out: &mut [u8]) {
        out.copy_from_slice(bytemuck::bytes_of(&pack(scale, codes)));
    }
}

#[inline(always)]
fn pack(d: f32, codes: &Codes) -> Layout {
    Layout { d: f16_bits(d), fifth: pack_fifth_bits(codes), codes: pack_nibbles(codes) }
}
