//! Scale alone, and sixteen levels that lie closer together near zero: IQ4_NL and IQ4_XS.

use super::ALL_ZERO;
use super::symmetric::extreme;
use crate::lanes::{Codes, LANES, Lanes, Mask, Row, Vector, each};

/// What the codes stand for.
pub(in crate::block) const LEVELS: [i8; 16] =
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// From here on level `i + 1` is nearer than level `i`.
const fn border(i: usize) -> f32 {
    0.5 * (LEVELS[i] as f32 + LEVELS[i + 1] as f32)
}

/// The borders to compare with, by the answers so far: a bit is set where the number was below.
const SECOND: [f32; 4] = [border(11), border(3), 0.0, 0.0];
const THIRD: [f32; 4] = [border(13), border(9), border(5), border(1)];
const FOURTH: [f32; 8] = [border(14), border(12), border(10), border(8), border(6), border(4), border(2), border(0)];

/// [`LEVELS`] backwards.
const BY_ANSWERS: [f32; LANES] = {
    let mut out = [0.0; LANES];
    let mut i = 0;
    while i < LANES {
        out[i] = LEVELS[LANES - 1 - i] as f32;
        i += 1;
    }
    out
};

/// Fifteen minus the code of the nearest level.
#[inline(always)]
fn answers<L: Lanes>(lanes: L, x: L::F) -> L::Codes {
    let first = lanes.splat_codes(0).push(x.lt(lanes.splat(border(7))));
    let second = first.push(x.lt(lanes.pick4(&SECOND, first)));
    let third = second.push(x.lt(lanes.pick4(&THIRD, second)));
    third.push(x.lt(lanes.pick8(&FOURTH, third)))
}

/// The codes of the nearest levels.
#[inline(always)]
pub(in crate::block) fn codes<L: Lanes>(lanes: L, x: L::F) -> [u8; LANES] {
    let mut words = [0; LANES];
    answers(lanes, x).store(&mut words);
    each(|lane| 15 - words[lane] as u8)
}

/// The codes of the nearest levels, and the levels.
#[inline(always)]
pub(in crate::block) fn nearest<L: Lanes>(lanes: L, x: L::F) -> ([u8; LANES], L::F) {
    let answers = answers(lanes, x);
    let mut words = [0; LANES];
    answers.store(&mut words);
    (each(|lane| 15 - words[lane] as u8), lanes.pick16(&BY_ANSWERS, answers))
}

/// The scale that maximises the weighted correlation, over sixteen trials around `-127 / extreme`.
#[inline(always)]
pub(in crate::block) fn search<L: Lanes, const N: usize>(lanes: L, x: &[Row; N], w: &[Row; N]) -> L::F {
    let zero = lanes.splat(0.0);
    let (max, size) = extreme(lanes, x);
    let nothing = size.lt(lanes.splat(ALL_ZERO));
    let (sum_qx, sum_q2) = sums(lanes, x, w, lanes.splat(1.0) / (max / lanes.splat(127.0)));
    let mut scale = L::F::select(sum_q2.gt(zero), sum_qx / sum_q2, zero);
    let mut best = scale * sum_qx;
    for trial in -7i8..=7 {
        let inv = lanes.splat(f32::from(trial) - 127.0) / max;
        let (sum_qx, sum_q2) = sums(lanes, x, w, inv);
        let better = sum_q2.gt(zero) & (sum_qx * sum_qx).gt(best * sum_q2);
        if better.any() {
            let this = sum_qx / sum_q2;
            scale = L::F::select(better, this, scale);
            best = L::F::select(better, this * sum_qx, best);
        }
    }
    L::F::select(nothing, zero, scale)
}

/// The sums of `w * level * x` and `w * level * level`.
#[inline(always)]
fn sums<L: Lanes, const N: usize>(lanes: L, x: &[Row; N], w: &[Row; N], inv: L::F) -> (L::F, L::F) {
    let (mut sum_qx, mut sum_q2) = (lanes.splat(0.0), lanes.splat(0.0));
    for (x, w) in x.iter().zip(w) {
        let x = lanes.load(&x.0);
        let level = lanes.pick16(&BY_ANSWERS, answers(lanes, inv * x));
        let weighted = lanes.load(&w.0) * level;
        sum_qx = sum_qx + weighted * x;
        sum_q2 = sum_q2 + weighted * level;
    }
    (sum_qx, sum_q2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::lanes::{Job, dispatch};

    /// The nearest level, the upper one of two, by the differences themselves.
    fn nearest(x: f32) -> u8 {
        let upper = LEVELS.iter().position(|level| x < f32::from(*level));
        match upper {
            None => 15,
            Some(0) => 0,
            Some(i) if x - f32::from(LEVELS[i - 1]) < f32::from(LEVELS[i]) - x => i as u8 - 1,
            Some(i) => i as u8,
        }
    }

    struct Code([f32; LANES]);
    impl Job for Code {
        type Out = [u8; LANES];
        #[inline(always)]
        fn run<L: Lanes>(self, lanes: L) -> [u8; LANES] {
            codes(lanes, lanes.load(&self.0))
        }
    }

    #[test]
    fn borders_decide_as_the_differences_do() {
        for isa in Isa::ALL {
            for i in 0..15 {
                let middle = border(i).to_bits();
                let x: [f32; LANES] = std::array::from_fn(|k| f32::from_bits(middle + k as u32 - 8));
                assert_eq!(dispatch(isa, Code(x)), x.map(nearest), "{} {i}", isa.name());
            }
            let edges = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, -127.0, 113.0, 1e30];
            let x: [f32; LANES] = std::array::from_fn(|k| edges[k % 8]);
            let codes = dispatch(isa, Code(x));
            assert_eq!(codes[..8], [15, 15, 0, 8, 8, 0, 15, 15], "{}", isa.name());
        }
    }
}
