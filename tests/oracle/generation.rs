//! Text: what llama.cpp generates from our files, beside what transformers generated from the checkpoint.

use serde_json::Value;

use crate::installed::{installed, root};
use crate::llama::{Model, oracle};
use crate::release::release;

fn ids(case: &Value, key: &str) -> Vec<i32> {
    let list = case[key].as_array().expect("a list of ids");
    list.iter().map(|id| i32::try_from(id.as_i64().expect("an id")).expect("a small id")).collect()
}

#[test]
fn smollm2_says_in_llama_cpp_what_it_says_in_transformers() {
    let (Some(oracle), Some(model)) = (oracle(), installed("smollm2")) else { return };
    let golden = std::fs::read(root().join("fixtures/golden/smollm2-greedy.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_slice(&golden).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let loaded = |mix: &str| {
        let file = dir.path().join(format!("{mix}.gguf"));
        release(&model, mix, &file);
        Model::load(oracle, &file).unwrap()
    };
    let reference = loaded("f32");
    for mix in ["f32", "q8_0", "q4_k_m"] {
        let candidate = loaded(mix);
        for case in &cases {
            let prompt = candidate.tokenize(case["prompt"].as_str().unwrap(), false, false);
            assert_eq!(prompt, ids(case, "ids"), "{mix}: the prompt's ids");
            let expected = ids(case, "next");
            let said = candidate.greedy(&prompt, expected.len());
            let surprise = surprise(&reference, &prompt, &said);
            println!("{mix}: {surprise:.2} nats a token: {:?}", candidate.detokenize(&said));
            if mix == "f32" {
                assert_eq!(said, expected);
            }
            // One flipped token and greedy texts part for good; sense is what the unquantized model finds likely.
            assert!(surprise < 2.0, "{mix}: {surprise} nats a token");
        }
    }
}

/// Mean negative log-likelihood of `said` after `prompt`, in nats a token.
fn surprise(model: &Model, prompt: &[i32], said: &[i32]) -> f64 {
    let text = [prompt, said].concat();
    let logits = model.decode_logits(&text);
    let nats = said.iter().zip(&logits[prompt.len() - 1..]).map(|(&id, row)| {
        let max = row.iter().copied().fold(f32::MIN, f32::max);
        let sum: f64 = row.iter().map(|&x| f64::from(x - max).exp()).sum();
        sum.ln() - f64::from(row[usize::try_from(id).expect("an id")] - max)
    });
    nats.sum::<f64>() / said.len() as f64
}
