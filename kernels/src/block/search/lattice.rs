//! Scale and points of a lattice: IQ2 and IQ3, sixteen sub-blocks at once.
//!
//! Each trial scale gives every group of four or eight elements its nearest grid point, or, where that is not on the
//! lattice, the best of the lattice's points around it.

use super::nearest::{nearest, nearest_of_eight};
use super::{ALL_ZERO, scales};
use crate::block::grid::{Lattice, Space};
use crate::lanes::{Codes, Job, LANES, Lanes, Mask, Row, Vector, each};

/// Which groups are chosen anew for the scale that the trials found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::block) enum Refine {
    /// Those that are not on the lattice by themselves.
    OffLattice,
    /// All, if any is not.
    AllIfAnyOff,
    /// All.
    All,
}

/// A type with sub-blocks of `N` elements in `GROUPS` groups.
pub(in crate::block) trait OnLattice<const N: usize, const GROUPS: usize> {
    /// Trials on each side, and the step between them.
    const TRIALS: i8;
    const STEP: f32;
    /// Sub-blocks whose largest magnitude is below this are zero.
    const NOTHING: f32 = ALL_ZERO;
    /// Whether the number of negative signs among eight elements must be even.
    const EVEN_SIGNS: bool;
    /// Whether the trials start around the best scale of a plain grid instead of the largest magnitude.
    const PLAIN_FIRST: bool = false;
    const REFINE: Refine;

    fn lattice() -> &'static Lattice;
}

/// Sixteen sub-blocks' answers.
pub(in crate::block) struct Found<const GROUPS: usize> {
    pub(in crate::block) scales: [f32; LANES],
    /// Indices on the lattice by group, then lane.
    pub(in crate::block) points: [[u16; LANES]; GROUPS],
    /// Negative elements of each eight, by eight, then lane.
    pub(in crate::block) signs: [[u8; LANES]; 4],
    /// Lanes whose sub-block is not zero.
    pub(in crate::block) alive: u16,
}

/// The elements' magnitudes and weights, by element and by lane.
struct Problem<'a, const N: usize> {
    x: [Row; N],
    w: &'a [Row; N],
    /// Sixteen elements of lane `l` in row `16 * i + l`.
    by_lane: [Row; N],
    /// The square roots of the weights, alike.
    roots_by_lane: [Row; N],
    lattice: &'static Lattice,
}

/// The code words of a trial, and for each group the lanes where the nearest grid point is not on the lattice.
#[derive(Clone, Copy)]
struct Choice<const GROUPS: usize> {
    words: [[u32; LANES]; GROUPS],
    off: [u16; GROUPS],
}

#[inline(always)]
pub(in crate::block) fn search<L: Lanes, T: OnLattice<N, GROUPS>, const N: usize, const GROUPS: usize>(
    lanes: L,
    x: &[Row; N],
    w: &[Row; N],
) -> Found<GROUPS> {
    let zero = lanes.splat(0.0);
    let space = Space::of_groups(N / GROUPS);
    let top = lanes.splat(2.0 * space.levels() as f32 - 1.0);
    let (magnitudes, mut signs) = magnitudes::<L, T, N, GROUPS>(lanes, x, w);
    let mut max = lanes.load(&magnitudes[0].0);
    for x in &magnitudes[1..] {
        max = max.max(lanes.load(&x.0));
    }
    let mut alive = !max.lt(lanes.splat(T::NOTHING)).bits();

    let (peak, mut scale) = if T::PLAIN_FIRST {
        let levels = space.levels() as f32;
        let (mut codes, mut scale) = ([Row::default(); N], Row::default());
        let plain = scales::Search { x: &magnitudes, w, high: levels + 1.0, codes: &mut codes, scale: &mut scale };
        lanes.apart(plain);
        let scale = lanes.load(&scale.0);
        let peak = scale * lanes.splat(levels);
        alive &= peak.gt(zero).bits();
        (peak, scale)
    } else {
        (max, max / top)
    };

    let mut by_lane = [Row::default(); N];
    turned(lanes, &magnitudes, &mut by_lane);
    let mut roots = [Row::default(); N];
    for (w, root) in w.iter().zip(&mut roots) {
        lanes.load(&w.0).sqrt().store(&mut root.0);
    }
    let mut roots_by_lane = [Row::default(); N];
    turned(lanes, &roots, &mut roots_by_lane);
    let problem = Problem { x: magnitudes, w, by_lane, roots_by_lane, lattice: T::lattice() };

    let mut best = zero;
    let untried = if T::REFINE == Refine::AllIfAnyOff { u16::MAX } else { 0 };
    let mut found = Choice { words: [[0; LANES]; GROUPS], off: [untried; GROUPS] };
    let everywhere = [alive; GROUPS];
    let mut trial = found;
    for step in -T::TRIALS..=T::TRIALS {
        let inv = (top + lanes.splat(f32::from(step) * T::STEP)) / peak;
        let (sum_qx, sum_q2) = problem.try_scale(lanes, inv, lanes.splat(1.0) / inv, &everywhere, &mut trial);
        let better = sum_q2.gt(zero) & (sum_qx * sum_qx).gt(best * sum_q2);
        if !better.any() {
            continue;
        }
        let this = sum_qx / sum_q2;
        scale = L::F::select(better, this, scale);
        best = L::F::select(better, this * sum_qx, best);
        let bits = better.bits();
        for (found, trial) in found.words.iter_mut().zip(&trial.words) {
            L::Codes::select(better, lanes.load_codes(trial), lanes.load_codes(found)).store(found);
        }
        for (found, trial) in found.off.iter_mut().zip(&trial.off) {
            *found = *found & !bits | trial & bits;
        }
    }

    let any_off = found.off.iter().fold(0, |any, off| any | off);
    let refined = alive & scale.gt(zero).bits() & if T::REFINE == Refine::All { u16::MAX } else { any_off };
    if refined != 0 {
        let off = found.off;
        let chosen = each(|group| if T::REFINE == Refine::OffLattice { refined & off[group] } else { refined });
        let (sum_qx, sum_q2) = problem.try_scale(lanes, lanes.splat(1.0) / scale, scale, &chosen, &mut found);
        let again = sum_q2.gt(zero) & lanes.mask(refined);
        scale = L::F::select(again, sum_qx / sum_q2, scale);
    }

    // The stored scale has no sign.
    let negative = scale.lt(zero).bits();
    scale = L::F::select(scale.lt(zero), scale.neg(), scale);
    scale = L::F::select(lanes.mask(alive), scale, zero);
    let stored_signs = if T::EVEN_SIGNS { 0x7f } else { 0xff };
    for signs in &mut signs {
        for (lane, signs) in signs.iter_mut().enumerate() {
            let flip = if negative >> lane & 1 == 1 { 0xff } else { 0 };
            *signs = if alive >> lane & 1 == 1 { (*signs ^ flip) & stored_signs } else { 0 };
        }
    }
    let mut answer = Found { scales: [0.0; LANES], points: [[0; LANES]; GROUPS], signs, alive };
    scale.store(&mut answer.scales);
    for (points, words) in answer.points.iter_mut().zip(&found.words) {
        for (lane, (point, word)) in points.iter_mut().zip(words).enumerate() {
            if alive >> lane & 1 == 1 {
                *point = problem.lattice.index(*word as u16);
            }
        }
    }
    answer
}

/// Magnitudes and the signs taken from them. Where an odd number of signs is not allowed, the element that matters least
/// keeps its magnitude with the wrong sign.
#[inline(always)]
fn magnitudes<L: Lanes, T: OnLattice<N, GROUPS>, const N: usize, const GROUPS: usize>(
    lanes: L,
    x: &[Row; N],
    w: &[Row; N],
) -> ([Row; N], [[u8; LANES]; 4]) {
    let (zero, one) = (lanes.splat(0.0), lanes.splat(1.0));
    let mut out = [Row::default(); N];
    let mut signs = [[0; LANES]; 4];
    let eights = x.as_chunks::<8>().0.iter().zip(w.as_chunks::<8>().0).zip(out.as_chunks_mut::<8>().0);
    for (((x, w), out), signs) in eights.zip(&mut signs) {
        let (mut sign, mut odd) = (zero, zero);
        let mut least = lanes.load(&w[0].0) * lanes.load(&x[0].0) * lanes.load(&x[0].0);
        let mut least_at = zero;
        for i in 0..8 {
            let x = lanes.load(&x[i].0);
            let negative = x.lt(zero);
            x.abs().store(&mut out[i].0);
            sign = sign + L::F::select(negative, lanes.splat((1 << i) as f32), zero);
            odd = L::F::select(negative, one - odd, odd);
            let matters = lanes.load(&w[i].0) * x * x;
            let less = matters.lt(least);
            least = L::F::select(less, matters, least);
            least_at = L::F::select(less, lanes.splat(i as f32), least_at);
        }
        if T::EVEN_SIGNS {
            let odd = odd.gt(zero);
            for i in 0..8 {
                let flipped = odd & least_at.eq(lanes.splat(i as f32));
                let size = lanes.load(&out[i].0);
                L::F::select(flipped, size.neg(), size).store(&mut out[i].0);
                let bit = lanes.splat((1 << i) as f32);
                let toggled = L::F::select(lanes.load(&x[i].0).lt(zero), sign - bit, sign + bit);
                sign = L::F::select(flipped, toggled, sign);
            }
        }
        *signs = sign.to_bytes();
    }
    (out, signs)
}

/// Rows by element become rows by lane, sixteen elements at a time.
#[inline(always)]
fn turned<L: Lanes, const N: usize>(lanes: L, rows: &[Row; N], out: &mut [Row; N]) {
    for (rows, out) in rows.as_chunks::<LANES>().0.iter().zip(out.as_chunks_mut::<LANES>().0) {
        lanes.transpose(bytemuck::cast_slice(rows), LANES, out);
    }
}

/// One scale's points and sums, as a function that types with equal shapes share.
struct Trial<'a, const N: usize, const GROUPS: usize> {
    problem: &'a Problem<'a, N>,
    inv: &'a Row,
    scale: &'a Row,
    chosen: &'a [u16; GROUPS],
    choice: &'a mut Choice<GROUPS>,
    sums: &'a mut [Row; 2],
}

impl<const N: usize, const GROUPS: usize> Job for Trial<'_, N, GROUPS> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let inv = lanes.load(&self.inv.0);
        choose(lanes, self.problem, inv, &self.scale.0, self.chosen, self.choice);
        let (sum_qx, sum_q2) = sums(lanes, self.problem, &self.choice.words);
        sum_qx.store(&mut self.sums[0].0);
        sum_q2.store(&mut self.sums[1].0);
    }
}

impl<const N: usize> Problem<'_, N> {
    /// Takes the points for a scale, in the lanes that `chosen` names for each group, and gives the sums of all points.
    #[inline(always)]
    fn try_scale<L: Lanes, const GROUPS: usize>(
        &self,
        lanes: L,
        inv: L::F,
        scale: L::F,
        chosen: &[u16; GROUPS],
        choice: &mut Choice<GROUPS>,
    ) -> (L::F, L::F) {
        let (mut inv_row, mut scale_row, mut sums) = (Row::default(), Row::default(), [Row::default(); 2]);
        inv.store(&mut inv_row.0);
        scale.store(&mut scale_row.0);
        let trial = Trial { problem: self, inv: &inv_row, scale: &scale_row, chosen, choice, sums: &mut sums };
        lanes.apart(trial);
        (lanes.load(&sums[0].0), lanes.load(&sums[1].0))
    }
}

#[inline(always)]
fn choose<L: Lanes, const N: usize, const GROUPS: usize>(
    lanes: L,
    problem: &Problem<'_, N>,
    inv: L::F,
    scales: &[f32; LANES],
    chosen: &[u16; GROUPS],
    choice: &mut Choice<GROUPS>,
) {
    let space = Space::of_groups(N / GROUPS);
    let dimensions = space.dimensions();
    let (zero, one, half) = (lanes.splat(0.0), lanes.splat(1.0), lanes.splat(0.5));
    let high = lanes.splat(space.levels() as f32 - 1.0);
    let levels = match space {
        Space::Ternary8 => &ODD_TERNARY,
        Space::Octal4 => &ODD_OCTAL,
    };
    let groups = choice.words.iter_mut().zip(&mut choice.off).zip(chosen).enumerate();
    for (group, ((words, off), &chosen)) in groups {
        let mut place = zero;
        let mut unit = 1.0;
        for x in &problem.x[group * dimensions..][..dimensions] {
            let level = (half * (inv * lanes.load(&x.0) - one)).nearest_int().min(high).max(zero);
            place = place + level * lanes.splat(unit);
            unit *= space.levels() as f32;
        }
        let mut places = [0; LANES];
        place.to_words(&mut places);
        let mut left = chosen;
        while left != 0 {
            let lane = left.trailing_zeros() as usize;
            left &= left - 1;
            let spot = problem.lattice.spot(places[lane] as usize);
            let near = problem.lattice.near(spot);
            *off = *off & !(1 << lane) | u16::from(!near.is_empty()) << lane;
            if near.is_empty() {
                words[lane] = u32::from(spot.word());
                continue;
            }
            let first = group * dimensions;
            let (row, start) = (first / LANES * LANES + lane, first % LANES);
            let (x, w) = (&problem.by_lane[row].0[start..], &problem.roots_by_lane[row].0[start..]);
            words[lane] = u32::from(match (space, near) {
                (Space::Octal4, [eight]) if spot.few() => {
                    let eight = eight.first_chunk().expect("eight of sixteen");
                    nearest_of_eight(lanes, eight, x, w, scales[lane], levels)
                }
                _ => nearest(lanes, space, near, x, w, scales[lane], levels),
            });
        }
    }
}

/// The odd levels, repeated for each element that a vector holds.
const ODD_TERNARY: [f32; LANES] = [1.0, 3.0, 5.0, 7.0, 1.0, 3.0, 5.0, 7.0, 1.0, 3.0, 5.0, 7.0, 1.0, 3.0, 5.0, 7.0];
const ODD_OCTAL: [f32; LANES] = [1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0, 1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0];

/// The sums of `w * x * level` and `w * level * level`.
#[inline(always)]
fn sums<L: Lanes, const N: usize, const GROUPS: usize>(
    lanes: L,
    problem: &Problem<'_, N>,
    words: &[[u32; LANES]; GROUPS],
) -> (L::F, L::F) {
    let space = Space::of_groups(N / GROUPS);
    let dimensions = space.dimensions();
    let (mut sum_qx, mut sum_q2) = (lanes.splat(0.0), lanes.splat(0.0));
    let groups = problem.x.chunks_exact(dimensions).zip(problem.w.chunks_exact(dimensions)).zip(words);
    for ((x, w), words) in groups {
        let mut codes = lanes.load_codes(words);
        for (x, w) in x.iter().zip(w) {
            let level = match space {
                Space::Ternary8 => lanes.pick4(&[1.0, 3.0, 5.0, 7.0], codes),
                Space::Octal4 => lanes.pick8(&[1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0], codes),
            };
            codes = match space {
                Space::Ternary8 => codes.shift::<2>(),
                Space::Octal4 => codes.shift::<3>(),
            };
            let w = lanes.load(&w.0);
            sum_qx = sum_qx + w * lanes.load(&x.0) * level;
            sum_q2 = sum_q2 + w * level * level;
        }
    }
    (sum_qx, sum_q2)
}
