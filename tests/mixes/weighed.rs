//! Stacks of matrices, each weighed by its own importance, from a GGUF: the bytes of `llama_model_quantize`.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use planish::checkpoint::Checkpoint;
use planish::imatrix::{Entry, Imatrix};
use planish::plan::{Importance, Job, Overrides, Request, Uncovered, recipe};
use planish::run::{Run, quantize};
use planish_formats::gguf;
use planish_kernels::Isa;

use crate::made::{LLAMA, Model};
use crate::stock::{Ask, stock};

#[test]
fn every_expert_has_its_own_importance() {
    let Some(stock) = stock() else { return };
    let model = Model { experts: 8, layers: 3, kv_heads: 2, ..LLAMA };
    let dir = tempfile::tempdir().expect("a folder");
    let [source, ours, theirs] = ["in", "ours", "theirs"].map(|name| dir.path().join(format!("{name}.gguf")));
    model.write(&source);
    // Expert 3 of each stack saw nothing; all others differ.
    let mut state = 7u32;
    let entry = |shape: &[usize]| {
        let matrices = if shape.len() > 2 { shape[0] } else { 1 };
        let sums = (0..shape[shape.len() - 1] * matrices).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 1e4
        });
        let counts = (0..matrices).map(|i| if i == 3 { 0 } else { 100 + i as u64 });
        Entry::rounded(sums.collect(), counts.collect()).expect("fits")
    };
    let tensors = model.tensors();
    let shapes = tensors.iter().map(|tensor| &tensor.shape[..]);
    let entries: BTreeMap<String, Entry> =
        tensors.iter().map(|tensor| tensor.name.clone()).zip(shapes.map(entry)).collect();
    let given = entries.iter().map(|(name, entry)| (name.clone(), entry.importance())).collect();
    let imatrix = Imatrix { datasets: vec![], chunks: 1, chunk_size: 512, entries };
    for mix in ["q4_0", "q2_k", "q4_k_m", "q6_k", "iq4_xs", "iq3_xxs", "iq2_xs", "iq1_m"] {
        let recipe = recipe(mix).expect("a recipe");
        let ask = Ask { file_type: recipe.file_type, importance: Some(&given), ..Ask::default() };
        assert!(stock.quantize(&source, &theirs, &ask), "{mix}: llama.cpp refuses");
        let importance = Importance { imatrix: imatrix.clone(), file: None, uncovered: Uncovered::Warn };
        let request = Request {
            recipe,
            overrides: Overrides::default(),
            pre: None,
            importance: Some(importance),
            measured: false,
        };
        let job = Job::new(Checkpoint::open(&source).expect("opens"), request).expect("a plan");
        let coverage = job.coverage.as_ref().expect("a matrix was given");
        assert!(coverage.unseen.iter().all(|(_, unseen, of)| (*unseen, *of) == (1, 8)) && coverage.unseen.len() >= 6);
        let run = Run {
            source: &job.checkpoint.source,
            tensors: &job.tensors,
            threads: 2,
            isa: Isa::detected(),
            cancel: &AtomicBool::new(false),
            progress: &|_| {},
        };
        quantize(&run, gguf::create(&ours, &job.kv, &job.infos(), None).expect("a file")).expect("runs");
        let files = [&ours, &theirs].map(|path| planish_formats::open(path).expect("a GGUF"));
        // llama.cpp drops outer dimensions of length 1.
        let types = files.each_ref().map(|file| {
            file.infos().iter().map(|info| (info.name.clone(), info.storage, info.elements())).collect::<Vec<_>>()
        });
        assert_eq!(types[0], types[1], "{mix}");
        for info in files[0].infos() {
            let [ours, theirs] = files.each_ref().map(|file| file.view(&info.name).expect("a tensor").bytes);
            assert!(ours == theirs, "{mix}: {} {:?} ({})", info.name, info.shape, info.storage.name());
        }
    }
}
