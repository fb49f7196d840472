//! What experts read, as calibration sees it: each the rows of its own tokens, or every token.

mod support;

use planish::model::{Model, Role};
use planish::run::Squares;
use planish::run::executor::{Executor, Settings};
use planish::dialect::Tensors;
use support::installed::root;

const TOKENS: usize = 8;

/// The sums after all steps, and the hidden states.
fn run(model: &Model, source: &Tensors, ids: &[u32], every: bool) -> (Squares, Vec<f32>) {
    let settings = Settings::default();
    let mut squares = Squares::new(settings.isa, TOKENS);
    if every {
        squares = squares.every_expert();
    }
    let mut executor = Executor::new(model, source, ids, TOKENS, settings).expect("a run");
    while executor.step_with(Some(&mut squares)).expect("a step").is_some() {}
    let mut hidden = vec![0.0; ids.len() * executor.width()];
    executor.hidden(0..ids.len(), &mut hidden).expect("hidden states");
    (squares, hidden)
}

#[test]
fn experts_are_measured_on_their_tokens_or_on_all() {
    let (source, model) = support::open(&root().join("fixtures/golden-logits/qwen2moe"));
    let ids: Vec<u32> = (0..6 * TOKENS as u32).map(|i| i * 37 % 96).collect();
    let (own, hidden) = run(&model, &source, &ids, false);
    let (all, same) = run(&model, &source, &ids, true);
    assert_eq!(hidden, same, "looking at every expert changes what tokens do");
    let (entries, every) = (own.entries(), all.entries());
    let stacks: Vec<_> = model.params().map(|(_, param)| param).filter(|param| param.shape.len() == 3).collect();
    assert_eq!(stacks.len(), 6);
    for stack in stacks {
        let (experts, top, cols) = (stack.shape[0], 2, stack.shape[2]);
        let (own, every) = (&entries[&stack.name], &every[&stack.name]);
        assert_eq!((own.sums().len(), own.cols()), (experts * cols, cols), "{}", stack.name);
        assert_eq!(own.counts().iter().sum::<u64>(), (ids.len() * top) as u64, "{}", stack.name);
        assert!(every.counts().iter().all(|&count| count == ids.len() as u64), "{}", stack.name);
        assert_eq!(all.coverage()[stack.name.as_str()], own.counts(), "{}", stack.name);
        // More tokens, more squares; as many as an expert has itself if all go to it.
        assert!(own.sums().iter().zip(every.sums()).all(|(own, every)| *own <= *every * 1.000_001), "{}", stack.name);
        if stack.role == Role::FfnUpExps {
            // All read the normed stream, as the router does.
            let router = &entries[&stack.name.replace("ffn_up_exps", "ffn_gate_inp")];
            for sums in every.sums().chunks(cols) {
                assert_eq!(sums, router.sums(), "{}", stack.name);
            }
        }
    }
}

#[test]
fn sums_do_not_depend_on_how_sequences_are_grouped() {
    let (source, model) = support::open(&root().join("fixtures/golden-logits/qwen3moe"));
    let ids: Vec<u32> = (0..300 * TOKENS as u32).map(|i| i * 61 % 96).collect();
    let whole = run(&model, &source, &ids, false).0.entries();
    let parts = ids.chunks(7 * TOKENS).map(|ids| run(&model, &source, ids, false).0.entries());
    let mut sums: std::collections::BTreeMap<String, Vec<i128>> = std::collections::BTreeMap::new();
    for part in parts {
        for (name, entry) in part {
            let sum = sums.entry(name).or_insert_with(|| vec![0; entry.sums().len()]);
            sum.iter_mut().zip(entry.exact_sums().expect("exact")).for_each(|(sum, part)| *sum += part);
        }
    }
    for (name, entry) in whole {
        assert_eq!(entry.exact_sums().expect("exact"), sums[&name], "{name}");
    }
}
