//! Encoding speed against stock llama.cpp, in one process: `cargo bench -p planish-kernels --bench encode [-- FILTER]`.
//!
//! One thread, MB/s of `f32` input by the thread's CPU time; rounds are interleaved and the best one counts. Nothing is
//! timed before its bytes are seen to equal the oracle's.
#![allow(missing_docs, clippy::pedantic)]

#[path = "../tests/support/data.rs"]
mod data;
#[path = "../tests/support/oracle.rs"]
mod oracle;

use data::{Random, bf16};
use oracle::Oracle;
use planish_kernels::Isa;
use planish_kernels::block::CODECS;

const ROWS: usize = 128;
const COLS: usize = 2048;
const ROUNDS: usize = 7;

fn main() {
    let filter = std::env::args().skip(1).find(|a| !a.starts_with('-')).unwrap_or_default();
    let Some(oracle) = Oracle::load() else { return };
    let mut random = Random(1);
    let rows = bf16(&random.gaussians(ROWS * COLS, 0.02));
    let importance: Vec<f32> = (0..COLS).map(|_| 0.01 + random.unit() * random.unit()).collect();
    let megabytes = (rows.len() * 4) as f64 / 1e6;
    println!("{:6} {:10} {:8} {:>10} {:>10} {:>7}", "type", "importance", "isa", "MB/s", "ggml MB/s", "ratio");
    for codec in CODECS.iter().filter(|c| c.name().contains(&filter)) {
        for importance in [None, Some(importance.as_slice())] {
            if importance.is_some() && !codec.weighs() {
                continue;
            }
            let mut ours = vec![0u8; rows.len() / codec.block_len() * codec.block_bytes()];
            let mut theirs = ours.clone();
            let isas: Vec<Isa> = Isa::ALL.into_iter().filter(|isa| isa.available()).collect();
            oracle.encode(codec.name(), &rows, COLS, importance, &mut theirs);
            for &isa in &isas {
                codec.encode(isa, &rows, COLS, importance, &mut ours);
                assert!(ours == theirs, "{} {}: bytes differ from llama.cpp's", codec.name(), isa.name());
            }
            let mut best = vec![f64::INFINITY; isas.len() + 1];
            for _ in 0..ROUNDS {
                for (&isa, best) in isas.iter().zip(&mut best) {
                    *best = best.min(seconds(|| codec.encode(isa, &rows, COLS, importance, &mut ours)));
                }
                let time = seconds(|| oracle.encode(codec.name(), &rows, COLS, importance, &mut theirs));
                best[isas.len()] = best[isas.len()].min(time);
            }
            let peer = megabytes / best[isas.len()];
            for (isa, best) in isas.iter().zip(&best) {
                let (with, rate) = (if importance.is_some() { "yes" } else { "no" }, megabytes / best);
                println!("{:6} {with:10} {:8} {rate:10.0} {peer:10.0} {:7.2}", codec.name(), isa.name(), rate / peer);
            }
        }
    }
}

/// CPU seconds of one call, repeated until the clock can tell.
fn seconds(mut run: impl FnMut()) -> f64 {
    let start = cpu_seconds();
    let mut calls = 0;
    loop {
        run();
        calls += 1;
        let spent = cpu_seconds() - start;
        if spent > 0.02 {
            return spent / f64::from(calls);
        }
    }
}

/// This thread's CPU time so far.
#[allow(unsafe_code)]
fn cpu_seconds() -> f64 {
    #[repr(C)]
    struct Timespec {
        seconds: i64,
        nanoseconds: i64,
    }
    unsafe extern "C" {
        fn clock_gettime(clock: i32, time: *mut Timespec) -> i32;
    }
    const THREAD_CPU_TIME: i32 = 3;
    let mut time = Timespec { seconds: 0, nanoseconds: 0 };
    // SAFETY: a struct of the platform's layout (64-bit Linux), written by the call.
    let failed = unsafe { clock_gettime(THREAD_CPU_TIME, &mut time) };
    assert_eq!(failed, 0);
    time.seconds as f64 + time.nanoseconds as f64 * 1e-9
}
