//! Second moments of a layer's inputs.

use super::Precision;
use super::gemm::{Data, Operand, Out, product, with_micro};
use crate::Isa;

/// Tokens whose products are summed before the sum is added to what is there.
const BLOCK: usize = 1024;

/// `h[n, n] += x[tokens, n]^T x`, on and below the diagonal; the rest of `h` is left alone.
///
/// Tokens are summed in blocks of 1024 in f32, blocks in the order of the calls. Feed whole multiples of 1024 tokens a call
/// and the result does not depend on how they were batched.
///
/// [`Precision::Bf16`] rounds `x` first; sums are f32.
pub fn gram(isa: Isa, x: &[f32], tokens: usize, n: usize, h: &mut [f32], precision: Precision) {
    assert_eq!((x.len(), h.len()), (tokens * n, n * n), "gram: x and h of {tokens} x {n}");
    for x in x.chunks(BLOCK * n.max(1)) {
        let columns = Operand { data: Data::Columns(x), stride: n, k: x.len() / n.max(1) };
        with_micro!(isa, precision, micro => product(micro, &[columns], n, columns, n, None, Out::new(h, n), true, true));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::{isas, numbers};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn gram_is_the_sum_of_outer_products(tokens in 0usize..300, n in 1usize..70, seed: u64) {
            let x = numbers(tokens * n, seed);
            let results: Vec<Vec<f32>> = isas().map(|isa| {
                let mut h = vec![0.5; n * n];
                gram(isa, &x, tokens, n, &mut h, Precision::F32);
                h
            }).collect();
            for i in 0..n {
                for j in 0..n {
                    let sum: f64 = (0..tokens).map(|t| f64::from(x[t * n + i]) * f64::from(x[t * n + j])).sum();
                    let want = if j <= i { 0.5 + sum } else { 0.5 };
                    let got = f64::from(results[0][i * n + j]);
                    prop_assert!((got - want).abs() <= 1e-5 * (1.0 + tokens as f64), "{i} {j}: {got} {want}");
                }
            }
            prop_assert!(results.iter().all(|h| h == &results[0]));
            let mut coarse = vec![0.5; n * n];
            gram(Isa::detected(), &x, tokens, n, &mut coarse, Precision::Bf16);
            let norm = |i: usize| (0..tokens).map(|t| x[t * n + i].powi(2)).sum::<f32>().sqrt();
            for (at, (a, b)) in coarse.iter().zip(&results[0]).enumerate() {
                prop_assert!((a - b).abs() <= 1e-6 + 0.01 * norm(at / n) * norm(at % n), "{at}: {a} {b}");
            }
        }
    }
}
