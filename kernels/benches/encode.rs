//! Encoding and decoding speed against stock llama.cpp, in one process: `cargo bench -p planish-kernels --bench encode [-- FILTER]`.
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
    println!("{:6} {:16} {:8} {:>10} {:>10} {:>7}", "type", "work", "isa", "MB/s", "ggml MB/s", "ratio");
    for codec in CODECS.iter().filter(|c| c.name().contains(&filter)) {
        let mut ours = vec![0u8; rows.len() / codec.block_len() * codec.block_bytes()];
        let mut theirs = ours.clone();
        for (work, importance) in [("encode", None), ("encode weighted", Some(importance.as_slice()))] {
            if importance.is_some() && !codec.weighs() || importance.is_none() && codec.needs_importance() {
                continue;
            }
            oracle.encode(codec.name(), &rows, COLS, importance, &mut theirs);
            for isa in isas() {
                codec.encode(isa, &rows, COLS, importance, &mut ours);
                assert!(ours == theirs, "{} {}: bytes differ from llama.cpp's", codec.name(), isa.name());
            }
            compare(
                codec.name(),
                work,
                |isa| codec.encode(isa, &rows, COLS, importance, &mut ours),
                || oracle.encode(codec.name(), &rows, COLS, importance, &mut theirs),
            );
        }
        let (mut decoded, mut reference) = (vec![0f32; rows.len()], vec![0f32; rows.len()]);
        oracle.decode(codec.name(), &theirs, &mut reference);
        for isa in isas() {
            codec.decode(isa, &theirs, &mut decoded);
            assert!(decoded == reference, "{} {}: values differ from llama.cpp's", codec.name(), isa.name());
        }
        compare(
            codec.name(),
            "decode",
            |isa| codec.decode(isa, &theirs, &mut decoded),
            || oracle.decode(codec.name(), &theirs, &mut reference),
        );
    }
}

fn isas() -> Vec<Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.available()).collect()
}

/// Times both sides in turns and prints a line an instruction set.
fn compare(name: &str, work: &str, mut ours: impl FnMut(Isa), mut theirs: impl FnMut()) {
    let isas = isas();
    let mut best = vec![f64::INFINITY; isas.len()];
    let mut peer = f64::INFINITY;
    for _ in 0..ROUNDS {
        for (&isa, best) in isas.iter().zip(&mut best) {
            *best = best.min(seconds(|| ours(isa)));
        }
        peer = peer.min(seconds(&mut theirs));
    }
    let rate = |seconds: f64| (ROWS * COLS * 4) as f64 / 1e6 / seconds;
    for (isa, best) in isas.iter().zip(best) {
        let (ours, theirs) = (rate(best), rate(peer));
        println!("{name:6} {work:16} {:8} {ours:10.0} {theirs:10.0} {:7.2}", isa.name(), ours / theirs);
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
