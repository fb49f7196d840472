//! Methods against what a textbook says, on problems small enough for it.

use planish_kernels::block::{self, Codec, mean_squares};
use planish_kernels::cpu::Precision;

use super::*;

const ISA: Isa = Isa::Scalar;

/// Numbers that look random, about normal.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    (0..count).map(|_| (0..6).map(|_| uniform()).sum()).collect()
}

/// Moments of `tokens` rows whose channels depend on each other and differ in size.
fn moments(cols: usize, tokens: usize, seed: u64) -> Moments {
    let sources = numbers(tokens * cols, seed);
    let mut x = sources.clone();
    for (row, sources) in x.chunks_mut(cols).zip(sources.chunks(cols)) {
        for (i, x) in row.iter_mut().enumerate() {
            *x = (sources[i] + 0.7 * sources[i / 2] + 0.4 * sources[0]) * (1.0 + (i % 7) as f32);
        }
    }
    let mut moments = Moments::new(cols);
    moments.add(ISA, &x, Precision::F32);
    moments.whole()
}

fn task<'a>(codec: &'a dyn Codec, moments: &'a Moments) -> Task<'a> {
    Task { isa: ISA, name: "w", cols: moments.width(), codec, moments }
}

fn codec(name: &str) -> &'static dyn Codec {
    block::codec(name).expect("a codec")
}

/// GPTQ as the paper has it, in f64: the damped inverse, its Cholesky factor, one column after another. Columns go in the
/// method's order; a block's grid is chosen when its first column comes.
fn textbook(task: &Task<'_>, weights: &[f32], damping: f64) -> Vec<f32> {
    let (n, h) = (task.cols, task.moments.matrix());
    let diagonal = task.moments.diagonal();
    let order = gptq::order(&diagonal, task.codec.block_len());
    let mean = diagonal.iter().map(|sum| f64::from(*sum)).sum::<f64>() / n as f64;
    let mut damped: Vec<Vec<f64>> =
        order.iter().map(|&i| order.iter().map(|&j| f64::from(h[i * n + j])).collect()).collect();
    damped.iter_mut().enumerate().for_each(|(i, row)| row[i] += damping * mean);
    let factor = upper(&inverse(damped));
    let len = task.codec.block_len();
    let importance: Vec<f32> = {
        let mut importance = vec![0.0; n];
        order.iter().enumerate().for_each(|(place, &column)| importance[column] = factor[place][place].powi(-2) as f32);
        importance
    };
    let squares = mean_squares(ISA, weights, n);
    let mut values = vec![0.0; weights.len()];
    for (r, (row, values)) in weights.chunks(n).zip(values.chunks_mut(n)).enumerate() {
        let mut left: Vec<f64> = order.iter().map(|&column| f64::from(row[column])).collect();
        let mut grid = task.codec.rounder(ISA, 1).expect("a rounder");
        for place in 0..n {
            let (column, at) = (order[place], order[place] / len);
            if place % len == 0 {
                let mut block = vec![0.0; len];
                (0..len).for_each(|i| block[order[place + i] % len] = left[place + i] as f32);
                grid.fit(&block, Some(&importance[at * len..(at + 1) * len]), &squares[r..=r]);
            }
            let mut rounded = [0.0];
            grid.snap(column % len, &[left[place] as f32], &mut rounded);
            values[column] = rounded[0];
            let error = (left[place] - f64::from(rounded[0])) / factor[place][place];
            (place + 1..n).for_each(|later| left[later] -= error * factor[place][later]);
        }
    }
    values
}

/// By elimination.
fn inverse(mut a: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let n = a.len();
    let mut inverse: Vec<Vec<f64>> = (0..n).map(|i| (0..n).map(|j| f64::from(i == j)).collect()).collect();
    for i in 0..n {
        let pivot = a[i][i];
        for j in 0..n {
            a[i][j] /= pivot;
            inverse[i][j] /= pivot;
        }
        for k in (0..n).filter(|k| *k != i) {
            let factor = a[k][i];
            for j in 0..n {
                a[k][j] -= factor * a[i][j];
                inverse[k][j] -= factor * inverse[i][j];
            }
        }
    }
    inverse
}

/// `a = V^T V`, `V` upper triangular.
fn upper(a: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let n = a.len();
    let mut v = vec![vec![0.0; n]; n];
    for i in 0..n {
        for j in i..n {
            let sum = a[i][j] - (0..i).map(|k| v[k][i] * v[k][j]).sum::<f64>();
            v[i][j] = if i == j { sum.sqrt() } else { sum / v[i][i] };
        }
    }
    v
}

#[test]
fn gptq_is_what_the_textbook_says() {
    for (name, cols) in [("Q4_0", 64), ("Q4_K", 512), ("Q2_K", 256), ("Q3_K", 256), ("IQ4_NL", 96), ("Q8_0", 64)] {
        let moments = moments(cols, 3 * cols, 5);
        let (codec, weights) = (codec(name), numbers(7 * cols, 3));
        let task = task(codec, &moments);
        let ours = Gptq { sweeps: 0, ..Gptq::DEFAULT }.round(&task, &weights).expect("a solution");
        let theirs = textbook(&task, &weights, Gptq::DEFAULT.damping);
        let expected = nearest::Stake::new(&task, &weights).lost(&theirs);
        let found = ours.account.loss;
        assert!((found - expected).abs() <= 1e-5 * expected, "{name}: {found} {expected}");
        // A tie that f32 breaks otherwise moves single weights, not many.
        let differ = ours.values.iter().zip(&theirs).filter(|(a, b)| (*a - *b).abs() > 1e-5).count();
        assert!(differ * 100 <= weights.len(), "{name}: {differ} of {}", weights.len());
    }
}

#[test]
fn values_are_what_the_blocks_decode_to() {
    for codec in block::CODECS.iter().filter(|codec| codec.rounder(ISA, 1).is_some()) {
        let moments = moments(512, 600, 1);
        let weights = numbers(5 * 512, 8);
        for method in METHODS {
            let rounded = method.round(&task(*codec, &moments), &weights).expect("a solution");
            let mut decoded = vec![0.0; weights.len()];
            codec.decode(ISA, &rounded.blocks, &mut decoded);
            assert!(
                rounded.values.iter().zip(&decoded).all(|(a, b)| a.to_bits() == b.to_bits()),
                "{} {}",
                method.name(),
                codec.name()
            );
        }
    }
}

#[test]
fn gptq_never_loses_more_than_rounding_to_nearest() {
    for codec in block::CODECS.iter().filter(|codec| codec.rounder(ISA, 1).is_some()) {
        for seed in 0..4 {
            let moments = moments(256, 100 << seed, seed);
            let weights = numbers(3 * 256, seed + 9);
            let task = task(*codec, &moments);
            let account = Gptq::DEFAULT.round(&task, &weights).expect("a solution").account;
            let nearest = Nearest.round(&task, &weights).expect("a solution").account.loss;
            assert!(account.loss <= nearest, "{} {}: {account:?}", codec.name(), seed);
            assert_eq!(account.nearest.to_bits(), nearest.to_bits());
        }
    }
}

#[test]
fn sweeps_lose_less_and_less() {
    let moments = moments(256, 400, 2);
    let weights = numbers(16 * 256, 4);
    let task = task(codec("Q2_K"), &moments);
    let losses: Vec<f64> = (0..4)
        .map(|sweeps| Gptq { sweeps, ..Gptq::DEFAULT }.round(&task, &weights).expect("a solution").account.loss)
        .collect();
    assert!(losses.is_sorted_by(|a, b| a >= b) && losses[1] < losses[0], "{losses:?}");
}

#[test]
fn what_no_token_reaches_is_rounded_to_nearest_and_counted() {
    let mut x = numbers(300 * 64, 6);
    x.chunks_mut(64).for_each(|row| row[40..48].fill(0.0));
    let mut moments = Moments::new(64);
    moments.add(ISA, &x, Precision::F32);
    let moments = moments.whole();
    let weights = numbers(64 * 4, 7);
    let task = task(codec("Q8_0"), &moments);
    let rounded = Gptq::DEFAULT.round(&task, &weights).expect("a solution");
    assert_eq!(rounded.account.dead, 8);
    for (row, weights) in rounded.values.chunks(64).zip(weights.chunks(64)) {
        let step = weights[32..].iter().fold(0f32, |m, w| m.max(w.abs())) / 127.0;
        assert!((40..48).all(|at| (row[at] - weights[at]).abs() <= 0.6 * step), "{row:?} {weights:?}");
    }
}

#[test]
fn moments_without_a_factor_are_damped_and_that_is_told() {
    // One token: rank one, and nearly all of its eigenvalues are zero.
    let mut moments = Moments::new(256);
    moments.add(ISA, &numbers(256, 3), Precision::F32);
    let moments = moments.whole();
    let weights = numbers(256 * 2, 7);
    let account =
        Gptq { damping: 0.0, ..Gptq::DEFAULT }.round(&task(codec("Q4_K"), &moments), &weights).map(|r| r.account);
    match account {
        Ok(account) => assert!(account.damping > 0.0, "{account:?}"),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn moments_that_are_no_numbers_are_refused_by_channel() {
    let mut x = numbers(64 * 8, 1);
    x[64 + 5] = f32::NAN;
    let mut moments = Moments::new(64);
    moments.add(ISA, &x, Precision::F32);
    let moments = moments.whole();
    let found = Gptq::DEFAULT.round(&task(codec("Q8_0"), &moments), &numbers(64, 2));
    assert!(matches!(found, Err(Error::Activation { channel: 0..=5, .. })), "{found:?}");
}

#[test]
fn any_number_of_threads_gives_the_same_blocks() {
    let moments = moments(512, 700, 2);
    let weights = numbers(200 * 512, 4);
    let task = task(codec("Q3_K"), &moments);
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| Gptq::DEFAULT.round(&task, &weights).expect("a solution").blocks)
    };
    assert!(on(1) == on(3));
}

#[test]
fn scales_lose_no_more_than_none() {
    for name in ["Q4_0", "Q4_1", "Q2_K", "IQ4_NL"] {
        let moments = moments(256, 500, 11);
        let weights = [numbers(12 * 256, 4), numbers(5 * 256, 6)];
        let codec = codec(name);
        let readers: Vec<Reader<'_>> = weights.iter().map(|weights| Reader { name: "w", weights, codec }).collect();
        let maker: Vec<usize> = (0..256).collect();
        let channels = Channels { moments: &moments, maker: &maker, count: 256, stored: &|scale| scale.to_vec() };
        let Some(found) = scaling(ISA, &channels, &readers) else { panic!("{name}: channels differ sevenfold") };
        assert!(found.after < found.before, "{name}: {found:?}");
        // What it says is what the readers then lose.
        let scaled = moments.divided(&found.scale);
        let (mut lost, mut all) = (0.0, 0.0);
        for weights in &weights {
            let mut rows = weights.clone();
            rows.chunks_mut(256).for_each(|row| row.iter_mut().zip(&found.scale).for_each(|(w, s)| *w *= s));
            let task = task(codec, &scaled);
            let whole = loss(ISA, weights, &moments);
            lost += nearest::Stake::new(&task, &rows).lost(&nearest::encode(&task, &rows).values)
                * loss(ISA, &rows, &scaled);
            all += whole;
        }
        assert!((lost / all - found.after).abs() <= 1e-4 * found.after, "{name}: {} {found:?}", lost / all);
    }
}
