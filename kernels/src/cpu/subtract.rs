//! What error-compensated rounding takes off the columns to come.

use super::Precision;
use super::gemm::{Data, Operand, Out, product, with_micro};
use crate::Isa;

/// A row-major matrix whose rows start `stride` elements apart.
#[derive(Clone, Copy, Debug)]
pub struct Strided<'a> {
    /// From its first element on.
    pub data: &'a [f32],
    /// Elements between the starts of two rows.
    pub stride: usize,
}

/// `c[m, n] -= a[m, k] b[k, n]`. The rows of `c` start `stride` elements apart; what lies between them is left alone.
///
/// Sums run over `k` in one order, so the same bits come out on every instruction set, for any number of threads, and
/// however `m` and `n` are cut.
#[allow(clippy::too_many_arguments)]
pub fn subtract_product(
    isa: Isa,
    c: &mut [f32],
    stride: usize,
    a: Strided<'_>,
    b: Strided<'_>,
    m: usize,
    k: usize,
    n: usize,
) {
    let fits = |len: usize, stride: usize, rows: usize, columns: usize| {
        rows == 0 || columns == 0 || columns <= stride && (rows - 1) * stride + columns <= len
    };
    assert!(
        fits(c.len(), stride, m, n) && fits(a.data.len(), a.stride, m, k) && fits(b.data.len(), b.stride, k, n),
        "subtract_product: c, a and b of {m} x {k} x {n}"
    );
    if m == 0 || k == 0 || n == 0 {
        return;
    }
    let negated: Vec<f32> = a.data.chunks(a.stride).take(m).flat_map(|row| &row[..k]).map(|v| -v).collect();
    let b = Operand { data: Data::Columns(b.data), stride: b.stride, k };
    with_micro!(isa, Precision::F32, micro => {
        product(micro, &[Operand::rows(&negated, k)], m, b, n, None, Out::new(c, stride), true, false);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::{isas, numbers, threads};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn products_are_subtracted(m in 0usize..40, k in 0usize..300, n in 0usize..130, gap in 0usize..5, seed: u64) {
            let (a, b) = (numbers(m * (k + gap), seed), numbers(k * (n + gap), seed ^ 1));
            let before = numbers(m * (n + gap), seed ^ 2);
            let run = |isa, pool| {
                let mut c = before.clone();
                let (a, b) = (Strided { data: &a, stride: k + gap }, Strided { data: &b, stride: n + gap });
                threads(pool, || subtract_product(isa, &mut c, n + gap, a, b, m, k, n));
                c
            };
            let first = run(Isa::Scalar, 1);
            for i in 0..m {
                for j in 0..n + gap {
                    let sum: f64 = if j < n {
                        (0..k).map(|l| f64::from(a[i * (k + gap) + l]) * f64::from(b[l * (n + gap) + j])).sum()
                    } else {
                        0.0
                    };
                    let (got, want) = (f64::from(first[i * (n + gap) + j]), f64::from(before[i * (n + gap) + j]) - sum);
                    prop_assert!((got - want).abs() <= 1e-5 * (1.0 + k as f64), "{i} {j}: {got} {want}");
                }
            }
            for isa in isas() {
                prop_assert!(run(isa, 3) == first, "{}", isa.name());
            }
        }
    }

    #[test]
    fn cutting_changes_no_bit() {
        let (m, k, n) = (50, 128, 700);
        let (a, b, before) = (numbers(m * k, 3), numbers(k * n, 4), numbers(m * n, 5));
        let whole = {
            let mut c = before.clone();
            let (a, b) = (Strided { data: &a, stride: k }, Strided { data: &b, stride: n });
            subtract_product(Isa::detected(), &mut c, n, a, b, m, k, n);
            c
        };
        let mut c = before;
        for (rows, row) in [(7, 0), (43, 7)] {
            for (columns, column) in [(1, 0), (333, 1), (366, 334)] {
                let (a, b) = (Strided { data: &a[row * k..], stride: k }, Strided { data: &b[column..], stride: n });
                subtract_product(Isa::detected(), &mut c[row * n + column..], n, a, b, rows, k, columns);
            }
        }
        assert!(c == whole);
    }
}
