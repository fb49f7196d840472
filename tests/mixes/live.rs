//! Every recipe, on models small enough to quantize each a hundred times, against `llama_model_quantize` itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use planish::plan::{
    Candidate, Overrides, RECIPES, Rule, Why, choose, fallback, needs_importance, output_order, recipe,
    require_importance,
};
use planish_formats::GgmlType;

use crate::made::{LLAMA, MODELS, Model};
use crate::stock::{Ask, Stock, stock};

/// A weight of one for every column of every matrix.
fn importance(tensors: &[Candidate]) -> BTreeMap<String, Vec<f32>> {
    let matrices = |shape: &[usize]| if shape.len() > 2 { shape[0] } else { 1 };
    tensors.iter().map(|t| (t.name.clone(), vec![1.0; t.shape[t.shape.len() - 1] * matrices(&t.shape)])).collect()
}

/// A made model, its folder, and what its tensors are.
struct Made<'a> {
    stock: &'a Stock,
    folder: tempfile::TempDir,
    model: Model,
    tensors: Vec<Candidate>,
    importance: BTreeMap<String, Vec<f32>>,
}

impl<'a> Made<'a> {
    fn new(stock: &'a Stock, model: Model) -> Made<'a> {
        let folder = tempfile::tempdir().expect("a folder");
        model.write(&folder.path().join("in.gguf"));
        let tensors = model.tensors();
        let importance = importance(&tensors);
        Made { stock, folder, model, tensors, importance }
    }

    /// llama.cpp's types in the order of its file, or `None` where it refuses.
    fn stock_types(&self, ask: &Ask) -> Option<Vec<(String, GgmlType)>> {
        let at = |name: &str| -> PathBuf { self.folder.path().join(name) };
        self.stock.quantize(&at("in.gguf"), &at("out.gguf"), ask).then(|| self.stock.types(&at("out.gguf")))
    }

    /// Compares all tensors, in the order of the file. Returns how many.
    fn compare(&self, name: &str, overrides: &Overrides, ask: &Ask) -> usize {
        let recipe = recipe(name).expect("a recipe");
        let facts = self.model.facts(ask.importance.is_some());
        let Model { arch, layers, kv_heads, experts, cols, tied, .. } = self.model;
        let place = format!("{arch} x{layers}, kv {kv_heads}, experts {experts}, cols {cols}, tied {tied}, {name}");
        let stock = self.stock_types(&Ask { file_type: recipe.file_type, ..*ask });
        let choices = match choose(&recipe, overrides, &facts, &self.tensors) {
            Ok(choices) => choices,
            Err(e) => {
                assert!(stock.is_none(), "{place}: refused ({e}), but llama.cpp does it");
                return 0;
            }
        };
        if let Err(e) = require_importance(&recipe, &facts, &self.tensors, &choices) {
            assert!(!facts.importance);
            assert!(stock.is_none(), "{place}: refused ({e}), but llama.cpp does it");
            return 0;
        }
        let stock = stock.unwrap_or_else(|| panic!("{place}: llama.cpp refuses with {facts:?}"));
        let names: Vec<&str> = self.tensors.iter().map(|t| t.name.as_str()).collect();
        let order = output_order(&names);
        assert_eq!(order.len(), stock.len(), "{place}");
        for (&i, (name, ty)) in order.iter().zip(&stock) {
            assert_eq!(names[i], name, "{place}");
            let ours = &choices[i];
            assert_eq!(ours.ty.name(), ty.name(), "{place}, {name}, importance {}: {ours:?}", facts.importance);
        }
        stock.len()
    }
}

#[test]
fn every_recipe_as_llama_cpp_decides() {
    let Some(stock) = stock() else { return };
    let mut checked = 0;
    for (n, &model) in MODELS.iter().enumerate() {
        let made = Made::new(stock, model);
        for recipe in RECIPES.iter() {
            // llama.cpp has the number but no mix behind it.
            if recipe.name == "nvfp4" {
                assert!(made.stock_types(&Ask { file_type: recipe.file_type, ..Ask::default() }).is_none());
                continue;
            }
            // The lattice searches are slow. Of the deepest models, which are here for the lift, one sees those with a lift.
            let lifted = recipe.name.starts_with("iq3") && (model.arch, model.kv_heads) == ("llama", 1);
            if recipe.name.starts_with("iq") && model.layers > 40 && !lifted {
                continue;
            }
            let told_apart = recipe.rules.iter().any(|r| r.when.importance.is_some());
            for importance in [None, Some(&made.importance)] {
                if importance.is_none() || told_apart || n < 3 || recipe.name.starts_with("iq") {
                    checked += made.compare(&recipe.name, &Overrides::default(), &Ask { importance, ..Ask::default() });
                }
            }
        }
    }
    println!("{checked} types compared");
    assert!(checked > 100_000, "{checked}");
}

#[test]
fn overrides_as_llama_cpp_takes_them() {
    let Some(stock) = stock() else { return };
    let tensors: &[&[(&str, GgmlType)]] = &[
        &[],
        &[("attn_v", GgmlType::Q8_0), (r"blk\.[0-2]\.", GgmlType::Q5_1)],
        &[(r"blk\.[0-2]\.", GgmlType::Q5_1), ("attn_v", GgmlType::Q8_0)],
        &[("ffn_down.*weight$", GgmlType::IQ4_NL), ("token_embd", GgmlType::Q4_0), ("^output", GgmlType::Q5_0)],
        &[("blk.1.*", GgmlType::F16)],
    ];
    let mut checked = 0;
    for model in [
        Model { layers: 9, kv_heads: 2, ..LLAMA },
        Model { layers: 4, tied: true, ..LLAMA },
        Model { layers: 8, experts: 8, ..LLAMA },
        Model { layers: 4, cols: 96, ..LLAMA },
    ] {
        let made = Made::new(stock, model);
        for name in ["q4_k_m", "q3_k_m", "q8_0", "mxfp4_moe", "tq2_0"] {
            for asked in ["", "pure", "leave", "output", "embedding", "output embedding", "pure output embedding"] {
                let on = |what: &str| asked.contains(what);
                for &tensors in tensors {
                    let overrides = Overrides {
                        pure: on("pure"),
                        leave_output: on("leave"),
                        output: on("output").then_some(GgmlType::Q5_1),
                        embedding: on("embedding").then_some(GgmlType::Q8_0),
                        tensors: tensors
                            .iter()
                            .map(|(p, t)| Overrides::tensor(&format!("{p}={}", t.name())).expect("parses"))
                            .collect(),
                    };
                    let ask = Ask {
                        pure: on("pure"),
                        leave_output: on("leave"),
                        output: overrides.output,
                        embedding: overrides.embedding,
                        tensors,
                        importance: Some(&made.importance),
                        ..Ask::default()
                    };
                    checked += made.compare(name, &overrides, &ask);
                }
            }
        }
        for name in ["f16", "bf16", "f32"] {
            let overrides = Overrides { output: Some(GgmlType::Q8_0), ..Overrides::default() };
            let ask = Ask { output: overrides.output, ..Ask::default() };
            checked += made.compare(name, &overrides, &ask);
        }
    }
    println!("{checked} types compared");
    assert!(checked > 40_000, "{checked}");
}

#[test]
fn importance_is_asked_for_where_llama_cpp_asks() {
    let Some(stock) = stock() else { return };
    let made = Made::new(stock, LLAMA);
    let mut needing = Vec::new();
    for recipe in RECIPES.iter().filter(|r| r.name != "nvfp4") {
        let choices = choose(recipe, &Overrides::default(), &LLAMA.facts(false), &made.tensors).expect("decides");
        let needs = !needs_importance(recipe, &made.tensors, &choices).is_empty();
        let refused = made.stock_types(&Ask { file_type: recipe.file_type, ..Ask::default() }).is_none();
        assert_eq!(needs, refused, "{}", recipe.name);
        if needs {
            needing.push(recipe.name.as_str());
        }
    }
    let known = ["q2_k_s", "iq3_xs", "iq3_xxs", "iq2_m", "iq2_s", "iq2_xs", "iq2_xxs", "iq1_m", "iq1_s"];
    assert_eq!(needing, known);
}

/// The comparison is worth what it covers: every rule of every recipe decides a type on one of these models, and every
/// lift does in one of the recipes.
#[test]
fn every_rule_is_compared() {
    let (mut lifts, mut lifting) = (BTreeSet::new(), BTreeSet::new());
    for recipe in RECIPES.iter() {
        let mut told = BTreeSet::new();
        for model in MODELS {
            for importance in [false, true] {
                let choices = choose(recipe, &Overrides::default(), &model.facts(importance), &model.tensors());
                told.extend(choices.unwrap_or_default().into_iter().filter_map(|choice| match choice.why {
                    Why::Rule(text) => Some(text),
                    Why::Fallback { wanted, .. } => match *wanted {
                        Why::Rule(text) => Some(text),
                        _ => None,
                    },
                    _ => None,
                }));
            }
        }
        // The stock library does not know glm5-next yet, and where nothing stands in for the default, it refuses models
        // whose rows do not fit.
        let excused =
            |r: &Rule| r.when.arch == ["glm5-next"] || (r.when.fits.is_some() && fallback(recipe.default).is_none());
        let idle: Vec<&Rule> = recipe.rules.iter().filter(|r| !excused(r) && !told.contains(&r.text)).collect();
        assert!(idle.is_empty(), "{}: {idle:?}", recipe.name);
        lifts.extend(recipe.lifts.iter().map(|r| r.text.clone()));
        lifting.extend(recipe.lifts.iter().map(|r| r.text.clone()).filter(|r| told.contains(r)));
    }
    assert_eq!(lifts, lifting);
}
