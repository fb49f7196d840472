use super::*;
use crate::cpu::testing::{isas, numbers, threads};
use crate::cpu::{Precision, gram};
use proptest::prelude::*;

/// The Gram matrix of some tokens, below the diagonal; noise above it.
fn gram_of(tokens: usize, n: usize, seed: u64) -> Vec<f32> {
    let mut h = numbers(n * n, seed ^ 0x77);
    for i in 0..n {
        h[i * n..=i * n + i].fill(0.0);
    }
    gram(Isa::detected(), &numbers(tokens * n, seed), tokens, n, &mut h, Precision::F32);
    h
}

/// `0..n`, shuffled.
fn shuffled(n: usize, seed: u64) -> Vec<usize> {
    let keys = numbers(n, seed);
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|a, b| keys[*a].total_cmp(&keys[*b]));
    order
}

/// `H` in this order and damped, in f64.
fn damped(h: &[f32], n: usize, damping: f64, order: &[usize]) -> Vec<f64> {
    let mean = (0..n).map(|i| f64::from(h[i * n + i])).sum::<f64>() / n as f64;
    let mut out = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..n {
            let (a, b) = (order[i].max(order[j]), order[i].min(order[j]));
            out[i * n + j] = f64::from(h[a * n + b]);
        }
        let d = &mut out[i * n + i];
        *d = if *d == 0.0 { if mean > 0.0 { mean } else { 1.0 } } else { *d } + damping * mean;
    }
    out
}

/// `A = L L^T`, by the textbook.
fn textbook_cholesky(a: &[f64], n: usize) -> Vec<f64> {
    let mut l = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..=i {
            let sum: f64 = (0..j).map(|k| l[i * n + k] * l[j * n + k]).sum();
            let rest = a[i * n + j] - sum;
            l[i * n + j] = if i == j { rest.sqrt() } else { rest / l[j * n + j] };
        }
    }
    l
}

/// GPTQ's factor as its paper has it: the inverse by one Cholesky decomposition, and the upper factor of it by another.
fn textbook_factor(h: &[f64], n: usize) -> Vec<f64> {
    let l = textbook_cholesky(h, n);
    let mut inverse = vec![0.0; n * n];
    for column in 0..n {
        let mut x = vec![0.0; n];
        for i in 0..n {
            let sum: f64 = (0..i).map(|k| l[i * n + k] * x[k]).sum();
            x[i] = (f64::from(u8::from(i == column)) - sum) / l[i * n + i];
        }
        for i in (0..n).rev() {
            let sum: f64 = (i + 1..n).map(|k| l[k * n + i] * x[k]).sum();
            x[i] = (x[i] - sum) / l[i * n + i];
        }
        for (i, x) in x.into_iter().enumerate() {
            inverse[i * n + column] = x;
        }
    }
    // `inverse = V^T V` with V upper: V is the transposed lower factor.
    let lower = textbook_cholesky(&inverse, n);
    let mut v = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..=i {
            v[j * n + i] = lower[i * n + j];
        }
    }
    v
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_factor_is_gptqs(n in 1usize..150, spare in 1usize..60, damping in 0.001f32..0.1, seed: u64) {
        let h = gram_of(n + spare, n, seed);
        let order = shuffled(n, seed);
        let wide = damped(&h, n, f64::from(damping), &order);
        let want = textbook_factor(&wide, n);
        let largest = want.iter().fold(0f64, |a, b| a.max(b.abs()));
        let mut v = vec![f32::NAN; n * n];
        factor(Isa::detected(), &h, n, damping, &order, &mut v).expect("positive");
        for i in 0..n {
            for j in 0..n {
                let (got, want) = (f64::from(v[i * n + j]), want[i * n + j]);
                prop_assert!((got - want).abs() <= 2e-5 * largest, "{i} {j}: {got} {want} of {largest}");
                prop_assert!(j >= i || got == 0.0);
            }
        }
    }
}

/// Blocks of every shape: fewer columns than one, whole ones, and some more.
#[test]
fn every_size_gives_the_same_bits_everywhere() {
    for n in [1, 2, 127, 128, 129, 255, 256, 300, 513] {
        let order = shuffled(n, n as u64);
        let run = |isa, pool| {
            let h = gram_of(n + 20, n, 5);
            let mut v = vec![f32::NAN; n * n];
            threads(pool, || factor(isa, &h, n, 0.01, &order, &mut v)).expect("positive");
            (h, v)
        };
        let (h, first) = run(Isa::Scalar, 1);
        for isa in isas() {
            assert!(run(isa, 1).1 == first && run(isa, 3).1 == first, "{n} on {}", isa.name());
        }
        // V H V^T is the identity.
        let wide = damped(&h, n, 0.01, &order);
        let v: Vec<f64> = first.iter().map(|v| f64::from(*v)).collect();
        let times = |a: &[f64], b: &dyn Fn(usize, usize) -> f64| -> Vec<f64> {
            (0..n * n).map(|at| (0..n).map(|k| a[at / n * n + k] * b(k, at % n)).sum()).collect()
        };
        let vh = times(&v, &|k, j| wide[k * n + j]);
        for (at, got) in times(&vh, &|k, j| v[j * n + k]).into_iter().enumerate() {
            let want = f64::from(u8::from(at / n == at % n));
            assert!((got - want).abs() < 1e-3, "{n}: {} {}: {got}", at / n, at % n);
        }
    }
}

#[test]
fn what_nobody_used_leaves_the_others_alone() {
    let n = 140;
    let mut h = gram_of(200, n, 3);
    let dead = 17;
    for i in 0..n {
        h[dead.max(i) * n + dead.min(i)] = 0.0;
    }
    let order: Vec<usize> = (0..n).collect();
    let mut v = vec![0.0; n * n];
    factor(Isa::detected(), &h, n, 0.01, &order, &mut v).expect("positive");
    for i in 0..n {
        let (row, column) = (v[dead * n + i], v[i * n + dead]);
        assert_eq!((row != 0.0, column != 0.0), (i == dead, i == dead), "{i}");
    }
    let nothing = vec![0.0; n * n];
    factor(Isa::detected(), &nothing, n, 0.01, &order, &mut v).expect("ones");
    assert!((0..n).all(|i| v[i * n + i] == 1.0));
}

#[test]
fn a_bad_pivot_is_named() {
    for n in [5, 140, 300] {
        for bad in [0, n / 2, n - 1] {
            for value in [-1.0, f32::NAN, f32::INFINITY] {
                let mut h = gram_of(n + 50, n, 9);
                h[bad * n + bad] = value;
                let mut v = vec![0.0; n * n];
                let order = shuffled(n, 1);
                let found = factor(Isa::detected(), &h, n, 0.0, &order, &mut v);
                if value == -1.0 {
                    assert_eq!(found, Err(NotPositive { column: bad }), "{n}");
                } else {
                    assert!(found.is_err());
                }
            }
        }
    }
}

/// Token sums in f32, blocks of 256, are good enough for 65 thousand tokens.
#[test]
fn gram_keeps_its_precision_over_many_tokens() {
    let (tokens, n) = (65536, 24);
    let mut x = numbers(tokens * n, 11);
    // Channels of very different size, one with a mean far from zero.
    for row in x.chunks_exact_mut(n) {
        row[0] *= 300.0;
        row[1] *= 1e-3;
        row[2] += 5.0;
    }
    let mut h = vec![0.0; n * n];
    for x in x.chunks(2048 * n) {
        gram(Isa::detected(), x, 2048, n, &mut h, Precision::F32);
    }
    let mut exact = vec![0.0; n * n];
    for row in x.chunks_exact(n) {
        for i in 0..n {
            for j in 0..=i {
                exact[i * n + j] += f64::from(row[i]) * f64::from(row[j]);
            }
        }
    }
    let mut worst = 0f64;
    for i in 0..n {
        for j in 0..=i {
            let size = (exact[i * n + i] * exact[j * n + j]).sqrt();
            worst = worst.max((f64::from(h[i * n + j]) - exact[i * n + j]).abs() / size);
        }
    }
    assert!(worst < 2e-6, "{worst:e}");
}
