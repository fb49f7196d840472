//! The executor against logits that transformers computed in f32, from the checkpoint as it lies in the folder and from
//! the tensors that its GGUF would have.

mod support;

use std::path::{Path, PathBuf};

use planish::dialect::Tensors;
use planish::model::{Model, Objective};
use planish::run::executor::{Executor, Input, Settings};
use planish_formats::{Dtype, GgmlType, Storage};
use planish_kernels::Isa;
use support::Released;

const TOLERANCE: f32 = 1e-3;

struct Case {
    name: String,
    source: Tensors,
    model: Model,
    /// What the decoder reads, or all that is read.
    ids: Vec<u32>,
    /// What the encoder before it reads.
    source_ids: Option<Vec<u32>>,
    /// Logits `[tokens, vocab]`, or hidden states `[tokens, hidden]` of a model without a head.
    expected: Vec<f32>,
}

fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/golden-logits");
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("fixtures").map(|entry| entry.expect("an entry").path()).collect();
    folders.sort();
    assert!(folders.len() >= 15, "only {} cases", folders.len());
    folders.iter().map(|folder| case(folder)).collect()
}

fn case(folder: &Path) -> Case {
    let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
    let (source, model) = support::open(folder);
    let golden = planish_formats::open(&folder.join("logits.safetensors")).expect("logits");
    let ids = |name: &str| -> Vec<u32> {
        let ids = golden.view(name).expect("ids").bytes.as_chunks::<8>().0.iter();
        ids.map(|id| i64::from_le_bytes(*id) as u32).collect()
    };
    let source_ids = golden.info("source").map(|_| ids("source"));
    let expected = match model.objective {
        Objective::Causal | Objective::Masked | Objective::Seq2Seq => golden.view("logits"),
        Objective::Hidden => golden.view("hidden"),
    };
    let expected = expected.expect("outputs").bytes.as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x)).collect();
    Case { name, source, model, ids: ids("ids"), source_ids, expected }
}

/// Logits (or hidden states) of every token, the head in tiles of this many tokens of the vocabulary.
fn outputs(model: &Model, source: &Tensors, inputs: &[Input<'_>], tile: usize, settings: Settings) -> Vec<f32> {
    let ids = inputs.last().expect("ids").ids;
    let mut executor = Executor::over(model, source, inputs, settings).expect("a run");
    while executor.step().expect("a step").is_some() {}
    let rows: Vec<usize> = (0..ids.len()).collect();
    let Some(head) = executor.head(&rows).expect("a head") else {
        let mut out = vec![0.0; ids.len() * executor.width()];
        executor.hidden(0..ids.len(), &mut out).expect("hidden states");
        return out;
    };
    let mut out = vec![0.0; ids.len() * head.vocab()];
    let mut logits = vec![];
    for first in (0..head.vocab()).step_by(tile) {
        let width = tile.min(head.vocab() - first);
        let weights = head.tile(first..first + width, None).expect("a tile");
        head.logits(&weights, 0..ids.len(), &mut logits).expect("logits");
        for (out, logits) in out.chunks_exact_mut(head.vocab()).zip(logits.chunks_exact(width)) {
            out[first..first + width].copy_from_slice(logits);
        }
    }
    out
}

impl Case {
    /// What each stack reads.
    fn inputs(&self) -> Vec<Input<'_>> {
        let input = |ids| Input { ids, tokens: ids.len(), lengths: None };
        self.source_ids.iter().chain([&self.ids]).map(|ids| input(ids)).collect()
    }
}

fn far(got: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(got.len(), expected.len());
    got.iter()
        .zip(expected)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, |far, off| if off > far || off.is_nan() { off } else { far })
}

#[test]
fn logits_are_those_of_transformers() {
    for case in &cases() {
        let settings = Settings::default();
        let out = outputs(&case.model, &case.source, &case.inputs(), 40, settings);
        let off = far(&out, &case.expected);
        println!("{:24} {off:.2e}", case.name);
        assert!(off <= TOLERANCE, "{}: off by {off}", case.name);
    }
}

#[test]
fn the_same_bits_however_they_are_made() {
    for case in &cases() {
        let run = |inputs: &[Input<'_>], settings| outputs(&case.model, &case.source, inputs, 1000, settings);
        let once = run(&case.inputs(), Settings::default());
        for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
            assert_eq!(
                run(&case.inputs(), Settings { isa, ..Settings::default() }),
                once,
                "{} on {}",
                case.name,
                isa.name()
            );
        }
        // Past the memory limit, beside other sequences, on one thread.
        let many =
            |ids: &[u32]| -> Vec<u32> { ids.iter().rev().chain(ids).copied().cycle().take(ids.len() * 90).collect() };
        let ids: Vec<Vec<u32>> = case.inputs().iter().map(|input| many(input.ids)).collect();
        let inputs = case.inputs().into_iter().zip(&ids).map(|(input, ids)| Input { ids, ..input });
        let inputs: Vec<Input<'_>> = inputs.collect();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool");
        let many = pool.install(|| run(&inputs, Settings { memory: 0, ..Settings::default() }));
        assert_eq!(many[many.len() - once.len()..], once, "{} among others", case.name);
    }
}

#[test]
fn the_ggufs_tensors_give_the_same_logits() {
    for case in &cases() {
        let run = |storage| {
            let released = Released::new(&case.model, &case.source, |_| storage).tensors();
            let model = case.model.clone().over_gguf();
            outputs(&model, &released, &case.inputs(), 40, Settings::default())
        };
        let off = far(&run(Storage::Plain(Dtype::F32)), &case.expected);
        assert!(off <= TOLERANCE, "{}: off by {off}", case.name);
        // Heavily rounded weights still make a model like it.
        let rounded = run(Storage::Blocks(GgmlType::Q8_0));
        let squares = |x: &mut dyn Iterator<Item = f32>| x.map(|x| f64::from(x * x)).sum::<f64>();
        let off = squares(&mut rounded.iter().zip(&case.expected).map(|(a, b)| a - b));
        let off = (off / squares(&mut case.expected.iter().copied())).sqrt();
        // Where a token's experts are close, rounding sends it to others.
        let experts = case.model.params().any(|(_, param)| param.shape.len() == 3);
        assert!(
            off > 1e-4 && off < if experts { 0.5 } else { 0.05 },
            "{}: Q8_0 is off by {off} of the whole",
            case.name
        );
    }
}

#[test]
fn what_is_past_the_end_of_a_source_changes_nothing() {
    for case in cases().iter().filter(|case| case.model.objective == Objective::Seq2Seq) {
        let run = |inputs: &[Input<'_>]| outputs(&case.model, &case.source, inputs, 1000, Settings::default());
        let inputs = case.inputs();
        let source = inputs[0].ids;
        let short = Input { ids: &source[..20], tokens: 20, lengths: None };
        let [whole, cut] = [run(&inputs), run(&[short, inputs[1]])];
        assert!(far(&whole, &cut) > 0.01, "{}: the source changes nothing", case.name);
        // Both beside each other, the shorter one padded with two sorts of ids.
        for padding in [0, 95] {
            let mut padded = source[..20].to_vec();
            padded.resize(source.len(), padding);
            let (sources, ids) = ([padded.as_slice(), source].concat(), [inputs[1].ids, inputs[1].ids].concat());
            let lengths = [20, source.len()];
            let sources = Input { ids: &sources, tokens: source.len(), lengths: Some(&lengths) };
            let both = run(&[sources, Input { ids: &ids, ..inputs[1] }]);
            assert_eq!(both, [cut.as_slice(), &whole].concat(), "{}", case.name);
        }
    }
}
