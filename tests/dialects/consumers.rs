//! The logits that real consumers compute from what planish writes: committed ones in every run, and by name what
//! `tests/consumers/load.py` compares all of them with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use planish::checkpoint::Checkpoint;
use planish::dialect::{TARGETS, Target};
use planish::run::Subject;
use planish::run::executor::{Executor, Settings};
use planish_formats::{Dtype, Info, Storage, safetensors};

use super::support::installed::{installed, root};
use super::written::write;

/// How far logits may be from a consumer's.
const TOLERANCE: f32 = 1e-2;
/// Tokens that the models are run on.
const TOKENS: usize = 24;

/// Ids below `vocab`.
fn ids(vocab: usize) -> Vec<u32> {
    let of = vocab.min(903) as u32 - 3;
    (0..TOKENS as u32).map(|i| 3 + i * 37 % of).collect()
}

/// The ids that a folder's model is run on, and their logits `[tokens, vocab]`.
fn logits(folder: &Path) -> (Vec<u32>, Vec<f32>) {
    let checkpoint = Checkpoint::open(folder).expect("a checkpoint");
    let subject = Subject::of(&checkpoint).expect("a model");
    let ids = ids(subject.config.vocab);
    let mut executor =
        Executor::new(&subject.model, &checkpoint.source, &ids, TOKENS, Settings::default()).expect("a run");
    while executor.step().expect("a step").is_some() {}
    let rows: Vec<usize> = (0..TOKENS).collect();
    let head = executor.head(&rows).expect("a head").expect("a causal model");
    let (tile, mut logits) = (head.tile(0..head.vocab(), None).expect("all of it"), vec![]);
    head.logits(&tile, 0..TOKENS, &mut logits).expect("logits");
    (ids, logits)
}

/// The targets that hold a model of these columns, with groups that divide them.
fn targets(columns: usize) -> Vec<(String, Target)> {
    let fits = |target: &Target| target.group == 0 || columns.is_multiple_of(target.group);
    let of = |target: &Target| {
        let narrow = target.grouped(64).ok().filter(fits);
        let target = Some(*target).filter(|target| fits(target)).or(narrow)?;
        Some((target.name.to_owned(), target))
    };
    TARGETS.iter().filter_map(of).collect()
}

/// `fixtures/golden/consumers.safetensors`: for each target the logits of the last tokens that a consumer computed.
#[test]
fn logits_are_the_consumers() {
    let golden = planish_formats::open(&root().join("fixtures/golden/consumers.safetensors")).expect("golden logits");
    let dir = tempfile::tempdir().expect("a folder");
    let names: Vec<String> = golden.infos().iter().map(|info| info.name.clone()).collect();
    assert!(names.len() >= 12, "only {names:?}");
    for name in names {
        let view = golden.view(&name).expect("logits");
        let [tokens, width] = view.info.shape[..] else { panic!("{name}: {:?}", view.info.shape) };
        let output = dir.path().join(&name);
        write(&root().join("fixtures/tiny-llama"), Target::named(&name).expect("a target"), &output, 2)
            .expect("a folder");
        let (_, ours) = logits(&output);
        let vocab = ours.len() / TOKENS;
        let theirs: Vec<f32> = view.bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        for (row, theirs) in theirs.chunks(width).enumerate() {
            let at = (TOKENS - tokens + row) * vocab;
            let off = ours[at..at + width].iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
            assert!(off <= TOLERANCE, "{name}: off by {off}");
        }
    }
}

/// Writes every target of each model that it can hold with the logits of each to `$PLANISH_CONSUMERS`.
#[test]
#[ignore = "for tests/run --consumers"]
fn write_for_consumers() {
    let work = PathBuf::from(std::env::var_os("PLANISH_CONSUMERS").expect("$PLANISH_CONSUMERS"));
    let mut models = BTreeMap::from([("tiny-llama", (root().join("fixtures/tiny-llama"), 256))]);
    models.extend(installed("smollm2").map(|folder| ("smollm2", (folder, 576))));
    // Their linears are stored [in, out].
    models.extend(["gpt2", "openai-gpt"].map(|name| (name, (root().join("fixtures/golden-logits").join(name), 64))));
    for (model, (folder, columns)) in models {
        std::fs::create_dir_all(work.join(model)).expect("a folder");
        let conv1d = columns == 64;
        for (name, target) in targets(columns).into_iter().filter(|(_, target)| !conv1d || target.packs_conv1d()) {
            let output = work.join(model).join(&name);
            if output.exists() {
                std::fs::remove_dir_all(&output).expect("an old folder");
            }
            write(&folder, target, &output, 2).unwrap_or_else(|error| panic!("{model} {name}: {error}"));
            let (ids, logits) = logits(&output);
            let vocab = logits.len() / TOKENS;
            let info = |name: &str, dtype, shape: &[usize]| Info {
                name: name.to_owned(),
                storage: Storage::Plain(dtype),
                shape: shape.to_vec(),
            };
            let infos = [info("ids", Dtype::I64, &[TOKENS]), info("logits", Dtype::F32, &[TOKENS, vocab])];
            let path = work.join(model).join(format!("{name}.logits.safetensors"));
            let sink = safetensors::create(&path, &infos, None).expect("a file");
            let ids: Vec<u8> = ids.iter().flat_map(|id| i64::from(*id).to_le_bytes()).collect();
            sink.write_at(0, 0, &ids).expect("ids");
            sink.write_at(1, 0, &logits.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>()).expect("logits");
            sink.finish().expect("a file");
            println!("{model} {name}");
        }
    }
}
