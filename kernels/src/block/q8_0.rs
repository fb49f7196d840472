//! Q8_0: 32 signed bytes and a scale. 8.5 bits a weight.

use bytemuck::{Pod, Zeroable};

use super::codec::{Block, Input, blocks};
use super::half::{f16_bits, f16_value};
use super::rounder::{self, Parts, Points, Rounder, Snapped, Step, Ties};
use super::small::{Codes, LEN, halves, inverse, joined};
use crate::Isa;
use crate::lanes::{Lanes, Vector, each};

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Layout {
    d: u16,
    codes: [i8; 32],
}
const _: () = assert!(size_of::<Layout>() == 34);

pub(super) struct Q8_0;

/// The largest number below 0.5: adding it before cutting rounds half away from zero.
const BELOW_HALF: f32 = 0.49999997;

impl Block for Q8_0 {
    const NAME: &'static str = "Q8_0";
    const LEN: usize = LEN;
    const BYTES: usize = size_of::<Layout>();
    const FALLBACK: Option<&'static str> = Some("F16");
    const WEIGHS: bool = false;
    const TOLERANCE: f32 = 0.0075;

    #[inline(always)]
    fn encode<L: Lanes>(lanes: L, input: &Input<'_>, out: &mut [u8]) {
        let zero = lanes.splat(0.0);
        let (up, down) = (lanes.splat(BELOW_HALF), lanes.splat(-BELOW_HALF));
        for (x, out) in input.values.as_chunks().0.iter().zip(out.as_chunks_mut::<{ Self::BYTES }>().0) {
            let [a, b] = halves(lanes, x);
            let d = a.abs().max(b.abs()).reduce_max() / 127.0;
            let inv = lanes.splat(inverse(d));
            let (a, b) = (a * inv, b * inv);
            let a = a + L::F::select(a.lt(zero), down, up);
            let b = b + L::F::select(b.lt(zero), down, up);
            let codes = joined([a.to_bytes(), b.to_bytes()]);
            *out = bytemuck::cast(Layout { d: f16_bits(d), codes: bytemuck::cast(codes) });
        }
    }

    #[inline(always)]
    fn decode<L: Lanes>(_: L, bytes: &[u8], out: &mut [f32]) {
        for (block, out) in blocks::<Layout, LEN>(bytes, out) {
            let d = f16_value(block.d);
            *out = each(|j| f32::from(block.codes[j]) * d);
        }
    }

    fn rounder(isa: Isa, rows: usize) -> Option<Box<dyn Rounder>> {
        Some(rounder::Of::<Self, LEN>::rounder(isa, rows))
    }
}

impl Snapped<LEN> for Q8_0 {
    type Layout = Layout;
    const POINTS: Points = Points::Uniform { span: 255, ties: Ties::Away };

    fn step(block: &Layout, _: usize) -> Step {
        Step { step: f16_value(block.d), min: 0.0, low: -128.0 }
    }

    fn codes(block: &Layout) -> Codes {
        block.codes.map(|code| (code as u8).wrapping_add(128))
    }

    fn set_codes(block: &mut Layout, codes: &Codes) {
        block.codes = codes.map(|code| code.wrapping_sub(128) as i8);
    }

    fn parts(block: &Layout) -> Option<Parts> {
        Some(Parts::scale(f16_value(block.d)))
    }

    fn set_parts(block: &mut Layout, parts: &Parts) {
        block.d = f16_bits(parts.d);
    }
}
