//! Whole files: every mix, tensor by tensor, against `llama_model_quantize`.

use std::path::Path;

use planish::plan::{Error, RECIPES, RecipeError};
use planish_formats::{Storage, open};

use crate::installed::{installed, root};
use crate::llama::{Oracle, QuantizeOptions, oracle};
use crate::release::{job, release, write};

/// Names, types and bytes of all tensors are the same, in the same order.
pub(crate) fn same_tensors(ours: &Path, theirs: &Path, mix: &str) {
    let (ours, theirs) = (open(ours).unwrap(), open(theirs).unwrap());
    assert_eq!(ours.infos(), theirs.infos(), "{mix}: names, shapes or types");
    for info in ours.infos() {
        let same = ours.view(&info.name).unwrap().bytes == theirs.view(&info.name).unwrap().bytes;
        assert!(same, "{mix}: {} ({}) has other bytes", info.name, info.storage.name());
    }
}

/// Every mix that can be made without importance. A file type of llama.cpp that planish makes is compared unasked.
fn all_mixes(oracle: &Oracle, model: &Path) {
    let dir = tempfile::tempdir().unwrap();
    let bf16 = dir.path().join("bf16.gguf");
    release(model, "bf16", &bf16);
    let mut compared = vec![];
    for recipe in RECIPES.iter() {
        let job = match job(model, recipe.clone()) {
            Ok(job) => job,
            Err(
                Error::NoEncoder { .. }
                | Error::Recipe(RecipeError::NeedsImportance { .. } | RecipeError::NoFallback { .. }),
            ) => continue,
            Err(error) => panic!("{}: {error}", recipe.name),
        };
        let (ours, theirs) = (dir.path().join("ours.gguf"), dir.path().join("theirs.gguf"));
        write(&job, &ours);
        let options = QuantizeOptions { allow_requantize: true, ..QuantizeOptions::default() };
        if let Err(why) = oracle.quantize(&bf16, &theirs, recipe.file_type as i32, 2, options) {
            // A file type that llama.cpp knows by tensor only.
            assert_eq!(recipe.name, "nvfp4", "{why}");
            continue;
        }
        same_tensors(&ours, &theirs, &recipe.name);
        compared.push(recipe.name.as_str());
        for file in [ours, theirs] {
            std::fs::remove_file(file).unwrap();
        }
    }
    println!("{} mixes equal: {}", compared.len(), compared.join(" "));
    for mix in [
        "f32", "f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q5_k_s", "q5_1", "q5_0", "q4_k_m", "q4_k_s", "q4_1", "q4_0",
        "q3_k_l", "q3_k_m", "q3_k_s", "q2_k",
    ] {
        assert!(compared.contains(&mix), "{mix} was not compared");
    }
}

#[test]
fn tiny_llama_in_every_mix() {
    let Some(oracle) = oracle() else { return };
    all_mixes(oracle, &root().join("fixtures/tiny-llama"));
}

#[test]
fn smollm2_in_every_mix() {
    let (Some(oracle), Some(model)) = (oracle(), installed("smollm2")) else { return };
    all_mixes(oracle, &model);
}

#[test]
fn a_split_bf16_release_is_a_source_for_llama_cpp() {
    let Some(oracle) = oracle() else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("parts.gguf");
    let job = job(&root().join("fixtures/tiny-llama"), planish::plan::recipe("bf16").unwrap()).unwrap();
    assert!(job.tensors.iter().any(|t| t.choice.ty.storage() == Storage::Plain(planish_formats::Dtype::BF16)));
    let sink = planish_formats::gguf::create(&path, &job.kv, &job.infos(), Some(2_000_000)).unwrap();
    let run = planish::run::Run {
        source: &job.checkpoint.source,
        tensors: &job.tensors,
        threads: 1,
        isa: planish_kernels::Isa::detected(),
        cancel: &std::sync::atomic::AtomicBool::new(false),
        progress: &|_| {},
    };
    let files = planish::run::quantize(&run, sink).unwrap().files;
    assert!(files.len() > 2, "{files:?}");
    let (ours, theirs) = (dir.path().join("ours.gguf"), dir.path().join("theirs.gguf"));
    oracle.quantize(&files[0], &theirs, 15, 1, QuantizeOptions::default()).unwrap();
    release(&root().join("fixtures/tiny-llama"), "q4_k_m", &ours);
    same_tensors(&ours, &theirs, "q4_k_m from parts");
}
