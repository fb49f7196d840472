//! MXFP4: 32 codes of E2M1 and a power of two. 4.25 bits a weight.

use bytemuck::{Pod, Zeroable};

use super::codec::{Block, Input, blocks};
use super::fp4::{VALUES, codes, largest};
use super::rounder::{self, Points, Rounder, Snapped, Step};
use super::small::{Codes, LEN, halves, joined, pack_nibbles, unpack};
use crate::Isa;
use crate::lanes::{Lanes, each};

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Layout {
    /// E8M0: the scale is 2^(exponent - 127).
    exponent: u8,
    codes: [u8; 16],
}
const _: () = assert!(size_of::<Layout>() == 17);

pub(super) struct Mxfp4;

impl Block for Mxfp4 {
    const NAME: &'static str = "MXFP4";
    const LEN: usize = LEN;
    const BYTES: usize = size_of::<Layout>();
    const FALLBACK: Option<&'static str> = Some("F16");
    const WEIGHS: bool = false;
    const TOLERANCE: f32 = 0.125;

    #[inline(always)]
    fn encode<L: Lanes>(lanes: L, input: &Input<'_>, out: &mut [u8]) {
        for (x, out) in input.values.as_chunks().0.iter().zip(out.as_chunks_mut::<{ Self::BYTES }>().0) {
            let x = halves(lanes, x);
            let size = largest::<L>(&x);
            // Magnitudes below 2^-125 wrap round to huge scales, as they do in llama.cpp; their codes are all 0.
            let exponent = if size > 0.0 { (floor_log2(size) - 2 + 127) as u8 } else { 0 };
            let d = half_scale(exponent);
            let codes = joined([codes(lanes, x[0], size, d), codes(lanes, x[1], size, d)]);
            *out = bytemuck::cast(Layout { exponent, codes: pack_nibbles(&codes) });
        }
    }

    #[inline(always)]
    fn decode<L: Lanes>(_: L, bytes: &[u8], out: &mut [f32]) {
        for (block, out) in blocks::<Layout, LEN>(bytes, out) {
            let d = half_scale(block.exponent);
            let codes = unpack(&block.codes, [0; 4]);
            *out = each(|j| f32::from(VALUES[usize::from(codes[j])]) * d);
        }
    }

    fn rounder(isa: Isa, rows: usize) -> Option<Box<dyn Rounder>> {
        Some(rounder::Of::<Self, LEN>::rounder(isa, rows))
    }
}

impl Snapped<LEN> for Mxfp4 {
    type Layout = Layout;
    const POINTS: Points = Points::E2m1 { even: false, negative_zero: false };

    fn step(block: &Layout, _: usize) -> Step {
        Step { step: half_scale(block.exponent), min: 0.0, low: 0.0 }
    }

    fn codes(block: &Layout) -> Codes {
        unpack(&block.codes, [0; 4])
    }

    fn set_codes(block: &mut Layout, codes: &Codes) {
        block.codes = pack_nibbles(codes);
    }
}

/// 2^(exponent - 128), subnormal for 0 and 1.
#[inline(always)]
fn half_scale(exponent: u8) -> f32 {
    f32::from_bits(if exponent < 2 { 0x0020_0000 << exponent } else { u32::from(exponent - 1) << 23 })
}

/// The floor of the logarithm of a positive number *rounded to single precision*: just below a power of two the
/// logarithm may round up to it, the further from 1 the sooner.
#[inline(always)]
fn floor_log2(x: f32) -> i32 {
    let bits = x.to_bits();
    let (next, missing) = if bits >= 1 << 23 {
        // x = 2^next * (1 - missing)
        ((bits >> 23) as i32 - 126, f64::from((1 << 23) - (bits & 0x007f_ffff)) / f64::from(1 << 24))
    } else {
        let next = 32 - bits.leading_zeros();
        (next as i32 - 149, 1.0 - f64::from(bits) / f64::from(1u32 << next))
    };
    // Half the distance from `next` to the number below it.
    let at = (next as f32).to_bits();
    let below = if next > 0 { at - 1 } else { at + 1 };
    let half_gap = 0.5 * (f64::from(next as f32) - f64::from(f32::from_bits(below)));
    let rounds_up = next != 0 && missing < half_gap * std::f64::consts::LN_2;
    if rounds_up { next } else { next - 1 }
}
