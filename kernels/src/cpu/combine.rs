//! Values into one, or with numbers, element by element and in place.

use super::exp::exp;
use super::{ROWS, each_isa};
use crate::Isa;
use rayon::prelude::*;

/// Elements a thread takes at a time.
const CHUNK: usize = 1024 * ROWS;

/// `x += y`.
pub fn add(isa: Isa, x: &mut [f32], y: &[f32]) {
    assert_eq!(x.len(), y.len(), "add: two shapes");
    x.par_chunks_mut(CHUNK).zip(y.par_chunks(CHUNK)).for_each(|(x, y)| sum(isa, x, y));
}

/// `x *= y`.
pub fn multiply(isa: Isa, x: &mut [f32], y: &[f32]) {
    assert_eq!(x.len(), y.len(), "multiply: two shapes");
    x.par_chunks_mut(CHUNK).zip(y.par_chunks(CHUNK)).for_each(|(x, y)| product(isa, x, y));
}

each_isa! {
    fn sum(x: &mut [f32], y: &[f32]) {
        for (x, y) in x.iter_mut().zip(y) {
            *x += y;
        }
    }
}

each_isa! {
    fn product(x: &mut [f32], y: &[f32]) {
        for (x, y) in x.iter_mut().zip(y) {
            *x *= y;
        }
    }
}

/// `x = scale x + shift`.
pub fn affine(isa: Isa, x: &mut [f32], scale: f32, shift: f32) {
    x.par_chunks_mut(CHUNK).for_each(|x| scale_and_shift(isa, x, scale, shift));
}

/// Each element, but not under `low` nor over `high`; NaN stays.
pub fn clamp(isa: Isa, x: &mut [f32], low: f32, high: f32) {
    x.par_chunks_mut(CHUNK).for_each(|x| keep_within(isa, x, low, high));
}

/// `x = cap * tanh(x / cap)`, `cap` above 0, within a few millionths of `cap`.
pub fn softcap(isa: Isa, x: &mut [f32], cap: f32) {
    x.par_chunks_mut(CHUNK).for_each(|x| cap_softly(isa, x, cap));
}

/// Row `i` of `x[rows, width]` times `by[i]`.
pub fn multiply_rows(isa: Isa, x: &mut [f32], by: &[f32]) {
    let width = x.len() / by.len().max(1);
    assert_eq!(x.len(), width * by.len(), "multiply_rows: {} rows", by.len());
    x.par_chunks_mut(width.max(1)).zip(by).for_each(|(row, &by)| scale_and_shift(isa, row, by, 0.0));
}

/// Every row of `x[rows, by.len()]` times `by`.
pub fn multiply_columns(isa: Isa, x: &mut [f32], by: &[f32]) {
    assert!(!by.is_empty() && x.len().is_multiple_of(by.len()), "multiply_columns: rows of {}", by.len());
    x.par_chunks_mut(by.len()).for_each(|row| product(isa, row, by));
}

/// `cap * tanh(x / cap)`.
#[inline(always)]
pub(super) fn capped(x: f32, cap: f32) -> f32 {
    cap - 2.0 * cap / (1.0 + exp(2.0 * x / cap))
}

each_isa! {
    fn scale_and_shift(x: &mut [f32], scale: f32, shift: f32) {
        for x in x.iter_mut() {
            *x = *x * scale + shift;
        }
    }
}

each_isa! {
    fn keep_within(x: &mut [f32], low: f32, high: f32) {
        for x in x.iter_mut() {
            *x = if *x < low { low } else { *x };
            *x = if *x > high { high } else { *x };
        }
    }
}

each_isa! {
    fn cap_softly(x: &mut [f32], cap: f32) {
        for x in x.iter_mut() {
            *x = capped(*x, cap);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::{isas, numbers};

    #[test]
    fn with_numbers() {
        let x = numbers(3000, 3);
        for isa in isas() {
            let run = |change: &dyn Fn(&mut [f32])| {
                let mut y = x.clone();
                change(&mut y);
                y
            };
            assert_eq!(run(&|y| affine(isa, y, 0.5, 2.0)), x.iter().map(|x| x * 0.5 + 2.0).collect::<Vec<_>>());
            assert_eq!(run(&|y| clamp(isa, y, -0.2, 0.3)), x.iter().map(|x| x.clamp(-0.2, 0.3)).collect::<Vec<_>>());
            for (got, x) in run(&|y| softcap(isa, y, 0.7)).iter().zip(&x) {
                assert!((f64::from(*got) - 0.7 * (f64::from(*x) / 0.7).tanh()).abs() < 1e-6, "{got} {x}");
            }
            let by = numbers(3, 4);
            let rows = run(&|y| multiply_rows(isa, y, &by));
            let columns = run(&|y| multiply_columns(isa, y, &by));
            for i in 0..x.len() {
                assert_eq!((rows[i], columns[i]), (x[i] * by[i / 1000], x[i] * by[i % 3]));
            }
        }
    }

    #[test]
    fn element_by_element() {
        let (x, y) = (numbers(40_000, 1), numbers(40_000, 2));
        for isa in isas() {
            let (mut sums, mut products) = (x.clone(), x.clone());
            add(isa, &mut sums, &y);
            multiply(isa, &mut products, &y);
            for i in 0..x.len() {
                assert_eq!((sums[i], products[i]), (x[i] + y[i], x[i] * y[i]));
            }
        }
    }
}
