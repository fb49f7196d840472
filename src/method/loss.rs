//! What a matrix in place of another loses.

use planish_kernels::Isa;
use planish_kernels::cpu::{self, Precision};
use rayon::prelude::*;

use super::Moments;

/// `trace(E H E^T)` of the rows of `errors`, `[out, in]`: the square error of the outputs, over all tokens.
///
/// That is the sum of `H (E^T E)` element by element, both symmetric: half of a product.
pub fn loss(isa: Isa, errors: &[f32], moments: &Moments) -> f64 {
    let n = moments.width();
    let mut products = vec![0.0; n * n];
    cpu::gram(isa, errors, errors.len() / n.max(1), n, &mut products, Precision::F32);
    let rows = products.par_chunks(n.max(1)).zip(moments.matrix().par_chunks(n.max(1))).enumerate();
    let sums = rows.map(|(i, (products, h))| {
        let terms = products[..=i].iter().zip(h).map(|(a, b)| f64::from(*a) * f64::from(*b));
        2.0 * terms.sum::<f64>() - f64::from(products[i]) * f64::from(h[i])
    });
    // Collected first, so that the order of the sum does not depend on the threads.
    sums.collect::<Vec<f64>>().into_iter().sum()
}
