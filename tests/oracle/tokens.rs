//! Ids: llama.cpp with the vocabulary that we wrote, the `tokenizers` crate, and llama.cpp's own test vectors.

use std::path::Path;

use planish::text::{Request, vocabulary};
use planish_formats::gguf;
use tokenizers::Tokenizer;

use crate::llama::{Model, Oracle, installed, oracle, root, shared};

/// A GGUF of nothing but the vocabulary of the tokenizer in `dir`, loaded by llama.cpp.
fn written(oracle: &'static Oracle, dir: &Path, rows: usize) -> Model {
    let config = serde_json::Map::new();
    let vocabulary = vocabulary(&Request { dir, rows, config: &config, pre: None }).unwrap();
    let mut kv = gguf::Kv::new();
    kv.set("general.architecture", "llama");
    kv.set("llama.vocab_size", rows as u32);
    kv.extend(vocabulary.kv);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vocabulary.gguf");
    gguf::create(&path, &kv, &[], None).unwrap().finish().unwrap();
    Model::vocab_only(oracle, &path).unwrap()
}

/// The cases of one of llama.cpp's vocabularies: texts and their ids.
fn cases(name: &str) -> Option<Vec<(String, Vec<i32>)>> {
    let folder = shared("data/tokenizers")?;
    let read = |end: &str| std::fs::read_to_string(folder.join(format!("ggml-vocab-{name}.gguf.{end}"))).unwrap();
    let (texts, ids) = (read("inp"), read("out"));
    let texts = texts.split("\n__ggml_vocab_test__\n").map(str::to_owned);
    let number = |id: &str| id.parse().unwrap();
    let ids = ids.lines().map(|line| line.split_whitespace().map(number).collect());
    let cases: Vec<(String, Vec<i32>)> = texts.zip(ids).collect();
    assert!(cases.len() > 30, "{name}: {} cases", cases.len());
    Some(cases)
}

fn ids_of(tokenizer: &Tokenizer, text: &str) -> Vec<i32> {
    let encoded = tokenizer.encode_fast(text, false).unwrap();
    encoded.get_ids().iter().map(|&id| id as i32).collect()
}

/// The tokenizer of an npm package against the test vectors of this name.
fn vectors(package: &str, name: &str) {
    let (Some(oracle), Some(dir)) = (oracle(), installed(&format!("tokenizers/{package}"))) else { return };
    let tokenizer = Tokenizer::from_file(dir.join("tokenizer.json")).unwrap();
    let model = written(oracle, &dir, tokenizer.get_vocab_size(true));
    let Some(cases) = cases(name) else { return };
    for (text, expected) in &cases {
        assert_eq!(&model.tokenize(text, false, false), expected, "{name}, llama.cpp with our vocabulary: {text:?}");
        assert_eq!(&ids_of(&tokenizer, text), expected, "{name}, tokenizers: {text:?}");
    }
    println!("{name}: {} texts with the same ids", cases.len());
}

#[test]
fn gpt2_vectors() {
    vectors("gpt2", "gpt-2");
}

#[test]
fn llama3_vectors() {
    vectors("llama3", "llama-bpe");
}

#[test]
fn qwen2_vectors() {
    vectors("qwen2_5", "qwen2");
}

/// The npm package called Llama 2 holds another model's pieces: only its own `tokenizer.json` is its measure.
#[test]
fn pieces_fused_into_tokenizer_json() {
    let (Some(oracle), Some(dir)) = (oracle(), installed("tokenizers/llama2")) else { return };
    let tokenizer = Tokenizer::from_file(dir.join("tokenizer.json")).unwrap();
    let model = written(oracle, &dir, tokenizer.get_vocab_size(true));
    for (text, _) in cases("llama-spm").into_iter().flatten() {
        assert_eq!(model.tokenize(&text, false, false), ids_of(&tokenizer, &text), "{text:?}");
    }
}

#[test]
fn llama2_vectors_from_a_sentencepiece_model() {
    let (Some(oracle), Some(model)) = (oracle(), shared("data/tokenizers/llama2-tokenizer.model")) else { return };
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(model, dir.path().join("tokenizer.model")).unwrap();
    let model = written(oracle, dir.path(), 32000);
    for (text, expected) in cases("llama-spm").into_iter().flatten() {
        assert_eq!(model.tokenize(&text, false, false), expected, "{text:?}");
    }
}

#[test]
fn gpt2_vectors_from_vocab_and_merges() {
    let (Some(oracle), Some(folder)) = (oracle(), shared("data/tokenizers")) else { return };
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(folder.join("gpt2_vocab.json"), dir.path().join("vocab.json")).unwrap();
    std::fs::copy(folder.join("gpt2_merges.txt"), dir.path().join("merges.txt")).unwrap();
    let class = r#"{"tokenizer_class": "GPT2Tokenizer"}"#;
    std::fs::write(dir.path().join("tokenizer_config.json"), class).unwrap();
    let model = written(oracle, dir.path(), 50257);
    for (text, expected) in cases("gpt-2").into_iter().flatten() {
        assert_eq!(model.tokenize(&text, false, false), expected, "{text:?}");
    }
}

/// All lines of a text, and all of it at once.
fn corpus(dir: &Path, text: &str) {
    let Some(oracle) = oracle() else { return };
    let tokenizer = Tokenizer::from_file(dir.join("tokenizer.json")).unwrap();
    let model = written(oracle, dir, tokenizer.get_vocab_size(true));
    let mut count = 0;
    for part in text.split_inclusive("\n \n") {
        let ids = ids_of(&tokenizer, part);
        assert_eq!(model.tokenize(part, false, false), ids, "{part:?}");
        count += ids.len();
    }
    let whole = ids_of(&tokenizer, text);
    assert!(model.tokenize(text, false, false) == whole, "the whole text at once");
    println!("{} bytes, {count} ids the same", text.len());
}

#[test]
fn smollm2_on_wikitext() {
    let (Some(dir), Some(text)) = (installed("smollm2"), shared("data/text/wiki.test.raw")) else { return };
    corpus(&dir, &std::fs::read_to_string(text).unwrap());
}

#[test]
fn tiny_llama_on_its_held_out_text() {
    let dir = root().join("fixtures/tiny-llama");
    corpus(&dir, &std::fs::read_to_string(dir.join("heldout.txt")).unwrap());
}
