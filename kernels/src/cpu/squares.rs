//! Mean squares of a layer's inputs, the importance of their channels.

use rayon::prelude::*;

use super::each_isa;
use crate::Isa;

/// Columns that a thread takes at a time: their sums stay in the first cache.
const COLUMNS: usize = 256;

/// `sums[j] += x[i, j]^2` over the rows `i` of `x[rows, width]`, in order, in f64: a square of f32 is exact there.
pub fn sum_squares(isa: Isa, x: &[f32], width: usize, sums: &mut [f64]) {
    assert!(width > 0 && x.len().is_multiple_of(width) && sums.len() == width, "sum_squares: rows of {width}");
    sums.par_chunks_mut(COLUMNS).enumerate().for_each(|(band, sums)| columns(isa, x, width, band * COLUMNS, sums));
}

each_isa! {
    fn columns(x: &[f32], width: usize, first: usize, sums: &mut [f64]) {
        for row in x.chunks_exact(width) {
            for (sum, &x) in sums.iter_mut().zip(&row[first..]) {
                *sum += f64::from(x) * f64::from(x);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::{isas, numbers};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn every_column_is_summed_in_order(rows in 0usize..40, width in 1usize..600, seed: u64) {
            let x = numbers(rows * width, seed);
            let want: Vec<f64> =
                (0..width).map(|j| (0..rows).fold(0.5, |sum, i| sum + f64::from(x[i * width + j]).powi(2))).collect();
            for isa in isas() {
                let mut sums = vec![0.5; width];
                sum_squares(isa, &x, width, &mut sums);
                prop_assert_eq!(&sums, &want);
            }
        }
    }
}
