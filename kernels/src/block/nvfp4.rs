//! NVFP4: four sub-blocks of 16 codes of E2M1, each with a scale of E4M3. 4.5 bits a weight.
//!
//! The checkpoints' scale for the whole tensor is not part of the block: it travels as a tensor of its own.

use bytemuck::{Pod, Zeroable};

use super::codec::{Block, Input, blocks};
use super::fp4::{VALUES, codes, largest};
use super::rounder::{self, Points, Rounder, Snapped, Step};
use crate::Isa;
use crate::lanes::{LANES, Lanes, each};

const LEN: usize = 64;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Layout {
    /// E4M3 without its sign.
    scales: [u8; 4],
    /// Byte `j` of a sub-block holds its elements `j` and `j + 8`.
    codes: [[u8; 8]; 4],
}
const _: () = assert!(size_of::<Layout>() == 36);

pub(super) struct Nvfp4;

impl Block for Nvfp4 {
    const NAME: &'static str = "NVFP4";
    const LEN: usize = LEN;
    const BYTES: usize = size_of::<Layout>();
    const FALLBACK: Option<&'static str> = None;
    const WEIGHS: bool = false;
    const TOLERANCE: f32 = 0.115;

    #[inline(always)]
    fn encode<L: Lanes>(lanes: L, input: &Input<'_>, out: &mut [u8]) {
        for (x, out) in input.values.as_chunks::<LEN>().0.iter().zip(out.as_chunks_mut::<{ Self::BYTES }>().0) {
            let mut block = Layout { scales: [0; 4], codes: [[0; 8]; 4] };
            for ((x, scale), packed) in x.as_chunks::<LANES>().0.iter().zip(&mut block.scales).zip(&mut block.codes) {
                let x = lanes.load(x);
                let size = largest::<L>(&[x]);
                *scale = to_e4m3(size / 6.0);
                *packed = pack(&codes(lanes, x, size, half_value(*scale)));
            }
            *out = bytemuck::cast(block);
        }
    }

    #[inline(always)]
    fn decode<L: Lanes>(_: L, bytes: &[u8], out: &mut [f32]) {
        for (block, out) in blocks::<Layout, LEN>(bytes, out) {
            let subs = out.as_chunks_mut::<16>().0.iter_mut().zip(&block.codes).zip(block.scales);
            for ((out, codes), scale) in subs {
                let d = half_value(scale);
                *out = each(|j| f32::from(VALUES[usize::from(codes[j % 8] >> (j / 8 * 4) & 15)]) * d);
            }
        }
    }

    fn rounder(isa: Isa, rows: usize) -> Option<Box<dyn Rounder>> {
        Some(rounder::Of::<Self, LEN>::rounder(isa, rows))
    }
}

impl Snapped<LEN> for Nvfp4 {
    type Layout = Layout;
    const POINTS: Points = Points::E2m1 { even: false, negative_zero: false };
    const SUB: usize = LANES;

    fn step(block: &Layout, sub: usize) -> Step {
        Step { step: half_value(block.scales[sub]), min: 0.0, low: 0.0 }
    }

    fn codes(block: &Layout) -> [u8; LEN] {
        each(|i| block.codes[i / 16][i % 8] >> (i % 16 / 8 * 4) & 15)
    }

    fn set_codes(block: &mut Layout, codes: &[u8; LEN]) {
        for (packed, codes) in block.codes.iter_mut().zip(codes.as_chunks::<LANES>().0) {
            *packed = pack(codes);
        }
    }
}

#[inline(always)]
fn pack(codes: &[u8; LANES]) -> [u8; 8] {
    each(|j| codes[j] | codes[j + 8] << 4)
}

/// Half of the number that the bits stand for; 0 for the NaN.
#[inline(always)]
fn half_value(bits: u8) -> f32 {
    let (exponent, mantissa) = (bits >> 3 & 15, bits & 7);
    if bits == 0x7f {
        0.0
    } else if exponent == 0 {
        f32::from(mantissa) / 1024.0
    } else {
        // 2^(exponent - 7 - 1), mantissa on top.
        f32::from_bits((u32::from(exponent) + 119) << 23 | u32::from(mantissa) << 20)
    }
}

/// Rounds a number that is not negative, half up. All from 248 on gives 448, the largest, as it does in llama.cpp.
#[inline(always)]
fn to_e4m3(v: f32) -> u8 {
    if v < 0.015625 {
        // Below 2^-6 in steps of 2^-9; what rounds to 2^-6 stays below it.
        return ((v * 512.0 + 0.5) as u8).min(7);
    }
    // The exponent's bias goes from 127 to 7; a carry out of the mantissa is right as it is.
    let bits = (v.to_bits() - (120 << 23) + (1 << 19)) >> 20;
    if bits < 0x78 { bits as u8 } else { 0x7e }
}
