//! Q2_K: sixteen sub-blocks of 16, each with a four-bit scale and minimum. 2.625 bits a weight.

use bytemuck::{Pod, Zeroable};

use super::codec::{Block, Input, blocks};
use super::half::{f16_bits, f16_value};
use super::rounder::{self, Parts, Points, Rounder, Snapped, Step, Ties};
use super::search::affine::{self, Trials};
use super::search::{Fit, GROUPS, Groups, Levels};
use super::super_block::{Codes, Fits, SUPER, Searched, encode, finish_affine, pack_two_bits, unpack_two_bits};
use crate::Isa;
use crate::lanes::{Lanes, Row, Vector, each};

/// 16 bytes of scale (low nibble) and minimum, 256 codes of two bits, 2 + 2 bytes of scales' scales.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Layout {
    scales: [u8; 16],
    codes: [u8; 64],
    d: u16,
    dmin: u16,
}
const _: () = assert!(size_of::<Layout>() == 84);

pub(super) struct Q2K;

impl Block for Q2K {
    const NAME: &'static str = "Q2_K";
    const LEN: usize = SUPER;
    const BYTES: usize = size_of::<Layout>();
    const FALLBACK: Option<&'static str> = Some("Q4_0");
    const WEIGHS: bool = true;
    const TOLERANCE: f32 = 0.35;

    #[inline(always)]
    fn encode<L: Lanes>(lanes: L, input: &Input<'_>, out: &mut [u8]) {
        encode::<L, Self, 16>(lanes, input, out, Self::BYTES);
    }

    #[inline(always)]
    fn decode<L: Lanes>(_: L, bytes: &[u8], out: &mut [f32]) {
        for (block, out) in blocks::<Layout, SUPER>(bytes, out) {
            let (d, dmin) = (f16_value(block.d), f16_value(block.dmin));
            let scales = block.scales.as_chunks::<2>().0;
            for ((i, out), scales) in out.as_chunks_mut::<32>().0.iter_mut().enumerate().zip(scales) {
                let packed = &block.codes.as_chunks::<32>().0[i / 4];
                let codes: [u8; 32] = each(|l| packed[l] >> (i % 4 * 2) & 3);
                let subs = out.as_chunks_mut::<16>().0.iter_mut().zip(codes.as_chunks::<16>().0);
                for ((out, codes), scale) in subs.zip(scales) {
                    let (step, min) = (d * f32::from(scale & 15), dmin * f32::from(scale >> 4));
                    *out = each(|l| step * f32::from(codes[l]) - min);
                }
            }
        }
    }

    fn rounder(isa: Isa, rows: usize) -> Option<Box<dyn Rounder>> {
        Some(rounder::Of::<Self, SUPER>::rounder(isa, rows))
    }
}

impl Snapped<SUPER> for Q2K {
    type Layout = Layout;
    const POINTS: Points = Points::Uniform { span: 3, ties: Ties::Even };
    const SUB: usize = 16;

    fn step(block: &Layout, sub: usize) -> Step {
        let (scale, min) = (block.scales[sub] & 15, block.scales[sub] >> 4);
        Step { step: f16_value(block.d) * f32::from(scale), min: f16_value(block.dmin) * f32::from(min), low: 0.0 }
    }

    fn codes(block: &Layout) -> Codes {
        unpack_two_bits(&block.codes)
    }

    fn set_codes(block: &mut Layout, codes: &Codes) {
        pack_two_bits(codes, &mut block.codes);
    }

    fn parts(block: &Layout) -> Option<Parts> {
        let (scales, mins) =
            (block.scales.map(|both| i16::from(both & 15)), block.scales.map(|both| i16::from(both >> 4)));
        Some(Parts { d: f16_value(block.d), dmin: f16_value(block.dmin), scales, mins, ranges: [(0, 15); 2] })
    }

    fn set_parts(block: &mut Layout, parts: &Parts) {
        (block.d, block.dmin) = (f16_bits(parts.d), f16_bits(parts.dmin));
        block.scales = each(|j| parts.scales[j] as u8 | (parts.mins[j] as u8) << 4);
    }
}

impl Searched<16> for Q2K {
    const LEVELS: Levels = Levels::from_zero(3);
    const LEVEL_FACTOR: f32 = 1.0;

    #[inline(always)]
    fn plain_weights<L: Lanes>(lanes: L, x: &[Row; 16], w: &mut [Row; 16]) {
        for (x, w) in x.iter().zip(w) {
            lanes.load(&x.0).abs().store(&mut w.0);
        }
    }

    #[inline(always)]
    fn search<L: Lanes>(
        lanes: L,
        x: &Groups<16>,
        w: &Groups<16>,
        weighted: bool,
        scratch: &mut Groups<16>,
        found: &mut [Fit; GROUPS],
    ) {
        const PLAIN: Trials = Trials { high: 3.0, first: -0.5, delta: 0.1, steps: 15, absolute: true };
        let trials = if weighted { Trials::weighted(3) } else { PLAIN };
        lanes.apart(affine::Search { x, w, trials, levels: scratch, found });
    }

    #[inline(always)]
    fn finish<L: Lanes>(lanes: L, x: &[f32], fits: &Fits, weighted: bool, out: &mut [u8]) {
        finish_affine::<L, 16>(lanes, x, fits, weighted, Self::LEVELS, 15.0, |s, parts| {
            let scales = each(|j| parts.scales[j] & 15 | parts.mins[j] << 4);
            let mut block = Layout { scales, codes: [0; 64], d: parts.d, dmin: parts.dmin };
            pack_two_bits(&parts.codes, &mut block.codes);
            out[s * Self::BYTES..][..Self::BYTES].copy_from_slice(bytemuck::bytes_of(&block));
        });
    }
}
