//! IQ2_XS: sixteen sub-blocks of two lattice points, each of eight elements, with a four-bit scale. 2.3125 bits a weight.

use bytemuck::{Pod, Zeroable};

use super::codec::{Block, Input, blocks};
use super::grid::{IQ2_XS, Lattice};
use super::half::{f16_bits, f16_value};
use super::search::lattice::{OnLattice, Refine, search};
use super::signs::{complete, signed};
use super::super_block::SUPER;
use super::units::{self, OddScales, Unit};
use crate::lanes::{Lanes, Row, each};

const LEN: usize = 16;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Layout {
    d: u16,
    /// Nine bits of index, seven signs.
    points: [u16; 32],
    /// Two scales a byte, the lower nibble first.
    scales: [u8; 8],
}
const _: () = assert!(size_of::<Layout>() == 74);

pub(super) struct Iq2Xs;

impl Block for Iq2Xs {
    const NAME: &'static str = "IQ2_XS";
    const LEN: usize = SUPER;
    const BYTES: usize = size_of::<Layout>();
    const FALLBACK: Option<&'static str> = Some("IQ4_NL");
    const WEIGHS: bool = true;
    const NEEDS_IMPORTANCE: bool = true;
    const TOLERANCE: f32 = 0.36;

    #[inline(always)]
    fn encode<L: Lanes>(lanes: L, input: &Input<'_>, out: &mut [u8]) {
        units::encode::<L, Self, LEN>(lanes, input, out, Self::BYTES);
    }

    #[inline(always)]
    fn decode<L: Lanes>(_: L, bytes: &[u8], out: &mut [f32]) {
        for (block, out) in blocks::<Layout, SUPER>(bytes, out) {
            let d = f16_value(block.d);
            for (l, (out, packed)) in out.as_chunks_mut::<8>().0.iter_mut().zip(block.points).enumerate() {
                let scale = block.scales[l / 4] >> (l % 4 / 2 * 4) & 15;
                let step = d * (0.5 + f32::from(scale)) * 0.25;
                let (point, signs) = (&IQ2_XS[usize::from(packed & 511)], complete((packed >> 9) as u8));
                *out = each(|i| signed(step * f32::from(point[i]), signs, i));
            }
        }
    }
}

impl OnLattice<LEN, 2> for Iq2Xs {
    const TRIALS: i8 = 9;
    const STEP: f32 = 0.1;
    const EVEN_SIGNS: bool = true;
    const REFINE: Refine = Refine::OffLattice;

    fn lattice() -> &'static Lattice {
        Lattice::iq2_xs()
    }
}

impl Unit<LEN> for Iq2Xs {
    const LEVEL_FACTOR: f32 = 1.0;

    #[inline(always)]
    fn encode<L: Lanes>(lanes: L, x: &[Row; LEN], w: &[Row; LEN], _: &[f32], out: &mut [u8]) {
        let found = search::<L, Self, LEN, 2>(lanes, x, w);
        let scales = OddScales::of(&found.scales, 15);
        let mut block = Layout { d: f16_bits(scales.step), points: [0; 32], scales: scales.nibbles() };
        if scales.any() {
            block.points = each(|l| found.points[l % 2][l / 2] | u16::from(found.signs[l % 2][l / 2]) << 9);
        }
        out.copy_from_slice(bytemuck::bytes_of(&block));
    }
}
