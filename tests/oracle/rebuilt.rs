//! Vocabularies that are at hand only as GGUF, written back as tokenizer.json with the structure that their publishers gave
//! it. That the structure is right shows in the `tokenizers` crate: it gives llama.cpp's own vectors. Then so must we.

use planish::text::{Request, vocabulary};
use planish_formats::gguf::Kv;
use planish_formats::{Meta, gguf};
use serde_json::{Map, Value, json};

use crate::installed::shared;
use crate::tokens::{ids_of, load, matches_vectors, reference, vectors};

/// What a published tokenizer.json does to text, and what it should be called.
struct Structure {
    pre: &'static str,
    clean: bool,
    normalizer: Value,
    steps: Vec<Value>,
}

fn bytes(use_regex: bool) -> Value {
    json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex })
}

fn split(regex: &str) -> Value {
    json!({ "type": "Split", "pattern": { "Regex": regex }, "behavior": "Isolated", "invert": false })
}

fn digits(individual: bool) -> Value {
    json!({ "type": "Digits", "individual_digits": individual })
}

fn source(name: &str) -> Option<Kv> {
    let path = shared(&format!("data/tokenizers/ggml-vocab-{name}.gguf"))?;
    match gguf::open(&path).unwrap().meta() {
        Meta::Gguf(kv) => Some(kv.clone()),
        Meta::Strings(_) => panic!("a GGUF without keys"),
    }
}

/// Writes tokenizer.json, converts it, and compares keys and ids.
fn rebuilt(name: &str, structure: &Structure) {
    let Some(kv) = source(name) else { return };
    let tokens = kv.strings("tokenizer.ggml.tokens").unwrap();
    let types = kv.i32s("tokenizer.ggml.token_type").unwrap();
    let merges = kv.strings("tokenizer.ggml.merges").unwrap();
    let with =
        |wanted: &[i32]| tokens.iter().zip(types).enumerate().filter(|(_, (_, ty))| wanted.contains(ty)).collect();
    let (normal, added): (Vec<_>, Vec<_>) = (with(&[1]), with(&[3, 4]));
    let vocab: Map<String, Value> = normal.iter().map(|(id, (text, _))| ((*text).clone(), json!(id))).collect();
    let added: Vec<Value> = added
        .iter()
        .map(|(id, (text, ty))| {
            json!({ "id": id, "content": text, "special": **ty == 3, "normalized": **ty == 4,
                    "single_word": false, "lstrip": false, "rstrip": false })
        })
        .collect();
    let document = json!({
        "version": "1.0", "added_tokens": added, "normalizer": structure.normalizer,
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": structure.steps },
        "decoder": bytes(true), "model": { "type": "BPE", "vocab": vocab, "merges": merges },
    });
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("tokenizer.json"), document.to_string()).unwrap();
    let config = json!({ "clean_up_tokenization_spaces": structure.clean });
    std::fs::write(dir.path().join("tokenizer_config.json"), config.to_string()).unwrap();

    let reference = reference(dir.path());
    for (text, ids) in vectors(name).unwrap() {
        assert_eq!(ids_of(&reference, &text), ids, "{name}: the structure is not the published one: {text:?}");
    }
    let mut config = Map::new();
    for key in ["bos_token_id", "eos_token_id"] {
        config.insert(key.into(), json!(kv.unsigned(&format!("tokenizer.ggml.{key}"))));
    }
    let request = Request { dir: dir.path(), rows: tokens.len(), config: &config, pre: None };
    let ours = vocabulary(&request).unwrap();
    assert_eq!(ours.kv.str("tokenizer.ggml.pre"), Some(structure.pre), "{name}");
    for key in ["tokens", "merges", "bos_token_id", "eos_token_id"] {
        let key = format!("tokenizer.ggml.{key}");
        assert!(ours.kv.get(&key) == kv.get(&key), "{name}: {key} is not what it was");
    }
    for ((text, theirs), ours) in tokens.iter().zip(types).zip(ours.kv.i32s("tokenizer.ggml.token_type").unwrap()) {
        // The file is older than the rule that such tokens are control tokens.
        let looks_special =
            text == "<pad>" || (text.starts_with('<') && text.ends_with('>') && text.contains(['|', '｜']));
        assert_eq!(*ours, if *theirs == 4 && looks_special { 3 } else { *theirs }, "{name}: {text:?}");
    }
    if let Some(model) = load(&ours) {
        assert!(matches_vectors(&model, name) > 40);
    }
}

#[test]
fn gpt_2_and_its_kin() {
    for (name, normalizer) in [("gpt-2", Value::Null), ("mpt", json!({ "type": "NFC" }))] {
        rebuilt(name, &Structure { pre: "gpt-2", clean: true, normalizer, steps: vec![bytes(true)] });
    }
}

#[test]
fn starcoder_and_refact() {
    for name in ["starcoder", "refact"] {
        let steps = vec![digits(true), bytes(true)];
        rebuilt(name, &Structure { pre: "starcoder", clean: true, normalizer: Value::Null, steps });
    }
}

#[test]
fn falcon() {
    let punctuation = json!({ "type": "Punctuation", "behavior": "Contiguous" });
    let steps = vec![punctuation, bytes(true), digits(false), split("[0-9][0-9][0-9]")];
    rebuilt("falcon", &Structure { pre: "falcon", clean: true, normalizer: Value::Null, steps });
}

const CJK: &str = "[一-龥ࠀ-一가-퟿]+";
const LETTERS: &str = "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\u{1f7d}ᾀ-ᾴᾶ-ᾼ\u{1fbe}ῂ-ῄῆ-ῌῐ-\u{1fd3}ῖ-\u{1fdb}ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u{2126}ℨ\u{212a}-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";

#[test]
fn deepseek_llm() {
    let marks = "\\s?[!-/:-~！-／：-～‘-‟　-。]+";
    let mut steps: Vec<Value> = ["[\r\n]", LETTERS, marks, r"\s+$", CJK].map(split).into();
    steps.extend([digits(true), bytes(false)]);
    rebuilt("deepseek-llm", &Structure { pre: "deepseek-llm", clean: false, normalizer: Value::Null, steps });
}

#[test]
fn deepseek_coder() {
    let mut steps: Vec<Value> = ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CJK].map(split).into();
    steps.extend([digits(true), bytes(false)]);
    rebuilt("deepseek-coder", &Structure { pre: "deepseek-coder", clean: false, normalizer: Value::Null, steps });
}

#[test]
fn bert() {
    let Some(kv) = source("bert-bge") else { return };
    let tokens = kv.strings("tokenizer.ggml.tokens").unwrap();
    let types = kv.i32s("tokenizer.ggml.token_type").unwrap();
    // Back to BERT's notation: what goes on with a word is marked, not what starts it.
    let lines: Vec<String> = tokens
        .iter()
        .zip(types)
        .map(|(text, &ty)| match text.strip_prefix('\u{2581}') {
            Some(start) => start.to_owned(),
            None if ty == 3 || text.starts_with("[unused") => text.clone(),
            None => format!("##{text}"),
        })
        .collect();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("vocab.txt"), lines.join("\n")).unwrap();
    let config = json!({ "tokenizer_class": "BertTokenizer", "do_lower_case": true, "unk_token": "[UNK]",
                         "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]", "mask_token": "[MASK]" });
    std::fs::write(dir.path().join("tokenizer_config.json"), config.to_string()).unwrap();
    let config = Map::from_iter([("type_vocab_size".to_owned(), json!(2))]);
    let request = Request { dir: dir.path(), rows: tokens.len(), config: &config, pre: None };
    let ours = vocabulary(&request).unwrap();
    for key in ["unknown_token_id", "seperator_token_id", "padding_token_id", "mask_token_id", "token_type_count"] {
        let key = format!("tokenizer.ggml.{key}");
        assert_eq!(ours.kv.get(&key), kv.get(&key), "{key}");
    }
    if let Some(model) = load(&ours) {
        assert!(matches_vectors(&model, "bert-bge") > 40);
    }
}
