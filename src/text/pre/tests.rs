use serde_json::{Value, json};

use super::known::*;
use super::*;

fn document(normalizer: &Value, pre: &Value) -> Document {
    let Value::Object(map) = json!({ "normalizer": normalizer, "pre_tokenizer": pre }) else { unreachable!() };
    Document::of("tokenizer.json".into(), map)
}

fn named(normalizer: &Value, pre: &Value, wanted: &Wanted) -> Option<&'static str> {
    Structure::read(&document(normalizer, pre)).name(wanted).map(|known| known.name)
}

const PLAIN: Wanted = Wanted { ignore_merges: false, clean: None, begins: true };

fn bytes(use_regex: bool) -> Value {
    json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex })
}

fn sequence(steps: &[Value]) -> Value {
    json!({ "type": "Sequence", "pretokenizers": steps })
}

fn split(regex: &str) -> Value {
    json!({ "type": "Split", "pattern": { "Regex": regex }, "behavior": "Isolated", "invert": false })
}

#[test]
fn every_known_structure_is_found_again() {
    for known in KNOWN {
        // Two splittings share a name; the way back takes the first.
        let steps = KNOWN.iter().find(|first| first.name == known.name).unwrap().steps;
        let pre = splitting(known.name).unwrap().pre_tokenizer();
        let wanted = Wanted { ignore_merges: known.ignore_merges, clean: Some(known.clean), begins: known.begins };
        for normalizer in [Value::Null, json!({ "type": "NFC" }), json!({ "type": "Sequence", "normalizers": [] })] {
            assert_eq!(named(&normalizer, &pre, &wanted), Some(known.name));
        }
        assert_eq!(Structure::read(&document(&Value::Null, &pre)).steps, steps);
    }
}

#[test]
fn nearly_every_name_can_be_written_back() {
    let not: Vec<&str> = NAMES.iter().copied().filter(|name| splitting(name).is_none()).collect();
    let other_alphabets = ["gemma4", "granite-embed-multi-311m", "sarvam-moe", "whitespace"];
    let no_tokenizer_json = ["afmoe", "chameleon", "kimi-k2"];
    for name in &not {
        assert!(other_alphabets.contains(name) || no_tokenizer_json.contains(name), "{name}");
    }
    assert_eq!(not.len(), 7);
    for (known, names) in ALIASES {
        assert!(KNOWN.iter().any(|k| k.name == *known), "{known}");
        for name in *names {
            check_name(name).unwrap();
            assert!(KNOWN.iter().all(|k| k.name != *name), "{name} is known itself");
        }
    }
}

#[test]
fn every_name_in_the_tables_is_one_that_llama_cpp_loads() {
    for name in KNOWN.iter().map(|known| known.name).chain(CLASSES.iter().map(|(_, name)| *name)) {
        check_name(name).unwrap();
    }
    let error = check_name("gpt2").unwrap_err();
    assert!(error.unsupported() && error.hint().unwrap().contains("gpt-2"));
}

#[test]
fn a_lone_byte_level_step_is_gpt_2() {
    assert_eq!(named(&Value::Null, &bytes(true), &PLAIN), Some("gpt-2"));
    assert_eq!(named(&Value::Null, &json!({ "type": "ByteLevel" }), &PLAIN), Some("gpt-2"), "splits by default");
    assert_eq!(named(&Value::Null, &sequence(&[split(GPT2_REGEX), bytes(false)]), &PLAIN), Some("gpt-2"));
    assert_eq!(named(&Value::Null, &bytes(false), &PLAIN), None, "does not split at all");
}

#[test]
fn spellings_of_one_regex_are_one() {
    let spelled = [
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ];
    for regex in spelled {
        assert_eq!(named(&Value::Null, &sequence(&[split(regex), bytes(false)]), &PLAIN), Some("qwen2"), "{regex}");
    }
}

#[test]
fn what_is_removed_matters_unless_it_is_nothing() {
    let with = |regex: &str, behavior: &str, invert: bool| {
        let split = json!({ "type": "Split", "pattern": { "Regex": regex }, "behavior": behavior, "invert": invert });
        named(&Value::Null, &sequence(&[split, bytes(false)]), &PLAIN)
    };
    let whole = GPT4O_PLAIN;
    assert_eq!(with(whole, "Removed", true), Some("gpt-4o"));
    assert_eq!(with(whole, "Isolated", false), Some("gpt-4o"));
    assert_eq!(with(whole, "Removed", false), None);
    assert_eq!(with(whole, "MergedWithPrevious", false), None);
    assert_eq!(with(r" ?[^(\s|[.,!?…。，、।۔،])]+", "Removed", true), None, "does not match everything");
}

/// As the tokenizer.json of GPT-4o has it.
const GPT4O_PLAIN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

#[test]
fn what_a_name_does_beside_splitting_decides_between_equals() {
    let digits = sequence(&[json!({ "type": "Digits", "individual_digits": true }), bytes(true)]);
    let clean = |clean| Wanted { clean, ..PLAIN };
    assert_eq!(named(&Value::Null, &digits, &clean(None)), Some("smollm"));
    assert_eq!(named(&Value::Null, &digits, &clean(Some(false))), Some("smollm"));
    assert_eq!(named(&Value::Null, &digits, &clean(Some(true))), Some("starcoder"));

    let three = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    let three = sequence(&[split(three), bytes(false)]);
    let wanted = |ignore_merges, begins| Wanted { ignore_merges, begins, clean: None };
    assert_eq!(named(&Value::Null, &three, &wanted(true, true)), Some("llama-bpe"));
    assert_eq!(named(&Value::Null, &three, &wanted(false, true)), Some("dbrx"));
    assert_eq!(named(&Value::Null, &three, &wanted(false, false)), Some("chatglm-bpe"));
    assert_eq!(named(&Value::Null, &three, &wanted(true, false)), Some("glm4"));
}

#[test]
fn unknown_structures_are_shown() {
    let lower = json!({ "type": "Lowercase" });
    assert_eq!(named(&lower, &bytes(true), &PLAIN), None, "llama.cpp would not lower the text");
    let odd = sequence(&[split(r"\p{L}+"), json!({ "type": "Digits", "individual_digits": true }), bytes(false)]);
    let structure = Structure::read(&document(&lower, &odd));
    assert_eq!(structure.name(&PLAIN).map(|known| known.name), None);
    let shown = structure.to_string();
    for part in ["Lowercase", r"split \p{L}+", "digit", "byte-level"] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
}
