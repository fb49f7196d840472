//! Whole files with an importance matrix: every mix, tensor by tensor, against `llama_model_quantize` with the same.

use std::collections::BTreeMap;
use std::path::Path;

use planish::checkpoint::Checkpoint;
use planish::imatrix::{Entry, Imatrix};
use planish::plan::{Error, Importance, Job, RECIPES, RecipeError, Uncovered, recipe};
use planish::run::executor::Settings;
use planish::run::{Calibration, Chunks, Subject, calibrate};
use planish::text::Encoder;

use crate::files::same_tensors;
use crate::installed::{installed, root};
use crate::llama::{Oracle, QuantizeOptions, oracle};
use crate::release::{release, weighed, write};

/// An importance matrix of a folder, by way of a file.
fn imatrix(model: &Path, text: &str, chunks: usize, file: &Path) -> Imatrix {
    let checkpoint = Checkpoint::open(model).unwrap();
    let subject = Subject::of(&checkpoint).unwrap();
    let cut = Chunks { tokens: 128, skip: 0, limit: chunks, whole: false };
    let ids = cut.cut(&Encoder::folder(model).unwrap(), &[text.to_owned()]).unwrap();
    assert_eq!(ids.len(), chunks * 128);
    let (source, settings) = (&checkpoint.source, Settings::default());
    let job = Calibration {
        model: &subject.model,
        source,
        ids: &ids,
        tokens: 128,
        settings,
        head: true,
        every_expert: false,
    };
    let entries = calibrate(&job, &mut |_, _| {}).unwrap();
    let made = Imatrix { datasets: vec!["text".to_owned()], chunks: chunks as u32, chunk_size: 128, entries };
    made.write(file).unwrap();
    let read = Imatrix::read(file).unwrap();
    assert_eq!(read, made);
    read
}

/// What llama-quantize makes of the file.
fn for_llama(imatrix: &Imatrix) -> BTreeMap<String, Vec<f32>> {
    imatrix.entries.iter().map(|(name, entry)| (name.clone(), entry.importance())).collect()
}

fn importance(imatrix: &Imatrix, uncovered: Uncovered) -> Importance {
    Importance { imatrix: imatrix.clone(), file: Some("imatrix.gguf".to_owned()), uncovered }
}

/// A model as a BF16 GGUF for llama.cpp, an importance matrix of it, and room for files.
struct Case<'a> {
    oracle: &'a Oracle,
    model: &'a Path,
    dir: tempfile::TempDir,
    imatrix: Imatrix,
}

impl<'a> Case<'a> {
    fn new(oracle: &'a Oracle, model: &'a Path) -> Case<'a> {
        let dir = tempfile::tempdir().unwrap();
        release(model, "bf16", &dir.path().join("bf16.gguf"));
        let text = std::fs::read_to_string(root().join("fixtures/tiny-llama/heldout.txt")).unwrap();
        let imatrix = imatrix(model, &text, 4, &dir.path().join("imatrix.gguf"));
        Case { oracle, model, dir, imatrix }
    }

    fn job(&self, mix: &str, uncovered: Uncovered) -> Result<Job, Error> {
        weighed(self.model, recipe(mix).unwrap(), importance(&self.imatrix, uncovered))
    }

    /// llama.cpp's file, or why it made none.
    fn theirs(&self, mix: &str) -> Result<std::path::PathBuf, String> {
        let (bf16, theirs) = (self.dir.path().join("bf16.gguf"), self.dir.path().join("theirs.gguf"));
        let number = recipe(mix).unwrap().file_type as i32;
        let given = for_llama(&self.imatrix);
        self.oracle.quantize_weighed(&bf16, &theirs, number, 2, QuantizeOptions::default(), Some(&given))?;
        Ok(theirs)
    }

    fn compare(&self, mix: &str, job: &Job) {
        let ours = self.dir.path().join("ours.gguf");
        write(job, &ours);
        let theirs = self.theirs(mix).unwrap_or_else(|why| panic!("{mix}: {why}"));
        same_tensors(&ours, &theirs, mix);
        std::fs::remove_file(ours).unwrap();
    }

    fn every_mix(&self) {
        let mut compared = vec![];
        for recipe in RECIPES.iter().filter(|recipe| recipe.name != "nvfp4") {
            let job = match self.job(&recipe.name, Uncovered::Warn) {
                Err(Error::Recipe(RecipeError::NoFallback { .. })) => continue,
                job => job.unwrap_or_else(|error| panic!("{}: {error}", recipe.name)),
            };
            self.compare(&recipe.name, &job);
            compared.push(recipe.name.as_str());
        }
        println!("{} mixes equal: {}", compared.len(), compared.join(" "));
        for mix in ["q2_k_s", "iq3_xs", "iq3_xxs", "iq2_m", "iq2_s", "iq2_xs", "iq2_xxs", "iq1_m", "iq1_s", "q4_k_m"] {
            assert!(compared.contains(&mix), "{mix} was not compared");
        }
        assert!(compared.len() >= 33, "{}", compared.len());
    }
}

#[test]
fn tiny_llama_weighed_in_every_mix() {
    let Some(oracle) = oracle() else { return };
    let model = root().join("fixtures/tiny-llama");
    let case = Case::new(oracle, &model);
    assert_eq!(case.imatrix.entries.len(), 29, "28 in blocks, and the output");
    case.every_mix();
}

#[test]
fn smollm2_weighed() {
    let (Some(oracle), Some(model)) = (oracle(), installed("smollm2")) else { return };
    let case = Case::new(oracle, &model);
    // Its head is the embedding, which has no entry.
    assert_eq!(case.imatrix.entries.len(), 210);
    for mix in ["q2_k_s", "q4_k_m", "iq4_xs"] {
        case.compare(mix, &case.job(mix, Uncovered::Warn).unwrap());
    }
}

#[test]
#[ignore = "llama.cpp takes a quarter of an hour"]
fn smollm2_weighed_in_every_mix() {
    let (Some(oracle), Some(model)) = (oracle(), installed("smollm2")) else { return };
    Case::new(oracle, &model).every_mix();
}

/// Channels that are always zero, entries that are missing, an embedding's entry of a wrong size: as llama.cpp takes them.
#[test]
fn odd_matrices_are_taken_as_llama_cpp_takes_them() {
    let Some(oracle) = oracle() else { return };
    let model = root().join("fixtures/tiny-llama");
    let mut case = Case::new(oracle, &model);
    let zero = |case: &mut Case<'_>, name: &str, channels: std::ops::Range<usize>| {
        let mut sums = case.imatrix.entries[name].sums().to_vec();
        sums[channels].fill(0.0);
        case.imatrix.entries.insert(name.to_owned(), Entry::rounded(sums, vec![512]).unwrap());
    };
    zero(&mut case, "blk.0.attn_q.weight", 0..256);
    zero(&mut case, "blk.0.ffn_down.weight", 256..512);
    zero(&mut case, "blk.1.attn_v.weight", 32..48);
    let unseen = Entry::rounded(vec![0.0; 256], vec![0]).unwrap();
    case.imatrix.entries.insert("blk.2.attn_k.weight".to_owned(), unseen);
    let short = Entry::rounded(vec![1.0; 3], vec![1]).unwrap();
    case.imatrix.entries.insert("token_embd.weight".to_owned(), short);
    case.imatrix.entries.insert("blk.9.attn_q.weight".to_owned(), Entry::rounded(vec![1.0], vec![1]).unwrap());
    for mix in ["q4_0", "q5_1", "q2_k", "q3_k_m", "q4_k_m", "q6_k", "iq4_xs", "iq3_xxs", "iq2_m", "iq2_xxs", "iq1_s"] {
        let job = case.job(mix, Uncovered::Warn).unwrap();
        let coverage = job.coverage.as_ref().unwrap();
        assert_eq!(coverage.unused, ["blk.9.attn_q.weight"]);
        assert_eq!(coverage.odd, ["token_embd.weight"]);
        assert_eq!(coverage.unseen, [("blk.2.attn_k.weight".to_owned(), 1, 1)]);
        case.compare(mix, &job);
    }
    assert!(matches!(case.job("q4_k_m", Uncovered::Error), Err(Error::Uncovered { tensors }) if tensors.len() == 1));

    case.imatrix.entries.remove("blk.1.ffn_up.weight");
    let job = case.job("q4_k_m", Uncovered::Warn).unwrap();
    assert_eq!(job.coverage.as_ref().unwrap().missing, ["blk.1.ffn_up.weight"]);
    assert!(job.warnings.iter().any(|warning| warning.contains("1 tensors have no importance")), "{:?}", job.warnings);
    case.compare("q4_k_m", &job);
    let (refused, theirs) = (case.job("iq2_m", Uncovered::Warn), case.theirs("iq2_m"));
    assert!(matches!(refused, Err(Error::Uncovered { .. })) && theirs.is_err());
    let uniform = case.job("iq2_m", Uncovered::Uniform).unwrap();
    case.imatrix.entries.insert("blk.1.ffn_up.weight".to_owned(), Entry::rounded(vec![1.0; 256], vec![1]).unwrap());
    case.compare("iq2_m", &uniform);

    case.imatrix.entries.insert("blk.1.ffn_up.weight".to_owned(), Entry::rounded(vec![1.0; 255], vec![1]).unwrap());
    let error = case.job("q4_k_m", Uncovered::Uniform).err().unwrap();
    assert!(case.theirs("q4_k_m").is_err());
    assert!(error.to_string().contains("blk.1.ffn_up.weight") && error.to_string().contains("255"), "{error}");
}
