//! A whole verification against the two passes that llama.cpp's users run: `cargo bench --bench verify`, of SmolLM2, or
//! `-- synthetic`, of a made checkpoint of the shape of Llama 3.2 1B. $PLANISH_BENCH_CHUNKS: 20 by default. With `-- A.gguf
//! B.gguf` nothing is timed: what the drift of these is from SmolLM2 as libllama runs both, and as `verify` does.
//!
//! Theirs: libllama decodes every chunk with all logits through the original, log-softmaxes of the scored half are kept;
//! then the same through the quantized file, and the KL divergence to what was kept. llama-perplexity writes the first
//! pass to a file of gigabytes; here it stays in memory, which costs the peer nothing. Ours: `verify::verify`, with its
//! weight comparison, tokenization and report. Both on two threads and the same token ids; both mean KL divergences are
//! printed, for they should be near each other (the engine of llama.cpp rounds activations, so its own is larger).
#![allow(missing_docs, clippy::pedantic)]

#[path = "../tests/support/installed.rs"]
mod installed;
#[path = "../tests/oracle/llama.rs"]
mod llama;
#[path = "../tests/oracle/release.rs"]
mod release;
#[path = "../tests/support/synthetic.rs"]
mod synthetic;

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use planish::checkpoint::Checkpoint;
use planish::run::executor::Settings;
use planish::verify::{Cut, Options, Text, verify};
use planish_kernels::cpu::Precision;
use rayon::prelude::*;

const CONTEXT: usize = 512;
const CHUNKS: usize = 20;

fn main() {
    let text = installed::shared("data/text/wiki.test.raw");
    let (Some(oracle), Some(smollm2), Some(text)) = (llama::oracle(), installed::installed("smollm2"), text) else {
        return;
    };
    let chunks = std::env::var("PLANISH_BENCH_CHUNKS").map_or(CHUNKS, |n| n.parse().expect("a number"));
    rayon::ThreadPoolBuilder::new().num_threads(2).build_global().expect("two threads");
    let dir = tempfile::tempdir().expect("a folder");
    let (name, model) = if std::env::args().any(|arg| arg == "synthetic") {
        let folder = dir.path().join("made");
        synthetic::checkpoint(&folder, "BF16", Some(&synthetic::pattern()));
        ("of the shape of Llama 3.2 1B", folder)
    } else {
        ("smollm2", smollm2)
    };
    let [original, candidate] = ["bf16", "q4_k_m"].map(|mix| {
        let path = dir.path().join(format!("{mix}.gguf"));
        release::release(&model, mix, &path);
        path
    });
    let text = std::fs::read_to_string(text).expect("a text");

    let files: Vec<String> = std::env::args().filter(|arg| arg.ends_with(".gguf")).collect();
    if !files.is_empty() {
        println!("{:40} {:>10} {:>10}", "mean KLD", "libllama", "planish");
        for file in files {
            let path = Path::new(&file);
            let theirs = theirs(oracle, &original, path, &text, chunks);
            let ours = ours(&original, path, &text, chunks, Precision::F32);
            println!("{file:40} {theirs:10.6} {ours:10.6}");
        }
        return;
    }
    println!("{name}, bf16 -> q4_k_m, {chunks} chunks of {CONTEXT} tokens, two threads");
    let (theirs, kl) = timed(|| theirs(oracle, &original, &candidate, &text, chunks));
    println!("libllama       {theirs:8.2} s   mean KLD {kl:.6}");
    for (name, precision) in [("f32", Precision::F32), ("bf16", Precision::Bf16)] {
        let (ours, kl) = timed(|| ours(&original, &candidate, &text, chunks, precision));
        println!("planish {name:<5}  {ours:8.2} s   mean KLD {kl:.6}   ratio {:.2}", theirs / ours);
    }
}

fn timed(run: impl FnOnce() -> f64) -> (f64, f64) {
    let start = Instant::now();
    let value = run();
    (start.elapsed().as_secs_f64(), value)
}

fn ours(original: &Path, candidate: &Path, text: &str, chunks: usize, precision: Precision) -> f64 {
    let [original, candidate] = [original, candidate].map(|path| Checkpoint::open(path).expect("a model"));
    let texts = [Text { name: "text".to_owned(), text: text.to_owned() }];
    let options = Options {
        cut: Cut::Chunks { context: CONTEXT },
        limit: chunks,
        batch: 8,
        settings: Settings { precision, ..Settings::default() },
        worst: 20,
    };
    let report = verify(&original, &candidate, &texts, &options, &mut |_| ControlFlow::Continue(())).expect("a report");
    report.metrics.expect("numbers").kld.mean
}

fn theirs(oracle: &'static llama::Oracle, original: &Path, candidate: &Path, text: &str, chunks: usize) -> f64 {
    let model = llama::Model::load(oracle, original).expect("a model");
    let ids = model.tokenize(text, false, false);
    let chunks: Vec<&[i32]> = ids.chunks_exact(CONTEXT).take(chunks).collect();
    let mut kept: Vec<Vec<f32>> = vec![];
    model.each_logits(&chunks, CONTEXT / 2, |rows| {
        kept.par_extend(rows[..rows.len() - 1].par_iter().map(|row| log_softmax(row).collect::<Vec<f32>>()));
    });
    drop(model);
    let model = llama::Model::load(oracle, candidate).expect("a model");
    let (mut sum, mut at) = (0.0, 0);
    model.each_logits(&chunks, CONTEXT / 2, |rows| {
        let rows = &rows[..rows.len() - 1];
        sum += rows.par_iter().zip(&kept[at..at + rows.len()]).map(|(row, kept)| divergence(kept, row)).sum::<f64>();
        at += rows.len();
    });
    sum / at as f64
}

fn log_softmax(row: &[f32]) -> impl Iterator<Item = f32> + '_ {
    let max = row.iter().copied().fold(f32::MIN, f32::max);
    let log_sum = row.iter().map(|x| (x - max).exp()).sum::<f32>().ln();
    row.iter().map(move |x| x - max - log_sum)
}

fn divergence(kept: &[f32], row: &[f32]) -> f64 {
    kept.iter().zip(log_softmax(row)).map(|(&a, b)| f64::from(a.exp() * (a - b))).sum()
}
