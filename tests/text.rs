//! Rules of the tokenizer's keys, one by one, on tokenizers of a few tokens; and what is refused.

use std::path::Path;

use planish::text::{Error, Request, Vocabulary, vocabulary};
use planish_formats::Kind;
use planish_formats::gguf::Value as Gguf;
use serde_json::{Map, Value, json};

/// A checkpoint's folder being made up.
struct Folder {
    dir: tempfile::TempDir,
    config: Map<String, Value>,
    rows: usize,
    pre: Option<&'static str>,
}

impl Folder {
    fn new(rows: usize) -> Folder {
        Folder { dir: tempfile::tempdir().unwrap(), config: Map::new(), rows, pre: None }
    }

    /// Byte-level BPE: `a`, `b`, `ab`, `Ġ` and two added tokens.
    fn byte_level(rows: usize) -> Folder {
        Folder::new(rows).json("tokenizer.json", &tokenizer())
    }

    fn text(self, name: &str, text: impl AsRef<[u8]>) -> Folder {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    fn json(self, name: &str, value: &Value) -> Folder {
        self.text(name, value.to_string())
    }

    fn config(mut self, value: &Value) -> Folder {
        self.config.clone_from(value.as_object().unwrap());
        self
    }

    fn read(&self) -> Result<Vocabulary, Error> {
        vocabulary(&Request { dir: self.dir.path(), rows: self.rows, config: &self.config, pre: self.pre })
    }

    /// The error, which has to name `file` and contain every one of `parts`.
    #[track_caller]
    fn refused(&self, kind: Kind, file: &str, parts: &[&str]) {
        let error = self.read().map(|vocabulary| vocabulary.kv).unwrap_err();
        let message = error.to_string();
        for part in parts.iter().chain([&file]) {
            assert!(message.contains(part), "{part:?} is not in: {message}");
        }
        assert_eq!(error.kind(), kind, "{message}");
        assert_eq!(error.unsupported(), kind == Kind::Unsupported);
    }
}

fn added(id: u64, content: &str, special: bool) -> Value {
    json!({ "id": id, "content": content, "special": special, "normalized": false,
            "single_word": false, "lstrip": false, "rstrip": false })
}

fn tokenizer() -> Value {
    json!({
        "added_tokens": [added(4, "<s>", true), added(5, "</s>", true)],
        "normalizer": null,
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "use_regex": true },
        "post_processor": null,
        "decoder": { "type": "ByteLevel" },
        "model": { "type": "BPE", "vocab": { "a": 0, "b": 1, "ab": 2, "Ġ": 3 }, "merges": ["a b"] },
    })
}

/// [`tokenizer`] with one member changed.
fn changed(pointer: &str, value: Value) -> Value {
    let mut json = tokenizer();
    *json.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value;
    json
}

fn tokens(vocabulary: &Vocabulary) -> Vec<(&str, i32)> {
    let texts = vocabulary.kv.strings("tokenizer.ggml.tokens").unwrap();
    let types = vocabulary.kv.i32s("tokenizer.ggml.token_type").unwrap();
    texts.iter().map(String::as_str).zip(types.iter().copied()).collect()
}

fn id(vocabulary: &Vocabulary, key: &str) -> Option<u64> {
    vocabulary.kv.unsigned(&format!("tokenizer.ggml.{key}_token_id"))
}

fn flag(vocabulary: &Vocabulary, key: &str) -> Option<bool> {
    vocabulary.kv.bool(&format!("tokenizer.ggml.{key}"))
}

mod rules {
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
        let expected =
            [("<|x|>", 3), ("<｜x｜>", 3), ("<pad>", 3), ("<unused7>", 3), ("plain", 4), ("  ", 4), (" a\n", 4)];
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
        let vocabulary =
            Folder::byte_level(6).config(&json!({ "eos_token_id": 99, "bos_token_id": -1 })).read().unwrap();
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
        assert!(
            matches!(vocabulary.kv.get("tokenizer.ggml.precompiled_charsmap"), Some(Gguf::Array(a)) if a.len() == 12)
        );
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
}

mod refusals {
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
        Folder::new(6).json("tokenizer.json", &same_id).refused(
            Kind::Bad,
            "tokenizer.json",
            &["\"c\"", "\"ab\" already"],
        );
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
}

/// SentencePiece models, written by hand.
mod pieces {
    use proptest::prelude::*;

    use super::*;

    fn varint(mut value: u64) -> Vec<u8> {
        let mut out = Vec::new();
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
        out
    }

    fn number(field: u64, value: u64) -> Vec<u8> {
        [varint(field << 3), varint(value)].concat()
    }

    fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
        [varint(field << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
    }

    fn piece(text: &str, score: f32, kind: u64) -> Vec<u8> {
        let score = [varint(2 << 3 | 5), score.to_le_bytes().to_vec()].concat();
        bytes(1, &[bytes(1, text.as_bytes()), score, number(3, kind)].concat())
    }

    /// `algorithm`: 1 unigram, 2 BPE.
    fn model(algorithm: u64) -> Vec<u8> {
        [
            piece("<unk>", 0.0, 2),
            piece("<s>", 0.0, 3),
            piece("</s>", 0.0, 3),
            piece("<0x0A>", 0.0, 6),
            piece("\u{2581}a", -1.5, 1),
            piece("user", 0.0, 4),
            piece("gone", 0.0, 5),
            bytes(2, &[number(3, algorithm), number(43, u64::MAX)].concat()),
            bytes(3, &[bytes(1, b"identity"), number(3, 0)].concat()),
        ]
        .concat()
    }

    fn folder(bytes: &[u8]) -> Folder {
        Folder::new(9).text("tokenizer.model", bytes)
    }

    #[test]
    fn types_scores_and_ids_are_kept() {
        let vocabulary = folder(&model(2)).read().unwrap();
        let expected = [
            ("<unk>", 2),
            ("<s>", 3),
            ("</s>", 3),
            ("<0x0A>", 6),
            ("\u{2581}a", 1),
            ("user", 1),
            ("gone", 5),
            ("[PAD7]", 5),
            ("[PAD8]", 5),
        ];
        assert_eq!(tokens(&vocabulary), expected);
        let scores = vocabulary.kv.f32s("tokenizer.ggml.scores").unwrap();
        assert_eq!((scores[4], scores[7]), (-1.5, -10000.0));
        assert_eq!(vocabulary.kv.str("tokenizer.ggml.model"), Some("llama"));
        assert_eq!(vocabulary.kv.str("tokenizer.ggml.pre"), Some("default"));
        let special = &vocabulary.special;
        assert_eq!((special.unk, special.bos, special.eos, special.pad), (Some(0), Some(1), Some(2), None));
        assert_eq!(flag(&vocabulary, "add_space_prefix"), Some(false), "no dummy prefix");
    }

    #[test]
    fn unigram_is_another_model() {
        let vocabulary = folder(&model(1)).read().unwrap();
        assert_eq!(vocabulary.kv.str("tokenizer.ggml.model"), Some("t5"));
        assert_eq!(flag(&vocabulary, "add_space_prefix"), Some(false));
        assert_eq!(flag(&vocabulary, "remove_extra_whitespaces"), Some(true));
    }

    #[test]
    fn the_config_adds_and_retypes() {
        let decoder = json!({ "1": { "content": "<s>", "special": true }, "7": { "content": "\u{2581}x" },
                              "8": { "content": "<|y|>" } });
        let folder = folder(&model(2))
            .json("added_tokens.json", &json!({ "<|y|>": 8 }))
            .json("tokenizer_config.json", &json!({ "added_tokens_decoder": decoder, "add_prefix_space": true }));
        let vocabulary = folder.read().unwrap();
        assert_eq!(tokens(&vocabulary)[7..], [(" x", 4), ("<|y|>", 3)]);
        assert_eq!(flag(&vocabulary, "add_space_prefix"), Some(true));
        folder.json("added_tokens.json", &json!({ "z": 9 })).refused(
            Kind::Bad,
            "added_tokens.json",
            &["\"z\"", "id 9", "9 rows"],
        );
    }

    #[test]
    fn damaged_models_are_refused() {
        let refused = |bytes: &[u8], parts: &[&str]| folder(bytes).refused(Kind::Bad, "tokenizer.model", parts);
        refused(b"", &["without pieces"]);
        refused(&[model(2), piece("<0xZZ>", 0.0, 6)].concat(), &["byte piece", "<0xZZ>"]);
        refused(&[model(2), piece("x", f32::NAN, 1)].concat(), &["not finite"]);
        refused(&[model(2), piece("x", 0.0, 9)].concat(), &["piece type"]);
        refused(&[model(2), piece("user", 0.0, 1)].concat(), &["\"user\"", "5 and 7"]);
        refused(&[model(2), bytes(1, &bytes(1, b"\xff"))].concat(), &["UTF-8"]);
        refused(&[model(2), number(1, 7)].concat(), &["something else than bytes"]);
        refused(
            &[model(2), vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]].concat(),
            &["past the end"],
        );
        refused(&[model(2), vec![0xff; 12]].concat(), &["64 bits"]);
        let many: Vec<u8> = (0..3).flat_map(|i| piece(&format!("p{i}"), 0.0, 1)).collect();
        refused(&[model(2), many].concat(), &["\"p2\"", "id 9", "9 rows"]);
        folder(&model(3)).refused(Kind::Unsupported, "tokenizer.model", &["WORD"]);
    }

    #[test]
    fn a_model_cut_anywhere_is_refused_or_shorter() {
        let whole = model(2);
        for end in 0..whole.len() {
            match folder(&whole[..end]).read() {
                Err(error) => assert!(error.to_string().contains("tokenizer.model"), "{error}"),
                // Cut between fields, which the format cannot tell.
                Ok(vocabulary) => assert_eq!(vocabulary.size, 9),
            }
        }
    }

    #[test]
    fn a_tiktoken_file_of_that_name_is_passed_over() {
        let folder = Folder::byte_level(6).text("tokenizer.model", "IQ== 0\nIg== 1\n");
        assert_eq!(folder.read().unwrap().kv.str("tokenizer.ggml.model"), Some("gpt2"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = folder(&bytes).read();
        }

        #[test]
        fn no_change_makes_it_panic(at in 0usize..200, byte: u8, cut in 0usize..200) {
            let mut bytes = model(1);
            let (len, cut) = (bytes.len(), cut.min(bytes.len() - 1));
            bytes[at % len] = byte;
            bytes.drain(cut..(cut + 2).min(len));
            if let Ok(vocabulary) = folder(&bytes).read() {
                prop_assert_eq!(vocabulary.size, 9);
            }
        }
    }
}

/// The tokenizer of the committed model, read from where it lies.
#[test]
fn the_fixture_is_read_without_a_warning() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-llama");
    let config: Map<String, Value> = serde_json::from_slice(&std::fs::read(dir.join("config.json")).unwrap()).unwrap();
    let vocabulary = vocabulary(&Request { dir: &dir, rows: 1024, config: &config, pre: None }).unwrap();
    assert_eq!(vocabulary.warnings, [] as [&str; 0]);
    assert_eq!((vocabulary.special.bos, vocabulary.special.eos), (Some(0), Some(0)));
    assert_eq!(flag(&vocabulary, "add_bos_token"), Some(false));
}
