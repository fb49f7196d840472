//! From checkpoint to GGUF and back, for every committed tiny model: the configuration, the names, the shapes, the rows.

use std::collections::{BTreeMap, BTreeSet};

use planish_formats::{Dtype, Info, Storage, gguf::Kv};

use super::super::{
    Architecture, Config, Error, Gather, Head, HeaderError, Role, RopeTables, Tensor, architecture, config_json,
    gguf_architecture, gguf_keys, paired_row, release, restore, unpaired_row,
};
use super::execute::gather;
use super::{Case, cases};

/// The header and tensors of a case's GGUF; `None` where llama.cpp has no graph for it.
fn gguf(case: &Case) -> Option<(Kv, Vec<Tensor>)> {
    let tensors = release(case.architecture, &case.config, &case.checkpoint.infos).ok()?;
    Some((gguf_keys(case.architecture, &case.config).unwrap(), tensors))
}

fn infos(tensors: &[Tensor]) -> Vec<Info> {
    let info = |t: &Tensor| Info { name: t.name.clone(), storage: Storage::Plain(Dtype::F32), shape: t.shape.clone() };
    tensors.iter().map(info).collect()
}

fn tables(tensors: &[Tensor]) -> RopeTables {
    let computed = |t: &Tensor| match &t.gather {
        Gather::Computed(values) => Some((t.role, values.to_vec())),
        _ => None,
    };
    tensors.iter().filter_map(computed).collect()
}

/// Reads the configuration back.
fn back(kv: &Kv, tensors: &[Tensor]) -> (&'static Architecture, Config) {
    let json = config_json(kv, &infos(tensors), &tables(tensors)).unwrap();
    let architecture = architecture(&json).unwrap();
    assert_eq!(architecture.gguf.as_ref().unwrap().name, gguf_architecture(kv).unwrap().1.name);
    (architecture, architecture.config(&json).unwrap())
}

#[test]
fn configurations_come_back() {
    let mut seen = 0;
    for case in cases() {
        let Some((kv, tensors)) = gguf(&case) else { continue };
        let (_, config) = back(&kv, &tensors);
        let mut want = case.config.clone();
        // A GGUF does not say that a model has no head, nor who gave the width of its heads; nothing scales up to the
        // trained context.
        let encoder = case.architecture.name == "t5encoder";
        want.head = if want.head == Head::None && !encoder { Head::Tied } else { want.head };
        // The keys of the tokenizer say what ends a text.
        want.pair = want.pair.map(|pair| super::super::Pair { end: None, ..pair });
        // An encoder's has no head, and positions begin at its first row.
        if let Some(encoder) = &mut want.encoder {
            (want.head, encoder.first_position) = (Head::None, 0);
        }
        want.own_head_dim = config.own_head_dim;
        // Layers that look further ahead are not in it.
        want.ahead = 0;
        // The towers are elsewhere.
        want.towers = config.towers;
        if case.name == "llama-rope-dynamic" {
            want.rope.as_mut().unwrap().scaling = super::super::Scaling::None;
        }
        assert_eq!(config, want, "{}", case.name);
        seen += 1;
    }
    assert!(seen > 10);
}

#[test]
fn tensors_come_back() {
    for case in cases() {
        let Some((kv, tensors)) = gguf(&case) else { continue };
        // Experts come back the usual way, a tensor each.
        if case.checkpoint.bytes.contains_key("model.layers.0.mlp.experts.gate_up_proj") && case.name != "gptoss" {
            continue;
        }
        let file: BTreeMap<String, Vec<f32>> = tensors
            .iter()
            .map(|t| (t.name.clone(), gather(&t.gather, &t.shape, &|name| case.checkpoint.floats(name))))
            .collect();
        let (architecture, config) = back(&kv, &tensors);
        let restored = restore(architecture, &config, &infos(&tensors)).unwrap();
        if case.config.encoder.is_some() {
            encoder_comes_back(&case, &restored, &file);
            continue;
        }
        // Base classes are saved without the root; beside towers it is a longer one, and the head has its part of it.
        let (plain, end) = (case.architecture.roots[0], case.architecture.embedding);
        let mut saved = case.checkpoint.infos.iter().filter_map(|info| info.name.strip_suffix(end));
        let root = saved.next().expect("an embedding");
        let before = |t: &Tensor| match t.name.strip_prefix(plain) {
            Some(rest) => format!("{root}{rest}"),
            None => format!("{}{}", if root.starts_with("language_model.") { "language_model." } else { "" }, t.name),
        };
        for t in &restored {
            let name = &before(t);
            let info = case.checkpoint.infos.iter().find(|info| info.name == *name).expect(name);
            assert_eq!(info.shape, t.shape, "{}: {name}", case.name);
            let got = gather(&t.gather, &t.shape, &|name| file[name].clone());
            assert_eq!(got, case.checkpoint.floats(name), "{}: {name}", case.name);
        }
        let sources = tensors.iter().flat_map(|t| t.gather.sources(&t.shape)).map(|(name, _)| name.to_owned());
        let names = restored.iter().map(before);
        assert_eq!(names.collect::<BTreeSet<String>>(), sources.collect(), "{}", case.name);
    }
}

/// Encoders come back as a base class: without a root, under BERT's names, and without rows of positions that no token has.
fn encoder_comes_back(case: &Case, restored: &[Tensor], file: &BTreeMap<String, Vec<f32>>) {
    let first = case.config.encoder.as_ref().unwrap().first_position;
    for t in restored {
        let mut names = case.architecture.roots.iter().map(|root| format!("{root}{}", t.name));
        let name = names.find(|name| case.checkpoint.bytes.contains_key(name));
        let name = name.unwrap_or_else(|| {
            let old = t.name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta");
            format!("bert.{old}")
        });
        let want = case.checkpoint.floats(&name);
        let skipped = if t.name.contains("position") { first * t.shape[1] } else { 0 };
        let got = gather(&t.gather, &t.shape, &|name| file[name].clone());
        assert_eq!(got, want[skipped..], "{}: {name}", case.name);
    }
    assert_eq!(restored.len(), file.len(), "{}", case.name);
}

#[test]
fn rows_in_pairs_go_back_to_halves() {
    for head_dim in [2, 16, 64] {
        assert!((0..3 * head_dim).all(|row| paired_row(unpaired_row(row, head_dim), head_dim) == row));
    }
}

#[test]
fn headers_that_cannot_be_read_back_are_refused() {
    let case = cases().into_iter().find(|case| case.name == "llama-rope-llama3").unwrap();
    let (kv, tensors) = gguf(&case).unwrap();
    let refused = |kv: &Kv, tables: RopeTables| config_json(kv, &infos(&tensors), &tables).unwrap_err();
    let config = |kv: &Kv| refused(kv, RopeTables::new());
    let without = |key: &str| {
        let mut kv = kv.clone();
        kv.remove(key).unwrap();
        kv
    };
    let with = |key: &str, value: u32| {
        let mut kv = kv.clone();
        kv.set(key, value);
        kv
    };
    let missing = |key: &str| HeaderError::Missing { key: key.to_owned() };
    assert_eq!(config(&without("llama.block_count")), missing("llama.block_count"));
    assert_eq!(config(&without("general.architecture")), missing("general.architecture"));
    let mut other = kv.clone();
    other.set("general.architecture", "mamba");
    assert_eq!(config(&other), HeaderError::UnknownArchitecture { name: "mamba".to_owned() });
    assert!(Error::from(config(&other)).to_string().contains("mamba"));
    let keys = vec!["llama.expert_weights_scale".to_owned()];
    assert_eq!(
        config(&with("llama.expert_weights_scale", 8)),
        HeaderError::UnknownKeys { architecture: "llama", keys }
    );
    assert!(matches!(config(&with("llama.rope.dimension_count", 2)), HeaderError::Bad { .. }));
    // A table that no usual parameters give.
    let mut table = tables(&tensors).remove(&Role::RopeFreqs).unwrap();
    table[1] *= 1.5;
    for (role, what) in [(Role::RopeFreqs, "usual parameters"), (Role::RopeShort, "one of LongRoPE's two tables")] {
        let why = refused(&kv, RopeTables::from([(role, table.clone())]));
        assert!(matches!(&why, HeaderError::NoConfig { .. }) && why.to_string().contains(what), "{why}");
    }
}
