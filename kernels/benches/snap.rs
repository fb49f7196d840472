//! Rounders: MB/s of f32 through `snap`, every column of every block, and what `fit` and `pack` add, beside `encode`:
//! `cargo bench -p planish-kernels --bench snap [-- FILTER]`. One thread, by its CPU time; the best of several rounds.
#![allow(missing_docs, clippy::pedantic)]

#[path = "../tests/support/data.rs"]
mod data;
#[path = "../tests/support/groups.rs"]
mod groups;

use data::{Random, bf16};
use planish_kernels::Isa;
use planish_kernels::block::{CODECS, Codec, mean_squares};
use rustix::time::{ClockId, clock_gettime};

const ROWS: usize = 1024;
const COLS: usize = 256;
const ROUNDS: usize = 5;

fn main() {
    let filter = std::env::args().skip(1).find(|a| !a.starts_with('-')).unwrap_or_default();
    let isa = Isa::detected();
    let rows = bf16(&Random(1).gaussians(ROWS * COLS, 0.02));
    let columns: Vec<f32> = (0..ROWS * COLS).map(|i| rows[i % ROWS * COLS + i / ROWS]).collect();
    let squares = mean_squares(isa, &rows, COLS);
    println!(
        "{} | {:14} {:>6} {:>10} {:>10} {:>10} {:>10}",
        isa.name(),
        "type",
        "block",
        "snap MB/s",
        "fit",
        "pack",
        "encode"
    );
    let groups = groups::groups(COLS);
    let all = CODECS.iter().map(|codec| *codec as &dyn Codec).chain(groups.iter().map(AsRef::as_ref));
    for codec in all.filter(|codec| codec.name().contains(&filter)) {
        let Some(mut rounder) = codec.rounder(isa, ROWS) else { continue };
        let len = codec.block_len();
        let blocks: Vec<Vec<f32>> = (0..COLS / len)
            .map(|b| rows.chunks_exact(COLS).flat_map(|row| &row[b * len..][..len]).copied().collect())
            .collect();
        let mut out = vec![0.0; ROWS];
        let mut bytes = vec![0; ROWS * codec.block_bytes()];
        let mut whole = vec![0; ROWS * COLS / len * codec.block_bytes()];
        let mut best = [f64::INFINITY; 4];
        for _ in 0..ROUNDS {
            let mut spent = [0.0; 4];
            for (b, x) in blocks.iter().enumerate() {
                spent[1] += seconds(|| rounder.fit(x, None, &squares));
                spent[0] += seconds(|| {
                    for col in 0..len {
                        rounder.snap(col, &columns[(b * len + col) * ROWS..][..ROWS], &mut out);
                    }
                });
                spent[2] += seconds(|| rounder.pack(&mut bytes));
            }
            spent[3] = seconds(|| codec.encode(isa, &rows, COLS, None, &mut whole));
            for (best, spent) in best.iter_mut().zip(spent) {
                *best = best.min(spent);
            }
        }
        let [snap, fit, pack, encode] = best.map(|seconds| (ROWS * COLS * 4) as f64 / 1e6 / seconds);
        println!("{:>9} {:14} {len:6} {snap:10.0} {fit:10.0} {pack:10.0} {encode:10.0}", "", codec.name());
    }
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
