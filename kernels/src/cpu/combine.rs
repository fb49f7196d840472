//! Two values of one shape into one, in place.

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::{isas, numbers};

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
