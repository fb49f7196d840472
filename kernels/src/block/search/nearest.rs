//! The best of a lattice's points around a grid point.

use crate::block::grid::Space;
use crate::lanes::{Codes, LANES, Lanes, Mask, Vector};

/// The element of four that each lane of a cost vector belongs to.
const FOUR_ELEMENTS: [u16; LANES] = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3];
const FIRST_TWO: [u16; LANES] = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1];
const LAST_TWO: [u16; LANES] = [2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3];

/// Of code words, the one whose levels times `scale` are nearest to `x` (weighted), the first of equals.
///
/// What each level costs each element is computed once; a neighbour is then a sum of entries, sixteen neighbours at once.
#[inline(always)]
pub(in crate::block) fn nearest<L: Lanes>(
    lanes: L,
    space: Space,
    near: &[[u16; LANES]],
    x: &[f32],
    w: &[f32],
    scale: f32,
    levels: &[f32; LANES],
) -> u16 {
    let costs = costs(lanes, space, x, w, scale, levels);
    let mut best = f32::MAX;
    let mut word = near[0][0];
    for sixteen in near {
        let codes = lanes.load_short_codes(sixteen);
        let cost = match space {
            Space::Ternary8 => sum8(lanes, &costs, codes),
            Space::Octal4 => sum4(lanes, &costs, codes),
        };
        let least = -cost.neg().reduce_max();
        if least < best {
            best = least;
            let first = cost.eq(lanes.splat(least)).bits().trailing_zeros() as usize;
            word = sixteen[first % LANES];
        }
    }
    word
}

/// The same of eight words of [`Space::Octal4`].
#[inline(always)]
pub(in crate::block) fn nearest_of_eight<L: Lanes>(
    lanes: L,
    near: &[u16; 8],
    x: &[f32],
    w: &[f32],
    scale: f32,
    levels: &[f32; LANES],
) -> u16 {
    let costs = costs(lanes, Space::Octal4, x, w, scale, levels);
    near[lanes.least_of_eight(bytemuck::cast_ref(&costs), near) % 8]
}

/// What each of four levels costs each of eight elements, or each of eight levels each of four elements.
#[inline(always)]
fn costs<L: Lanes>(
    lanes: L,
    space: Space,
    x: &[f32],
    w: &[f32],
    scale: f32,
    levels: &[f32; LANES],
) -> [f32; 2 * LANES] {
    let scaled = lanes.splat(scale) * lanes.load(levels);
    let mut costs = [0.0; 2 * LANES];
    for (i, costs) in costs.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let (elements, at) = match (space, i) {
            (Space::Ternary8, _) => (&FOUR_ELEMENTS, 4 * i),
            (Space::Octal4, 0) => (&FIRST_TWO, 0),
            (Space::Octal4, _) => (&LAST_TWO, 0),
        };
        let elements = lanes.load_short_codes(elements);
        let diff = scaled - pick_from(lanes, &x[at..], elements);
        (pick_from(lanes, &w[at..], elements) * diff * diff).store(costs);
    }
    costs
}

#[inline(always)]
fn pick_from<L: Lanes>(lanes: L, of: &[f32], codes: L::Codes) -> L::F {
    lanes.pick4(of.first_chunk().expect("four elements"), codes)
}

#[inline(always)]
fn sum8<L: Lanes>(lanes: L, costs: &[f32; 2 * LANES], mut codes: L::Codes) -> L::F {
    let costs = costs.as_chunks::<4>().0;
    let mut sum = lanes.pick4(&costs[0], codes);
    for costs in &costs[1..] {
        codes = codes.shift::<2>();
        sum = sum + lanes.pick4(costs, codes);
    }
    sum
}

#[inline(always)]
fn sum4<L: Lanes>(lanes: L, costs: &[f32; 2 * LANES], mut codes: L::Codes) -> L::F {
    let costs = costs.as_chunks::<8>().0;
    let mut sum = lanes.pick8(&costs[0], codes);
    for costs in &costs[1..] {
        codes = codes.shift::<3>();
        sum = sum + lanes.pick8(costs, codes);
    }
    sum
}
