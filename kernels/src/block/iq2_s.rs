//! IQ2_S: sixteen sub-blocks of two lattice points, each of eight elements, with a four-bit scale. 2.5625 bits a weight.

use bytemuck::{Pod, Zeroable};

use super::codec::{Block, Input, blocks};
use super::grid::{IQ2_S, Lattice};
use super::half::{f16_bits, f16_value};
use super::search::lattice::{OnLattice, Refine, search};
use super::signs::signed;
use super::super_block::SUPER;
use super::units::{self, OddScales, Unit};
use crate::lanes::{Lanes, Row, Vector, each};

const LEN: usize = 16;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Layout {
    d: u16,
    /// Eight low bits of the indices.
    points: [u8; 32],
    signs: [u8; 32],
    /// Two high bits of four indices a byte.
    points_high: [u8; 8],
    /// Two scales a byte, the lower nibble first.
    scales: [u8; 8],
}
const _: () = assert!(size_of::<Layout>() == 82);

pub(super) struct Iq2S;

impl Block for Iq2S {
    const NAME: &'static str = "IQ2_S";
    const LEN: usize = SUPER;
    const BYTES: usize = size_of::<Layout>();
    const FALLBACK: Option<&'static str> = Some("IQ4_NL");
    const WEIGHS: bool = true;
    const TOLERANCE: f32 = 0.29;

    #[inline(always)]
    fn encode<L: Lanes>(lanes: L, input: &Input<'_>, out: &mut [u8]) {
        units::encode::<L, Self, LEN>(lanes, input, out, Self::BYTES);
    }

    #[inline(always)]
    fn decode<L: Lanes>(_: L, bytes: &[u8], out: &mut [f32]) {
        for (block, out) in blocks::<Layout, SUPER>(bytes, out) {
            let d = f16_value(block.d);
            for (l, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                let scale = block.scales[l / 4] >> (l % 4 / 2 * 4) & 15;
                let step = d * (0.5 + f32::from(scale)) * 0.25;
                let high = usize::from(block.points_high[l / 4] >> (l % 4 * 2) & 3);
                let (point, signs) = (&IQ2_S[usize::from(block.points[l]) | high << 8], block.signs[l]);
                *out = each(|i| signed(step * f32::from(point[i]), signs, i));
            }
        }
    }
}

impl OnLattice<LEN, 2> for Iq2S {
    const TRIALS: i8 = 9;
    const STEP: f32 = 0.1;
    const NOTHING: f32 = 1e-8;
    const EVEN_SIGNS: bool = false;
    const REFINE: Refine = Refine::OffLattice;

    fn lattice() -> &'static Lattice {
        Lattice::iq2_s()
    }
}

impl Unit<LEN> for Iq2S {
    const LEVEL_FACTOR: f32 = 2.0;

    #[inline(always)]
    fn plain_weights<L: Lanes>(lanes: L, level: L::F, x: &[Row; LEN], w: &mut [Row; LEN]) {
        let level = lanes.splat(0.25) * level;
        for (x, w) in x.iter().zip(w) {
            let x = lanes.load(&x.0);
            (level + x * x).store(&mut w.0);
        }
    }

    #[inline(always)]
    fn encode<L: Lanes>(lanes: L, x: &[Row; LEN], w: &[Row; LEN], _: &[f32], out: &mut [u8]) {
        let found = search::<L, Self, LEN, 2>(lanes, x, w);
        let scales = OddScales::of(&found.scales, 15);
        let index = |l: usize| found.points[l % 2][l / 2];
        let mut block = Layout {
            d: f16_bits(scales.step * 0.9875),
            points: each(|l| index(l) as u8),
            signs: each(|l| found.signs[l % 2][l / 2]),
            points_high: [0; 8],
            scales: scales.nibbles(),
        };
        for l in 0..32 {
            block.points_high[l / 4] |= ((index(l) >> 8) as u8) << (l % 4 * 2);
        }
        out.copy_from_slice(bytemuck::bytes_of(&block));
    }
}
