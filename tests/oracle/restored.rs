//! Tokenizers brought back from GGUF keys: the ids of the `tokenizers` crate on the checkpoint's own tokenizer.json, and
//! llama.cpp's own vectors.

use planish::text::{Encoder, Request, restore, vocabulary};
use planish_formats::{Meta, gguf};
use serde_json::Value;

use crate::installed::{installed, root, shared};
use crate::tokens::{Case, ids_of, reference, vectors, wiki};

fn ids(encoder: &Encoder, text: &str) -> Vec<i32> {
    encoder.encode(text).unwrap().into_iter().map(|id| id as i32).collect()
}

/// The ids of the restored tokenizer on llama.cpp's texts and on wikitext; and the keys of the restored files, which are
/// the keys that they were made of.
fn comes_back(case: &Case, inputs: &[&str], bos: Option<u32>) {
    let keys = case.vocabulary().kv;
    let encoder = Encoder::keys(&case.dir, &keys).unwrap();
    assert_eq!(encoder.bos, bos);
    assert_eq!(Encoder::folder(&case.dir).unwrap().bos, bos, "of tokenizer.json");
    let reference = reference(&case.dir);
    let mut texts: Vec<String> =
        inputs.iter().flat_map(|name| vectors(name).unwrap_or_default()).map(|(text, _)| text).collect();
    if let Some(wiki) = wiki() {
        let lines: Vec<&str> = wiki.split_inclusive('\n').take(1000).collect();
        texts.extend(lines.iter().map(|&line| line.to_owned()));
        texts.push(lines.concat());
    }
    let heldout = std::fs::read_to_string(root().join("fixtures/tiny-llama/heldout.txt")).unwrap();
    texts.extend(heldout.split_inclusive('\n').map(str::to_owned));
    // Markup of special tokens, in the middle of text.
    let tokens = keys.strings("tokenizer.ggml.tokens").unwrap().iter().enumerate();
    let control = tokens.zip(keys.i32s("tokenizer.ggml.token_type").unwrap()).filter(|(_, kind)| **kind == 3);
    // Where the file's ids are not those that the crate gives, there is nothing to compare with.
    let control =
        control.filter(|((id, text), _)| reference.token_to_id(text).is_some_and(|theirs| theirs as usize == *id));
    texts.extend(control.take(50).map(|((_, text), _)| format!("Hello{text} world {text}\n")));
    let mut compared = 0;
    for text in &texts {
        let expected = ids_of(&reference, text);
        assert_eq!(ids(&encoder, text), expected, "{text:?}");
        compared += expected.len();
    }
    println!("{compared} ids");
    assert!(compared > 10_000);

    let restored = restore(&case.dir, &keys).unwrap();
    assert_eq!(restored.warnings, [] as [&str; 0]);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("tokenizer.json"), restored.json.to_string()).unwrap();
    std::fs::write(dir.path().join("tokenizer_config.json"), Value::Object(restored.config).to_string()).unwrap();
    if let Some(pieces) = restored.pieces {
        std::fs::write(dir.path().join("tokenizer.model"), pieces).unwrap();
    }
    let again = vocabulary(&Request { dir: dir.path(), rows: case.rows, config: &case.config, pre: None }).unwrap();
    for (key, value) in keys.iter() {
        assert!(again.kv.get(key) == Some(value), "{key}: {:?} is not {value:?}", again.kv.get(key));
    }
    assert_eq!(again.kv.len(), keys.len());
}

#[test]
fn tiny_llama() {
    comes_back(&Case::checkpoint(root().join("fixtures/tiny-llama")), &["gpt-2", "llama-bpe"], None);
}

#[test]
fn smollm2() {
    let Some(dir) = installed("smollm2") else { return };
    comes_back(&Case::checkpoint(dir), &["gpt-2", "starcoder"], None);
}

#[test]
fn llama3() {
    let Some(dir) = installed("tokenizers/llama3") else { return };
    comes_back(&Case::tokenizer(dir), &["llama-bpe"], None);
}

#[test]
fn qwen2() {
    let Some(dir) = installed("tokenizers/qwen2") else { return };
    comes_back(&Case::tokenizer(dir), &["qwen2"], None);
}

#[test]
fn deepseek_v3() {
    let Some(dir) = installed("tokenizers/deepseek_v3") else { return };
    comes_back(&Case::tokenizer(dir), &["deepseek-llm"], Some(0));
}

#[test]
fn gpt_4o() {
    let Some(dir) = installed("tokenizers/gpt4o") else { return };
    comes_back(&Case::tokenizer(dir), &["qwen2"], None);
}

#[test]
fn llama2() {
    let Some(dir) = installed("tokenizers/llama2") else { return };
    comes_back(&Case::tokenizer(dir), &["llama-spm"], Some(1));
}

/// llama.cpp's vectors, from the keys of the files that they are of.
#[test]
fn the_vocabularies_of_llama_cpp() {
    let names = [
        "gpt-2",
        "mpt",
        "starcoder",
        "refact",
        "falcon",
        "deepseek-llm",
        "deepseek-coder",
        "llama-spm",
        "phi-3",
        "bert-bge",
    ];
    for name in names {
        let Some(path) = shared(&format!("data/tokenizers/ggml-vocab-{name}.gguf")) else { return };
        let source = gguf::open(&path).unwrap();
        let Meta::Gguf(keys) = source.meta() else { panic!("a GGUF without keys") };
        let encoder = Encoder::keys(&path, keys).unwrap();
        let vectors = vectors(name).unwrap();
        for (text, expected) in &vectors {
            assert_eq!(&ids(&encoder, text), expected, "{name}: {text:?}");
        }
        println!("{name}: {} vectors", vectors.len());
    }
}

/// A SentencePiece model without tokenizer.json, which is how some folders come.
#[test]
fn a_folder_with_only_a_sentencepiece_model() {
    let Some(spm) = shared("data/tokenizers/llama2-tokenizer.model") else { return };
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(&spm, dir.path().join("tokenizer.model")).unwrap();
    let case = Case { dir: dir.path().to_owned(), rows: 32000, config: serde_json::Map::new() };
    let keys = case.vocabulary().kv;
    let encoder = Encoder::keys(&spm, &keys).unwrap();
    assert_eq!(encoder.bos, Some(1));
    for (text, expected) in vectors("llama-spm").unwrap() {
        assert_eq!(ids(&encoder, &text), expected, "{text:?}");
    }
    // The model that goes back into a folder says the same as the original.
    let pieces = restore(&spm, &keys).unwrap().pieces.unwrap();
    std::fs::write(dir.path().join("tokenizer.model"), pieces).unwrap();
    assert_eq!(case.vocabulary().kv, keys);
}

/// A file whose name for the splitting is wrong is told from a right one by its ids.
#[test]
fn another_name_for_the_splitting_gives_other_ids() {
    let Some(dir) = installed("tokenizers/llama3") else { return };
    let case = Case::tokenizer(dir);
    let mut keys = case.vocabulary().kv;
    let right = Encoder::keys(&case.dir, &keys).unwrap();
    let text = "In 1969 there were (almost) 1234567 words; they've said \"so\"...\n\n  And DON'T stop JavaScript, über_all: 中文字.\n \n";
    for wrong in ["gpt-2", "qwen2", "smollm", "gpt-4o", "deepseek-v3", "falcon", "default"] {
        keys.set("tokenizer.ggml.pre", wrong);
        let encoder = Encoder::keys(&case.dir, &keys).unwrap();
        assert_ne!(ids(&encoder, text), ids(&right, text), "{wrong}");
    }
}
