//! Q4_1: 32 four-bit codes and a scale and a minimum. 5 bits a weight.

use bytemuck::{Pod, Zeroable};

use super::codec::{Block, Input, blocks};
use super::half::{f16_bits, f16_value};
use super::rounder::{self, Parts, Points, Rounder, Snapped, Step, Ties};
use super::search::affine::{self, Trials};
use super::search::{Fit, GROUPS, Groups, Levels};
use super::small::{
    Codes, LEN, Weighted, capped, encode_weighted, halves, inverse, joined, pack_nibbles, range, unpack,
};
use crate::Isa;
use crate::lanes::{Lanes, Vector, each};

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Layout {
    d: u16,
    min: u16,
    codes: [u8; 16],
}
const _: () = assert!(size_of::<Layout>() == 20);

pub(super) struct Q4_1;

impl Block for Q4_1 {
    const NAME: &'static str = "Q4_1";
    const LEN: usize = LEN;
    const BYTES: usize = size_of::<Layout>();
    const FALLBACK: Option<&'static str> = Some("F16");
    const WEIGHS: bool = true;
    const TOLERANCE: f32 = 0.09;

    #[inline(always)]
    fn encode<L: Lanes>(lanes: L, input: &Input<'_>, out: &mut [u8]) {
        if let Some(importance) = input.importance {
            return encode_weighted::<L, Self>(lanes, input, importance, out, Self::BYTES);
        }
        for (x, out) in input.values.as_chunks().0.iter().zip(out.as_chunks_mut::<{ Self::BYTES }>().0) {
            let (min, max) = range(lanes, x);
            let d = (max - min) / 15.0;
            let (inv, low, half) = (lanes.splat(inverse(d)), lanes.splat(min), lanes.splat(0.5));
            let [a, b] = halves(lanes, x);
            let codes = capped(&joined([((a - low) * inv + half).to_bytes(), ((b - low) * inv + half).to_bytes()]), 15);
            *out = bytemuck::cast(pack(d, min, &codes));
        }
    }

    #[inline(always)]
    fn decode<L: Lanes>(_: L, bytes: &[u8], out: &mut [f32]) {
        for (block, out) in blocks::<Layout, LEN>(bytes, out) {
            let (d, min) = (f16_value(block.d), f16_value(block.min));
            let codes = unpack(&block.codes, [0; 4]);
            *out = each(|j| f32::from(codes[j]) * d + min);
        }
    }

    fn rounder(isa: Isa, rows: usize) -> Option<Box<dyn Rounder>> {
        Some(rounder::Of::<Self, LEN>::rounder(isa, rows))
    }
}

impl Snapped<LEN> for Q4_1 {
    type Layout = Layout;
    const POINTS: Points = Points::Uniform { span: 15, ties: Ties::Up };

    fn step(block: &Layout, _: usize) -> Step {
        Step { step: f16_value(block.d), min: -f16_value(block.min), low: 0.0 }
    }

    fn codes(block: &Layout) -> Codes {
        unpack(&block.codes, [0; 4])
    }

    fn set_codes(block: &mut Layout, codes: &Codes) {
        block.codes = pack_nibbles(codes);
    }

    fn parts(block: &Layout) -> Option<Parts> {
        Some(Parts::scale_and_min(f16_value(block.d), -f16_value(block.min)))
    }

    fn set_parts(block: &mut Layout, parts: &Parts) {
        (block.d, block.min) = (f16_bits(parts.d), f16_bits(-parts.dmin));
    }
}

impl Weighted for Q4_1 {
    const LEVELS: Levels = Levels::from_zero(15);

    #[inline(always)]
    fn search<L: Lanes>(
        lanes: L,
        x: &Groups<LEN>,
        w: &Groups<LEN>,
        scratch: &mut Groups<LEN>,
        found: &mut [Fit; GROUPS],
    ) {
        lanes.apart(affine::Search { x, w, trials: Trials::weighted(15), levels: scratch, found });
    }

    #[inline(always)]
    fn write(scale: f32, min: f32, codes: &Codes, out: &mut [u8]) {
        out.copy_from_slice(bytemuck::bytes_of(&pack(scale, -min, codes)));
    }
}

#[inline(always)]
fn pack(d: f32, min: f32, codes: &Codes) -> Layout {
    Layout { d: f16_bits(d), min: f16_bits(min), codes: pack_nibbles(codes) }
}
