//! The keys themselves, against those that llama.cpp's converter wrote for the same checkpoints
//! (`fixtures/tokenizers/keys.json`, made by `fixtures/make/tokenizer_keys.py`).

use planish::text::{Request, vocabulary};
use planish_formats::gguf::{Array, Kv, Value as Gguf};
use serde_json::{Map, Value, json};

use crate::installed::{installed, root, shared};

/// The one case that is a file beside the repository.
const SPM: &str = "llama2-tokenizer.model";

/// What is different on purpose, and why.
const DIFFERENT: &[(&str, &str, &str)] = &[
    ("tokenizers/llama2", "tokenizer.ggml.scores", "theirs are all -1000, which merges from left to right"),
    (
        "tokenizers/llama3",
        "tokenizer.ggml.pre",
        "theirs goes by ids with a begin token, which this post-processor lacks",
    ),
    ("tokenizers/deepseek_v3", "tokenizer.ggml.pre", "theirs is joyai-llm, which splits alike"),
    ("tokenizers/deepseek_v3", "tokenizer.ggml.add_bos_token", "LlamaTokenizerFast obeys the config"),
    (SPM, "tokenizer.ggml.bos_token_id", "the model's own"),
    (SPM, "tokenizer.ggml.eos_token_id", "the model's own"),
    (SPM, "tokenizer.ggml.unknown_token_id", "the model's own"),
];

fn fnv<'a>(parts: impl Iterator<Item = &'a [u8]>) -> String {
    let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    format!("{:016x}", parts.flatten().fold(0xcbf2_9ce4_8422_2325, step))
}

/// The same digest as the script's.
fn entry(value: &Gguf) -> Value {
    let array = |of: &str, len: usize, bytes: Vec<u8>| json!({ "type": format!("array of {of}"), "len": len, "fnv": fnv([bytes.as_slice()].into_iter()) });
    match value {
        Gguf::String(s) if s.chars().count() > 40 => {
            json!({ "type": "string", "len": s.len(), "fnv": fnv([s.as_bytes()].into_iter()) })
        }
        Gguf::String(s) => json!({ "type": "string", "value": s }),
        Gguf::U32(v) => json!({ "type": "uint32", "value": v }),
        Gguf::Bool(v) => json!({ "type": "bool", "value": v }),
        Gguf::Array(Array::String(v)) => {
            array("string", v.len(), v.iter().flat_map(|s| s.bytes().chain([0])).collect())
        }
        Gguf::Array(Array::I32(v)) => array("int32", v.len(), v.iter().flat_map(|v| v.to_le_bytes()).collect()),
        Gguf::Array(Array::F32(v)) => array("float32", v.len(), v.iter().flat_map(|v| v.to_le_bytes()).collect()),
        other => panic!("a {} among the keys of a tokenizer", other.type_name()),
    }
}

fn keys(name: &str, config: &Map<String, Value>) -> Option<Kv> {
    let made = tempfile::tempdir().unwrap();
    let dir = if name == SPM {
        std::fs::copy(shared(&format!("data/tokenizers/{name}"))?, made.path().join("tokenizer.model")).unwrap();
        made.path().to_owned()
    } else {
        installed(name)?
    };
    let rows = config["vocab_size"].as_u64().unwrap() as usize;
    Some(vocabulary(&Request { dir: &dir, rows, config, pre: None }).unwrap().kv)
}

#[test]
fn keys_are_those_of_llama_cpps_converter() {
    let golden = std::fs::read(root().join("fixtures/tokenizers/keys.json")).unwrap();
    let golden: Map<String, Value> = serde_json::from_slice(&golden).unwrap();
    let mut wrong = Vec::new();
    for (name, case) in &golden {
        let Some(kv) = keys(name, case["config"].as_object().unwrap()) else { continue };
        let theirs = case["keys"].as_object().unwrap();
        let ours: Map<String, Value> = kv.iter().map(|(key, value)| (key.to_owned(), entry(value))).collect();
        let mut names: Vec<&String> = theirs.keys().chain(ours.keys()).collect();
        names.sort();
        names.dedup();
        for key in names {
            let on_purpose = DIFFERENT.iter().any(|(n, k, _)| n == name && k == key);
            let same = ours.get(key) == theirs.get(key);
            if same == on_purpose {
                wrong.push(format!("{name} {key}: ours {:?}, theirs {:?}", ours.get(key), theirs.get(key)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
