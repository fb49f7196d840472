//! Sums of squares against transformers, and the laws that they keep.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use planish::checkpoint::Checkpoint;
use planish::imatrix::{Entry, Imatrix};
use planish::plan::{Job, Overrides, Request, recipe};
use planish::run::executor::Settings;
use planish::run::{Calibration, Chunks, Run, Subject, calibrate, calibrate_in_parts, quantize};
use planish::text::Encoder;
use planish_formats::gguf;
use planish_kernels::Isa;

pub(crate) fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-llama")
}

const TOKENS: usize = 128;

/// The ids of chunks of the fixture's text.
fn ids(skip: usize, limit: usize) -> Vec<u32> {
    let text = std::fs::read_to_string(tiny().join("heldout.txt")).expect("a text");
    let mut encoder = Encoder::folder(&tiny()).expect("a tokenizer");
    encoder.parse_special(false);
    Chunks { tokens: TOKENS, skip, limit, whole: false }.cut(&encoder, &[text]).expect("chunks")
}

fn run(model: &Path, ids: &[u32], settings: Settings) -> BTreeMap<String, Entry> {
    let checkpoint = Checkpoint::open(model).expect("a checkpoint");
    let subject = Subject::of(&checkpoint).expect("a program");
    let (model, source) = (&subject.model, &checkpoint.source);
    let job = Calibration { model, source, ids, tokens: TOKENS, settings, head: false, every_expert: false };
    let mut told = vec![];
    let entries = calibrate(&job, &mut |done, of| told.push((done, of))).expect("runs");
    assert_eq!(told, [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]);
    entries
}

fn imatrix(entries: BTreeMap<String, Entry>, chunks: u32) -> Imatrix {
    Imatrix { datasets: vec!["heldout.txt".to_owned()], chunks, chunk_size: TOKENS as u32, entries }
}

/// The largest relative difference.
fn difference(found: &Entry, want: &[f32]) -> f32 {
    assert_eq!(found.sums().len(), want.len());
    found.sums().iter().zip(want).map(|(found, want)| (found - want).abs() / want).fold(0.0, f32::max)
}

/// `fixtures/make/imatrix.py` made the golden values.
#[test]
fn sums_are_those_of_transformers() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/golden/imatrix-tiny-llama.safetensors");
    let golden = planish_formats::open(&golden).expect("golden values");
    let tokens = golden.view("tokens").expect("a count").bytes;
    assert_eq!(tokens, (6 * TOKENS as u64).to_le_bytes());
    let entries = run(&tiny(), &ids(0, 6), Settings::default());
    assert_eq!(entries.len(), 28);
    for (layer, (stored, same)) in (0..4).flat_map(|layer| {
        [("attn_q", "attn_k"), ("attn_q", "attn_v"), ("attn_output", "attn_output"), ("ffn_gate", "ffn_up")]
            .into_iter()
            .chain([("ffn_down", "ffn_down")])
            .map(move |names| (layer, names))
    }) {
        let [stored, same] = [stored, same].map(|name| format!("blk.{layer}.{name}.weight"));
        let want = golden.view(&stored).expect("golden sums").bytes.as_chunks().0;
        let want: Vec<f32> = want.iter().map(|sum| f32::from_le_bytes(*sum)).collect();
        assert!(difference(&entries[&stored], &want) < 1e-4, "{stored}: {}", difference(&entries[&stored], &want));
        assert_eq!(entries[&stored], entries[&same]);
        assert_eq!(entries[&stored].counts(), [6 * TOKENS as u64]);
    }
}

#[test]
fn sums_do_not_depend_on_threads_memory_or_the_container() {
    let ids = ids(0, 9);
    let once = run(&tiny(), &ids, Settings::default());
    for (threads, memory) in [(1, 0), (2, usize::MAX), (3, 0)] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        let settings = Settings { memory, ..Settings::default() };
        assert!(once == pool.install(|| run(&tiny(), &ids, settings)), "{threads} threads, {memory} bytes");
    }
    let settings = Settings { isa: Isa::Scalar, ..Settings::default() };
    assert!(once == run(&tiny(), &ids, settings), "another instruction set");

    let dir = tempfile::tempdir().expect("a folder");
    let released = dir.path().join("bf16.gguf");
    let recipe = recipe("bf16").expect("a recipe");
    let request = Request { recipe, overrides: Overrides::default(), pre: None, importance: None, measured: false };
    let job = Job::new(Checkpoint::open(&tiny()).expect("opens"), request).expect("a plan");
    let cancel = std::sync::atomic::AtomicBool::new(false);
    let (source, isa) = (&job.checkpoint.source, Isa::detected());
    let run_job = Run { source, tensors: &job.tensors, threads: 2, isa, cancel: &cancel, progress: &|_| {} };
    let sink = gguf::create(&released, &job.kv, &job.infos(), None).expect("a file");
    quantize(&run_job, sink).expect("runs");
    let again = run(&released, &ids, Settings::default());
    assert!(again.keys().eq(once.keys()));
    for (name, entry) in &once {
        // Rows of q and k are in another order there, so that attention sums in another order.
        assert!(difference(entry, again[name].sums()) < 1e-4, "{name}");
    }
}

/// Bit for bit, the file included, wherever the text is divided and in whichever order parts are added.
#[test]
fn merged_parts_are_one_run() {
    let dir = tempfile::tempdir().expect("a folder");
    let whole = imatrix(run(&tiny(), &ids(0, 9), Settings::default()), 9);
    let whole_file = dir.path().join("whole.gguf");
    whole.write(&whole_file).expect("written");
    for parts in [&[(0, 4), (4, 5)][..], &[(0, 9)], &[(8, 1), (0, 1), (3, 5), (1, 2)]] {
        let mut merged = Imatrix::default();
        for (i, &(skip, limit)) in parts.iter().enumerate() {
            let part = imatrix(run(&tiny(), &ids(skip, limit), Settings::default()), limit as u32);
            let file = dir.path().join(format!("{i}.gguf"));
            part.write(&file).expect("written");
            merged.merge(&Imatrix::read(&file).expect("read")).expect("parts of one model");
        }
        assert!(merged == whole, "{parts:?}");
        let merged_file = dir.path().join("merged.gguf");
        merged.write(&merged_file).expect("written");
        assert!(std::fs::read(&merged_file).unwrap() == std::fs::read(&whole_file).unwrap(), "{parts:?}");
    }
}

/// A run that was cut short goes on where it was; what is of another run is begun again.
#[test]
fn an_interrupted_run_is_taken_up() {
    let dir = tempfile::tempdir().expect("a folder");
    let partial = dir.path().join("imatrix.gguf.journal");
    let checkpoint = Checkpoint::open(&tiny()).expect("a checkpoint");
    let subject = Subject::of(&checkpoint).expect("a program");
    let (model, source, settings) = (&subject.model, &checkpoint.source, Settings::default());
    let (all, others) = (ids(0, 5), ids(1, 5));
    let in_parts = |ids: &[u32]| {
        let job = Calibration { model, source, ids, tokens: TOKENS, settings, head: false, every_expert: false };
        let mut begun = vec![];
        let sums = calibrate_in_parts(&job, 2, &partial, &mut |done, layer, _| {
            begun.extend((layer == 1).then_some(done));
        });
        (begun, sums.expect("runs").entries)
    };
    let once = run(&tiny(), &all, settings);
    assert!(in_parts(&all) == (vec![0, 2, 4], once.clone()));
    // As if it had been stopped after the second chunk.
    let mark = Imatrix::read(&partial).expect("kept").datasets;
    let stopped = Imatrix { datasets: mark, ..imatrix(run(&tiny(), &ids(0, 2), settings), 2) };
    stopped.write(&partial).expect("written");
    assert!(in_parts(&all) == (vec![2, 4], once.clone()));
    assert!(in_parts(&all) == (vec![], once));
    assert_eq!(in_parts(&others).0, [0, 2, 4]);
    std::fs::write(&partial, "damaged").expect("written");
    let job = Calibration { model, source, ids: &all, tokens: TOKENS, settings, head: false, every_expert: false };
    let error = calibrate_in_parts(&job, 2, &partial, &mut |_, _, _| {}).expect_err("no sums").to_string();
    assert!(error.contains("imatrix.gguf.journal"), "{error}");
}

#[test]
fn chunks_are_those_of_llama_imatrix() {
    let encoder = Encoder::folder(&tiny()).expect("a tokenizer");
    let text = std::fs::read_to_string(tiny().join("heldout.txt")).expect("a text");
    let all = encoder.encode(&text).expect("ids");
    let cut = |skip, limit, texts: &[String]| Chunks { tokens: 100, skip, limit, whole: false }.cut(&encoder, texts);
    let whole = cut(0, usize::MAX, std::slice::from_ref(&text)).expect("chunks");
    assert_eq!(encoder.bos, None, "else the first id of each chunk differs");
    assert!(whole[..] == all[..all.len() / 100 * 100]);
    // Each text is cut by itself, and what fills no chunk is left out.
    let texts = [text[..text.floor_char_boundary(9000)].to_owned(), text.clone()];
    let first = cut(0, usize::MAX, &texts[..1]).expect("chunks");
    let both = cut(0, usize::MAX, &texts).expect("chunks");
    assert!(both == [&first[..], &whole[..]].concat());
    let chunks = first.len() / 100;
    assert!(cut(chunks - 1, 2, &texts).expect("chunks") == both[first.len() - 100..first.len() + 100]);
    let error = cut(chunks, 5, &texts[..1]).expect_err("nothing is left").to_string();
    assert!(error.contains(&format!("{chunks} whole chunks of 100")), "{error}");
}

/// A value that is not finite has no sum, and says where it is.
#[test]
fn a_broken_weight_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(tiny().join(file), dir.path().join(file)).expect("copied");
    }
    let mut bytes = std::fs::read(tiny().join("model.safetensors")).expect("weights");
    let header = u64::from_le_bytes(*bytes.first_chunk().expect("a length")) as usize;
    let json: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header]).expect("a header");
    let place = &json["model.layers.1.post_attention_layernorm.weight"]["data_offsets"];
    let at = 8 + header + place[0].as_u64().expect("an offset") as usize;
    // The largest bf16: finite itself, but its square is too large to add.
    bytes[at..at + 2].copy_from_slice(&0x7f7f_u16.to_le_bytes());
    std::fs::write(dir.path().join("model.safetensors"), bytes).expect("written");
    let checkpoint = Checkpoint::open(dir.path()).expect("a checkpoint");
    let subject = Subject::of(&checkpoint).expect("a program");
    let (ids, settings) = (ids(0, 1), Settings::default());
    let (model, source) = (&subject.model, &checkpoint.source);
    let job = Calibration { model, source, ids: &ids, tokens: TOKENS, settings, head: false, every_expert: false };
    let error = calibrate(&job, &mut |_, _| {}).expect_err("no sum").to_string();
    assert!(error.contains("blk.1.ffn_gate.weight") && error.contains("channel 0"), "{error}");
}
