//! The ids that stock llama.cpp gives with our keys, against llama.cpp's own vectors and the `tokenizers` crate.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use planish::text::{Request, Vocabulary, vocabulary};
use serde_json::{Map, Value, json};

use crate::installed::{installed, root, shared};
use crate::llama::{Model, oracle};

/// What the test needs of a checkpoint: a folder, and a config that may be made up.
pub(crate) struct Case {
    pub(crate) dir: PathBuf,
    pub(crate) rows: usize,
    pub(crate) config: Map<String, Value>,
}

impl Case {
    /// A folder with only a tokenizer: as many rows as ids.
    pub(crate) fn tokenizer(dir: PathBuf) -> Case {
        let json: Value = serde_json::from_slice(&std::fs::read(dir.join("tokenizer.json")).unwrap()).unwrap();
        let vocab = json["model"]["vocab"].as_object().unwrap().values();
        let added = json["added_tokens"].as_array().unwrap().iter().map(|token| &token["id"]);
        let rows = vocab.chain(added).map(|id| id.as_u64().unwrap() as usize + 1).max().unwrap();
        Case { dir, rows, config: Map::new() }
    }

    /// A whole checkpoint.
    pub(crate) fn checkpoint(dir: PathBuf) -> Case {
        let config: Map<String, Value> =
            serde_json::from_slice(&std::fs::read(dir.join("config.json")).unwrap()).unwrap();
        Case { rows: config["vocab_size"].as_u64().unwrap() as usize, dir, config }
    }

    pub(crate) fn vocabulary(&self) -> Vocabulary {
        vocabulary(&Request { dir: &self.dir, rows: self.rows, config: &self.config, pre: None }).unwrap()
    }
}

pub(crate) fn load(vocabulary: &Vocabulary) -> Option<Model> {
    let oracle = oracle()?;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vocab.gguf");
    let mut kv = vocabulary.kv.clone();
    kv.set("general.architecture", "llama");
    for (key, value) in [
        ("context_length", 512u32),
        ("embedding_length", 256),
        ("block_count", 1),
        ("feed_forward_length", 256),
        ("attention.head_count", 4),
        ("rope.dimension_count", 64),
    ] {
        kv.set(format!("llama.{key}"), value);
    }
    kv.set("llama.attention.layer_norm_rms_epsilon", 1e-5f32);
    planish_formats::gguf::create(&path, &kv, &[], None).unwrap().finish().unwrap();
    Some(Model::vocab_only(oracle, &path).unwrap())
}

/// llama.cpp's own vectors: texts, and the ids of each.
pub(crate) fn vectors(name: &str) -> Option<Vec<(String, Vec<i32>)>> {
    let base = shared(&format!("data/tokenizers/ggml-vocab-{name}.gguf.inp"))?;
    let texts = std::fs::read_to_string(&base).unwrap();
    let ids = std::fs::read_to_string(base.with_extension("out")).unwrap();
    let texts: Vec<&str> = texts.split("\n__ggml_vocab_test__\n").collect();
    let ids: Vec<Vec<i32>> =
        ids.lines().map(|line| line.split_whitespace().map(|id| id.parse().unwrap()).collect()).collect();
    assert!(ids.len() >= 40 && texts.len() >= ids.len(), "{} texts, {} lines of ids", texts.len(), ids.len());
    Some(texts.into_iter().map(str::to_owned).zip(ids).collect())
}

/// Compares with the vectors of `name`; how many were compared.
pub(crate) fn matches_vectors(model: &Model, name: &str) -> usize {
    let Some(vectors) = vectors(name) else { return 0 };
    for (text, ids) in &vectors {
        assert_eq!(&model.tokenize(text, false, false), ids, "{name}: {text:?}");
    }
    println!("{name}: {} vectors", vectors.len());
    vectors.len()
}

/// The `tokenizers` crate, which runs tokenizer.json as it is.
pub(crate) fn reference(dir: &Path) -> tokenizers::Tokenizer {
    tokenizers::Tokenizer::from_file(dir.join("tokenizer.json")).unwrap()
}

pub(crate) fn ids_of(reference: &tokenizers::Tokenizer, text: &str) -> Vec<i32> {
    reference.encode_fast(text, false).unwrap().get_ids().iter().map(|&id| id as i32).collect()
}

/// Compares on a text, a piece at a time so that a difference is found; how many ids were compared.
fn same_ids(model: &Model, reference: &tokenizers::Tokenizer, text: &str) -> usize {
    let mut compared = 0;
    for piece in text.split_inclusive('\n') {
        let expected = ids_of(reference, piece);
        assert_eq!(model.tokenize(piece, false, true), expected, "{piece:?}");
        compared += expected.len();
    }
    // And as one text: splitting it may hide what a line does to the next.
    assert_eq!(model.tokenize(text, false, true), ids_of(reference, text));
    compared
}

pub(crate) fn wiki() -> Option<String> {
    Some(std::fs::read_to_string(shared("data/text/wiki.test.raw")?).unwrap())
}

#[test]
fn tiny_llama() {
    let case = Case::checkpoint(root().join("fixtures/tiny-llama"));
    let vocabulary = case.vocabulary();
    assert_eq!(vocabulary.kv.str("tokenizer.ggml.pre"), Some("gpt-2"));
    assert_eq!((vocabulary.size, vocabulary.warnings.len()), (1024, 0), "{:?}", vocabulary.warnings);
    assert_eq!(vocabulary.stop, ["<|endoftext|>"]);
    let Some(model) = load(&vocabulary) else { return };
    let text = std::fs::read_to_string(case.dir.join("heldout.txt")).unwrap();
    assert!(same_ids(&model, &reference(&case.dir), &text) > 10_000);
}

#[test]
fn smollm2_on_all_of_wikitext() {
    let Some(dir) = installed("smollm2") else { return };
    let case = Case::checkpoint(dir);
    let vocabulary = case.vocabulary();
    assert_eq!(vocabulary.kv.str("tokenizer.ggml.pre"), Some("smollm"));
    assert_eq!((vocabulary.special.bos, vocabulary.special.eos), (Some(1), Some(2)));
    let (Some(model), Some(text)) = (load(&vocabulary), wiki()) else { return };
    let compared = same_ids(&model, &reference(&case.dir), &text);
    println!("smollm2: {compared} ids of wikitext");
    assert!(compared > 200_000);
}

#[test]
fn gpt2_from_vocab_and_merges() {
    let (Some(vocab), Some(merges)) =
        (shared("data/tokenizers/gpt2_vocab.json"), shared("data/tokenizers/gpt2_merges.txt"))
    else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(vocab, dir.path().join("vocab.json")).unwrap();
    std::fs::copy(merges, dir.path().join("merges.txt")).unwrap();
    let config = json!({ "model_type": "gpt2", "vocab_size": 50257, "bos_token_id": 50256, "eos_token_id": 50256 });
    let Value::Object(config) = config else { unreachable!() };
    let case = Case { dir: dir.path().to_owned(), rows: 50257, config };
    let vocabulary = case.vocabulary();
    assert_eq!(vocabulary.kv.str("tokenizer.ggml.pre"), Some("gpt-2"));
    assert_eq!(vocabulary.kv.i32s("tokenizer.ggml.token_type").unwrap()[50256], 3);
    assert_eq!(vocabulary.stop, ["<|endoftext|>"]);
    let Some(model) = load(&vocabulary) else { return };
    assert!(matches_vectors(&model, "gpt-2") > 40);
}

#[test]
fn llama2_from_sentencepiece() {
    let Some(spm) = shared("data/tokenizers/llama2-tokenizer.model") else { return };
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(spm, dir.path().join("tokenizer.model")).unwrap();
    let case = Case { dir: dir.path().to_owned(), rows: 32000, config: Map::new() };
    let vocabulary = case.vocabulary();
    let special = &vocabulary.special;
    assert_eq!((special.bos, special.eos, special.unk, special.pad), (Some(1), Some(2), Some(0), None));
    let Some(model) = load(&vocabulary) else { return };
    assert!(matches_vectors(&model, "llama-spm") > 40);
}

/// Llama 2's kind of tokenizer.json has merges where a SentencePiece model has scores. (The vocabulary is Mistral's.)
#[test]
fn llama2_from_tokenizer_json() {
    let Some(dir) = installed("tokenizers/llama2") else { return };
    let case = Case::tokenizer(dir);
    let vocabulary = case.vocabulary();
    assert_eq!(vocabulary.kv.str("tokenizer.ggml.model"), Some("llama"));
    let Some(model) = load(&vocabulary) else { return };
    let reference = reference(&case.dir);
    let texts = vectors("llama-spm").unwrap_or_default().into_iter().map(|(text, _)| text);
    // A line at a time: llama.cpp takes quadratic time over a long text of this kind.
    let lines: Vec<String> = wiki().unwrap_or_default().lines().take(600).map(str::to_owned).collect();
    let mut compared = 0;
    for text in texts.chain(lines) {
        let expected = ids_of(&reference, &text);
        assert_eq!(model.tokenize(&text, false, true), expected, "{text:?}");
        compared += expected.len();
    }
    println!("llama2: {compared} ids");
}

/// A tokenizer.json of a published model: the name it should get, and the vectors that exist for it.
fn published(name: &str, pre: &str, vectors: Option<&str>) {
    let Some(dir) = installed(&format!("tokenizers/{name}")) else { return };
    let case = Case::tokenizer(dir);
    let vocabulary = case.vocabulary();
    assert_eq!(vocabulary.kv.str("tokenizer.ggml.pre"), Some(pre));
    let Some(model) = load(&vocabulary) else { return };
    if let Some(vectors) = vectors {
        assert!(matches_vectors(&model, vectors) > 40);
    }
    let Some(text) = wiki() else { return };
    let text: String = text.split_inclusive('\n').take(400).collect();
    println!("{name}: {} ids of wikitext", same_ids(&model, &reference(&case.dir), &text));
}

#[test]
fn llama3() {
    published("llama3", "llama-bpe", Some("llama-bpe"));
}

#[test]
fn qwen2() {
    published("qwen2", "qwen2", Some("qwen2"));
}

#[test]
fn deepseek_v3() {
    published("deepseek_v3", "deepseek-v3", None);
}

#[test]
fn gpt_4o() {
    published("gpt4o", "gpt-4o", None);
}

#[test]
fn the_stop_texts_are_where_llama_cpp_stops() {
    for name in ["tokenizers/llama3", "tokenizers/qwen2", "tokenizers/deepseek_v3", "smollm2"] {
        let Some(dir) = installed(name) else { continue };
        let case = Case::tokenizer(dir);
        let vocabulary = case.vocabulary();
        let Some(model) = load(&vocabulary) else { return };
        let tokens = vocabulary.kv.strings("tokenizer.ggml.tokens").unwrap();
        let stops = |(id, _): &(usize, &String)| model.ends(*id as i32);
        let theirs: BTreeSet<&str> = tokens.iter().enumerate().filter(stops).map(|(_, text)| text.as_str()).collect();
        let ours: BTreeSet<&str> = vocabulary.stop.iter().map(String::as_str).collect();
        assert_eq!(ours.difference(&theirs).next(), None, "{name}");
        // llama.cpp also stops at parts of a fill-in-the-middle prompt, and wherever "</s>" is a token, as markup has it.
        let missing: Vec<_> = theirs.difference(&ours).filter(|text| !is_part(text) && **text != "</s>").collect();
        assert!(missing.is_empty(), "{name}: {missing:?}");
    }
}

fn is_part(text: &str) -> bool {
    ["<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", "<reponame>"].contains(&text)
}
