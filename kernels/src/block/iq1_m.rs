//! IQ1_M: sixteen sub-blocks of two lattice points, each of eight elements and moved by an eighth up or down, with a
//! three-bit scale. 1.75 bits a weight.

use bytemuck::{Pod, Zeroable};

use super::codec::{Block, Input, blocks};
use super::grid::IQ1;
use super::half::{f16_bits, f16_value};
use super::search::splits::{Best, Cuts, DOWN, Found, Sort, Sorted, UP, largest, levels_of, settle};
use super::super_block::SUPER;
use super::units::{self, OddScales, Unit};
use crate::lanes::{LANES, Lanes, Mask, Row, Vector, each};

const LEN: usize = 16;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Layout {
    /// Eight low bits of the indices.
    points: [[u8; 2]; 16],
    /// For each of the two points three high bits of its index, and whether its levels are moved down.
    high: [u8; 16],
    /// Four scales of three bits each, and on top four bits of `d`, the lowest first.
    scales: [u16; 4],
}
const _: () = assert!(size_of::<Layout>() == 56);

pub(super) struct Iq1M;

impl Block for Iq1M {
    const NAME: &'static str = "IQ1_M";
    const LEN: usize = SUPER;
    const BYTES: usize = size_of::<Layout>();
    const FALLBACK: Option<&'static str> = Some("IQ4_NL");
    const WEIGHS: bool = true;
    const TOLERANCE: f32 = 0.64;

    #[inline(always)]
    fn encode<L: Lanes>(lanes: L, input: &Input<'_>, out: &mut [u8]) {
        units::encode::<L, Self, LEN>(lanes, input, out, Self::BYTES);
    }

    #[inline(always)]
    fn decode<L: Lanes>(_: L, bytes: &[u8], out: &mut [f32]) {
        for (block, out) in blocks::<Layout, SUPER>(bytes, out) {
            let d = block.scales.iter().enumerate().fold(0, |d, (i, packed)| d | packed >> 12 << (4 * i));
            let d = f16_value(d);
            for (l, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                let (j, half) = (l / 2, l % 2);
                let step = d * f32::from(2 * (block.scales[j / 4] >> (3 * (j % 4)) & 7) + 1);
                let high = block.high[j] >> (4 * half);
                let moved = if high >> 3 & 1 == 1 { -0.125 } else { 0.125 };
                let point = &IQ1[usize::from(block.points[j][half]) | usize::from(high & 7) << 8];
                *out = each(|i| step * (f32::from(point[i]) + moved));
            }
        }
    }
}

impl Unit<LEN> for Iq1M {
    const LEVEL_FACTOR: f32 = 2.0;

    #[inline(always)]
    fn encode<L: Lanes>(lanes: L, x: &[Row; LEN], w: &[Row; LEN], _: &[f32], out: &mut [u8]) {
        let nothing = largest(lanes, x).lt(lanes.splat(1e-7));
        let sorted = lanes.apart(Sort(x));
        let cuts = cut(lanes, &sorted, &sorted.ordered(x), &sorted.ordered(w));
        let found = settle::<L, LEN, 2>(lanes, x, w, &sorted, cuts, nothing);
        let scales = OddScales::of(&found.scales, 7);
        let mut block = Layout {
            points: each(|j| [found.points[0][j] as u8, found.points[1][j] as u8]),
            high: each(|j| (found.points[0][j] >> 8 | found.points[1][j] >> 8 << 4) as u8),
            scales: [0; 4],
        };
        if scales.any() {
            let d = f16_bits(refit(x, w, &found, &scales) * 1.1125);
            for j in 0..LANES {
                block.high[j] |= (found.down[j] & 1) << 3 | (found.down[j] >> 1) << 7;
                block.scales[j / 4] |= u16::from(scales.codes[j]) << (3 * (j % 4));
            }
            for (i, packed) in block.scales.iter_mut().enumerate() {
                *packed |= (d >> (4 * i) & 15) << 12;
            }
        }
        out.copy_from_slice(bytemuck::bytes_of(&block));
    }
}

/// The step that suits all codes of the super-block best.
#[inline(always)]
fn refit(x: &[Row; LEN], w: &[Row; LEN], found: &Found<2>, scales: &OddScales) -> f32 {
    let (mut sum_qx, mut sum_q2) = (0.0, 0.0);
    for lane in 0..LANES {
        let multiple = f32::from(2 * scales.codes[lane] + 1);
        for (i, (x, w)) in x.iter().zip(w).enumerate() {
            let group = i / 8;
            let point = IQ1[usize::from(found.points[group][lane])][i % 8];
            let q = levels_of(found.down[lane], group, 2)[(point + 1) as usize] * multiple;
            sum_qx += w.0[lane] * q * x.0[lane];
            sum_q2 += w.0[lane] * q * q;
        }
    }
    if sum_q2 > 0.0 { sum_qx / sum_q2 } else { scales.step }
}

/// Sums before a cut, for one half of the sub-block.
#[derive(Clone, Copy, Default)]
struct Part {
    /// Of `w * x`.
    x: Row,
    /// What the cut adds to the sum of `w * level * level` as the first and as the second of the pair, moved up and down.
    first: [Row; 2],
    second: [Row; 2],
}

/// The best pair of cuts, the first of equals; each half of a sub-block has its own move.
#[inline(always)]
fn cut<L: Lanes>(lanes: L, sorted: &Sorted<LEN>, x: &[Row; LEN], w: &[Row; LEN]) -> Cuts<L::F> {
    let zero = lanes.splat(0.0);
    let mut parts = [[Part::default(); LEN + 1]; 2];
    let mut whole_x = [[zero; 2]; 2];
    for (half, parts) in parts.iter_mut().enumerate() {
        let mut sums = [(zero, zero); LEN + 1];
        for i in 0..LEN {
            let here: [f32; LANES] = each(|lane| f32::from((sorted.order[i][lane] >= 8) == (half == 1)));
            let here = lanes.load(&here).gt(zero);
            let w = lanes.load(&w[i].0);
            let wx = w * lanes.load(&x[i].0);
            let (sum_x, sum_w) = sums[i];
            sums[i + 1] = (L::F::select(here, sum_x + wx, sum_x), L::F::select(here, sum_w + w, sum_w));
        }
        let (all_x, all_w) = sums[LEN];
        for (part, (sum_x, sum_w)) in parts.iter_mut().zip(sums) {
            sum_x.store(&mut part.x.0);
            for (i, levels) in [UP, DOWN].into_iter().enumerate() {
                let square = |k: usize| levels[k] * levels[k];
                let last = lanes.splat(levels[2]);
                let first = all_w * last * last + sum_w * lanes.splat(square(0) - square(1));
                first.store(&mut part.first[i].0);
                (sum_w * lanes.splat(square(1) - square(2))).store(&mut part.second[i].0);
            }
        }
        whole_x[half] = [all_x * lanes.splat(UP[2]), all_x * lanes.splat(DOWN[2])];
    }

    let mut best = Best::none(lanes);
    for i in 0..=LEN {
        for j in i..=LEN {
            // By half, then by move.
            let mut qx = [[zero; 2]; 2];
            let mut q2 = [[zero; 2]; 2];
            for half in 0..2 {
                let (from, to) = (&parts[half][i], &parts[half][j]);
                let cut_x = lanes.load(&from.x.0) + lanes.load(&to.x.0);
                for k in 0..2 {
                    qx[half][k] = whole_x[half][k] - cut_x;
                    q2[half][k] = lanes.load(&from.first[k].0) + lanes.load(&to.second[k].0);
                }
            }
            // Both up, the second half down, the first half down, both down.
            let sums = [
                (qx[0][0] + qx[1][0], q2[0][0] + q2[1][0]),
                (qx[0][0] + qx[1][1], q2[0][0] + q2[1][1]),
                (qx[0][1] + qx[1][0], q2[0][1] + q2[1][0]),
                (qx[0][1] + qx[1][1], q2[0][1] + q2[1][1]),
            ];
            let rivals = best.rivals(sums[0].0, sums[0].1)
                | best.rivals(sums[1].0, sums[1].1)
                | best.rivals(sums[2].0, sums[2].1)
                | best.rivals(sums[3].0, sums[3].1);
            if rivals.any() {
                for (sums, down) in sums.into_iter().zip([0, 2, 1, 3]) {
                    best.offer(lanes, sums, (i, j), down);
                }
            }
        }
    }
    best.cuts()
}
