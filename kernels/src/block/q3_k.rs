//! Q3_K: sixteen sub-blocks of 16, each with a six-bit scale. 3.4375 bits a weight.

use bytemuck::{Pod, Zeroable};

use super::codec::{Block, Input, blocks};
use super::half::{f16_bits, f16_value};
use super::rounder::{self, Parts, Points, Rounder, Snapped, Step, Ties};
use super::search::{Fit, GROUPS, Groups, Levels, descent, nearest_codes, step, symmetric};
use super::super_block::{
    Codes, Fits, SUPER, Searched, column, encode, pack_bits, pack_two_bits, unpack_bits, unpack_two_bits,
};
use super::weights::transposed;
use crate::Isa;
use crate::lanes::{LANES, Lanes, Row, Vector, each};

/// 256 high bits, 256 pairs of low bits, 16 six-bit scales, their scale.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Layout {
    high: [u8; 32],
    codes: [u8; 64],
    scales: [u8; 12],
    d: u16,
}
const _: () = assert!(size_of::<Layout>() == 110);

pub(super) struct Q3K;

const LEVELS: Levels = Levels::around_zero(4);
const SCALE_LEVELS: Levels = Levels::around_zero(32);

impl Block for Q3K {
    const NAME: &'static str = "Q3_K";
    const LEN: usize = SUPER;
    const BYTES: usize = size_of::<Layout>();
    const FALLBACK: Option<&'static str> = Some("Q4_0");
    const WEIGHS: bool = true;
    const TOLERANCE: f32 = 0.18;

    #[inline(always)]
    fn encode<L: Lanes>(lanes: L, input: &Input<'_>, out: &mut [u8]) {
        if input.importance.is_some() {
            encode::<L, Self, 16>(lanes, input, out, Self::BYTES);
        } else {
            encode_plain(lanes, input.values, out);
        }
    }

    #[inline(always)]
    fn decode<L: Lanes>(_: L, bytes: &[u8], out: &mut [f32]) {
        for (block, out) in blocks::<Layout, SUPER>(bytes, out) {
            let d = f16_value(block.d);
            for (j, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
                let step = d * f32::from(unpack_scale(&block.scales, j));
                let (half, shift, at) = (j / 8, j % 8 / 2 * 2, j % 2 * 16);
                let codes = &block.codes[half * 32 + at..][..16];
                let high = &block.high[at..][..16];
                for ((out, code), high) in out.iter_mut().zip(codes).zip(high) {
                    let code = code >> shift & 3 | (high >> (j / 2) & 1) << 2;
                    *out = step * f32::from(code as i8 - 4);
                }
            }
        }
    }

    fn rounder(isa: Isa, rows: usize) -> Option<Box<dyn Rounder>> {
        Some(rounder::Of::<Self, SUPER>::rounder(isa, rows))
    }
}

impl Snapped<SUPER> for Q3K {
    type Layout = Layout;
    const POINTS: Points = Points::Uniform { span: 7, ties: Ties::Even };
    const SUB: usize = 16;

    fn step(block: &Layout, sub: usize) -> Step {
        Step { step: f16_value(block.d) * f32::from(unpack_scale(&block.scales, sub)), min: 0.0, low: -4.0 }
    }

    fn codes(block: &Layout) -> Codes {
        let mut codes = unpack_two_bits(&block.codes);
        unpack_bits(&block.high, 2, &mut codes);
        codes
    }

    fn set_codes(block: &mut Layout, codes: &Codes) {
        block.high = [0; 32];
        pack_two_bits(codes, &mut block.codes);
        pack_bits(codes, 2, &mut block.high);
    }

    fn parts(block: &Layout) -> Option<Parts> {
        let scales = each(|j| i16::from(unpack_scale(&block.scales, j)));
        Some(Parts { scales, ranges: [(-32, 31), (0, 0)], ..Parts::scale(f16_value(block.d)) })
    }

    fn set_parts(block: &mut Layout, parts: &Parts) {
        block.d = f16_bits(parts.d);
        block.scales = pack_scales(&parts.scales.map(|scale| (scale + 32) as u8));
    }
}

/// Bytes 0-7: low nibbles of scales 0-7 and 8-15; bytes 8-11: high bit pairs, four scales apart.
#[inline(always)]
fn pack_scales(scales: &[u8; 16]) -> [u8; 12] {
    let mut out = [0; 12];
    for (j, scale) in scales.iter().enumerate() {
        out[j % 8] |= (scale & 15) << (j / 8 * 4);
        out[8 + j % 4] |= scale >> 4 << (j / 4 * 2);
    }
    out
}

#[inline(always)]
fn unpack_scale(packed: &[u8; 12], j: usize) -> i8 {
    (packed[j % 8] >> (j / 8 * 4) & 15 | (packed[8 + j % 4] >> (j / 4 * 2) & 3) << 4) as i8 - 32
}

#[inline(always)]
fn pack(d: u16, scales: &[u8; 16], codes: &Codes) -> Layout {
    let mut block = Layout { high: [0; 32], codes: [0; 64], scales: pack_scales(scales), d };
    pack_two_bits(codes, &mut block.codes);
    pack_bits(codes, 2, &mut block.high);
    block
}

impl Searched<16> for Q3K {
    const LEVELS: Levels = LEVELS;
    const LEVEL_FACTOR: f32 = 2.0;

    #[inline(always)]
    fn plain_weights<L: Lanes>(lanes: L, x: &[Row; 16], w: &mut [Row; 16]) {
        for (x, w) in x.iter().zip(w) {
            let x = lanes.load(&x.0);
            (x * x).store(&mut w.0);
        }
    }

    #[inline(always)]
    fn search<L: Lanes>(
        lanes: L,
        x: &Groups<16>,
        w: &Groups<16>,
        _: bool,
        scratch: &mut Groups<16>,
        found: &mut [Fit; GROUPS],
    ) {
        symmetric::search_groups(lanes, x, w, LEVELS, scratch, found);
    }

    #[inline(always)]
    fn finish<L: Lanes>(lanes: L, x: &[f32], fits: &Fits, _: bool, out: &mut [u8]) {
        let scale = fits.by_super_block::<L, 16>(lanes, |fit| &fit.scale);
        let weight = fits.by_super_block::<L, 16>(lanes, |fit| &fit.weight);
        let (mut wx, mut found) = ([Row::default(); LANES], Fit::default());
        lanes.apart(symmetric::Search { x: &scale, w: &weight, levels: SCALE_LEVELS, wx: &mut wx, found: &mut found });
        let mut d_bits = [0; LANES];
        lanes.load(&found.scale.0).store_f16(&mut d_bits);
        let inv = lanes.load(&found.inv.0);
        let low = lanes.splat(SCALE_LEVELS.low);
        let zero = lanes.splat(0.0);
        let nothing = inv.eq(zero);
        let mut scale_codes = [[0; LANES]; LANES];
        for (scale, code) in scale.iter().zip(&mut scale_codes) {
            let level = (inv * lanes.load(&scale.0)).nearest_int();
            let level = level.max(low).min(lanes.splat(SCALE_LEVELS.high));
            *code = L::F::select(nothing, zero, level - low).to_bytes();
        }
        for (s, (x, out)) in x.chunks_exact(SUPER).zip(out.as_chunks_mut::<{ Self::BYTES }>().0).enumerate() {
            let (d, scales) = (d_bits[s], column(&scale_codes, s));
            let codes = fits.codes::<L, 16>(lanes, s, x, LEVELS, |sub| (step(d, scales[sub] as i8 - 32), 0.0));
            *out = bytemuck::cast(pack(d, &scales, &codes));
        }
    }
}

/// Without importance: coordinate descent a sub-block, and the largest scale decides theirs.
#[inline(always)]
fn encode_plain<L: Lanes>(lanes: L, values: &[f32], out: &mut [u8]) {
    let (mut rows, mut kept) = ([Row::default(); 16], [Row::default(); 16]);
    for (x, out) in values.chunks_exact(SUPER).zip(out.as_chunks_mut::<{ Q3K::BYTES }>().0) {
        transposed(lanes, x, &mut rows);
        let found = descent::search(lanes, &rows, LEVELS, &mut kept);
        let mut scales = [0.0; LANES];
        found.store(&mut scales);
        let (mut max, mut size) = (0.0, 0.0);
        for scale in scales {
            if scale.abs() > size {
                (max, size) = (scale, scale.abs());
            }
        }
        let (mut d, mut scale_codes) = (0, [0; 16]);
        if max != 0.0 {
            let inv = -32.0 / max;
            d = f16_bits(1.0 / inv);
            let (low, high) = (lanes.splat(SCALE_LEVELS.low), lanes.splat(SCALE_LEVELS.high));
            scale_codes = ((lanes.splat(inv) * found).nearest_int().min(high).max(low) - low).to_bytes();
        }
        let mut codes = [0; SUPER];
        let chunks = x.as_chunks::<LANES>().0.iter().zip(codes.as_chunks_mut::<LANES>().0);
        for (j, (x, codes)) in chunks.enumerate() {
            let step = step(d, scale_codes[j] as i8 - 32);
            *codes =
                if step == 0.0 { each(|i| kept[i].0[j] as u8) } else { nearest_codes(lanes, x, step, 0.0, LEVELS) };
        }
        *out = bytemuck::cast(pack(d, &scale_codes, &codes));
    }
}
