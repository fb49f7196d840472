//! The nearest points of a grid, sixteen rows at a time.

use super::Step;
use crate::block::fp4;
use crate::block::search::nonlinear;
use crate::fp8::{decode_e4m3, encode_e4m3};
use crate::lanes::{LANES, Lanes, Row, Vector, each};

/// Which levels the codes stand for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Points {
    /// `low ..= low + span`, stored from 0; `low` is each sub-block's.
    Uniform { span: u8, ties: Ties },
    /// The sixteen uneven levels of IQ4_NL; ties go up.
    Uneven,
    /// The sixteen levels of E2M1, doubled, so that the step is half the scale. Ties go to the even code, or else towards
    /// zero; negative zero is a code of its own, or else never given.
    E2m1 { even: bool, negative_zero: bool },
    /// The numbers of E4M3.
    E4m3,
    /// -1 and 1; zero is 1.
    Signs,
}

/// Where a number half-way between two uniform levels goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ties {
    /// To the even level.
    Even,
    /// To the even code.
    EvenCode,
    /// To the upper level.
    Up,
    /// To the level further from zero.
    Away,
}

/// A [`super::Step`] a lane.
#[derive(Clone, Copy, Default)]
pub(crate) struct Steps {
    pub(crate) step: Row,
    pub(crate) min: Row,
    pub(crate) low: Row,
}

impl Steps {
    pub(super) fn lane(&self, lane: usize) -> Step {
        Step { step: self.step.0[lane], min: self.min.0[lane], low: self.low.0[lane] }
    }

    #[inline(always)]
    pub(crate) fn set_lane(&mut self, lane: usize, step: Step) {
        (self.step.0[lane], self.min.0[lane], self.low.0[lane]) = (step.step, step.min, step.low);
    }
}

impl Points {
    /// What a code multiplies the step with, where `low` is the lowest uniform level.
    #[inline(always)]
    pub(super) fn level(self, code: u8, low: f32) -> f32 {
        self.value(code, Step { step: 1.0, min: 0.0, low })
    }

    /// What decoding makes of a code.
    #[inline(always)]
    pub(crate) fn value(self, code: u8, Step { step, min, low }: Step) -> f32 {
        match self {
            Points::Uniform { .. } => step * (f32::from(code) + low) - min,
            Points::Uneven => step * f32::from(nonlinear::LEVELS[usize::from(code & 15)]),
            Points::E2m1 { .. } => f32::from(fp4::VALUES[usize::from(code & 15)]) * step,
            Points::E4m3 => decode_e4m3(code) * step,
            Points::Signs => {
                if code == 0 {
                    -step
                } else {
                    step
                }
            }
        }
    }

    /// The nearest codes, and what decoding makes of them. Where the step is zero, all points are one, and the code is
    /// the one for 0.
    #[inline(always)]
    pub(crate) fn nearest<L: Lanes>(self, lanes: L, x: L::F, steps: &Steps) -> ([u8; LANES], L::F) {
        let zero = lanes.splat(0.0);
        let (step, min) = (lanes.load(&steps.step.0), lanes.load(&steps.min.0));
        let scaled = L::F::select(step.eq(zero), zero, (x + min) / step);
        match self {
            Points::Uniform { span, ties } => {
                let low = lanes.load(&steps.low.0);
                let t = scaled.max(low).min(low + lanes.splat(f32::from(span)));
                let code = ties.round(lanes, t, low);
                // In this order a zero is never negative, as it is not in decoding.
                (code.to_bytes(), step * (code + low) - min)
            }
            Points::Uneven => {
                let (codes, level) = nonlinear::nearest(lanes, scaled);
                (codes, step * level)
            }
            Points::E2m1 { even, negative_zero } => {
                let (codes, level) = fp4::nearest(lanes, scaled, even, negative_zero);
                (codes, level * step)
            }
            Points::E4m3 => {
                // There is no minimum, and adding none would lose the sign of a zero.
                let mut t = [0.0; LANES];
                L::F::select(step.eq(zero), zero, x / step).store(&mut t);
                let codes = each(|lane| encode_e4m3(t[lane]));
                (codes, lanes.load(&each(|lane| decode_e4m3(codes[lane]))) * step)
            }
            Points::Signs => {
                let one = lanes.splat(1.0);
                let negative = x.lt(zero);
                (L::F::select(negative, zero, one).to_bytes(), L::F::select(negative, step.neg(), step))
            }
        }
    }
}

impl Ties {
    /// The code of the level nearest to `t`, which lies between the lowest and the highest one.
    #[inline(always)]
    fn round<L: Lanes>(self, lanes: L, t: L::F, low: L::F) -> L::F {
        let one = lanes.splat(1.0);
        let half = lanes.splat(0.5);
        let level = t.round();
        match self {
            Ties::Even => level - low,
            Ties::EvenCode => (t - low).round(),
            Ties::Up => L::F::select((t - level).eq(half), level + one, level) - low,
            Ties::Away => {
                let zero = lanes.splat(0.0);
                let up = (t - level).eq(half) & t.gt(zero);
                let down = (level - t).eq(half) & t.lt(zero);
                L::F::select(up, level + one, L::F::select(down, level - one, level)) - low
            }
        }
    }
}
