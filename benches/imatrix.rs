//! Importance matrices of a real model: `cargo bench --bench imatrix -- speed`, `-- quality`.
//!
//! `speed`: `calibrate` beside libllama decoding the same chunks, which is the least that llama-imatrix does; two threads,
//! wall time, rounds interleaved, medians. `quality [CHUNKS]`: KL divergence of releases from the checkpoint on
//! wiki.test, with an importance matrix of another text and without; types that cannot do without get a uniform one.
#![allow(missing_docs, clippy::pedantic)]

#[path = "../tests/support/installed.rs"]
mod installed;
#[path = "../tests/oracle/llama.rs"]
mod llama;
#[path = "../tests/oracle/release.rs"]
mod release;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use planish::checkpoint::Checkpoint;
use planish::imatrix::{Entry, Imatrix};
use planish::plan::{Importance, Uncovered, recipe};
use planish::run::executor::Settings;
use planish::run::{Calibration, Chunks, Subject, calibrate};
use planish::text::Encoder;
use planish::verify::{Protocol, Sequences, Side, Summary, compare};

const ROUNDS: usize = 3;
const TOKENS: usize = 512;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let texts = (installed::shared("data/text/calibration.txt"), installed::shared("data/text/wiki.test.raw"));
    let (Some(model), (Some(calibration), Some(test))) = (installed::installed("smollm2"), texts) else { return };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let asked = |what: &str| args.is_empty() || args.iter().any(|arg| arg == what);
    if asked("speed") {
        pool.install(|| speed(&model, &calibration));
    }
    if asked("quality") {
        let chunks = args.iter().find_map(|arg| arg.parse().ok()).unwrap_or(8);
        pool.install(|| quality(&model, &calibration, &test, chunks));
    }
}

fn ids(model: &Path, text: &Path, chunks: usize) -> Vec<u32> {
    let text = std::fs::read_to_string(text).unwrap();
    Chunks { tokens: TOKENS, skip: 0, limit: chunks, whole: false }
        .cut(&Encoder::folder(model).unwrap(), &[text])
        .unwrap()
}

fn entries(model: &Path, ids: &[u32]) -> BTreeMap<String, Entry> {
    let checkpoint = Checkpoint::open(model).unwrap();
    let subject = Subject::of(&checkpoint).unwrap();
    let (source, settings) = (&checkpoint.source, Settings::default());
    let job =
        Calibration { model: &subject.model, source, ids, tokens: TOKENS, settings, head: false, every_expert: false };
    calibrate(&job, &mut |_, _| {}).unwrap()
}

fn speed(model: &Path, text: &Path) {
    let Some(oracle) = llama::oracle() else { return };
    let dir = tempfile::tempdir().unwrap();
    let ids = ids(model, text, 4);
    let chunks: Vec<Vec<i32>> = ids.chunks(TOKENS).map(|chunk| chunk.iter().map(|&id| id as i32).collect()).collect();
    let mut peers = vec![];
    for mix in ["bf16", "f16", "q8_0"] {
        let path = dir.path().join(format!("{mix}.gguf"));
        release::release(model, mix, &path);
        peers.push((mix, llama::Model::load(oracle, &path).unwrap()));
    }
    let mut times: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for _ in 0..ROUNDS {
        let mut time = |name: String, run: &mut dyn FnMut()| {
            let start = Instant::now();
            run();
            times.entry(name).or_default().push(start.elapsed().as_secs_f64());
        };
        time("planish calibrate".to_owned(), &mut || drop(entries(model, &ids)));
        for (mix, peer) in &peers {
            time(format!("libllama {mix}, all logits"), &mut || peer.run_chunks(&chunks, true));
            time(format!("libllama {mix}, last logits"), &mut || peer.run_chunks(&chunks, false));
        }
    }
    let medians: BTreeMap<&String, f64> = (times.iter_mut())
        .map(|(name, times)| {
            times.sort_by(f64::total_cmp);
            (name, times[ROUNDS / 2])
        })
        .collect();
    let ours = medians.iter().find(|(name, _)| name.starts_with("planish")).map_or(1.0, |(_, time)| *time);
    for (name, time) in &medians {
        println!("{name:28} {:8.0} tokens/s {:6.2}", ids.len() as f64 / time, time / ours);
    }
}

fn quality(model: &Path, calibration: &Path, test: &Path, chunks: usize) {
    let imatrix = Imatrix { entries: entries(model, &ids(model, calibration, 64)), ..Imatrix::default() };
    let (checkpoint, encoder) = (Checkpoint::open(model).unwrap(), Encoder::folder(model).unwrap());
    let test = encoder.encode(&std::fs::read_to_string(test).unwrap()).unwrap();
    let sequences = Protocol::Chunks { context: TOKENS, bos: encoder.bos }.cut(&test, chunks).unwrap();
    println!("{:8} {:>6} {:>10} {:>10} {:>7}", "mix", "bpw", "without", "with", "ratio");
    for mix in [
        "q2_k", "q3_k_s", "q3_k_m", "q4_0", "q4_k_s", "q4_k_m", "iq2_m", "iq3_xxs", "iq3_s", "iq3_m", "iq4_nl",
        "iq4_xs",
    ] {
        let with = |imatrix| Importance { imatrix, file: None, uncovered: Uncovered::Warn };
        let none = release::job(model, recipe(mix).unwrap());
        let uniform = none.is_err();
        let none = none.unwrap_or_else(|_| {
            let ones = |entry: &Entry| Entry::rounded(vec![1.0; entry.sums().len()], vec![1]).unwrap();
            let entries = imatrix.entries.iter().map(|(name, entry)| (name.clone(), ones(entry))).collect();
            release::weighed(model, recipe(mix).unwrap(), with(Imatrix { entries, ..Imatrix::default() })).unwrap()
        });
        let some = release::weighed(model, recipe(mix).unwrap(), with(imatrix.clone())).unwrap();
        let [without, with] = [&none, &some].map(|job| drift(&checkpoint, job, &sequences));
        let mark = if uniform { " (uniform)" } else { "" };
        println!("{mix:8} {:6.2} {without:10.5} {with:10.5} {:7.3}{mark}", some.bits_per_weight(), with / without);
    }
}

/// Mean KL divergence of a release, nats.
fn drift(checkpoint: &Checkpoint, job: &planish::plan::Job, sequences: &Sequences) -> f64 {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("release.gguf");
    release::write(job, &path);
    let released = Checkpoint::open(&path).unwrap();
    let (original, candidate) = (Subject::of(checkpoint).unwrap(), Subject::of(&released).unwrap());
    let reference = Side { model: &original.model, source: &checkpoint.source, settings: Settings::default() };
    let candidate = Side { model: &candidate.model, source: &released.source, settings: Settings::default() };
    Summary::new(
        &compare(&reference, &candidate, sequences, &mut |_| std::ops::ControlFlow::Continue(())).unwrap().scores,
    )
    .kl
    .value
}
