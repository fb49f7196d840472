//! Vectors of real sentences: MiniLM in llama.cpp and in planish, beside its F32 original.

use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;

use planish::checkpoint::{Checkpoint, Pooling};
use planish::run::Subject;
use planish::run::executor::{Executor, Settings};
use planish::text::Encoder;
use planish::verify::report::Embeddings;
use planish::verify::{Cut, Options, Text, verify};

use crate::installed::{installed, root};
use crate::llama::{Model, oracle};
use crate::release::release;

/// Short texts, a line each.
fn sentences() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("fixtures/sentences.txt")).expect("a text");
    text.lines().map(str::to_owned).collect()
}

/// The ids and the vector of each sentence, by our own run of this checkpoint.
fn vectors(path: &Path) -> Vec<(Vec<u32>, Vec<f32>)> {
    let checkpoint = Checkpoint::open(path).expect("a checkpoint");
    let (subject, encoder) =
        (Subject::of(&checkpoint).expect("a model"), Encoder::of(&checkpoint).expect("a tokenizer"));
    let pooling = Pooling::of(&checkpoint).expect("a way").expect("said");
    let ids: Vec<Vec<u32>> = sentences().iter().map(|text| encoder.encode_whole(text, 256).expect("ids")).collect();
    let mut made = vec![vec![]; ids.len()];
    for length in 1..=256 {
        // Texts of one length run together.
        let group: Vec<usize> = (0..ids.len()).filter(|at| ids[*at].len() == length).collect();
        let all: Vec<u32> = group.iter().flat_map(|at| ids[*at].iter().copied()).collect();
        let mut executor =
            Executor::new(&subject.model, &checkpoint.source, &all, length, Settings::default()).expect("a run");
        while !group.is_empty() && executor.step().expect("a step").is_some() {}
        let mut states = vec![0.0; length * executor.width()];
        for (place, at) in group.into_iter().enumerate() {
            executor.hidden(place * length..(place + 1) * length, &mut states).expect("hidden states");
            made[at] = pooling.vector(&states, executor.width()).into_iter().map(|x| x as f32).collect();
        }
    }
    ids.into_iter().zip(made).collect()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn embeddings(reference: &Path, candidate: &Path) -> Embeddings {
    let [reference, candidate] = [reference, candidate].map(|path| Checkpoint::open(path).expect("a checkpoint"));
    let settings = Settings::default();
    let options = Options { cut: Cut::Chunks { context: 512 }, limit: usize::MAX, batch: 8, settings, worst: 3 };
    let texts = [Text { name: "sentences".to_owned(), text: sentences().join("\n") }];
    let report = verify(&reference, &candidate, &texts, &options, &mut |_| ControlFlow::Continue(()));
    report.expect("a report").embeddings.expect("vectors")
}

#[test]
fn minilm_s_vectors_survive_in_llama_cpp() {
    let (Some(oracle), Some(model)) = (oracle(), installed("minilm")) else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let original = vectors(&model);
    assert_eq!(original.len(), 100);
    // The mixes, and the least cosine that each is known to keep: to the original, in llama.cpp.
    for (mix, bar) in [("f32", 0.9999), ("q8_0", 0.999), ("q4_k_m", 0.97)] {
        let file = dir.path().join(format!("{mix}.gguf"));
        release(&model, mix, &file);
        let theirs = Model::load(oracle, &file).expect("a model");
        let tokens: Vec<Vec<i32>> = sentences().iter().map(|text| theirs.tokenize(text, true, true)).collect();
        let mut least = 1f64;
        for (((ids, ours), text), (tokens, vector)) in
            original.iter().zip(sentences()).zip(tokens.iter().zip(theirs.vectors(&tokens)))
        {
            assert!(tokens.iter().map(|id| *id as u32).eq(ids.iter().copied()), "{text:?}");
            least = least.min(cosine(ours, &vector));
            if mix == "f32" {
                let off = ours.iter().zip(&vector).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(off <= 1e-2, "{text:?}: off by {off}");
            }
        }
        println!("{mix}: the least cosine in llama.cpp is {least}");
        assert!(least >= bar, "{mix}: {least}");
    }
}

#[test]
fn minilm_drifts_by_its_bits() {
    let Some(model) = installed("minilm") else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let same = embeddings(&model, &model);
    assert_eq!((same.texts, same.pooling.as_str(), same.width), (100, "mean", 384));
    assert_eq!((same.mean, same.min, same.ci95), (1.0, 1.0, [1.0; 2]));
    let least = |name: &str, path: &Path| {
        let found = embeddings(&model, path);
        println!("{name}: cosine {} on average, {} at least", found.mean, found.min);
        found.min
    };
    let mixes = ["q8_0", "q4_k_m", "q2_k"].map(|mix| {
        let file = dir.path().join(format!("{mix}.gguf"));
        release(&model, mix, &file);
        least(mix, &file)
    });
    assert!(mixes[0] >= 0.999 && mixes[0] > mixes[1] && mixes[1] > mixes[2], "{mixes:?}");
    for target in ["gptq-int8", "w8a16"] {
        let folder = dir.path().join(target);
        let made = Command::new(env!("CARGO_BIN_EXE_planish"))
            .args(["quantize".as_ref(), model.as_os_str(), "--to".as_ref(), target.as_ref()])
            .args(["--group-size".as_ref(), "64".as_ref(), "-o".as_ref(), folder.as_os_str()])
            .output()
            .expect("the command starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        assert!(least(target, &folder) >= 0.999, "{target}");
    }
}
