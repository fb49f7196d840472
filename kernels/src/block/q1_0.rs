//! Q1_0: 128 signs and their mean magnitude. 1.125 bits a weight.

use bytemuck::{Pod, Zeroable};

use super::codec::{Block, Input, blocks};
use super::half::{f16_bits, f16_value};
use super::rounder::{self, Parts, Points, Rounder, Snapped, Step};
use super::weights::transposed;
use crate::Isa;
use crate::lanes::{LANES, Lanes, Mask, Row, Vector, each};

const LEN: usize = 128;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Layout {
    d: u16,
    /// Bit `j % 8` of byte `j / 8` is set where element `j` is not negative.
    signs: [u8; 16],
}
const _: () = assert!(size_of::<Layout>() == 18);

pub(super) struct Q1_0;

impl Block for Q1_0 {
    const NAME: &'static str = "Q1_0";
    const LEN: usize = LEN;
    const BYTES: usize = size_of::<Layout>();
    const FALLBACK: Option<&'static str> = None;
    const WEIGHS: bool = false;
    const TOLERANCE: f32 = 0.65;

    #[inline(always)]
    fn encode<L: Lanes>(lanes: L, input: &Input<'_>, out: &mut [u8]) {
        let batches = input.values.chunks(LANES * LEN).zip(out.chunks_mut(LANES * Self::BYTES));
        for (values, out) in batches {
            let means = mean_magnitudes(lanes, values);
            let blocks = values.as_chunks::<LEN>().0.iter().zip(out.as_chunks_mut::<{ Self::BYTES }>().0);
            for ((x, out), mean) in blocks.zip(means) {
                let mut signs = [[0; 2]; LEN / LANES];
                for (x, signs) in x.as_chunks::<LANES>().0.iter().zip(&mut signs) {
                    *signs = (!lanes.load(x).lt(lanes.splat(0.0)).bits()).to_le_bytes();
                }
                *out = bytemuck::cast(Layout { d: f16_bits(mean), signs: bytemuck::cast(signs) });
            }
        }
    }

    #[inline(always)]
    fn decode<L: Lanes>(_: L, bytes: &[u8], out: &mut [f32]) {
        for (block, out) in blocks::<Layout, LEN>(bytes, out) {
            let d = f16_value(block.d);
            for (out, signs) in out.as_chunks_mut::<8>().0.iter_mut().zip(block.signs) {
                *out = each(|j| if signs >> j & 1 == 1 { d } else { -d });
            }
        }
    }

    fn rounder(isa: Isa, rows: usize) -> Option<Box<dyn Rounder>> {
        Some(rounder::Of::<Self, LEN>::rounder(isa, rows))
    }
}

impl Snapped<LEN> for Q1_0 {
    type Layout = Layout;
    const POINTS: Points = Points::Signs;

    fn step(block: &Layout, _: usize) -> Step {
        Step { step: f16_value(block.d), min: 0.0, low: 0.0 }
    }

    fn codes(block: &Layout) -> [u8; LEN] {
        each(|j| block.signs[j / 8] >> (j % 8) & 1)
    }

    fn set_codes(block: &mut Layout, codes: &[u8; LEN]) {
        for (signs, codes) in block.signs.iter_mut().zip(codes.as_chunks::<8>().0) {
            *signs = (0..8).fold(0, |signs, j| signs | codes[j] << j);
        }
    }

    fn parts(block: &Layout) -> Option<Parts> {
        Some(Parts::scale(f16_value(block.d)))
    }

    fn set_parts(block: &mut Layout, parts: &Parts) {
        block.d = f16_bits(parts.d);
    }
}

/// The mean magnitude of each of up to sixteen blocks, summed in order.
#[inline(always)]
fn mean_magnitudes<L: Lanes>(lanes: L, values: &[f32]) -> [f32; LANES] {
    let mut x = [Row::default(); LEN];
    if values.len() == LANES * LEN {
        transposed(lanes, values, &mut x);
    } else {
        let mut padded = [0.0; LANES * LEN];
        padded[..values.len()].copy_from_slice(values);
        transposed(lanes, &padded, &mut x);
    }
    let mut sum = lanes.splat(0.0);
    for x in &x {
        sum = sum + lanes.load(&x.0).abs();
    }
    let mut means = [0.0; LANES];
    (sum / lanes.splat(LEN as f32)).store(&mut means);
    means
}
