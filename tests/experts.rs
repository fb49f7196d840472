//! What experts read, as calibration sees it: each the rows of its own tokens, or every token.

mod support;

use planish::dialect::Tensors;
use planish::model::{Model, Role};
use planish::run::Squares;
use planish::run::executor::{Executor, Settings};
use support::installed::{root, shared};

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

#[test]
fn calibrate_tells_how_many_tokens_reached_each_stack() {
    let Some(model) = shared("golden/tiny_qwen3moe") else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let calibrate = |output: &str, more: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_planish"));
        command.arg("calibrate").arg(&model).arg("--text").arg(root().join("fixtures/tiny-llama/heldout.txt"));
        command.args(["--ctx", "32", "--chunks", "3", "-o"]).arg(dir.path().join(output)).args(more);
        let out = command.output().expect("the command starts");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).expect("UTF-8")
    };
    let told: serde_json::Value = serde_json::from_str(&calibrate("own.gguf", &["--json"])).expect("JSON");
    let stacks = told["experts"].as_array().expect("stacks");
    assert!(!stacks.is_empty() && stacks.len().is_multiple_of(3), "{stacks:?}");
    for stack in stacks {
        let (least, most) = (stack["tokens"]["least"].as_u64(), stack["tokens"]["most"].as_u64());
        assert!(least < most && most <= Some(96), "{stack}");
        assert_eq!(stack["unseen"].as_u64() > Some(0), least == Some(0), "{stack}");
    }
    let text = calibrate("all.gguf", &["--every-expert"]);
    let line = text.lines().find(|line| line.starts_with("blk.0.ffn_up_exps")).expect("a line");
    let numbers: Vec<&str> = line.split_whitespace().skip(2).collect();
    assert_eq!(numbers, ["96", "96", "0"], "{text}");
}
