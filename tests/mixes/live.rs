//! Every recipe, on models small enough to quantize each a hundred times, against `llama_model_quantize` itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use planish::plan::{
    Candidate, Facts, Overrides, RECIPES, choose, needs_importance, output_order, recipe, require_importance,
};
use planish_formats::{Dtype, GgmlType, Storage};

use crate::stock::{Ask, Stock, stock};

/// A model to make: names and shapes as the rules ask about them, tensors of two rows.
#[derive(Clone, Copy)]
struct Model {
    arch: &'static str,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    experts: usize,
    cols: usize,
    tied: bool,
    attention: &'static [&'static str],
}

const SPLIT: &[&str] = &["attn_q", "attn_k", "attn_v", "attn_output"];
const FUSED: &[&str] = &["attn_qkv", "attn_output"];
const LATENT: &[&str] = &["attn_q_a", "attn_q_b", "attn_kv_a_mqa", "attn_kv_b", "attn_output"];
/// Some layers with fused and some with split projections, as hybrids have.
const MIXED: &[&str] = &["attn_qkv", "attn_q", "attn_k", "attn_v", "attn_output"];

const LLAMA: Model =
    Model { arch: "llama", layers: 16, heads: 8, kv_heads: 8, experts: 0, cols: 256, tied: false, attention: SPLIT };

const MODELS: &[Model] = &[
    LLAMA,
    Model { tied: true, kv_heads: 2, ..LLAMA },
    Model { layers: 4, kv_heads: 1, ..LLAMA },
    Model { layers: 37, kv_heads: 3, ..LLAMA },
    Model { layers: 80, kv_heads: 1, ..LLAMA },
    Model { layers: 80, ..LLAMA },
    Model { arch: "qwen2", layers: 80, ..LLAMA },
    Model { arch: "qwen2", layers: 80, kv_heads: 4, tied: true, ..LLAMA },
    Model { arch: "deci", layers: 80, kv_heads: 1, ..LLAMA },
    Model { arch: "olmo", layers: 80, ..LLAMA },
    Model { arch: "jais2", layers: 68, kv_heads: 1, ..LLAMA },
    Model { arch: "qwen3", layers: 80, kv_heads: 1, ..LLAMA },
    Model { experts: 8, kv_heads: 2, ..LLAMA },
    Model { experts: 8, layers: 32, tied: true, ..LLAMA },
    Model { experts: 4, layers: 16, ..LLAMA },
    Model { experts: 2, layers: 24, attention: LATENT, ..LLAMA },
    Model { cols: 96, ..LLAMA },
    Model { cols: 96, tied: true, experts: 8, kv_heads: 1, ..LLAMA },
    Model { cols: 48, kv_heads: 2, ..LLAMA },
    Model { cols: 64, kv_heads: 2, ..LLAMA },
    Model { cols: 384, kv_heads: 2, tied: true, ..LLAMA },
    Model { arch: "falcon", layers: 32, kv_heads: 1, attention: FUSED, ..LLAMA },
    Model { arch: "falcon", layers: 16, tied: true, experts: 8, ..LLAMA },
    Model { arch: "gpt2", attention: FUSED, layers: 12, tied: true, ..LLAMA },
    Model { layers: 20, attention: MIXED, kv_heads: 1, ..LLAMA },
];

impl Model {
    fn tensors(&self) -> Vec<Candidate> {
        let f32s = Storage::Plain(Dtype::F32);
        let mut all = Vec::new();
        let mut add = |name: String, shape: &[usize]| {
            all.push(Candidate { name, shape: shape.to_vec(), storage: f32s });
        };
        let matrix = [2, self.cols];
        add("token_embd.weight".into(), &matrix);
        add("per_layer_token_embd.weight".into(), &matrix);
        add("output_norm.weight".into(), &[self.cols]);
        add("position_embd.weight".into(), &matrix);
        add("token_types.weight".into(), &matrix);
        add("cls.weight".into(), &[1, self.cols]);
        add("cls.output.weight".into(), &matrix);
        add("rope_freqs.table".into(), &matrix);
        if !self.tied {
            add("output.weight".into(), &matrix);
        }
        for i in 0..self.layers {
            let hybrid = self.attention == MIXED;
            for name in self.attention.iter().filter(|n| !hybrid || (**n == "attn_qkv") == (i % 4 != 3)) {
                add(format!("blk.{i}.{name}.weight"), &matrix);
            }
            if i < 2 {
                add(format!("blk.{i}.attn_norm.weight"), &[self.cols]);
                add(format!("blk.{i}.attn_q_norm.weight"), &matrix);
                add(format!("blk.{i}.attn_rel_b.weight"), &matrix);
                add(format!("blk.{i}.ssm_in.weight"), &matrix);
            }
            let experts = self.experts > 0 && i > 0;
            for name in ["ffn_up", "ffn_gate", "ffn_down"] {
                if experts {
                    add(format!("blk.{i}.{name}_exps.weight"), &[self.experts, 1, self.cols]);
                    add(format!("blk.{i}.{name}_shexp.weight"), &matrix);
                } else {
                    add(format!("blk.{i}.{name}.weight"), &matrix);
                }
            }
            if experts {
                add(format!("blk.{i}.ffn_gate_inp.weight"), &matrix);
            }
        }
        all
    }

    fn facts(&self, importance: bool) -> Facts {
        let &Model { arch, layers, heads, kv_heads, experts, .. } = self;
        Facts { arch: arch.into(), layers, heads, kv_heads, experts, importance }
    }

    /// Writes it as a GGUF of F32 tensors.
    fn write(&self, path: &Path) {
        let tensors = self.tensors();
        let number = |key: &str, value: usize| (format!("{}.{key}", self.arch), Value::U32(value as u32));
        let epsilon = |key: &str| (format!("{}.attention.{key}", self.arch), Value::F32(1e-5));
        let mut keys = vec![
            ("general.architecture".to_owned(), Value::Text(self.arch)),
            number("context_length", 128),
            number("embedding_length", self.cols),
            number("block_count", self.layers),
            number("feed_forward_length", self.cols),
            number("attention.head_count", self.heads),
            number("attention.head_count_kv", self.kv_heads),
            number("vocab_size", 2),
            epsilon("layer_norm_rms_epsilon"),
            epsilon("layer_norm_epsilon"),
        ];
        if self.experts > 0 {
            keys.extend([number("expert_count", self.experts), number("expert_used_count", 2)]);
        }
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend((tensors.len() as u64).to_le_bytes());
        out.extend((keys.len() as u64).to_le_bytes());
        for (key, value) in keys {
            text(&mut out, &key);
            match value {
                Value::U32(v) => [4u32.to_le_bytes(), v.to_le_bytes()].iter().for_each(|b| out.extend(b)),
                Value::F32(v) => [6u32.to_le_bytes(), v.to_le_bytes()].iter().for_each(|b| out.extend(b)),
                Value::Text(v) => {
                    out.extend(8u32.to_le_bytes());
                    text(&mut out, v);
                }
            }
        }
        let mut offset = 0u64;
        for t in &tensors {
            text(&mut out, &t.name);
            out.extend((t.shape.len() as u32).to_le_bytes());
            t.shape.iter().rev().for_each(|&d| out.extend((d as u64).to_le_bytes()));
            out.extend(0u32.to_le_bytes());
            out.extend(offset.to_le_bytes());
            offset += (t.shape.iter().product::<usize>() * 4).next_multiple_of(32) as u64;
        }
        let mut state = 1u32;
        for t in &tensors {
            out.resize(out.len().next_multiple_of(32), 0);
            for _ in 0..t.shape.iter().product::<usize>() {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                out.extend((state as f32 / u32::MAX as f32 - 0.5).to_le_bytes());
            }
        }
        fs::write(path, out).expect("writes");
    }
}

enum Value {
    U32(u32),
    F32(f32),
    Text(&'static str),
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

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
        let stock = stock.unwrap_or_else(|| panic!("{place}: llama.cpp refuses, needs importance: {facts:?}"));
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
            // The lattice searches are slow. Of the deepest models only one sees them.
            if recipe.name.starts_with("iq") && model.layers > 40 && (model.arch, model.kv_heads) != ("llama", 1) {
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
    assert!(checked > 150_000, "{checked}");
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
        Model { kv_heads: 2, ..LLAMA },
        Model { tied: true, ..LLAMA },
        Model { experts: 8, ..LLAMA },
        Model { layers: 80, kv_heads: 1, ..LLAMA },
        Model { cols: 96, ..LLAMA },
    ] {
        let made = Made::new(stock, model);
        for name in ["q4_k_m", "q3_k_m", "q2_k", "q8_0", "mxfp4_moe", "tq2_0"] {
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
    assert!(checked > 100_000, "{checked}");
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
