//! What a matrix in place of another loses.

use planish_kernels::Isa;
use planish_kernels::cpu::{self, Precision, Weight};
use rayon::prelude::*;

use super::Moments;

/// Rows whose product with the moments is in memory at a time.
const ROWS: usize = 128;

/// `trace(E H E^T)` of the rows of `errors`, `[out, in]`: the square error of the outputs, over all tokens.
pub fn loss(isa: Isa, errors: &[f32], moments: &Moments) -> f64 {
    let n = moments.width();
    let rows = errors.par_chunks(ROWS * n.max(1)).map(|errors| {
        let rows = errors.len() / n;
        let mut product = vec![0.0; errors.len()];
        let h = Weight::F32(moments.matrix());
        cpu::matmul(isa, errors, rows, n, h, n, None, &mut product, Precision::F32);
        let dots = errors.iter().zip(&product).map(|(a, b)| f64::from(*a) * f64::from(*b));
        dots.sum::<f64>()
    });
    // Collected first, so that the order of the sum does not depend on the threads.
    rows.collect::<Vec<f64>>().into_iter().sum()
}
