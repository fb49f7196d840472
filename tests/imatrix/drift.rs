//! What importance is for: the release drifts less from its original, on a text that it was not calibrated on. In so small
//! a model no channel is much louder than the others, and the effect of some types is lost in noise; on real ones it is
//! not (`cargo bench --bench imatrix -- quality`).

use std::path::Path;
use std::sync::atomic::AtomicBool;

use planish::checkpoint::Checkpoint;
use planish::imatrix::{Entry, Imatrix};
use planish::plan::{Importance, Job, Overrides, Request, Uncovered, recipe};
use planish::run::executor::Settings;
use planish::run::{Calibration, Chunks, Run, Subject, calibrate, quantize};
use planish::text::Encoder;
use planish::verify::{Protocol, Sequences, Side, Summary, compare};
use planish_formats::gguf;
use planish_kernels::Isa;

use crate::measured::tiny;

const TOKENS: usize = 128;

/// The release of these types, weighed so, as a file.
fn release(mix: &str, imatrix: Option<&Imatrix>, file: &Path) {
    let weighed = |imatrix: &Imatrix| Importance { imatrix: imatrix.clone(), file: None, uncovered: Uncovered::Warn };
    let (recipe, importance) = (recipe(mix).expect("a recipe"), imatrix.map(weighed));
    let request = Request { recipe, overrides: Overrides::default(), pre: None, importance, measured: false };
    let job = Job::new(Checkpoint::open(&tiny()).expect("opens"), request).expect("a plan");
    let (source, isa, cancel) = (&job.checkpoint.source, Isa::detected(), AtomicBool::new(false));
    let run = Run { source, tensors: &job.tensors, threads: 2, isa, cancel: &cancel, progress: &|_| {} };
    quantize(&run, gguf::create(file, &job.kv, &job.infos(), None).expect("a file")).expect("runs");
}

/// Mean KL divergence of the file from its original, nats.
fn drift(file: &Path, sequences: &Sequences) -> f64 {
    let (original, released) = (Checkpoint::open(&tiny()).expect("opens"), Checkpoint::open(file).expect("opens"));
    let models = [&original, &released].map(|checkpoint| Subject::of(checkpoint).expect("a program").model);
    let side = |i: usize, checkpoint| {
        let checkpoint: &Checkpoint = checkpoint;
        Side { model: &models[i], source: &checkpoint.source, settings: Settings::default() }
    };
    let found =
        compare(&side(0, &original), &side(1, &released), sequences, &mut |_| std::ops::ControlFlow::Continue(()))
            .expect("a comparison");
    Summary::new(&found.scores).kl.value
}

#[test]
fn importance_lowers_the_drift() {
    let encoder = Encoder::folder(&tiny()).expect("a tokenizer");
    let text = std::fs::read_to_string(tiny().join("heldout.txt")).expect("a text");
    let (seen, unseen) = text.split_at(text.floor_char_boundary(text.len() / 2));
    let ids =
        Chunks { tokens: TOKENS, skip: 0, limit: 64, whole: false }.cut(&encoder, &[seen.to_owned()]).expect("chunks");
    let checkpoint = Checkpoint::open(&tiny()).expect("opens");
    let subject = Subject::of(&checkpoint).expect("a program");
    let (model, source, settings) = (&subject.model, &checkpoint.source, Settings::default());
    let job = Calibration { model, source, ids: &ids, tokens: TOKENS, settings, head: false, every_expert: false };
    let entries = calibrate(&job, &mut |_, _| {}).expect("runs");
    let ones = |entry: &Entry| Entry::rounded(vec![1.0; entry.sums().len()], vec![1]).expect("fits");
    let uniform = entries.iter().map(|(name, entry)| (name.clone(), ones(entry))).collect();
    let [measured, uniform] = [entries, uniform].map(|entries| Imatrix { entries, ..Imatrix::default() });

    let sequences = Protocol::Chunks { context: TOKENS, bos: encoder.bos };
    let sequences = sequences.cut(&encoder.encode(unseen).expect("ids"), 24).expect("chunks");
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("release.gguf");
    let drift = |mix: &str, imatrix: Option<&Imatrix>| {
        release(mix, imatrix, &file);
        drift(&file, &sequences)
    };
    // Types that cannot do without are held against one where all channels count alike.
    for (mix, without, bound) in
        [("q2_k", None, 1.05), ("q4_k_m", None, 0.95), ("iq2_m", Some(&uniform), 1.05), ("iq3_s", None, 0.9)]
    {
        let (without, with) = (drift(mix, without), drift(mix, Some(&measured)));
        println!("{mix:8} {without:.5} without, {with:.5} with, {:.3}", with / without);
        assert!(with < without * bound, "{mix}: {without} without, {with} with");
    }
}
