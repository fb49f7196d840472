//! Normalisation of rows. A norm per head is the same over rows of a head's width.

use super::{ROWS, each_isa};
use crate::Isa;
use rayon::prelude::*;

/// `out = x / rms(x) * weight` for each row of `width`, with `eps` under the root.
pub fn rms_norm(isa: Isa, x: &[f32], width: usize, weight: Option<&[f32]>, eps: f32, out: &mut [f32]) {
    check(x, width, weight, None, out);
    let rows = out.par_chunks_mut(ROWS * width).zip(x.par_chunks(ROWS * width));
    rows.for_each(|(out, x)| rms_rows(isa, x, width, weight, eps, out));
}

/// `out = (x - mean(x)) / deviation(x) * weight + bias` for each row of `width`, with `eps` under the root.
pub fn layer_norm(
    isa: Isa,
    x: &[f32],
    width: usize,
    weight: Option<&[f32]>,
    bias: Option<&[f32]>,
    eps: f32,
    out: &mut [f32],
) {
    check(x, width, weight, bias, out);
    let rows = out.par_chunks_mut(ROWS * width).zip(x.par_chunks(ROWS * width));
    rows.for_each(|(out, x)| layer_rows(isa, x, width, weight, bias, eps, out));
}

fn check(x: &[f32], width: usize, weight: Option<&[f32]>, bias: Option<&[f32]>, out: &[f32]) {
    assert!(width > 0 && x.len().is_multiple_of(width) && x.len() == out.len(), "norm: x and out of rows of {width}");
    assert!([weight, bias].iter().flatten().all(|part| part.len() == width), "norm: weight and bias of {width}");
}

each_isa! {
    fn rms_rows(x: &[f32], width: usize, weight: Option<&[f32]>, eps: f32, out: &mut [f32]) {
        for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            let mean = sum(x, |x| x * x) / width as f64;
            let scale = (1.0 / (mean + f64::from(eps)).sqrt()) as f32;
            out.iter_mut().zip(x).for_each(|(out, x)| *out = x * scale);
            affine(out, weight, None);
        }
    }
}

each_isa! {
    fn layer_rows(
        x: &[f32], width: usize, weight: Option<&[f32]>, bias: Option<&[f32]>, eps: f32, out: &mut [f32]
    ) {
        for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            let mean = sum(x, |x| x) / width as f64;
            let variance = sum(x, |x| (x - mean) * (x - mean)) / width as f64;
            let scale = 1.0 / (variance + f64::from(eps)).sqrt();
            out.iter_mut().zip(x).for_each(|(out, x)| *out = ((f64::from(*x) - mean) * scale) as f32);
            affine(out, weight, bias);
        }
    }
}

#[inline(always)]
fn affine(out: &mut [f32], weight: Option<&[f32]>, bias: Option<&[f32]>) {
    if let Some(weight) = weight {
        out.iter_mut().zip(weight).for_each(|(out, weight)| *out *= weight);
    }
    if let Some(bias) = bias {
        out.iter_mut().zip(bias).for_each(|(out, bias)| *out += bias);
    }
}

/// A sum in f64 over eight interleaved parts.
#[inline(always)]
fn sum(x: &[f32], term: impl Fn(f64) -> f64) -> f64 {
    let mut parts = [0f64; 8];
    let (blocks, rest) = x.as_chunks::<8>();
    for block in blocks {
        for (part, &x) in parts.iter_mut().zip(block) {
            *part += term(f64::from(x));
        }
    }
    for (part, &x) in parts.iter_mut().zip(rest) {
        *part += term(f64::from(x));
    }
    parts.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::{isas, numbers, threads};
    use proptest::prelude::*;

    fn naive(x: &[f32], width: usize, centred: bool, weight: &[f32], bias: &[f32], eps: f32) -> Vec<f64> {
        x.chunks(width)
            .flat_map(|row| {
                let n = width as f64;
                let mean = if centred { row.iter().map(|&x| f64::from(x)).sum::<f64>() / n } else { 0.0 };
                let variance = row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
                let scale = 1.0 / (variance + f64::from(eps)).sqrt();
                let part = move |(i, &x): (usize, &f32)| {
                    (f64::from(x) - mean) * scale * f64::from(weight[i])
                        + if centred { f64::from(bias[i]) } else { 0.0 }
                };
                row.iter().enumerate().map(part).collect::<Vec<_>>()
            })
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn norms_agree(rows in 0usize..40, width in 1usize..200, seed: u64) {
            let (x, weight, bias) = (numbers(rows * width, seed), numbers(width, !seed), numbers(width, seed ^ 5));
            for centred in [false, true] {
                let run = |isa| {
                    let mut out = vec![0.0; x.len()];
                    if centred {
                        layer_norm(isa, &x, width, Some(&weight), Some(&bias), 1e-5, &mut out);
                    } else {
                        rms_norm(isa, &x, width, Some(&weight), 1e-5, &mut out);
                    }
                    out
                };
                let first = threads(1, || run(Isa::Scalar));
                for (got, want) in first.iter().zip(naive(&x, width, centred, &weight, &bias, 1e-5)) {
                    prop_assert!((f64::from(*got) - want).abs() < 1e-5, "{got} {want}");
                }
                for isa in isas() {
                    prop_assert!(threads(2, || run(isa)) == first, "{isa:?}");
                }
            }
        }
    }
}
