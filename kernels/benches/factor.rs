//! GPTQ's factor of one thread against faer's, in one process: `cargo bench -p planish-kernels --bench factor`.
//!
//! GFLOP/s of 2/3 n^3, by the thread's CPU time; the best of several rounds. Results are compared before they are timed.
#![allow(missing_docs, clippy::pedantic)]

use faer::linalg::solvers::Llt;
use faer::{Mat, Side};
use planish_kernels::Isa;
use planish_kernels::cpu::{Precision, factor, gram};
use rustix::time::{ClockId, clock_gettime};

const ROUNDS: usize = 3;

fn main() {
    rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build_global().expect("the only pool");
    faer::set_global_parallelism(faer::Par::Seq);
    let isa = Isa::detected();
    println!(
        "{:6} {:>12} {:>12} {:>12} {:>12} {:>14} {:>14}",
        "n", "ours s", "GFLOP/s", "faer s", "GFLOP/s", "gram GFLOP/s", "in bf16"
    );
    for n in [576, 1536, 4096] {
        let tokens = 2048;
        let x = numbers(tokens * n);
        let mut h = vec![0.0; n * n];
        let [coarse_rate, gram_rate] = [Precision::Bf16, Precision::F32].map(|precision| {
            h.fill(0.0);
            (tokens * n * n) as f64 / seconds(|| gram(isa, &x, tokens, n, &mut h, precision)) / 1e9
        });
        let order: Vec<usize> = (0..n).collect();
        let mut v = vec![0.0; n * n];
        let (mut ours, mut theirs) = (f64::INFINITY, f64::INFINITY);
        for round in 0..ROUNDS {
            ours = ours.min(seconds(|| factor(isa, &h, n, 0.01, &order, &mut v).expect("positive")));
            let mut peer = Mat::zeros(0, 0);
            theirs = theirs.min(seconds(|| peer = faer_factor(&h, n)));
            if round == 0 {
                let largest = v.iter().fold(0f32, |a, b| a.max(b.abs()));
                for (at, v) in v.iter().enumerate().filter(|(at, _)| at / n <= at % n) {
                    // Row i of V, reversed, is row n - 1 - i of the inverse.
                    let peer: f32 = peer[(n - 1 - at / n, n - 1 - at % n)];
                    assert!((v - peer).abs() < 1e-3 * largest, "{at}: {v} {peer}");
                }
            }
        }
        let rate = |seconds: f64| 2.0 / 3.0 * (n as f64).powi(3) / seconds / 1e9;
        let (ours_rate, theirs_rate) = (rate(ours), rate(theirs));
        println!(
            "{n:6} {ours:12.3} {ours_rate:12.1} {theirs:12.3} {theirs_rate:12.1} {gram_rate:14.1} {coarse_rate:14.1}"
        );
    }
}

/// The same from faer's parts: reverse, decompose, invert the triangle. Gives `L^-1`.
fn faer_factor(h: &[f32], n: usize) -> Mat<f32> {
    let mean: f32 = (0..n).map(|i| h[i * n + i]).sum::<f32>() / n as f32;
    let at = |i: usize, j: usize| h[(n - 1 - i).max(n - 1 - j) * n + (n - 1 - i).min(n - 1 - j)];
    let a = Mat::from_fn(n, n, |i, j| at(i, j) + if i == j { 0.01 * mean } else { 0.0 });
    let l = Llt::new(a.as_ref(), Side::Lower).expect("positive");
    let mut inverse = Mat::zeros(n, n);
    faer::linalg::triangular_inverse::invert_lower_triangular(inverse.as_mut(), l.L(), faer::Par::Seq);
    inverse
}

fn numbers(count: usize) -> Vec<f32> {
    (0..count as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32 - 0.5).collect()
}

/// Seconds of this thread's CPU time.
fn seconds(run: impl FnOnce()) -> f64 {
    let now = || {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        now.tv_sec as f64 + now.tv_nsec as f64 * 1e-9
    };
    let start = now();
    run();
    now() - start
}
