//! Q6_K: sixteen sub-blocks of 16, each with an eight-bit scale. 6.5625 bits a weight.

use bytemuck::{Pod, Zeroable};

use super::codec::{Block, Input, blocks};
use super::half::{f16_bits, f16_value};
use super::rounder::{self, Parts, Points, Rounder, Snapped, Step, Ties};
use super::search::{Fit, GROUPS, Groups, Levels, step, symmetric};
use super::super_block::{Codes, Fits, SUPER, Searched, encode};
use crate::Isa;
use crate::lanes::{LANES, Lanes, Row, Vector, each};

/// 256 low nibbles, 256 pairs of high bits, 16 scales, their scale.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Layout {
    low: [u8; 128],
    high: [u8; 64],
    scales: [i8; 16],
    d: u16,
}
const _: () = assert!(size_of::<Layout>() == 210);

pub(super) struct Q6K;

/// Scales below this make the super-block zero.
const ALL_ZERO: f32 = 1e-15;

impl Block for Q6K {
    const NAME: &'static str = "Q6_K";
    const LEN: usize = SUPER;
    const BYTES: usize = size_of::<Layout>();
    const FALLBACK: Option<&'static str> = Some("Q8_0");
    const WEIGHS: bool = true;
    const TOLERANCE: f32 = 0.022;

    #[inline(always)]
    fn encode<L: Lanes>(lanes: L, input: &Input<'_>, out: &mut [u8]) {
        encode::<L, Self, 16>(lanes, input, out, Self::BYTES);
    }

    #[inline(always)]
    fn decode<L: Lanes>(_: L, bytes: &[u8], out: &mut [f32]) {
        for (block, out) in blocks::<Layout, SUPER>(bytes, out) {
            let d = f16_value(block.d);
            let scales = block.scales.as_chunks::<2>().0;
            for ((i, out), scales) in out.as_chunks_mut::<32>().0.iter_mut().enumerate().zip(scales) {
                let codes = run_of_codes(&block, i);
                let subs = out.as_chunks_mut::<16>().0.iter_mut().zip(codes.as_chunks::<16>().0);
                for ((out, codes), scale) in subs.zip(scales) {
                    let step = d * f32::from(*scale);
                    *out = each(|l| step * f32::from(codes[l] as i8 - 32));
                }
            }
        }
    }

    fn rounder(isa: Isa, rows: usize) -> Option<Box<dyn Rounder>> {
        Some(rounder::Of::<Self, SUPER>::rounder(isa, rows))
    }
}

impl Snapped<SUPER> for Q6K {
    type Layout = Layout;
    const POINTS: Points = Points::Uniform { span: 63, ties: Ties::Even };
    const SUB: usize = 16;

    fn step(block: &Layout, sub: usize) -> Step {
        Step { step: f16_value(block.d) * f32::from(block.scales[sub]), min: 0.0, low: -32.0 }
    }

    fn codes(block: &Layout) -> Codes {
        let mut codes = [0; SUPER];
        for (i, codes) in codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            *codes = run_of_codes(block, i);
        }
        codes
    }

    fn set_codes(block: &mut Layout, codes: &Codes) {
        *block = pack(block.d, block.scales, codes);
    }

    fn parts(block: &Layout) -> Option<Parts> {
        let scales = block.scales.map(i16::from);
        Some(Parts { scales, ranges: [(-128, 127), (0, 0)], ..Parts::scale(f16_value(block.d)) })
    }

    fn set_parts(block: &mut Layout, parts: &Parts) {
        (block.d, block.scales) = (f16_bits(parts.d), parts.scales.map(|scale| scale as i8));
    }
}

impl Searched<16> for Q6K {
    const LEVELS: Levels = Levels::around_zero(32);
    const LEVEL_FACTOR: f32 = 1.0;

    #[inline(always)]
    fn plain_weights<L: Lanes>(lanes: L, x: &[Row; 16], w: &mut [Row; 16]) {
        for (x, w) in x.iter().zip(w) {
            let x = lanes.load(&x.0);
            (x * x).store(&mut w.0);
        }
    }

    /// Importance is the weight.
    #[inline(always)]
    fn weights<L: Lanes>(_: L, _: L::F, _: &[Row; 16], _: &mut [Row; 16]) {}

    #[inline(always)]
    fn search<L: Lanes>(
        lanes: L,
        x: &Groups<16>,
        w: &Groups<16>,
        _: bool,
        scratch: &mut Groups<16>,
        found: &mut [Fit; GROUPS],
    ) {
        symmetric::search_groups(lanes, x, w, Self::LEVELS, scratch, found);
    }

    #[inline(always)]
    fn finish<L: Lanes>(lanes: L, x: &[f32], fits: &Fits, _: bool, out: &mut [u8]) {
        let blocks = x.chunks_exact(SUPER).zip(&fits.0).zip(out.as_chunks_mut::<{ Self::BYTES }>().0);
        for (s, ((x, fit), out)) in blocks.enumerate() {
            let found = &fit.scale.0;
            let (mut max, mut size) = (0.0, 0.0);
            for scale in found {
                if scale.abs() > size {
                    (max, size) = (*scale, scale.abs());
                }
            }
            if size < ALL_ZERO {
                *out = [0; Self::BYTES];
                continue;
            }
            let inv = -128.0 / max;
            let d = f16_bits(1.0 / inv);
            let mut levels = [0.0; LANES];
            (lanes.splat(inv) * lanes.load(found)).nearest_int().min(lanes.splat(127.0)).store(&mut levels);
            let scales = each(|j| levels[j] as i32 as i8);
            let codes = fits.codes::<L, 16>(lanes, s, x, Self::LEVELS, |sub| (step(d, scales[sub]), 0.0));
            *out = bytemuck::cast(pack(d, scales, &codes));
        }
    }
}

/// The codes of elements `32 * i ..`.
#[inline(always)]
fn run_of_codes(block: &Layout, i: usize) -> [u8; 32] {
    // Of each half: quarters 0, 1 are low nibbles, 2, 3 high ones; bits of one byte serve all four.
    let (half, quarter) = (i / 4, i % 4);
    let low = &block.low.as_chunks::<32>().0[half * 2 + quarter % 2];
    let high = &block.high.as_chunks::<32>().0[half];
    each(|l| low[l] >> (quarter / 2 * 4) & 15 | (high[l] >> (quarter * 2) & 3) << 4)
}

#[inline(always)]
fn pack(d: u16, scales: [i8; 16], codes: &Codes) -> Layout {
    let mut block = Layout { low: [0; 128], high: [0; 64], scales, d };
    let halves = codes
        .as_chunks::<128>()
        .0
        .iter()
        .zip(block.low.as_chunks_mut::<64>().0)
        .zip(block.high.as_chunks_mut::<32>().0);
    for ((codes, low), high) in halves {
        for l in 0..32 {
            let [a, b, c, d] = [codes[l], codes[l + 32], codes[l + 64], codes[l + 96]];
            low[l] = a & 15 | c << 4;
            low[l + 32] = b & 15 | d << 4;
            high[l] = a >> 4 | b >> 4 << 2 | c >> 4 << 4 | d >> 4 << 6;
        }
    }
    block
}
