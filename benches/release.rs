//! The whole job against stock llama.cpp: `cargo bench --bench release`.
//!
//! A checkpoint to q4_k_m, beside `llama_model_quantize` from a BF16 GGUF of it (which planish does not need, and which
//! llama.cpp's users have to make first); and to BF16, beside a plain copy of as many bytes. Two threads, wall time, rounds
//! interleaved, medians. The files are seen to be equal before anything is timed.
#![allow(missing_docs, clippy::pedantic)]

#[path = "../tests/support/installed.rs"]
mod installed;
#[path = "../tests/oracle/llama.rs"]
mod llama;
#[path = "../tests/oracle/release.rs"]
mod release;

use std::path::Path;
use std::time::Instant;

use llama::QuantizeOptions;

const ROUNDS: usize = 5;

fn main() {
    let (Some(oracle), Some(model)) = (llama::oracle(), installed::installed("smollm2")) else { return };
    let dir = tempfile::tempdir().unwrap();
    let [bf16, ours, theirs, copy] = ["bf16", "ours", "theirs", "copy"].map(|n| dir.path().join(format!("{n}.gguf")));
    release::release(&model, "bf16", &bf16);
    let theirs_of = |mix: i32| oracle.quantize(&bf16, &theirs, mix, 2, QuantizeOptions::default()).unwrap();
    println!("{:10} {:>10} {:>12} {:>7}", "job", "planish s", "peer s", "ratio");
    for (mix, number) in [("q4_k_m", 15), ("q5_k_m", 17), ("q2_k", 10), ("q3_k_m", 12), ("q6_k", 18), ("q8_0", 7)] {
        release::release(&model, mix, &ours);
        theirs_of(number);
        same(&ours, &theirs);
        let (mut us, mut them) = (vec![], vec![]);
        for _ in 0..ROUNDS {
            us.push(seconds(|| release::release(&model, mix, &ours)));
            them.push(seconds(|| theirs_of(number)));
        }
        row(mix, us, them);
    }
    let source = model.join("model.safetensors");
    let (mut us, mut them) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        us.push(seconds(|| release::release(&model, "bf16", &bf16)));
        them.push(seconds(|| {
            // As cp does: read and written in pieces, and flushed like a release.
            let (mut from, mut to) = (std::fs::File::open(&source).unwrap(), std::fs::File::create(&copy).unwrap());
            std::io::copy(&mut from, &mut to).unwrap();
            to.sync_all().unwrap();
        }));
    }
    row("bf16 / cp+sync", us, them);
}

fn row(name: &str, mut us: Vec<f64>, mut them: Vec<f64>) {
    us.sort_by(f64::total_cmp);
    them.sort_by(f64::total_cmp);
    let (us, them) = (us[ROUNDS / 2], them[ROUNDS / 2]);
    println!("{name:10} {us:10.3} {them:12.3} {:7.2}", them / us);
}

fn seconds(run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_secs_f64()
}

fn same(ours: &Path, theirs: &Path) {
    let (ours, theirs) = (planish_formats::open(ours).unwrap(), planish_formats::open(theirs).unwrap());
    assert_eq!(ours.infos(), theirs.infos());
    for info in ours.infos() {
        assert!(ours.view(&info.name).unwrap().bytes == theirs.view(&info.name).unwrap().bytes, "{}", info.name);
    }
}
