//! Q4_K: eight sub-blocks of 32, each with a six-bit scale and minimum. 4.5 bits a weight.

use bytemuck::{Pod, Zeroable};

use super::codec::{Block, Input, blocks};
use super::half::{f16_bits, f16_value};
use super::k_scales;
use super::rounder::{self, Parts, Points, Rounder, Snapped, Step, Ties};
use super::search::affine::{self, Trials};
use super::search::{Fit, GROUPS, Groups, Levels};
use super::super_block::{Codes, Fits, SUPER, Searched, encode, finish_affine, pack_nibbles, unpack_nibbles};
use super::weights::level_weights;
use crate::Isa;
use crate::lanes::{Lanes, Row};

/// 2 + 2 bytes of scales' scales, 12 of scales and minima, 256 codes of four bits.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Layout {
    d: u16,
    dmin: u16,
    scales: [u8; 12],
    codes: [u8; 128],
}
const _: () = assert!(size_of::<Layout>() == 144);

pub(super) struct Q4K;

impl Block for Q4K {
    const NAME: &'static str = "Q4_K";
    const LEN: usize = SUPER;
    const BYTES: usize = size_of::<Layout>();
    const FALLBACK: Option<&'static str> = Some("Q5_0");
    const WEIGHS: bool = true;
    const TOLERANCE: f32 = 0.085;

    #[inline(always)]
    fn encode<L: Lanes>(lanes: L, input: &Input<'_>, out: &mut [u8]) {
        encode::<L, Self, 32>(lanes, input, out, Self::BYTES);
    }

    #[inline(always)]
    fn decode<L: Lanes>(_: L, bytes: &[u8], out: &mut [f32]) {
        for (block, out) in blocks::<Layout, SUPER>(bytes, out) {
            let (d, dmin) = (f16_value(block.d), f16_value(block.dmin));
            for (j, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                let (scale, min) = k_scales::unpack(&block.scales, j);
                let (step, min) = (d * f32::from(scale), dmin * f32::from(min));
                let codes = &block.codes.as_chunks::<32>().0[j / 2];
                let shift = j % 2 * 4;
                for (out, code) in out.iter_mut().zip(codes) {
                    *out = step * f32::from(code >> shift & 15) - min;
                }
            }
        }
    }

    fn rounder(isa: Isa, rows: usize) -> Option<Box<dyn Rounder>> {
        Some(rounder::Of::<Self, SUPER>::rounder(isa, rows))
    }
}

impl Snapped<SUPER> for Q4K {
    type Layout = Layout;
    const POINTS: Points = Points::Uniform { span: 15, ties: Ties::Even };
    const SUB: usize = 32;

    fn step(block: &Layout, sub: usize) -> Step {
        let (scale, min) = k_scales::unpack(&block.scales, sub);
        Step { step: f16_value(block.d) * f32::from(scale), min: f16_value(block.dmin) * f32::from(min), low: 0.0 }
    }

    fn codes(block: &Layout) -> Codes {
        unpack_nibbles(&block.codes)
    }

    fn set_codes(block: &mut Layout, codes: &Codes) {
        pack_nibbles(codes, &mut block.codes);
    }

    fn parts(block: &Layout) -> Option<Parts> {
        Some(k_scales::parts(block.d, block.dmin, &block.scales))
    }

    fn set_parts(block: &mut Layout, parts: &Parts) {
        (block.d, block.dmin) = (f16_bits(parts.d), f16_bits(parts.dmin));
        let [scales, mins] = [parts.scales, parts.mins].map(|codes| codes.map(|code| code as u8));
        block.scales = k_scales::pack(&scales, &mins);
    }
}

impl Searched<32> for Q4K {
    const LEVELS: Levels = Levels::from_zero(15);
    const LEVEL_FACTOR: f32 = 2.0;

    #[inline(always)]
    fn plain_weights<L: Lanes>(lanes: L, x: &[Row; 32], w: &mut [Row; 32]) {
        level_weights(lanes, x, w);
    }

    #[inline(always)]
    fn search<L: Lanes>(
        lanes: L,
        x: &Groups<32>,
        w: &Groups<32>,
        weighted: bool,
        scratch: &mut Groups<32>,
        found: &mut [Fit; GROUPS],
    ) {
        const PLAIN: Trials = Trials { high: 15.0, first: -1.0, delta: 0.1, steps: 20, absolute: false };
        let trials = if weighted { Trials::weighted(15) } else { PLAIN };
        lanes.apart(affine::Search { x, w, trials, levels: scratch, found });
    }

    #[inline(always)]
    fn finish<L: Lanes>(lanes: L, x: &[f32], fits: &Fits, weighted: bool, out: &mut [u8]) {
        finish_affine::<L, 32>(lanes, x, fits, weighted, Self::LEVELS, 63.0, |s, parts| {
            let mut block = Layout {
                d: parts.d,
                dmin: parts.dmin,
                scales: k_scales::pack(&parts.scales, &parts.mins),
                codes: [0; 128],
            };
            pack_nibbles(&parts.codes, &mut block.codes);
            out[s * Self::BYTES..][..Self::BYTES].copy_from_slice(bytemuck::bytes_of(&block));
        });
    }
}
