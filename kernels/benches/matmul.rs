//! The matrix product of one thread against faer's and against the peak of this core, in one process, interleaved.
//!
//! Rates are per second of the thread's CPU time, so that neighbours on the machine do not count; the best of several
//! rounds, of the peaks too, since the clock wanders. Every contender is compared with the others before it is timed.

#![allow(unsafe_code, clippy::wildcard_imports)]

use half::bf16;
use planish_kernels::Isa;
use planish_kernels::cpu::{Precision, Weight, matmul};
use rustix::time::{ClockId, clock_gettime};
use std::hint::black_box;

const SHAPES: [[usize; 3]; 5] =
    [[512, 2048, 2048], [512, 576, 1536], [512, 576, 32000], [512, 2048, 128_256], [64, 2048, 2048]];
const ROUNDS: usize = 5;

fn main() {
    rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build_global().expect("the only pool");
    let isa = Isa::detected();
    let pairs = Precision::Bf16.native(isa);
    println!("{}, {}", isa.name(), if pairs { "vdpbf16ps" } else { "no vdpbf16ps: bf16 weights are widened" });
    println!("{:<20}{:<28}{:>10}{:>10}", "m x k x n", "contender", "GFLOP/s", "of peak");
    for [m, k, n] in SHAPES {
        let (x, w) = (numbers(m * k), numbers(n * k));
        let narrow: Vec<bf16> = w.iter().map(|&w| bf16::from_f32(w)).collect();
        let bytes: &[u8] = bytemuck::cast_slice(&narrow);
        let ours = |weight, precision| {
            let x = &x;
            move |out: &mut [f32]| matmul(isa, x, m, k, weight, n, None, out, precision)
        };
        let mut contenders: Vec<(&str, Contender<'_>, f64)> = vec![
            ("planish f32", Box::new(ours(Weight::F32(&w), Precision::F32)), 0.0),
            ("planish bf16 weights, f32", Box::new(ours(Weight::Bf16(bytes), Precision::F32)), 0.0),
            ("faer f32", Box::new(|out: &mut [f32]| faer_matmul(&x, &w, out, m, k, n)), 0.0),
        ];
        if pairs {
            contenders.push(("planish bf16", Box::new(ours(Weight::Bf16(bytes), Precision::Bf16)), 0.0));
            contenders.push(("planish bf16 split", Box::new(ours(Weight::Bf16(bytes), Precision::Bf16Split)), 0.0));
        }
        let (mut out, mut first) = (vec![0f32; m * n], Vec::new());
        for (name, run, _) in &mut contenders {
            run(&mut out);
            if first.is_empty() {
                first.clone_from(&out);
            }
            let off = out.iter().zip(&first).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
            assert!(off < 0.05 * (k as f32).sqrt(), "{name} is off by {off}");
        }
        let (mut f32_best, mut pair_best) = (0f64, 0f64);
        for _ in 0..ROUNDS {
            f32_best = f32_best.max(rate(|| f32_peak(isa)));
            if pairs {
                pair_best = pair_best.max(rate(pair_peak));
            }
            for (_, run, best) in &mut contenders {
                let product = || {
                    run(black_box(&mut out));
                    2.0 * (m * k * n) as f64 / 1e9
                };
                *best = best.max(rate(product));
            }
        }
        println!("{:<20}{:<28}{f32_best:>10.1}", "", "peak f32");
        if pairs {
            println!("{:<20}{:<28}{pair_best:>10.1}", "", "peak bf16");
        }
        for (name, _, rate) in &contenders {
            let peak = if name.starts_with("planish bf16") && !name.ends_with("f32") { pair_best } else { f32_best };
            let shape = format!("{m}x{k}x{n}");
            println!("{shape:<20}{name:<28}{rate:>10.1}{:>9.0} %", 100.0 * rate / peak);
        }
    }
}

type Contender<'a> = Box<dyn FnMut(&mut [f32]) + 'a>;

fn faer_matmul(x: &[f32], w: &[f32], out: &mut [f32], m: usize, k: usize, n: usize) {
    use faer::{Accum, MatMut, MatRef, Par};
    let out = MatMut::from_row_major_slice_mut(out, m, n);
    let (x, w) = (MatRef::from_row_major_slice(x, m, k), MatRef::from_row_major_slice(w, n, k));
    faer::linalg::matmul::matmul(out, Accum::Replace, x, w.transpose(), 1.0, Par::Seq);
}

fn numbers(count: usize) -> Vec<f32> {
    (0..count as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32 - 0.5).collect()
}

/// Seconds of CPU time of this thread.
fn cpu_seconds() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 * 1e-9
}

/// GFLOP/s of a function that returns GFLOP.
fn rate(round: impl FnOnce() -> f64) -> f64 {
    let start = cpu_seconds();
    let work = round();
    work / (cpu_seconds() - start)
}

const STEPS: usize = 5_000_000;

#[cfg(target_arch = "x86_64")]
fn f32_peak(isa: Isa) -> f64 {
    use std::arch::x86_64::*;
    #[target_feature(enable = "avx2,fma")]
    fn wide8() -> f64 {
        let (mut sums, x) = ([_mm256_setzero_ps(); 12], black_box(_mm256_set1_ps(0.5)));
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(x, x, *sum);
            }
        }
        black_box(sums);
        (STEPS * 12 * 16) as f64 / 1e9
    }
    #[target_feature(enable = "avx512f")]
    fn wide16() -> f64 {
        let (mut sums, x) = ([_mm512_setzero_ps(); 24], black_box(_mm512_set1_ps(0.5)));
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(x, x, *sum);
            }
        }
        black_box(sums);
        (STEPS * 24 * 32) as f64 / 1e9
    }
    match isa {
        // SAFETY: detected.
        Isa::Avx512 => unsafe { wide16() },
        // SAFETY: detected; every AVX2 machine of interest has FMA.
        Isa::Avx2 if is_x86_feature_detected!("fma") => unsafe { wide8() },
        Isa::Avx2 | Isa::Scalar => f64::NAN,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn f32_peak(_: Isa) -> f64 {
    f64::NAN
}

#[cfg(target_arch = "x86_64")]
fn pair_peak() -> f64 {
    use std::arch::x86_64::*;
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn wide16() -> f64 {
        let (mut sums, x) = ([_mm512_setzero_ps(); 24], black_box(_mm512_set1_epi32(0x3f00_3f00)));
        // SAFETY: 512 bits that any pattern may fill.
        let x = unsafe { std::mem::transmute::<__m512i, __m512bh>(x) };
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = _mm512_dpbf16_ps(*sum, x, x);
            }
        }
        black_box(sums);
        (STEPS * 24 * 64) as f64 / 1e9
    }
    // SAFETY: called only where `Precision::Bf16` is native.
    unsafe { wide16() }
}

#[cfg(not(target_arch = "x86_64"))]
fn pair_peak() -> f64 {
    f64::NAN
}
