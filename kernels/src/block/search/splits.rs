//! Scale and three levels -1, 0, 1 that are all moved by an eighth up or down: IQ1_S and IQ1_M.
//!
//! Sorted elements are cut in two places; all pairs of cuts are tried. Then every eight elements take a lattice point.

use super::nearest::nearest;
use crate::block::grid::{Lattice, Space};
use crate::lanes::{Codes, Job, LANES, Lanes, Mask, Row, Vector, each};

/// The levels moved up.
pub(in crate::block) const UP: [f32; 3] = [-0.875, 0.125, 1.125];
/// The levels moved down.
pub(in crate::block) const DOWN: [f32; 3] = [-1.125, -0.125, 0.875];

/// Sub-blocks in ascending order, a lane each.
pub(in crate::block) struct Sorted<const N: usize> {
    /// The elements' places in the sub-block.
    pub(in crate::block) order: [[u32; LANES]; N],
}

/// Sorts sixteen sub-blocks, as a function that all callers share; equal elements keep their order.
pub(in crate::block) struct Sort<'a, const N: usize>(pub(in crate::block) &'a [Row; N]);

impl<const N: usize> Job for Sort<'_, N> {
    type Out = Sorted<N>;

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> Sorted<N> {
        sort(lanes, self.0)
    }
}

/// What the cuts gave: elements before `first` in the order are -1, from `second` on 1.
#[derive(Clone, Copy)]
pub(in crate::block) struct Cuts<F> {
    pub(in crate::block) scale: F,
    pub(in crate::block) first: F,
    pub(in crate::block) second: F,
    /// Which levels are moved down: bit 0 the first half's, bit 1 the second half's. Negative where no cut was good.
    pub(in crate::block) down: F,
}

/// Sixteen sub-blocks' answers.
pub(in crate::block) struct Found<const GROUPS: usize> {
    pub(in crate::block) scales: [f32; LANES],
    /// Indices on the lattice by group, then lane; 0 in sub-blocks that count as zero.
    pub(in crate::block) points: [[u16; LANES]; GROUPS],
    /// As in [`Cuts`].
    pub(in crate::block) down: [u8; LANES],
}

/// Batcher's odd-even merge sort.
#[inline(always)]
fn sort<L: Lanes, const N: usize>(lanes: L, x: &[Row; N]) -> Sorted<N> {
    let mut values = *x;
    let mut places = [Row::default(); N];
    for (i, place) in places.iter_mut().enumerate() {
        place.0 = [i as f32; LANES];
    }
    let mut run = 1;
    while run < N {
        let mut gap = run;
        while gap > 0 {
            let mut start = gap % run;
            while start + gap < N {
                for low in start..start + gap.min(N - gap - start) {
                    if low / (2 * run) == (low + gap) / (2 * run) {
                        exchange(lanes, &mut values, &mut places, low, low + gap);
                    }
                }
                start += 2 * gap;
            }
            gap /= 2;
        }
        run *= 2;
    }
    let mut order = [[0; LANES]; N];
    for (place, order) in places.iter().zip(&mut order) {
        lanes.load(&place.0).to_words(order);
    }
    Sorted { order }
}

#[inline(always)]
fn exchange<L: Lanes, const N: usize>(lanes: L, values: &mut [Row; N], places: &mut [Row; N], low: usize, high: usize) {
    let (a, b) = (lanes.load(&values[low].0), lanes.load(&values[high].0));
    let (at_a, at_b) = (lanes.load(&places[low].0), lanes.load(&places[high].0));
    let wrong = b.lt(a) | b.eq(a) & at_b.lt(at_a);
    L::F::select(wrong, b, a).store(&mut values[low].0);
    L::F::select(wrong, a, b).store(&mut values[high].0);
    L::F::select(wrong, at_b, at_a).store(&mut places[low].0);
    L::F::select(wrong, at_a, at_b).store(&mut places[high].0);
}

impl<const N: usize> Sorted<N> {
    /// Row `i` of the result: in each lane what row `order[i]` of `rows` holds.
    #[inline(always)]
    pub(in crate::block) fn ordered(&self, rows: &[Row; N]) -> [Row; N] {
        let mut out = [Row::default(); N];
        for (out, order) in out.iter_mut().zip(&self.order) {
            out.0 = each(|lane| rows[order[lane] as usize % N].0[lane]);
        }
        out
    }
}

/// The best cut so far.
#[derive(Clone, Copy)]
pub(in crate::block) struct Best<F> {
    score: F,
    cuts: Cuts<F>,
}

impl<F: Vector> Best<F> {
    #[inline(always)]
    pub(in crate::block) fn none<L: Lanes<F = F>>(lanes: L) -> Best<F> {
        let zero = lanes.splat(0.0);
        let cuts = Cuts { scale: zero, first: zero, second: zero, down: lanes.splat(-1.0) };
        Best { score: lanes.splat(-f32::MAX), cuts }
    }

    /// Whether any lane might do better with these sums.
    #[inline(always)]
    pub(in crate::block) fn rivals(&self, sum_qx: F, sum_q2: F) -> F::Mask {
        (sum_qx * sum_qx).gt(self.score * sum_q2)
    }

    #[inline(always)]
    pub(in crate::block) fn offer<L: Lanes<F = F>>(
        &mut self,
        lanes: L,
        (sum_qx, sum_q2): (F, F),
        (first, second): (usize, usize),
        down: u8,
    ) {
        let better = sum_q2.gt(lanes.splat(0.0)) & self.rivals(sum_qx, sum_q2);
        let scale = sum_qx / sum_q2;
        self.score = F::select(better, scale * sum_qx, self.score);
        self.cuts.scale = F::select(better, scale, self.cuts.scale);
        self.cuts.first = F::select(better, lanes.splat(first as f32), self.cuts.first);
        self.cuts.second = F::select(better, lanes.splat(second as f32), self.cuts.second);
        self.cuts.down = F::select(better, lanes.splat(f32::from(down)), self.cuts.down);
    }

    #[inline(always)]
    pub(in crate::block) fn cuts(self) -> Cuts<F> {
        self.cuts
    }
}

/// The largest magnitude in each lane.
#[inline(always)]
pub(in crate::block) fn largest<L: Lanes>(lanes: L, x: &[Row]) -> L::F {
    let mut max = lanes.load(&x[0].0).abs();
    for x in &x[1..] {
        max = max.max(lanes.load(&x.0).abs());
    }
    max
}

/// Lattice points for the cuts, and the scale that suits them. `nothing` are the lanes that count as zero anyway.
#[inline(always)]
pub(in crate::block) fn settle<L: Lanes, const N: usize, const GROUPS: usize>(
    lanes: L,
    x: &[Row; N],
    w: &[Row; N],
    sorted: &Sorted<N>,
    cuts: Cuts<L::F>,
    nothing: <L::F as Vector>::Mask,
) -> Found<GROUPS> {
    let zero = lanes.splat(0.0);
    let alive = !(nothing | cuts.down.lt(zero)).bits();
    let negative = cuts.scale.lt(zero).bits();
    let scale = L::F::select(cuts.scale.lt(zero), cuts.scale.neg(), cuts.scale);
    let mut rows = [[0.0; LANES]; 4];
    for (row, v) in rows.iter_mut().zip([scale, cuts.first, cuts.second, cuts.down]) {
        v.store(row);
    }
    let [scales, firsts, seconds, downs] = rows;

    let lattice = Lattice::iq1();
    let mut found = Found { scales, points: [[0; LANES]; GROUPS], down: [0; LANES] };
    let mut words = [[0u32; LANES]; GROUPS];
    let mut moved = 0;
    for lane in 0..LANES {
        if alive >> lane & 1 == 0 {
            found.scales[lane] = 0.0;
            continue;
        }
        let turned = negative >> lane & 1 == 1;
        // Turning all signs turns the levels' move as well.
        found.down[lane] = downs[lane] as u8 ^ if turned { 3 } else { 0 };
        let (first, second) = (firsts[lane] as usize, seconds[lane] as usize);
        let mut levels = [0u32; GROUPS];
        for (i, order) in sorted.order.iter().enumerate() {
            let level = u32::from(i >= first) + u32::from(i >= second);
            let (level, place) = (if turned { 2 - level } else { level }, order[lane] as usize % N);
            levels[place / 8] |= level << (place % 8 * 2);
        }
        for (group, word) in levels.into_iter().enumerate() {
            let spot = lattice.spot(Space::Ternary8.place(word as u16));
            let near = lattice.near(spot);
            words[group][lane] = word;
            if !near.is_empty() {
                moved |= 1 << lane;
                let (x, w): ([f32; 8], [f32; 8]) =
                    (each(|i| x[group * 8 + i].0[lane]), each(|i| w[group * 8 + i].0[lane]));
                let [a, b, c] = levels_of(found.down[lane], group, GROUPS);
                let levels = [a, b, c, 0.0, a, b, c, 0.0, a, b, c, 0.0, a, b, c, 0.0];
                let word = nearest(lanes, Space::Ternary8, near, &x, &w, scales[lane], &levels);
                words[group][lane] = u32::from(word);
            }
            found.points[group][lane] = lattice.index(words[group][lane] as u16);
        }
    }
    if moved != 0 {
        let (sum_qx, sum_q2) = sums(lanes, x, w, &words, &found.down);
        let again = sum_qx.gt(zero) & sum_q2.gt(zero) & lanes.mask(moved);
        L::F::select(again, sum_qx / sum_q2, lanes.load(&found.scales)).store(&mut found.scales);
    }
    found
}

/// The three levels of a group.
#[inline(always)]
pub(in crate::block) fn levels_of(down: u8, group: usize, groups: usize) -> [f32; 3] {
    if down >> usize::from(2 * group >= groups) & 1 == 1 { DOWN } else { UP }
}

/// The sums of `w * level * x` and `w * level * level`.
#[inline(always)]
fn sums<L: Lanes, const N: usize, const GROUPS: usize>(
    lanes: L,
    x: &[Row; N],
    w: &[Row; N],
    words: &[[u32; LANES]; GROUPS],
    down: &[u8; LANES],
) -> (L::F, L::F) {
    let (mut sum_qx, mut sum_q2) = (lanes.splat(0.0), lanes.splat(0.0));
    let groups = x.as_chunks::<8>().0.iter().zip(w.as_chunks::<8>().0).zip(words).enumerate();
    for (group, ((x, w), words)) in groups {
        let bit = usize::from(2 * group >= GROUPS);
        let is_down = lanes.load(&each(|lane| f32::from(down[lane] >> bit & 1))).gt(lanes.splat(0.0));
        let mut codes = lanes.load_codes(words);
        for (x, w) in x.iter().zip(w) {
            let up = lanes.pick4(&[UP[0], UP[1], UP[2], 0.0], codes);
            let level = L::F::select(is_down, lanes.pick4(&[DOWN[0], DOWN[1], DOWN[2], 0.0], codes), up);
            codes = codes.shift::<2>();
            let weighted = lanes.load(&w.0) * level;
            sum_qx = sum_qx + weighted * lanes.load(&x.0);
            sum_q2 = sum_q2 + weighted * level;
        }
    }
    (sum_qx, sum_q2)
}
