//! IQ4_NL: 32 codes of four bits for sixteen uneven levels, and a scale. 4.5 bits a weight.

use bytemuck::{Pod, Zeroable};

use super::codec::{Block, Input, blocks};
use super::half::{f16_bits, f16_value};
use super::rounder::{self, Parts, Points, Rounder, Snapped, Step};
use super::search::nonlinear::{LEVELS, codes, search};
use super::small::{Codes, LEN, halves, inverse, joined, pack_nibbles, unpack};
use super::units::squares;
use super::weights::{square_sums, sub_block_columns, sub_blocks, weigh};
use crate::Isa;
use crate::lanes::{LANES, Lanes, Row, Vector, each};

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Layout {
    d: u16,
    codes: [u8; 16],
}
const _: () = assert!(size_of::<Layout>() == 18);

pub(super) struct Iq4Nl;

impl Block for Iq4Nl {
    const NAME: &'static str = "IQ4_NL";
    const LEN: usize = LEN;
    const BYTES: usize = size_of::<Layout>();
    const FALLBACK: Option<&'static str> = Some("F16");
    const WEIGHS: bool = true;
    const TOLERANCE: f32 = 0.085;

    #[inline(always)]
    fn encode<L: Lanes>(lanes: L, input: &Input<'_>, out: &mut [u8]) {
        let groups = input.values.chunks(LANES * LEN).zip(out.chunks_mut(LANES * Self::BYTES));
        for (group, (values, out)) in groups.enumerate() {
            let (mut x, mut w) = ([Row::default(); LEN], [Row::default(); LEN]);
            sub_blocks(lanes, values, &mut x);
            if let Some(importance) = input.importance {
                sub_block_columns(lanes, importance, group * LANES * LEN, &mut w);
                let squares = square_sums(lanes, values, LEN);
                let mean_squares = each(|lane| squares[lane] * (2.0 / LEN as f32));
                weigh(lanes, lanes.load(&mean_squares), &x, &mut w);
            } else {
                squares(lanes, &x, &mut w);
            }
            let mut scales = [0.0; LANES];
            search(lanes, &x, &w).store(&mut scales);
            let blocks = values.as_chunks().0.iter().zip(out.as_chunks_mut::<{ Self::BYTES }>().0);
            for ((x, out), scale) in blocks.zip(scales) {
                let codes = nearest(lanes, x, inverse(scale));
                *out = bytemuck::cast(Layout { d: f16_bits(scale), codes: pack_nibbles(&codes) });
            }
        }
    }

    #[inline(always)]
    fn decode<L: Lanes>(_: L, bytes: &[u8], out: &mut [f32]) {
        for (block, out) in blocks::<Layout, LEN>(bytes, out) {
            let d = f16_value(block.d);
            let codes = unpack(&block.codes, [0; 4]);
            *out = each(|j| d * f32::from(LEVELS[usize::from(codes[j])]));
        }
    }

    fn rounder(isa: Isa, rows: usize) -> Option<Box<dyn Rounder>> {
        Some(rounder::Of::<Self, LEN>::rounder(isa, rows))
    }
}

impl Snapped<LEN> for Iq4Nl {
    type Layout = Layout;
    const POINTS: Points = Points::Uneven;

    fn step(block: &Layout, _: usize) -> Step {
        Step { step: f16_value(block.d), min: 0.0, low: 0.0 }
    }

    fn codes(block: &Layout) -> Codes {
        unpack(&block.codes, [0; 4])
    }

    fn set_codes(block: &mut Layout, codes: &Codes) {
        block.codes = pack_nibbles(codes);
    }

    fn parts(block: &Layout) -> Option<Parts> {
        Some(Parts::scale(f16_value(block.d)))
    }

    fn set_parts(block: &mut Layout, parts: &Parts) {
        block.d = f16_bits(parts.d);
    }
}

/// The codes of 32 elements.
#[inline(always)]
pub(super) fn nearest<L: Lanes>(lanes: L, x: &[f32; LEN], inv: f32) -> Codes {
    let ([low, high], inv) = (halves(lanes, x), lanes.splat(inv));
    joined([codes(lanes, inv * low), codes(lanes, inv * high)])
}
