//! IQ1_S: eight sub-blocks of four lattice points, each of eight elements, with a three-bit scale and a common move of an
//! eighth up or down. 1.5625 bits a weight.

use bytemuck::{Pod, Zeroable};

use super::codec::{Block, Input, blocks};
use super::grid::IQ1;
use super::half::{f16_bits, f16_value};
use super::search::splits::{Best, Cuts, DOWN, Sort, UP, largest, settle};
use super::super_block::SUPER;
use super::units::{self, OddScales, Unit};
use crate::lanes::{Lanes, Mask, Row, Vector, each};

const LEN: usize = 32;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Layout {
    d: u16,
    /// Eight low bits of the indices.
    points: [[u8; 4]; 8],
    /// Four times three high bits of an index, the scale, and on top whether the levels are moved down.
    high: [u16; 8],
}
const _: () = assert!(size_of::<Layout>() == 50);

pub(super) struct Iq1S;

impl Block for Iq1S {
    const NAME: &'static str = "IQ1_S";
    const LEN: usize = SUPER;
    const BYTES: usize = size_of::<Layout>();
    const FALLBACK: Option<&'static str> = Some("IQ4_NL");
    const WEIGHS: bool = true;
    const NEEDS_IMPORTANCE: bool = true;
    const TOLERANCE: f32 = 0.57;

    #[inline(always)]
    fn encode<L: Lanes>(lanes: L, input: &Input<'_>, out: &mut [u8]) {
        units::encode::<L, Self, LEN>(lanes, input, out, Self::BYTES);
    }

    #[inline(always)]
    fn decode<L: Lanes>(_: L, bytes: &[u8], out: &mut [f32]) {
        for (block, out) in blocks::<Layout, SUPER>(bytes, out) {
            let d = f16_value(block.d);
            for ((out, points), high) in out.as_chunks_mut::<LEN>().0.iter_mut().zip(&block.points).zip(block.high) {
                let step = d * f32::from(2 * (high >> 12 & 7) + 1);
                let moved = if high >> 15 == 1 { -0.125 } else { 0.125 };
                for (l, (out, point)) in out.as_chunks_mut::<8>().0.iter_mut().zip(points).enumerate() {
                    let point = &IQ1[usize::from(*point) | usize::from(high >> (3 * l) & 7) << 8];
                    *out = each(|i| step * (f32::from(point[i]) + moved));
                }
            }
        }
    }
}

impl Unit<LEN> for Iq1S {
    const LEVEL_FACTOR: f32 = 2.0;

    #[inline(always)]
    fn encode<L: Lanes>(lanes: L, x: &[Row; LEN], w: &[Row; LEN], _: &[f32], out: &mut [u8]) {
        let nothing = largest(lanes, x).lt(lanes.splat(1e-12));
        let sorted = lanes.apart(Sort(x));
        let cuts = cut(lanes, &sorted.ordered(x), &sorted.ordered(w));
        let found = settle::<L, LEN, 4>(lanes, x, w, &sorted, cuts, nothing);
        for (b, out) in out.as_chunks_mut::<{ Self::BYTES }>().0.iter_mut().enumerate() {
            let scales = OddScales::of(&found.scales[b * 8..][..8], 7);
            let mut block = Layout { d: f16_bits(scales.step * 1.125), points: [[0; 4]; 8], high: [0; 8] };
            for j in 0..8 {
                let lane = b * 8 + j;
                block.points[j] = each(|k| found.points[k][lane] as u8);
                block.high[j] = (0..4).fold(0, |bits, k| bits | found.points[k][lane] >> 8 << (3 * k));
                if scales.any() {
                    block.high[j] |= u16::from(scales.codes[j]) << 12 | u16::from(found.down[lane] & 1) << 15;
                }
            }
            *out = bytemuck::cast(block);
        }
    }
}

/// The sums before a cut, and what the elements behind it cost.
#[derive(Clone, Copy, Default)]
struct Part {
    /// Sums of `w * x` and `w`.
    x: Row,
    w: Row,
    /// The last level's share of the sums of `w * level * x` and `w * level * level`, moved up and down.
    after: [[Row; 2]; 2],
}

/// The best pair of cuts, the first of equals, levels moved up before levels moved down.
#[inline(always)]
fn cut<L: Lanes>(lanes: L, x: &[Row; LEN], w: &[Row; LEN]) -> Cuts<L::F> {
    let mut parts = [Part::default(); LEN + 1];
    let (mut sum_x, mut sum_w) = (lanes.splat(0.0), lanes.splat(0.0));
    for (i, (x, w)) in x.iter().zip(w).enumerate() {
        sum_x = sum_x + lanes.load(&w.0) * lanes.load(&x.0);
        sum_w = sum_w + lanes.load(&w.0);
        sum_x.store(&mut parts[i + 1].x.0);
        sum_w.store(&mut parts[i + 1].w.0);
    }
    for part in &mut parts {
        let (x, w) = (sum_x - lanes.load(&part.x.0), sum_w - lanes.load(&part.w.0));
        for (levels, after) in [UP, DOWN].iter().zip(&mut part.after) {
            let last = lanes.splat(levels[2]);
            (x * last).store(&mut after[0].0);
            (w * last * last).store(&mut after[1].0);
        }
    }

    let (first_up, first_down) = (lanes.splat(UP[0]), lanes.splat(DOWN[0]));
    let eighth = lanes.splat(0.125);
    let mut best = Best::none(lanes);
    for (i, from) in parts.iter().enumerate() {
        let (x, w) = (lanes.load(&from.x.0), lanes.load(&from.w.0));
        let (up_x, up_w) = (x * first_up, w * first_up * first_up);
        let (down_x, down_w) = (x * first_down, w * first_down * first_down);
        for (j, to) in parts.iter().enumerate().skip(i) {
            let [[last_up_x, last_up_w], [last_down_x, last_down_w]] = &to.after;
            let middle_x = (lanes.load(&to.x.0) - x) * eighth;
            let middle_w = (lanes.load(&to.w.0) - w) * eighth * eighth;
            let up = (up_x + middle_x + lanes.load(&last_up_x.0), up_w + middle_w + lanes.load(&last_up_w.0));
            let down = (down_x - middle_x + lanes.load(&last_down_x.0), down_w + middle_w + lanes.load(&last_down_w.0));
            if (best.rivals(up.0, up.1) | best.rivals(down.0, down.1)).any() {
                best.offer(lanes, up, (i, j), 0);
                best.offer(lanes, down, (i, j), 3);
            }
        }
    }
    best.cuts()
}
