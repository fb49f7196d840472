//! The whole verification against llama.cpp: `cargo bench --bench verify`.
//!
//! SmolLM2 and its Q8_0 release: planish's report, beside what llama-perplexity's users run twice (all logits of both
//! models, their log-softmax and KL divergence), here in one process and without its file of logits. Two threads, wall
//! time, rounds interleaved, medians. The KL divergences are seen to agree before anything is timed.
#![allow(missing_docs, clippy::pedantic)]

#[path = "../tests/oracle/llama.rs"]
mod llama;
#[path = "../tests/oracle/release.rs"]
mod release;
#[path = "../tests/oracle/scores.rs"]
mod scores;

use std::ops::ControlFlow;
use std::time::Instant;

use planish::checkpoint::Checkpoint;
use planish::run::executor::{Activations, Settings};
use planish::verify::{Cut, Options, Report, Text, verify};
use planish_kernels::cpu::Precision;

const CONTEXT: usize = 512;

fn main() {
    let (Some(oracle), Some(model)) = (llama::oracle(), llama::installed("smollm2")) else { return };
    let Some(text) = llama::shared("data/text/wiki.test.raw") else { return };
    let number = |name: &str, default: usize| std::env::var(name).map_or(default, |n| n.parse().unwrap());
    let (rounds, chunks) = (number("ROUNDS", 3), number("CHUNKS", 20));
    // Enough for the chunks; neither side is asked to tokenize what it does not run.
    let text: String = std::fs::read_to_string(text).unwrap().chars().take(chunks * CONTEXT * 6).collect();
    rayon::ThreadPoolBuilder::new().num_threads(2).build_global().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let [bf16, q8_0] = ["bf16", "q8_0"].map(|mix| {
        let file = dir.path().join(format!("{mix}.gguf"));
        release::release(&model, mix, &file);
        file
    });
    let texts = [Text { name: "wiki".to_owned(), text: text.clone() }];
    let ours = |precision: Precision, activations: Activations| -> Report {
        let settings = Settings { precision, activations, ..Settings::default() };
        let options = Options { cut: Cut::Chunks { context: CONTEXT }, limit: chunks, batch: 8, settings, worst: 20 };
        let [a, b] = [&bf16, &q8_0].map(|path| Checkpoint::open(path).unwrap());
        verify(&a, &b, &texts, &options, &mut |_| ControlFlow::Continue(())).unwrap()
    };
    let theirs = || {
        let [a, b] = [&bf16, &q8_0].map(|path| llama::Model::load(oracle, path).unwrap());
        scores::compare(&a, &b, &text, CONTEXT, chunks)
    };
    let (report, sums) = (ours(Precision::F32, Activations::Q8), theirs());
    let (ours_kld, theirs_kld) = (report.metrics.unwrap().kld.mean, sums.kld / sums.tokens as f64);
    println!("KL divergence with rounded activations: {ours_kld:.6}, llama.cpp {theirs_kld:.6}");
    assert!((ours_kld / theirs_kld - 1.0).abs() < 0.1);

    println!("{:12} {:>10} {:>12} {:>7}", "precision", "planish s", "llama.cpp s", "ratio");
    for (name, precision) in [("f32", Precision::F32), ("bf16-split", Precision::Bf16Split), ("bf16", Precision::Bf16)]
    {
        let (mut us, mut them) = (vec![], vec![]);
        for _ in 0..rounds {
            us.push(seconds(|| ours(precision, Activations::Exact)));
            them.push(seconds(theirs));
        }
        us.sort_by(f64::total_cmp);
        them.sort_by(f64::total_cmp);
        let (us, them) = (us[rounds / 2], them[rounds / 2]);
        println!("{name:12} {us:10.2} {them:12.2} {:7.2}", them / us);
    }
}

fn seconds<T>(run: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    std::hint::black_box(run());
    start.elapsed().as_secs_f64()
}
