//! Text: what llama.cpp generates from our files, beside what transformers generated from the checkpoint.

use serde_json::Value;

use crate::llama::{Model, installed, oracle, root};
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
    for mix in ["f32", "q8_0", "q4_k_m"] {
        let file = dir.path().join(format!("{mix}.gguf"));
        release(&model, mix, &file);
        let loaded = Model::load(oracle, &file).unwrap();
        for case in &cases {
            let prompt = loaded.tokenize(case["prompt"].as_str().unwrap(), false, false);
            assert_eq!(prompt, ids(case, "ids"), "{mix}: the prompt's ids");
            let expected = ids(case, "next");
            let said = loaded.greedy(&prompt, expected.len());
            let same = said.iter().zip(&expected).take_while(|(a, b)| a == b).count();
            println!("{mix}: {same} of {} tokens as in transformers: {:?}", expected.len(), loaded.detokenize(&said));
            match mix {
                "f32" => assert_eq!(said, expected),
                // Greedy text parts ways for good at the first token that flips; it must not do so at once.
                _ => assert!(same >= 2, "{mix}: {same}"),
            }
        }
    }
}
