//! Programs against transformers: the naive executor must give its logits, from the checkpoint and from the GGUF.

use std::collections::BTreeMap;

use super::super::{Carry, Objective, Op, release};
use super::execute::{gather, run};
use super::{Case, cases};

/// Largest distance from transformers' logits over their standard deviation. f32 there, f64 here.
fn distance(case: &Case, got: &BTreeMap<Carry, Vec<Vec<f64>>>, objective: Objective) -> f64 {
    let (carry, name) = match objective {
        Objective::Causal | Objective::Masked | Objective::Seq2Seq => (Carry::Logits, "logits"),
        Objective::Hidden => (Carry::Hidden, "hidden"),
    };
    let want = case.golden.floats(name);
    let got: Vec<f64> = got[&carry].concat();
    assert_eq!(got.len(), want.len(), "{}", case.name);
    let spread = (want.iter().map(|w| f64::from(w * w)).sum::<f64>() / want.len() as f64).sqrt();
    got.iter().zip(&want).map(|(g, w)| (g - f64::from(*w)).abs()).fold(0.0, f64::max) / spread
}

/// What each stack reads.
fn ids(case: &Case) -> Vec<Vec<usize>> {
    let inputs = ["source", "ids"].into_iter().filter_map(|name| case.golden.bytes.get(name));
    let ids = |bytes: &Vec<u8>| -> Vec<usize> {
        bytes.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as usize).collect()
    };
    inputs.map(ids).collect()
}

#[test]
fn programs_give_the_logits_of_transformers() {
    for case in cases() {
        let has = |name: &str| case.checkpoint.bytes.contains_key(name);
        let model = case.architecture.program(&case.config, has).unwrap();
        let got = run(&model, &ids(&case), &|name| case.checkpoint.floats(name));
        let distance = distance(&case, &got, model.objective);
        assert!(distance < 1e-5, "{}: {distance:e} of the standard deviation", case.name);
    }
}

#[test]
fn so_do_those_whose_latents_are_expanded() {
    let mut seen = 0;
    for case in cases().filter(|case| case.config.latent.is_some()) {
        let has = |name: &str| case.checkpoint.bytes.contains_key(name);
        let model = case.architecture.program(&case.config, has).unwrap().expanded();
        assert!(model.stacks[0].layers.iter().flat_map(|layer| &layer.ops).all(|op| !matches!(op, Op::Heads { .. })));
        super::super::check::check(&model).unwrap();
        let got = run(&model, &ids(&case), &|name| case.checkpoint.floats(name));
        let distance = distance(&case, &got, model.objective);
        assert!(distance < 1e-5, "{}: {distance:e} of the standard deviation", case.name);
        seen += 1;
    }
    assert!(seen >= 4);
}

#[test]
fn the_tensors_of_the_gguf_give_them_too() {
    for case in cases() {
        // llama.cpp has no graph for some; ours has, but then there is no GGUF.
        let Ok(tensors) = release(case.architecture, &case.config, &case.checkpoint.infos) else { continue };
        let file: BTreeMap<String, Vec<f32>> = tensors
            .iter()
            .map(|t| (t.name.clone(), gather(&t.gather, &t.shape, &|name| case.checkpoint.floats(name))))
            .collect();
        let has = |name: &str| case.checkpoint.bytes.contains_key(name);
        let model = case.architecture.program(&case.config, has).unwrap().over_gguf();
        let model = if model.objective == Objective::Masked { model.without_head() } else { model };
        let got = run(&model, &ids(&case), &|name| file[name].clone());
        let distance = distance(&case, &got, model.objective);
        assert!(distance < 1e-5, "{}: {distance:e} of the standard deviation", case.name);
    }
}

#[test]
fn ropes_turn_as_in_transformers() {
    let mut seen = 0;
    for case in cases() {
        let Some(rope) = &case.config.rope else { continue };
        // Some classes keep theirs where the script does not look.
        if !case.golden.bytes.contains_key("rope.inverse") {
            continue;
        }
        let table = rope.frequencies(case.config.rotary);
        let want = case.golden.floats("rope.inverse");
        assert_eq!(table.inverse.len(), want.len(), "{}", case.name);
        for (got, want) in table.inverse.iter().zip(&want) {
            // The last bits of torch's vectorised powf are its own.
            assert!((got - want).abs() <= 4e-7 * want, "{}: {got:e}, not {want:e}", case.name);
        }
        assert_eq!(table.scale, case.golden.floats("rope.scale")[0], "{}", case.name);
        seen += 1;
    }
    assert!(seen > 10);
}
