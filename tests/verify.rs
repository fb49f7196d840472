//! Comparing models, on the trained fixture and, where it is installed, on SmolLM2.

mod support;

use std::ops::ControlFlow;
use std::path::Path;

use planish::dialect::Tensors;
use planish::model::Model;
use planish::run::executor::{Executor, Settings};
use planish::verify::{Comparison, Error, Protocol, Sequences, Side, Summary, Which, compare};
use planish_formats::{Dtype, GgmlType, Storage};
use planish_kernels::cpu::Precision;
use support::Released;
use support::installed::{installed, root, shared};

fn ids(tokenizer: &Path, text: &str) -> Vec<u32> {
    let tokenizer = tokenizers::Tokenizer::from_file(tokenizer).expect("a tokenizer");
    tokenizer.encode(text, false).expect("ids").get_ids().to_vec()
}

struct Tiny {
    source: Tensors,
    model: Model,
    sequences: Sequences,
}

fn tiny() -> Tiny {
    let folder = root().join("fixtures/tiny-llama");
    let (source, model) = support::open(&folder);
    let text = std::fs::read_to_string(folder.join("heldout.txt")).expect("a text");
    let ids = ids(&folder.join("tokenizer.json"), &text);
    let sequences = Protocol::Chunks { context: 96, bos: None }.cut(&ids, 6).expect("chunks");
    Tiny { source, model, sequences }
}

fn run(reference: &Side<'_>, candidate: &Side<'_>, sequences: &Sequences) -> Result<Comparison, Error> {
    compare(reference, candidate, sequences, &mut |_| ControlFlow::Continue(()))
}

impl Tiny {
    fn side(&self) -> Side<'_> {
        Side { model: &self.model, source: &self.source, settings: Settings::default() }
    }

    /// Against its own GGUF of this type, with this done to it before.
    fn against(&self, storage: Storage, damage: impl Fn(&mut Released)) -> Result<Comparison, Error> {
        let mut released = Released::new(&self.model, &self.source, |_| storage);
        damage(&mut released);
        let model = self.model.clone().over_gguf();
        let released = released.tensors();
        let candidate = Side { model: &model, source: &released, settings: Settings::default() };
        run(&self.side(), &candidate, &self.sequences)
    }
}

const F32: Storage = Storage::Plain(Dtype::F32);
const Q8_0: Storage = Storage::Blocks(GgmlType::Q8_0);
const Q4_0: Storage = Storage::Blocks(GgmlType::Q4_0);

#[test]
fn a_model_does_not_drift_from_itself() {
    let tiny = tiny();
    let found = run(&tiny.side(), &tiny.side(), &tiny.sequences).expect("a comparison");
    assert!(found.layers.iter().all(|layer| (layer.relative_error, layer.cosine) == (0.0, 1.0)));
    assert!(found.scores.iter().all(|score| score.kl == 0.0 && score.reference == score.candidate));
    let summary = Summary::new(&found.scores);
    assert_eq!(summary.tokens, 6 * 47);
    assert_eq!((summary.kl.value, summary.same_best.value, summary.ratio.value), (0.0, 1.0, 1.0));
    // A trained model: far better than the 1/vocab of chance, and no oracle.
    assert!(summary.ppl_reference.value > 1.5 && summary.ppl_reference.value < 60.0, "{:?}", summary.ppl_reference);
}

#[test]
fn the_numbers_do_not_depend_on_threads_or_memory() {
    let tiny = tiny();
    let released = Released::new(&tiny.model, &tiny.source, |_| Q4_0).tensors();
    let model = tiny.model.clone().over_gguf();
    let all = |threads: usize, memory: usize| {
        let settings = Settings { memory, ..Settings::default() };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        let candidate = Side { model: &model, source: &released, settings };
        pool.install(|| run(&Side { settings, ..tiny.side() }, &candidate, &tiny.sequences)).expect("a comparison")
    };
    let once = all(1, usize::MAX);
    assert!(once == all(2, usize::MAX) && once == all(2, 0));
}

#[test]
fn rounding_shows_in_proportion() {
    let tiny = tiny();
    let kl = |storage| {
        let found = tiny.against(storage, |_| {}).expect("a comparison");
        Summary::new(&found.scores).kl.value
    };
    let (exact, fine, coarse) = (kl(F32), kl(Q8_0), kl(Q4_0));
    // The GGUF's rows are in another order, so not one bit pattern; and BF16 weights fit F32.
    assert!(exact.abs() < 1e-9, "{exact}");
    assert!(fine > 1e-6 && fine < coarse / 20.0 && coarse < 1.0, "{fine} {coarse}");
}

/// Everything at once in f64, from whole rows of logits.
#[test]
fn scores_are_those_of_whole_logits() {
    let tiny = tiny();
    let released = Released::new(&tiny.model, &tiny.source, |_| Q4_0).tensors();
    let model = tiny.model.clone().over_gguf();
    let found = tiny.against(Q4_0, |_| {}).expect("a comparison");
    let rows: Vec<usize> = tiny.sequences.scored.iter().map(|(row, _)| *row).collect();
    let log_probs = |model: &Model, source: &Tensors| -> Vec<Vec<f64>> {
        let sequences = &tiny.sequences;
        let mut executor =
            Executor::new(model, source, &sequences.ids, sequences.tokens, Settings::default()).expect("a run");
        while executor.step().expect("a step").is_some() {}
        let head = executor.head(&rows).expect("a head").expect("a causal model");
        let (tile, mut logits) = (head.tile(0..head.vocab(), None).expect("all of it"), vec![]);
        head.logits(&tile, 0..rows.len(), &mut logits).expect("logits");
        let log_softmax = |row: &[f32]| {
            let total = row.iter().map(|&x| f64::from(x).exp()).sum::<f64>().ln();
            row.iter().map(|&x| f64::from(x) - total).collect()
        };
        logits.chunks(head.vocab()).map(log_softmax).collect()
    };
    let (p, q) = (log_probs(&tiny.model, &tiny.source), log_probs(&model, &released));
    for (((score, (_, target)), p), q) in found.scores.iter().zip(&tiny.sequences.scored).zip(&p).zip(&q) {
        let kl: f64 = p.iter().zip(q).map(|(p, q)| p.exp() * (p - q)).sum();
        assert!((score.kl - kl).abs() < 1e-10, "{} {kl}", score.kl);
        assert!((score.reference - p[*target as usize]).abs() < 1e-10);
        assert!((score.candidate - q[*target as usize]).abs() < 1e-10);
    }
}

#[test]
fn damage_is_seen_where_it_is() {
    let tiny = tiny();
    let zeroed = tiny.against(F32, |files| files.bytes("blk.2.ffn_down.weight").fill(0)).expect("a comparison");
    // The embedding, two sound layers, then the damage.
    assert!(zeroed.layers[..3].iter().all(|layer| layer.relative_error < 1e-5), "{:?}", zeroed.layers);
    assert!(zeroed.layers[3].relative_error > 0.01, "{:?}", zeroed.layers);
    assert!(Summary::new(&zeroed.scores).kl.value > 0.01);

    let nan = tiny.against(F32, |files| {
        let at = (3 * 256 + 7) * 4;
        files.bytes("blk.1.attn_q.weight")[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    let Err(error @ Error::Run { which: Which::Candidate, .. }) = nan else { panic!("NaN went through") };
    let message = error.to_string();
    assert!(message.contains("blk.1.attn_q.weight") && message.contains("row 3, column 7"), "{message}");
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let tiny = tiny();
    let mut strange = tiny.sequences.clone();
    strange.ids[5] = 1 << 20;
    let error = run(&tiny.side(), &tiny.side(), &strange).expect_err("an id that no row belongs to");
    assert!(error.to_string().contains("1048576"), "{error}");
    let mut shallow = tiny.model.clone();
    shallow.stacks[0].layers.remove(1);
    let candidate = Side { model: &shallow, ..tiny.side() };
    let error = run(&tiny.side(), &candidate, &tiny.sequences).expect_err("a layer less");
    assert!(matches!(error, Error::Incomparable { .. }), "{error}");
}

/// Against `shared/reference/quality-baselines.md`: an independent computation with the dequantized weights of
/// llama.cpp's own files in transformers, f32.
#[test]
fn smollm2_is_as_transformers_sees_it() {
    let (Some(folder), Some(text)) = (installed("smollm2"), shared("data/text/wiki.test.raw")) else { return };
    let text = std::fs::read_to_string(text).expect("a text");
    let (source, model) = support::open(&folder);
    let ids = ids(&folder.join("tokenizer.json"), &text);
    let sequences = Protocol::Chunks { context: 512, bos: None }.cut(&ids, 20).expect("20 chunks");
    let reference = Side { model: &model, source: &source, settings: Settings::default() };
    let gguf = model.clone().over_gguf();
    for (name, storage, kl, ratio, same) in
        [("Q8_0", Q8_0, 0.00178, 1.0016, 0.9718), ("Q4_0", Q4_0, 0.40449, 1.3736, 0.6520)]
    {
        // Rows of 576 hold no Q6_K: the tied head falls back to Q8_0.
        let released =
            Released::new(&model, &source, |tensor| if tensor == "token_embd.weight" { Q8_0 } else { storage });
        let released = released.tensors();
        let candidate = Side { model: &gguf, source: &released, settings: Settings::default() };
        let start = std::time::Instant::now();
        let found = Summary::new(&run(&reference, &candidate, &sequences).expect("a comparison").scores);
        println!(
            "{name}: ppl {:.4} -> {:.4}, kl {:.6} +- {:.6} in {:?}, median {:.6}, same {:.4}, {:.1?}",
            found.ppl_reference.value,
            found.ppl_candidate.value,
            found.kl.value,
            found.kl.error,
            found.kl_interval,
            found.kl_percentile(0.5),
            found.same_best.value,
            start.elapsed()
        );
        assert_eq!(found.tokens, 5100);
        assert!((found.ppl_reference.value / 28.62 - 1.0).abs() < 1e-3);
        assert!((found.kl.value / kl - 1.0).abs() < 0.02);
        assert!((found.ratio.value - ratio).abs() < 1e-3 && (found.same_best.value - same).abs() < 2e-3);
    }
}

/// Where the machine multiplies bf16 natively, the split keeps what f32 sees; elsewhere all three are one.
#[test]
fn precisions_stay_near_each_other() {
    let tiny = tiny();
    for (precision, bound) in [(Precision::F32, 1e-15), (Precision::Bf16Split, 1e-6), (Precision::Bf16, 1e-3)] {
        let settings = Settings { precision, ..Settings::default() };
        let found = run(&tiny.side(), &Side { settings, ..tiny.side() }, &tiny.sequences).expect("a comparison");
        let kl = Summary::new(&found.scores).kl.value;
        assert!(kl.abs() < bound, "{precision:?}: {kl}");
    }
}
