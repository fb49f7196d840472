//! Perplexity and drift: what planish measures of a file, beside what llama.cpp itself shows when it runs it.

use std::ops::ControlFlow;
use std::path::Path;

use planish::checkpoint::Checkpoint;
use planish::run::executor::{Activations, Settings};
use planish::verify::{Cut, Metrics, Options, Text, verify};

use crate::installed::{installed, shared};
use crate::llama::{Model, oracle};
use crate::release::release;
use crate::scores;

const CONTEXT: usize = 512;
const CHUNKS: usize = 2;

fn measured(reference: &Path, candidate: &Path, text: &str, activations: Activations) -> Metrics {
    let [reference, candidate] = [reference, candidate].map(|path| Checkpoint::open(path).expect("a checkpoint"));
    let options = Options {
        cut: Cut::Chunks { context: CONTEXT },
        limit: CHUNKS,
        batch: 8,
        settings: Settings { activations, ..Settings::default() },
        worst: 0,
    };
    let texts = [Text { name: "wiki".to_owned(), text: text.to_owned() }];
    let report = verify(&reference, &candidate, &texts, &options, &mut |_| ControlFlow::Continue(()));
    report.expect("a report").metrics.expect("metrics")
}

#[test]
fn smollm2_drifts_as_llama_cpp_sees_it() {
    let (Some(oracle), Some(model), Some(wiki)) = (oracle(), installed("smollm2"), shared("data/text/wiki.test.raw"))
    else {
        return;
    };
    let wiki = std::fs::read_to_string(wiki).expect("a text");
    let text: String = wiki.chars().take(20_000).collect();
    let dir = tempfile::tempdir().expect("a folder");
    let [plain, rounded] = ["f32", "q8_0"].map(|mix| {
        let file = dir.path().join(format!("{mix}.gguf"));
        release(&model, mix, &file);
        file
    });
    let load = |path: &Path| Model::load(oracle, path).expect("a model");
    let theirs = scores::compare(&load(&plain), &load(&rounded), &text, CONTEXT, CHUNKS);
    let tokens = theirs.tokens as f64;
    let (ppl, kld) = ((theirs.reference / tokens).exp(), theirs.kld / tokens);

    let ours = measured(&plain, &rounded, &text, Activations::Q8);
    println!("perplexity {} (llama.cpp {ppl}), KL divergence {} (llama.cpp {kld})", ours.ppl_ref, ours.kld.mean);
    assert_eq!(ours.tokens, theirs.tokens);
    assert!((ours.ppl_ref / ppl - 1.0).abs() < 1e-3, "{} {ppl}", ours.ppl_ref);
    // Its integers and ours are rounded alike; what is left is its f16 cache of keys and values.
    assert!((ours.kld.mean / kld - 1.0).abs() < 0.1, "{} {kld}", ours.kld.mean);
    // The weights alone are a third of it.
    let weights = measured(&model, &rounded, &text, Activations::Exact);
    assert!(weights.kld.mean < 0.5 * kld, "{} {kld}", weights.kld.mean);
}
