//! What is refused, by which file and field.

use super::*;

#[test]
fn nothing_there() {
    let folder = Folder::new(4);
    folder.refused(Kind::Bad, &folder.dir.path().display().to_string(), &["no tokenizer", "tokenizer.json"]);
    Folder::new(4).json("vocab.json", &json!({ "a": 0 })).refused(Kind::Bad, "merges.txt", &["missing"]);
    Folder::new(4).text("tekken.json", "{}").refused(Kind::Unsupported, "tekken.json", &["not supported"]);
}

#[test]
fn files_that_are_not_what_they_are_called() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n";
    Folder::new(4).text("tokenizer.json", pointer).refused(Kind::Bad, "tokenizer.json", &["git-LFS"]);
    Folder::new(4).text("tokenizer.model", pointer).refused(Kind::Bad, "tokenizer.model", &["git-LFS"]);
    Folder::new(4).text("tokenizer.json", "{\"model\":").refused(Kind::Bad, "tokenizer.json", &["JSON"]);
    Folder::new(4).text("tokenizer.json", "[]").refused(Kind::Bad, "tokenizer.json", &["JSON"]);
    Folder::byte_level(6).text("chat_template.jinja", b"ok \xff").refused(Kind::Bad, "chat_template.jinja", &["3"]);
    Folder::new(4).json("tokenizer.json", &json!({})).refused(Kind::Bad, "tokenizer.json", &["model is missing"]);
}

#[test]
fn sizes_that_disagree() {
    Folder::byte_level(5).refused(Kind::Bad, "tokenizer.json", &["added_tokens[1]", "id 5", "5 rows"]);
    Folder::byte_level(2).refused(Kind::Bad, "tokenizer.json", &["model.vocab", "\"ab\"", "id 2", "2 rows"]);
    let config = json!({ "vocab_size": 7 });
    Folder::byte_level(6).config(&config).refused(Kind::Bad, "config.json", &["vocab_size is 7", "6 rows"]);
    let config = json!({ "text_config": { "vocab_size": "6" } });
    Folder::byte_level(6).config(&config).refused(Kind::Bad, "config.json", &["text_config.vocab_size"]);
    assert!(Folder::byte_level(6).config(&json!({ "vocab_size": 6 })).read().is_ok());
    let far = changed("/added_tokens/0/id", json!(u64::MAX));
    Folder::new(6).json("tokenizer.json", &far).refused(Kind::Bad, "tokenizer.json", &["added_tokens[0]"]);
}

#[test]
fn two_of_one() {
    let same_id = changed("/model/vocab", json!({ "a": 0, "b": 1, "ab": 2, "c": 2 }));
    Folder::new(6).json("tokenizer.json", &same_id).refused(Kind::Bad, "tokenizer.json", &["\"c\"", "\"ab\" already"]);
    let same_text = changed("/added_tokens/1", added(5, "<s>", true));
    Folder::new(6).json("tokenizer.json", &same_text).refused(Kind::Bad, "tokenizer.json", &["\"<s>\"", "4 and 5"]);
    let other_id = changed("/added_tokens/0", added(4, "a", true));
    Folder::new(6).json("tokenizer.json", &other_id).refused(Kind::Bad, "tokenizer.json", &["\"a\"", "0 and 4"]);
    let taken = changed("/added_tokens/0", added(2, "x", true));
    Folder::new(6).json("tokenizer.json", &taken).refused(Kind::Bad, "tokenizer.json", &["id 2", "\"ab\" already"]);
    let pad = changed("/added_tokens/0", added(4, "[PAD6]", true));
    Folder::new(7).json("tokenizer.json", &pad).refused(Kind::Bad, "tokenizer.json", &["[PAD6]", "4 and 6"]);
}

#[test]
fn values_of_the_wrong_type() {
    for (pointer, value, place) in [
        ("/model", json!(3), "model"),
        ("/model/type", json!(3), "model.type"),
        ("/model/vocab", json!(["a"]), "model.vocab"),
        ("/model/vocab/a", json!("0"), "model.vocab[\"a\"]"),
        ("/model/vocab/a", json!(-1), "model.vocab[\"a\"]"),
        ("/model/vocab/a", json!(0.5), "model.vocab[\"a\"]"),
        ("/model/merges", json!("a b"), "model.merges"),
        ("/model/merges/0", json!("ab"), "model.merges[0]"),
        ("/model/merges/0", json!("a b c"), "model.merges[0]"),
        ("/model/merges/0", json!(["a"]), "model.merges[0]"),
        ("/model/merges/0", json!(["a", 1]), "model.merges[0]"),
        ("/model/merges/0", json!("b b"), "model.merges[0]"),
        ("/added_tokens", json!({}), "added_tokens"),
        ("/added_tokens/0", json!(4), "added_tokens[0]"),
        ("/added_tokens/0/id", json!("4"), "added_tokens[0].id"),
        ("/added_tokens/0/content", json!(4), "added_tokens[0].content"),
        ("/added_tokens/0/special", json!("yes"), "added_tokens[0].special"),
    ] {
        let folder = Folder::new(6).json("tokenizer.json", &changed(pointer, value));
        folder.refused(Kind::Bad, "tokenizer.json", &[place]);
    }
    for (name, value, place) in [
        ("tokenizer_config.json", json!({ "bos_token": 1 }), "bos_token"),
        ("tokenizer_config.json", json!({ "add_bos_token": "true" }), "add_bos_token"),
        ("tokenizer_config.json", json!({ "chat_template": 1 }), "chat_template"),
        ("tokenizer_config.json", json!({ "chat_template": [{ "name": "x" }] }), "chat_template[0].template"),
        (
            "tokenizer_config.json",
            json!({ "added_tokens_decoder": { "x": { "content": "y" } } }),
            "added_tokens_decoder",
        ),
        ("generation_config.json", json!({ "eos_token_id": "2" }), "eos_token_id"),
        ("generation_config.json", json!({ "eos_token_id": [2, "3"] }), "eos_token_id[1]"),
    ] {
        Folder::byte_level(6).json(name, &value).refused(Kind::Bad, name, &[place]);
    }
}

#[test]
fn kinds_that_llama_cpp_does_not_have() {
    let refused = |pointer: &str, value: Value, parts: &[&str]| {
        let folder = Folder::new(6).json("tokenizer.json", &changed(pointer, value));
        folder.refused(Kind::Unsupported, "tokenizer.json", parts);
    };
    refused("/model/type", json!("WordLevel"), &["model.type", "WordLevel"]);
    refused("/normalizer", json!({ "type": "Lowercase" }), &["Lowercase", "gpt2"]);
    refused("/pre_tokenizer", json!({ "type": "Whitespace" }), &["Whitespace", "no byte-level step"]);
    let suffix = json!({ "type": "BPE", "vocab": {}, "merges": [], "end_of_word_suffix": "</w>" });
    refused("/model", suffix, &["end_of_word_suffix", "</w>"]);
    let fused = json!({ "type": "BPE", "vocab": {}, "merges": [], "byte_fallback": true });
    let mut json = changed("/model", fused);
    json["pre_tokenizer"] = json!({ "type": "Whitespace" });
    Folder::new(6).json("tokenizer.json", &json).refused(Kind::Unsupported, "tokenizer.json", &["pre_tokenizer"]);
    let folder = Folder::new(4).json("vocab.json", &json!({ "a": 0 })).text("merges.txt", "");
    let folder = folder.json("tokenizer_config.json", &json!({ "tokenizer_class": "OddTokenizer" }));
    folder.refused(Kind::Unsupported, "tokenizer_config.json", &["OddTokenizer"]);
}

#[test]
fn merges_of_tokens_that_are_not_there() {
    let folder = Folder::new(4).json("vocab.json", &json!({ "a": 0, "b": 1, "<|endoftext|>": 2 }));
    let folder = folder.json("tokenizer_config.json", &json!({ "tokenizer_class": "GPT2Tokenizer" }));
    let folder = folder.text("merges.txt", "#version: 0.2\na b\n");
    folder.refused(Kind::Bad, "merges.txt", &["line 2", "\"a b\"", "\"ab\" is not in the vocabulary"]);
    folder.text("merges.txt", "ab\n").refused(Kind::Bad, "merges.txt", &["line 1", "two tokens"]);
}
