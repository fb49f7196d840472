//! IQ2_XXS: eight sub-blocks of four lattice points, each of eight elements, with a four-bit scale. 2.0625 bits a weight.

use bytemuck::{Pod, Zeroable};

use super::codec::{Block, Input, blocks};
use super::grid::{IQ2_XXS, Lattice};
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
    subs: [Sub; 8],
}
const _: () = assert!(size_of::<Layout>() == 66);

#[derive(Clone, Copy, Default, Pod, Zeroable)]
#[repr(C)]
struct Sub {
    points: [u8; 4],
    /// Little-endian: four times seven signs, then the scale.
    signs_and_scale: [u8; 4],
}

pub(super) struct Iq2Xxs;

impl Block for Iq2Xxs {
    const NAME: &'static str = "IQ2_XXS";
    const LEN: usize = SUPER;
    const BYTES: usize = size_of::<Layout>();
    const FALLBACK: Option<&'static str> = Some("IQ4_NL");
    const WEIGHS: bool = true;
    const NEEDS_IMPORTANCE: bool = true;
    const TOLERANCE: f32 = 0.41;

    #[inline(always)]
    fn encode<L: Lanes>(lanes: L, input: &Input<'_>, out: &mut [u8]) {
        units::encode::<L, Self, LEN>(lanes, input, out, Self::BYTES);
    }

    #[inline(always)]
    fn decode<L: Lanes>(_: L, bytes: &[u8], out: &mut [f32]) {
        for (block, out) in blocks::<Layout, SUPER>(bytes, out) {
            let d = f16_value(block.d);
            for (out, sub) in out.as_chunks_mut::<LEN>().0.iter_mut().zip(&block.subs) {
                let packed = u32::from_le_bytes(sub.signs_and_scale);
                let step = d * (0.5 + (packed >> 28) as f32) * 0.25;
                for (l, (out, point)) in out.as_chunks_mut::<8>().0.iter_mut().zip(sub.points).enumerate() {
                    let (point, signs) = (&IQ2_XXS[usize::from(point)], complete((packed >> (7 * l)) as u8 & 127));
                    *out = each(|i| signed(step * f32::from(point[i]), signs, i));
                }
            }
        }
    }
}

impl OnLattice<LEN, 4> for Iq2Xxs {
    const TRIALS: i8 = 6;
    const STEP: f32 = 0.1;
    const EVEN_SIGNS: bool = true;
    const PLAIN_FIRST: bool = true;
    const REFINE: Refine = Refine::All;

    fn lattice() -> &'static Lattice {
        Lattice::iq2_xxs()
    }
}

impl Unit<LEN> for Iq2Xxs {
    const LEVEL_FACTOR: f32 = 1.0;

    #[inline(always)]
    fn encode<L: Lanes>(lanes: L, x: &[Row; LEN], w: &[Row; LEN], _: &[f32], out: &mut [u8]) {
        let found = search::<L, Self, LEN, 4>(lanes, x, w);
        for (b, out) in out.as_chunks_mut::<{ Self::BYTES }>().0.iter_mut().enumerate() {
            let scales = OddScales::of(&found.scales[b * 8..][..8], 15);
            let mut block = Layout { d: f16_bits(scales.step), subs: [Sub::default(); 8] };
            if scales.any() {
                for (j, sub) in block.subs.iter_mut().enumerate() {
                    let lane = b * 8 + j;
                    let signs = (0..4).fold(0, |bits, k| bits | u32::from(found.signs[k][lane]) << (7 * k));
                    sub.points = each(|k| found.points[k][lane] as u8);
                    sub.signs_and_scale = (signs | u32::from(scales.codes[j]) << 28).to_le_bytes();
                }
            }
            *out = bytemuck::cast(block);
        }
    }
}
