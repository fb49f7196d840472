//! What becomes of each part of a tokenizer.

use super::*;

#[test]
fn rows_without_a_token_are_padded() {
    let vocabulary = Folder::byte_level(8).read().unwrap();
    let expected = [("a", 1), ("b", 1), ("ab", 1), ("Ġ", 1), ("<s>", 3), ("</s>", 3), ("[PAD6]", 5), ("[PAD7]", 5)];
    assert_eq!(tokens(&vocabulary), expected);
    assert_eq!((vocabulary.size, vocabulary.warnings.len()), (8, 0));
    assert_eq!(vocabulary.kv.str("tokenizer.ggml.model"), Some("gpt2"));
    assert_eq!(vocabulary.kv.strings("tokenizer.ggml.merges").unwrap(), ["a b"]);
    assert!(vocabulary.kv.get("tokenizer.ggml.scores").is_none());
}

#[test]
fn holes_are_padded_and_told() {
    let json = changed("/added_tokens", json!([added(6, "<s>", true)]));
    let vocabulary = Folder::new(7).json("tokenizer.json", &json).read().unwrap();
    assert_eq!(tokens(&vocabulary)[3..], [("Ġ", 1), ("[PAD4]", 5), ("[PAD5]", 5), ("<s>", 3)]);
    assert!(vocabulary.warnings[0].contains("tokenizer.json: 2 ids have no token"), "{:?}", vocabulary.warnings);
}

#[test]
fn added_tokens_are_control_if_they_are_special_or_look_so() {
    let list = ["<|x|>", "<｜x｜>", "<pad>", "<unused7>", "plain", "\u{2581}\u{2581}", "ĠaĊ"];
    let list: Vec<Value> = list.iter().zip(4..).map(|(text, id)| added(id, text, false)).collect();
    let json = changed("/added_tokens", json!(list));
    let vocabulary = Folder::new(11).json("tokenizer.json", &json).read().unwrap();
    let expected = [("<|x|>", 3), ("<｜x｜>", 3), ("<pad>", 3), ("<unused7>", 3), ("plain", 4), ("  ", 4), (" a\n", 4)];
    assert_eq!(tokens(&vocabulary)[4..], expected);
}

#[test]
fn an_added_token_may_repeat_one_of_the_vocabulary() {
    let json = changed("/added_tokens", json!([added(0, "a", true)]));
    let vocabulary = Folder::new(4).json("tokenizer.json", &json).read().unwrap();
    assert_eq!(tokens(&vocabulary)[0], ("a", 3));
}

#[test]
fn merges_are_pairs_or_strings_and_spaces_in_them_are_marked() {
    let mut json = changed("/model/merges", json!([["a", "b"], ["a", " b"]]));
    json["model"]["vocab"] = json!({ "a": 0, "b": 1, "ab": 2, "Ġ": 3, " b": 6, "a b": 7 });
    let vocabulary = Folder::new(8).json("tokenizer.json", &json).read().unwrap();
    assert_eq!(vocabulary.kv.strings("tokenizer.ggml.merges").unwrap(), ["a b", "a Ġb"]);
}

#[test]
fn vocab_and_merges_files_are_enough() {
    let folder = Folder::new(4)
        .json("vocab.json", &json!({ "a": 0, "b": 1, "ab": 2, "<|endoftext|>": 3 }))
        .text("merges.txt", "#version: 0.2\na b\n")
        .json("tokenizer_config.json", &json!({ "tokenizer_class": "Qwen2Tokenizer" }));
    let vocabulary = folder.read().unwrap();
    assert_eq!(vocabulary.kv.str("tokenizer.ggml.pre"), Some("qwen2"));
    assert_eq!(tokens(&vocabulary)[3], ("<|endoftext|>", 3));
    let folder = folder.json("added_tokens.json", &json!({ "<x>": 4 }));
    let vocabulary = Folder { rows: 5, ..folder }.read().unwrap();
    assert_eq!(tokens(&vocabulary)[4], ("<x>", 4));
}

#[test]
fn special_ids_come_from_the_first_source_that_knows() {
    let names = |text: &str| json!({ "bos_token": text });
    let ids = json!({ "bos_token_id": 1 });
    let folder = Folder::byte_level(6).json("generation_config.json", &json!({ "bos_token_id": 2 }));
    assert_eq!(id(&folder.read().unwrap(), "bos"), Some(2), "generation_config.json");
    let folder = folder.config(&ids);
    assert_eq!(id(&folder.read().unwrap(), "bos"), Some(1), "config.json before it");
    let folder = folder.json("special_tokens_map.json", &names("</s>"));
    assert_eq!(id(&folder.read().unwrap(), "bos"), Some(5), "special_tokens_map.json before it");
    let folder = folder.json("tokenizer_config.json", &json!({ "bos_token": { "content": "<s>" } }));
    let vocabulary = folder.read().unwrap();
    assert_eq!((id(&vocabulary, "bos"), vocabulary.special.bos), (Some(4), Some(4)), "tokenizer_config.json");
    // A text that is no added token is only the last resort.
    let folder = folder.json("tokenizer_config.json", &names("ab")).json("special_tokens_map.json", &json!({}));
    assert_eq!(id(&folder.read().unwrap(), "bos"), Some(1));
    let folder = folder.config(&json!({})).json("generation_config.json", &json!({}));
    assert_eq!(id(&folder.read().unwrap(), "bos"), Some(2), "the vocabulary");
}

#[test]
fn an_id_out_of_range_is_left_out_and_told() {
    let vocabulary = Folder::byte_level(6).config(&json!({ "eos_token_id": 99, "bos_token_id": -1 })).read().unwrap();
    assert_eq!((id(&vocabulary, "eos"), id(&vocabulary, "bos")), (None, None));
    assert!(vocabulary.warnings.iter().any(|warning| warning.contains("eos") && warning.contains("99")));
}

#[test]
fn what_is_put_around_a_text_is_in_the_post_processor() {
    let special = |text: &str| json!({ "SpecialToken": { "id": text, "type_id": 0 } });
    let sequence = |name: &str| json!({ "Sequence": { "id": name, "type_id": 0 } });
    let config = json!({ "bos_token": "<s>", "eos_token": "</s>" });
    let read = |post: Value, config: &Value| {
        Folder::new(6)
            .json("tokenizer.json", &changed("/post_processor", post))
            .json("tokenizer_config.json", config)
            .read()
            .unwrap()
    };
    let template = |single: Vec<Value>| json!({ "type": "TemplateProcessing", "single": single, "pair": [] });
    let adds = |v: &Vocabulary| (flag(v, "add_bos_token"), flag(v, "add_eos_token"));

    let begin = template(vec![special("<s>"), sequence("A")]);
    assert_eq!(adds(&read(begin.clone(), &config)), (Some(true), None));
    let both = template(vec![special("<s>"), sequence("A"), special("</s>")]);
    assert_eq!(adds(&read(both, &config)), (Some(true), Some(true)));
    let bytes = json!({ "type": "ByteLevel" });
    assert_eq!(adds(&read(bytes.clone(), &config)), (Some(false), Some(false)));
    let sequence_of = json!({ "type": "Sequence", "processors": [bytes.clone(), begin.clone()] });
    assert_eq!(adds(&read(sequence_of, &config)), (Some(true), Some(false)));
    let roberta = json!({ "type": "RobertaProcessing", "sep": ["</s>", 5], "cls": ["<s>", 4] });
    assert_eq!(adds(&read(roberta, &config)), (Some(true), Some(true)));
    let none = json!({ "add_bos_token": true });
    assert_eq!(adds(&read(Value::Null, &none)), (Some(true), None), "the config, where nothing else is said");
    let vocabulary = read(bytes.clone(), &none);
    assert_eq!(adds(&vocabulary), (Some(false), Some(false)), "the post-processor, where both say something");
    assert_eq!(vocabulary.warnings.len(), 1);
    let llama = json!({ "add_bos_token": true, "tokenizer_class": "LlamaTokenizerFast" });
    assert_eq!(adds(&read(bytes, &llama)).0, Some(true), "a class that obeys its config");

    // An end that the config does not know makes the config's end that of a turn.
    let other = template(vec![sequence("A"), special("<s>")]);
    let vocabulary = read(other, &json!({ "eos_token": "</s>" }));
    assert_eq!((vocabulary.special.eos, vocabulary.special.eot), (Some(4), Some(5)));
    assert_eq!(vocabulary.stop, ["<s>", "</s>"]);
}

#[test]
fn every_end_is_a_stop() {
    let list: Vec<Value> =
        ["<s>", "</s>", "<|im_end|>", "<x>"].iter().zip(4..).map(|(text, id)| added(id, text, true)).collect();
    let folder = Folder::new(8).json("tokenizer.json", &changed("/added_tokens", json!(list)));
    let folder = folder.json("generation_config.json", &json!({ "eos_token_id": [5, 7] }));
    assert_eq!(folder.read().unwrap().stop, ["</s>", "<|im_end|>", "<x>"]);
}

#[test]
fn chat_templates_are_one_or_several() {
    let folder = Folder::byte_level(6).json("tokenizer_config.json", &json!({ "chat_template": "{{ one }}" }));
    let key = "tokenizer.chat_template";
    assert_eq!(folder.read().unwrap().kv.str(key), Some("{{ one }}"));
    let list = json!([{ "name": "default", "template": "D" }, { "name": "tool-use", "template": "T" }]);
    let folder = folder.json("tokenizer_config.json", &json!({ "chat_template": list }));
    let kv = folder.read().unwrap().kv;
    assert_eq!((kv.str(key), kv.str("tokenizer.chat_template.tool_use")), (Some("D"), Some("T")));
    assert_eq!(kv.strings("tokenizer.chat_templates").unwrap(), ["tool_use"]);
    let folder = Folder::byte_level(6)
        .text("chat_template.jinja", "J")
        .text("additional_chat_templates/rag.jinja", "R")
        .text("additional_chat_templates/notes.txt", "N");
    let kv = folder.read().unwrap().kv;
    assert_eq!((kv.str(key), kv.str("tokenizer.chat_template.rag")), (Some("J"), Some("R")));
    let folder = Folder::byte_level(6).json("chat_template.json", &json!({ "chat_template": "K" }));
    assert_eq!(folder.read().unwrap().kv.str(key), Some("K"));
}

#[test]
fn the_user_may_name_the_pre_tokenizer() {
    let odd = changed("/pre_tokenizer/use_regex", json!(false));
    let mut folder = Folder::new(6).json("tokenizer.json", &odd);
    assert!(folder.read().unwrap_err().hint().unwrap().contains("--pre"));
    folder.pre = Some("mpt");
    assert_eq!(folder.read().unwrap().kv.str("tokenizer.ggml.pre"), Some("mpt"));
    folder.pre = Some("mtp");
    folder.refused(Kind::Unsupported, "mtp", &[]);
}

#[test]
fn merges_become_scores_where_the_runtime_has_no_merges() {
    let json = json!({
        "added_tokens": [added(0, "<unk>", true)],
        "normalizer": { "type": "Sequence", "normalizers": [
            { "type": "Prepend", "prepend": "\u{2581}" },
            { "type": "Replace", "pattern": { "String": " " }, "content": "\u{2581}" }] },
        "decoder": { "type": "Sequence", "decoders": [] },
        "model": { "type": "BPE", "byte_fallback": true, "unk_token": "<unk>",
            "vocab": { "<unk>": 0, "<0x0A>": 1, "a": 2, "b": 3, "ab": 4, "aba": 5 },
            "merges": ["ab a", "a b"] },
    });
    let vocabulary = Folder::new(7).json("tokenizer.json", &json).read().unwrap();
    assert_eq!(vocabulary.kv.str("tokenizer.ggml.model"), Some("llama"));
    let types: Vec<i32> = tokens(&vocabulary).into_iter().map(|(_, kind)| kind).collect();
    assert_eq!(types, [3, 6, 1, 1, 1, 1, 5]);
    let scores = vocabulary.kv.f32s("tokenizer.ggml.scores").unwrap();
    assert!(scores[5] > scores[4] && scores[4] > scores[2], "{scores:?}");
    assert_eq!(id(&vocabulary, "unknown"), Some(0));
    assert!(flag(&vocabulary, "add_space_prefix").is_none(), "the runtime's default");
}

#[test]
fn a_unigram_model_keeps_its_scores() {
    let json = json!({
        "added_tokens": [added(0, "<pad>", true)],
        "normalizer": { "type": "Precompiled", "precompiled_charsmap": "BAAAAAAAAAAAAAAA" },
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
            { "type": "WhitespaceSplit" }, { "type": "Metaspace", "replacement": "\u{2581}" }] },
        "model": { "type": "Unigram", "unk_id": 1, "vocab": [["<pad>", 0.0], ["<unk>", 0.0], ["\u{2581}a", -2.5]] },
    });
    let vocabulary = Folder::new(3).json("tokenizer.json", &json).read().unwrap();
    assert_eq!(vocabulary.kv.str("tokenizer.ggml.model"), Some("t5"));
    assert_eq!(tokens(&vocabulary), [("<pad>", 3), ("<unk>", 2), ("\u{2581}a", 1)]);
    assert_eq!(vocabulary.kv.f32s("tokenizer.ggml.scores").unwrap()[2], -2.5);
    assert_eq!(flag(&vocabulary, "add_space_prefix"), Some(true));
    assert_eq!(flag(&vocabulary, "remove_extra_whitespaces"), Some(true));
    assert!(matches!(vocabulary.kv.get("tokenizer.ggml.precompiled_charsmap"), Some(Gguf::Array(a)) if a.len() == 12));
}

#[test]
fn word_pieces_are_marked_at_their_start() {
    let json = json!({
        "added_tokens": [added(0, "[UNK]", true)],
        "normalizer": { "type": "BertNormalizer", "lowercase": false, "strip_accents": null },
        "model": { "type": "WordPiece", "continuing_subword_prefix": "##", "vocab": { "[UNK]": 0, "go": 1, "##ing": 2 } },
    });
    let vocabulary = Folder::new(3).json("tokenizer.json", &json).read().unwrap();
    assert_eq!(tokens(&vocabulary), [("[UNK]", 3), ("\u{2581}go", 1), ("ing", 1)]);
    assert_eq!(flag(&vocabulary, "normalizer.lowercase"), Some(false));
    assert_eq!(flag(&vocabulary, "normalizer.strip_accents"), None);
}
