//! IQ4_XS: eight sub-blocks of 32 codes for sixteen uneven levels, each with a six-bit scale. 4.25 bits a weight.

use bytemuck::{Pod, Zeroable};

use super::codec::{Block, Input, blocks};
use super::half::{f16_bits, f16_value};
use super::iq4_nl::nearest;
use super::rounder::{self, Parts, Points, Rounder, Snapped, Step};
use super::search::nonlinear::{LEVELS, search};
use super::small::{LEN, inverse, pack_nibbles, unpack};
use super::super_block::{Codes, SUPER};
use super::units::{self, Unit, nearest_int};
use crate::Isa;
use crate::lanes::{LANES, Lanes, Row, Vector, each};

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Layout {
    d: u16,
    /// Two high bits a scale.
    scales_high: u16,
    /// Four low bits a scale.
    scales_low: [u8; 4],
    codes: [[u8; 16]; 8],
}
const _: () = assert!(size_of::<Layout>() == 136);

pub(super) struct Iq4Xs;

impl Block for Iq4Xs {
    const NAME: &'static str = "IQ4_XS";
    const LEN: usize = SUPER;
    const BYTES: usize = size_of::<Layout>();
    const FALLBACK: Option<&'static str> = Some("IQ4_NL");
    const WEIGHS: bool = true;
    const TOLERANCE: f32 = 0.085;

    #[inline(always)]
    fn encode<L: Lanes>(lanes: L, input: &Input<'_>, out: &mut [u8]) {
        units::encode::<L, Self, LEN>(lanes, input, out, Self::BYTES);
    }

    #[inline(always)]
    fn decode<L: Lanes>(_: L, bytes: &[u8], out: &mut [f32]) {
        for (block, out) in blocks::<Layout, SUPER>(bytes, out) {
            let d = f16_value(block.d);
            for (i, (out, codes)) in out.as_chunks_mut::<LEN>().0.iter_mut().zip(&block.codes).enumerate() {
                let step = d * f32::from(block.scale(i));
                let codes = unpack(codes, [0; 4]);
                *out = each(|j| step * f32::from(LEVELS[usize::from(codes[j])]));
            }
        }
    }

    fn rounder(isa: Isa, rows: usize) -> Option<Box<dyn Rounder>> {
        Some(rounder::Of::<Self, SUPER>::rounder(isa, rows))
    }
}

impl Snapped<SUPER> for Iq4Xs {
    type Layout = Layout;
    const POINTS: Points = Points::Uneven;
    const SUB: usize = LEN;

    fn step(block: &Layout, sub: usize) -> Step {
        Step { step: f16_value(block.d) * f32::from(block.scale(sub)), min: 0.0, low: 0.0 }
    }

    fn codes(block: &Layout) -> Codes {
        let mut codes = [0; SUPER];
        for (codes, packed) in codes.as_chunks_mut::<LEN>().0.iter_mut().zip(&block.codes) {
            *codes = unpack(packed, [0; 4]);
        }
        codes
    }

    fn set_codes(block: &mut Layout, codes: &Codes) {
        for (codes, packed) in codes.as_chunks::<LEN>().0.iter().zip(&mut block.codes) {
            *packed = pack_nibbles(codes);
        }
    }

    fn parts(block: &Layout) -> Option<Parts> {
        let scales = each(|i| if i < 8 { i16::from(block.scale(i)) } else { 0 });
        Some(Parts { scales, ranges: [(-32, 31), (0, 0)], ..Parts::scale(f16_value(block.d)) })
    }

    fn set_parts(block: &mut Layout, parts: &Parts) {
        (block.d, block.scales_high, block.scales_low) = (f16_bits(parts.d), 0, [0; 4]);
        for (i, scale) in parts.scales.iter().take(8).enumerate() {
            block.set_scale(i, i32::from(*scale));
        }
    }
}

impl Layout {
    /// Where nothing is stored yet.
    #[inline(always)]
    fn set_scale(&mut self, i: usize, scale: i32) {
        let stored = (scale + 32) as u16;
        self.scales_low[i / 2] |= (stored as u8 & 15) << (i % 2 * 4);
        self.scales_high |= stored >> 4 << (2 * i);
    }

    #[inline(always)]
    fn scale(&self, i: usize) -> i8 {
        let low = self.scales_low[i / 2] >> (i % 2 * 4) & 15;
        let high = (self.scales_high >> (2 * i) & 3) as u8;
        (low | high << 4) as i8 - 32
    }
}

impl Unit<LEN> for Iq4Xs {
    const LEVEL_FACTOR: f32 = 2.0;

    #[inline(always)]
    fn encode<L: Lanes>(lanes: L, x: &[Row; LEN], w: &[Row; LEN], values: &[f32], out: &mut [u8]) {
        let mut scales = [0.0; LANES];
        search(lanes, x, w).store(&mut scales);
        let blocks = values.as_chunks::<SUPER>().0.iter().zip(out.as_chunks_mut::<{ Self::BYTES }>().0);
        for ((x, out), scales) in blocks.zip(scales.as_chunks::<8>().0) {
            *out = bytemuck::cast(encode_block(lanes, x, scales));
        }
    }
}

#[inline(always)]
fn encode_block<L: Lanes>(lanes: L, x: &[f32; SUPER], scales: &[f32; 8]) -> Layout {
    // The largest scale, of whichever sign, becomes -32.
    let largest = scales.iter().fold(0.0f32, |max, scale| if scale.abs() > max.abs() { *scale } else { max });
    let d = -largest / 32.0;
    let mut block = Layout { d: f16_bits(d), scales_high: 0, scales_low: [0; 4], codes: [[0; 16]; 8] };
    let inv = inverse(d);
    for (i, (x, scale)) in x.as_chunks::<LEN>().0.iter().zip(scales).enumerate() {
        let level = nearest_int(inv * scale).clamp(-32, 31);
        block.codes[i] = pack_nibbles(&nearest(lanes, x, inverse(d * level as f32)));
        block.set_scale(i, level);
    }
    block
}
