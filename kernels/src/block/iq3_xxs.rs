//! IQ3_XXS: eight sub-blocks of eight lattice points, each of four elements, with a four-bit scale. 3.0625 bits a weight.

use bytemuck::{Pod, Zeroable};

use super::codec::{Block, Input, blocks};
use super::grid::{IQ3_XXS, Lattice};
use super::half::{f16_bits, f16_value};
use super::search::lattice::{OnLattice, Refine, search};
use super::signs::{complete, signed};
use super::super_block::SUPER;
use super::units::{self, OddScales, Unit};
use crate::lanes::{Lanes, Row, each};

const LEN: usize = 32;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Layout {
    d: u16,
    points: [[u8; 8]; 8],
    /// Little-endian, a sub-block each: four times seven signs, then the scale.
    signs_and_scales: [[u8; 4]; 8],
}
const _: () = assert!(size_of::<Layout>() == 98);

pub(super) struct Iq3Xxs;

impl Block for Iq3Xxs {
    const NAME: &'static str = "IQ3_XXS";
    const LEN: usize = SUPER;
    const BYTES: usize = size_of::<Layout>();
    const FALLBACK: Option<&'static str> = Some("IQ4_NL");
    const WEIGHS: bool = true;
    const TOLERANCE: f32 = 0.235;

    #[inline(always)]
    fn encode<L: Lanes>(lanes: L, input: &Input<'_>, out: &mut [u8]) {
        units::encode::<L, Self, LEN>(lanes, input, out, Self::BYTES);
    }

    #[inline(always)]
    fn decode<L: Lanes>(_: L, bytes: &[u8], out: &mut [f32]) {
        for (block, out) in blocks::<Layout, SUPER>(bytes, out) {
            let d = f16_value(block.d);
            let subs = out.as_chunks_mut::<LEN>().0.iter_mut().zip(&block.points).zip(block.signs_and_scales);
            for ((out, points), packed) in subs {
                let packed = u32::from_le_bytes(packed);
                let step = d * (0.5 + (packed >> 28) as f32) * 0.5;
                for (l, (out, point)) in out.as_chunks_mut::<4>().0.iter_mut().zip(points).enumerate() {
                    let signs = complete((packed >> (7 * (l / 2))) as u8 & 127) >> (l % 2 * 4);
                    let point = &IQ3_XXS[usize::from(*point)];
                    *out = each(|i| signed(step * f32::from(point[i]), signs, i));
                }
            }
        }
    }
}

impl OnLattice<LEN, 8> for Iq3Xxs {
    const TRIALS: i8 = 15;
    const STEP: f32 = 0.2;
    const NOTHING: f32 = 1e-8;
    const EVEN_SIGNS: bool = true;
    const REFINE: Refine = Refine::OffLattice;

    fn lattice() -> &'static Lattice {
        Lattice::iq3_xxs()
    }
}

impl Unit<LEN> for Iq3Xxs {
    const LEVEL_FACTOR: f32 = 2.0;

    #[inline(always)]
    fn encode<L: Lanes>(lanes: L, x: &[Row; LEN], w: &[Row; LEN], _: &[f32], out: &mut [u8]) {
        let found = search::<L, Self, LEN, 8>(lanes, x, w);
        for (b, out) in out.as_chunks_mut::<{ Self::BYTES }>().0.iter_mut().enumerate() {
            let scales = OddScales::of(&found.scales[b * 8..][..8], 15);
            let mut block =
                Layout { d: f16_bits(scales.step * 1.0125), points: [[0; 8]; 8], signs_and_scales: [[0; 4]; 8] };
            if scales.any() {
                for (j, points) in block.points.iter_mut().enumerate() {
                    let lane = b * 8 + j;
                    let signs = (0..4).fold(0, |bits, k| bits | u32::from(found.signs[k][lane]) << (7 * k));
                    *points = each(|k| found.points[k][lane] as u8);
                    block.signs_and_scales[j] = (signs | u32::from(scales.codes[j]) << 28).to_le_bytes();
                }
            }
            *out = bytemuck::cast(block);
        }
    }
}
