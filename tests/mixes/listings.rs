//! `fixtures/mixes` holds the types that llama.cpp gives to every tensor of a dozen models, for each file type (see the
//! README there). They were listed without importance.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use planish::plan::{Candidate, Facts, Overrides, RECIPES, choose, recipe};
use planish_formats::{Dtype, Storage};
use serde::Deserialize;

#[derive(Deserialize)]
struct Listing {
    facts: Model,
    tensors: BTreeMap<String, Tensor>,
    types: BTreeMap<String, BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct Model {
    arch: String,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    experts: usize,
}

#[derive(Deserialize)]
struct Tensor {
    layers: Option<String>,
    cols: usize,
    stacked: bool,
}

impl Tensor {
    /// The names of the tensors that a pattern stands for, in layer order.
    fn names(&self, pattern: &str) -> Vec<String> {
        let Some(layers) = &self.layers else { return vec![pattern.to_owned()] };
        let span = |text: &str| -> Vec<usize> {
            let (first, last) = text.split_once('-').expect("first-last");
            (first.parse().expect("a layer")..=last.parse().expect("a layer")).collect()
        };
        layers.split(' ').flat_map(span).map(|n| pattern.replace('#', &n.to_string())).collect()
    }
}

/// `Q4_K*2 Q6_K*1`, or the default throughout.
fn expand(runs: Option<&String>, default: &str, n: usize) -> Vec<String> {
    let Some(runs) = runs else { return vec![default.to_owned(); n] };
    let run = |text: &str| {
        let (ty, count) = text.split_once('*').expect("TYPE*COUNT");
        vec![ty.to_owned(); count.parse().expect("a count")]
    };
    runs.split(' ').flat_map(run).collect()
}

#[test]
fn as_llama_cpp_lists_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/mixes");
    let (mut models, mut checked) = (0, 0);
    for entry in fs::read_dir(folder).expect("fixtures/mixes") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        models += 1;
        let listing: Listing =
            serde_json::from_str(&fs::read_to_string(&path).expect("a listing")).expect("the listing's form");
        let Model { arch, layers, heads, kv_heads, experts } = listing.facts;
        let facts = Facts { arch, layers, heads, kv_heads, experts, importance: false };
        let candidates: Vec<Candidate> = listing
            .tensors
            .iter()
            .flat_map(|(pattern, t)| t.names(pattern).into_iter().map(move |name| (name, t)))
            .map(|(name, t)| Candidate {
                name,
                shape: if t.stacked { vec![experts.max(2), 4, t.cols] } else { vec![4, t.cols] },
                storage: Storage::Plain(Dtype::BF16),
            })
            .collect();
        for (file_type, types) in &listing.types {
            let recipe = recipe(file_type).unwrap_or_else(|| panic!("no recipe {file_type}"));
            assert_eq!(recipe.default.name(), types["default"], "{file_type}");
            let choices = choose(&recipe, &Overrides::default(), &facts, &candidates).expect("decides");
            let expected = listing
                .tensors
                .iter()
                .flat_map(|(pattern, t)| expand(types.get(pattern), &types["default"], t.names(pattern).len()));
            for ((candidate, choice), expected) in candidates.iter().zip(&choices).zip(expected) {
                let place = format!("{}, {file_type}, {}", path.display(), candidate.name);
                assert_eq!(choice.ty.name(), expected, "{place}: {:?}", choice.why);
                checked += 1;
            }
        }
        let unlisted: Vec<&str> = RECIPES
            .iter()
            .map(|r| r.name.as_str())
            .filter(|n| !listing.types.contains_key(&n.to_uppercase()))
            .collect();
        assert_eq!(unlisted, ["q2_0", "q1_0", "nvfp4"], "{}", path.display());
    }
    assert_eq!(models, 12);
    assert!(checked > 100_000, "{checked}");
}
