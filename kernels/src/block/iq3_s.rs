//! IQ3_S: eight sub-blocks of eight lattice points, each of four elements, with a four-bit scale. 3.4375 bits a weight.

use bytemuck::{Pod, Zeroable};

use super::codec::{Block, Input, blocks};
use super::grid::{IQ3_S, Lattice};
use super::half::{f16_bits, f16_value};
use super::search::lattice::{OnLattice, Refine, search};
use super::signs::signed;
use super::super_block::SUPER;
use super::units::{self, OddScales, Unit};
use crate::lanes::{Lanes, Row, each};

const LEN: usize = 32;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Layout {
    d: u16,
    /// Eight low bits of the indices.
    points: [[u8; 8]; 8],
    /// The ninth bits, a sub-block a byte.
    points_high: [u8; 8],
    signs: [[u8; 4]; 8],
    /// Two scales a byte, the lower nibble first.
    scales: [u8; 4],
}
const _: () = assert!(size_of::<Layout>() == 110);

pub(super) struct Iq3S;

impl Block for Iq3S {
    const NAME: &'static str = "IQ3_S";
    const LEN: usize = SUPER;
    const BYTES: usize = size_of::<Layout>();
    const FALLBACK: Option<&'static str> = Some("IQ4_NL");
    const WEIGHS: bool = true;
    const TOLERANCE: f32 = 0.18;

    #[inline(always)]
    fn encode<L: Lanes>(lanes: L, input: &Input<'_>, out: &mut [u8]) {
        units::encode::<L, Self, LEN>(lanes, input, out, Self::BYTES);
    }

    #[inline(always)]
    fn decode<L: Lanes>(_: L, bytes: &[u8], out: &mut [f32]) {
        for (block, out) in blocks::<Layout, SUPER>(bytes, out) {
            let d = f16_value(block.d);
            for (j, out) in out.as_chunks_mut::<LEN>().0.iter_mut().enumerate() {
                let step = d * (1.0 + 2.0 * f32::from(block.scales[j / 2] >> (j % 2 * 4) & 15));
                for (l, out) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                    let high = usize::from(block.points_high[j] >> l & 1);
                    let point = &IQ3_S[usize::from(block.points[j][l]) | high << 8];
                    let signs = block.signs[j][l / 2] >> (l % 2 * 4);
                    *out = each(|i| signed(step * f32::from(point[i]), signs, i));
                }
            }
        }
    }
}

impl OnLattice<LEN, 8> for Iq3S {
    const TRIALS: i8 = 9;
    const STEP: f32 = 0.2;
    /// Only zeros.
    const NOTHING: f32 = f32::from_bits(1);
    const EVEN_SIGNS: bool = false;
    const REFINE: Refine = Refine::AllIfAnyOff;

    fn lattice() -> &'static Lattice {
        Lattice::iq3_s()
    }
}

impl Unit<LEN> for Iq3S {
    const LEVEL_FACTOR: f32 = 2.0;

    #[inline(always)]
    fn encode<L: Lanes>(lanes: L, x: &[Row; LEN], w: &[Row; LEN], _: &[f32], out: &mut [u8]) {
        let found = search::<L, Self, LEN, 8>(lanes, x, w);
        for (b, out) in out.as_chunks_mut::<{ Self::BYTES }>().0.iter_mut().enumerate() {
            let scales = OddScales::of(&found.scales[b * 8..][..8], 15);
            let mut block = Layout {
                d: f16_bits(scales.step * 1.033),
                points: [[0; 8]; 8],
                points_high: [0; 8],
                signs: [[0; 4]; 8],
                scales: each(|i| scales.codes[2 * i] | scales.codes[2 * i + 1] << 4),
            };
            // llama.cpp does not move on past a sub-block of zeros, so what follows in its block stands one place early
            // (and decodes wrongly). Files must be equal, this included.
            let mut place = 0;
            for j in 0..8 {
                let lane = b * 8 + j;
                if found.alive >> lane & 1 == 1 {
                    block.points[place] = each(|k| found.points[k][lane] as u8);
                    block.signs[place] = each(|k| found.signs[k][lane]);
                    block.points_high[j] = (0..8).fold(0, |bits, k| bits | ((found.points[k][lane] >> 8) as u8) << k);
                    place += 1;
                }
            }
            *out = bytemuck::cast(block);
        }
    }
}
