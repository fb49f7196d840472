//! Tokenizer files from GGUF keys, rule by rule; and what begins a text.

use planish::checkpoint::Checkpoint;
use planish::text::{Encoder, restore};
use planish_formats::gguf::Kv;

use super::*;

fn path() -> &'static Path {
    Path::new("model.gguf")
}

/// Digits `1` and `2`, both together, `a`, a control token, one that is not, and a row without a token.
fn byte_level(pre: &str) -> Kv {
    let mut kv = Kv::new();
    kv.set("tokenizer.ggml.model", "gpt2");
    kv.set("tokenizer.ggml.pre", pre);
    let tokens = ["1", "2", "12", "a", "<s>", "two words", "[PAD6]"].map(str::to_owned);
    kv.set("tokenizer.ggml.tokens", tokens.to_vec());
    kv.set("tokenizer.ggml.token_type", vec![1i32, 1, 1, 1, 3, 4, 5]);
    kv.set("tokenizer.ggml.merges", vec!["1 2".to_owned()]);
    kv.set("tokenizer.ggml.bos_token_id", 4u32);
    kv
}

/// SentencePiece: bytes, pieces by score, and the marks.
fn pieces() -> Kv {
    let mut kv = Kv::new();
    kv.set("tokenizer.ggml.model", "llama");
    let tokens = ["<unk>", "<s>", "</s>", "<0x0A>", "\u{2581}", "a", "b", "ab", "\u{2581}a", "\u{2581}ab"];
    kv.set("tokenizer.ggml.tokens", tokens.map(str::to_owned).to_vec());
    kv.set("tokenizer.ggml.scores", vec![0f32, 0.0, 0.0, 0.0, -4.0, -5.0, -6.0, -1.0, -2.0, -3.0]);
    kv.set("tokenizer.ggml.token_type", vec![2i32, 3, 3, 6, 1, 1, 1, 1, 1, 1]);
    kv
}

fn encode(kv: &Kv, text: &str) -> Vec<u32> {
    Encoder::keys(path(), kv).unwrap().encode(text).unwrap()
}

#[track_caller]
fn refused(kv: &Kv, kind: Kind, parts: &[&str]) {
    let error = restore(path(), kv).map(|restored| restored.json).unwrap_err();
    let message = error.to_string();
    for part in parts.iter().chain(&["model.gguf"]) {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
    assert_eq!(error.kind(), kind, "{message}");
}

#[test]
fn the_name_for_the_splitting_decides_the_ids() {
    assert_eq!(encode(&byte_level("gpt-2"), "a12"), [3, 2]);
    assert_eq!(encode(&byte_level("qwen2"), "a12"), [3, 0, 1], "digits by themselves");
    assert_eq!(encode(&byte_level("hunyuan"), "a12"), [3, 0, 1], "another name for the same");
    let error = restore(path(), &byte_level("gpt3")).map(|restored| restored.json).unwrap_err();
    assert!(error.unsupported() && error.to_string().contains("\"gpt3\""), "{error}");
    refused(&byte_level("kimi-k2"), Kind::Unsupported, &["\"kimi-k2\""]);
    let mut unnamed = byte_level("gpt-2");
    unnamed.remove("tokenizer.ggml.pre");
    assert_eq!(encode(&unnamed, "a12"), [3, 2], "llama.cpp's default");
    assert_eq!(restore(path(), &unnamed).unwrap().warnings.len(), 1);
}

#[test]
fn markup_is_found_in_the_text() {
    let kv = byte_level("gpt-2");
    assert_eq!(encode(&kv, "a<s>12two words1"), [3, 4, 2, 5, 0]);
    let restored = restore(path(), &kv).unwrap();
    assert!(restored.json["model"]["vocab"].get("[PAD6]").is_none(), "a row without a token is none");
    let special: Vec<_> = restored.json["added_tokens"].as_array().unwrap().iter().map(|t| &t["special"]).collect();
    assert_eq!(special, [true, false]);
}

#[test]
fn a_text_begins_as_the_file_says_or_as_its_kind_does() {
    let bos = |kv: &Kv| {
        let encoder = Encoder::keys(path(), kv).unwrap();
        assert_eq!(encoder.bos, restore(path(), kv).unwrap().bos);
        encoder.bos
    };
    let with = |mut kv: Kv, flag: bool| {
        kv.set("tokenizer.ggml.add_bos_token", flag);
        kv
    };
    assert_eq!(bos(&byte_level("gpt-2")), None);
    assert_eq!(bos(&byte_level("llama-bpe")), Some(4));
    assert_eq!(bos(&with(byte_level("llama-bpe"), false)), None);
    assert_eq!(bos(&with(byte_level("gpt-2"), true)), Some(4));
    // llama.cpp takes id 1 where nothing is said.
    assert_eq!(bos(&pieces()), Some(1));
    assert_eq!(bos(&with(pieces(), false)), None);
    let mut ends = with(pieces(), false);
    ends.set("tokenizer.ggml.add_eos_token", true);
    assert_eq!(bos(&ends), None, "what ends a text does not begin it");
    let template = restore(path(), &ends).unwrap().json["post_processor"]["single"].clone();
    assert_eq!(template[1]["SpecialToken"]["id"], "</s>");
}

#[test]
fn a_template_that_only_ends_a_text_begins_none() {
    let single = |entries: Value| {
        json!({ "type": "TemplateProcessing", "single": entries, "pair": [],
        "special_tokens": { "<s>": { "id": "<s>", "ids": [4], "tokens": ["<s>"] }, "</s>": { "id": "</s>", "ids": [5], "tokens": ["</s>"] } } })
    };
    let text = json!({ "Sequence": { "id": "A", "type_id": 0 } });
    let mark = |id: &str| json!({ "SpecialToken": { "id": id, "type_id": 0 } });
    let bos = |processor: Value| {
        let folder = Folder::new(6).json("tokenizer.json", &changed("/post_processor", processor));
        Encoder::folder(folder.dir.path()).unwrap().bos
    };
    assert_eq!(bos(Value::Null), None);
    assert_eq!(bos(single(json!([text, mark("</s>")]))), None);
    assert_eq!(bos(single(json!([mark("<s>"), text]))), Some(4));
    assert_eq!(bos(single(json!([mark("<s>"), text, mark("</s>")]))), Some(4));
}

/// Settings for batches, which some files keep, are not for texts of any length.
#[test]
fn all_of_a_text_is_encoded_and_nothing_else() {
    let mut json = tokenizer();
    json["truncation"] = json!({ "direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0 });
    json["padding"] = json!({ "strategy": { "Fixed": 9 }, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 4, "pad_type_id": 0, "pad_token": "<s>" });
    let folder = Folder::new(6).json("tokenizer.json", &json);
    let encoder = Encoder::folder(folder.dir.path()).unwrap();
    assert_eq!(encoder.encode("aababb").unwrap(), [0, 2, 2, 1]);
    assert_eq!(encoder.bos, None);
}

/// The class of Llama's tokenizer does what its flag says, whatever tokenizer.json does.
#[test]
fn some_classes_go_by_their_flag() {
    for (class, bos) in [("LlamaTokenizerFast", Some(4)), ("PreTrainedTokenizerFast", None)] {
        let config = json!({ "tokenizer_class": class, "add_bos_token": true, "bos_token": "<s>" });
        let folder = Folder::byte_level(6).json("tokenizer_config.json", &config);
        assert_eq!(Encoder::folder(folder.dir.path()).unwrap().bos, bos, "{class}");
    }
}

#[test]
fn pieces_are_joined_by_their_scores() {
    // Best is ab, before the space can take the a.
    assert_eq!(encode(&pieces(), "ab"), [9]);
    assert_eq!(encode(&pieces(), "a b\n"), [8, 4, 6, 3]);
    let mut bare = pieces();
    bare.set("tokenizer.ggml.add_space_prefix", false);
    assert_eq!(encode(&bare, "ab</s>"), [7, 2]);
    let merges = restore(path(), &bare).unwrap().json["model"]["merges"].clone();
    let cuts = [["a", "b"], ["\u{2581}", "a"], ["\u{2581}a", "b"], ["\u{2581}", "ab"]];
    assert_eq!(merges, json!(cuts));
}

#[test]
fn a_sentencepiece_model_says_the_same() {
    let keys = pieces();
    let restored = restore(path(), &keys).unwrap();
    let folder = Folder::new(10)
        .text("tokenizer.model", restored.pieces.unwrap())
        .json("tokenizer.json", &restored.json)
        .json("tokenizer_config.json", &restored.config.into());
    let again = folder.read().unwrap().kv;
    for (key, value) in keys.iter() {
        assert_eq!(again.get(key), Some(value), "{key}");
    }
    // Without one for the unknown SentencePiece does not load a model.
    let mut kinds = keys.i32s("tokenizer.ggml.token_type").unwrap().to_vec();
    kinds[0] = 3;
    let mut without = keys;
    without.set("tokenizer.ggml.token_type", kinds);
    assert!(restore(path(), &without).unwrap().pieces.is_none());
}

#[test]
fn templates_come_back_by_name() {
    let mut kv = byte_level("gpt-2");
    kv.set("tokenizer.chat_template", "one");
    assert_eq!(restore(path(), &kv).unwrap().config["chat_template"], "one");
    kv.set("tokenizer.chat_templates", vec!["tools".to_owned()]);
    kv.set("tokenizer.chat_template.tools", "two");
    let both = json!([{ "name": "default", "template": "one" }, { "name": "tools", "template": "two" }]);
    assert_eq!(restore(path(), &kv).unwrap().config["chat_template"], both);
}

#[test]
fn what_does_not_hold_is_refused_by_name() {
    let with = |key: &str, value: planish_formats::gguf::Value| {
        let mut kv = byte_level("gpt-2");
        kv.set(format!("tokenizer.ggml.{key}"), value);
        kv
    };
    refused(&with("model", "t5".into()), Kind::Unsupported, &["kind t5"]);
    refused(&with("model", "rwkv".into()), Kind::Unsupported, &["kind rwkv"]);
    refused(&with("token_type", vec![1i32, 1].into()), Kind::Bad, &["token_type", "2 x i32"]);
    refused(&with("token_type", vec![1i32, 1, 1, 1, 3, 4, 9].into()), Kind::Bad, &["token_type[6]", "9"]);
    refused(&with("scores", vec![f32::NAN; 7].into()), Kind::Bad, &["scores[0]"]);
    refused(&with("merges", vec!["1 a".to_owned()].into()), Kind::Bad, &["merges[0]", "\"1a\""]);
    refused(&with("merges", vec!["12".to_owned()].into()), Kind::Bad, &["merges[0]"]);
    refused(&with("tokens", vec!["1".to_owned(); 7].into()), Kind::Bad, &["\"1\"", "0 and 1"]);
    refused(&Kv::new(), Kind::Bad, &["tokenizer.ggml.model"]);
}

/// Every kind of folder gives a tokenizer that can be run, and so does a file.
#[test]
fn any_checkpoint_has_an_encoder() {
    let weights = || {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/safetensors/sound.safetensors");
        std::fs::read(source).unwrap()
    };
    let vocab = json!({ "a": 0, "b": 1, "ab": 2, "Ġ": 3, "<|endoftext|>": 4 });
    let folder = Folder::new(5)
        .text("model.safetensors", weights())
        .json("config.json", &json!({ "model_type": "gpt2", "vocab_size": 5 }))
        .json("vocab.json", &vocab)
        .text("merges.txt", "#version: 0.2\na b\n");
    let encoder = Encoder::of(&Checkpoint::open(folder.dir.path()).unwrap()).unwrap();
    assert_eq!(encoder.encode("ab a<|endoftext|>").unwrap(), [2, 3, 0, 4]);

    let folder = folder.json("tokenizer.json", &tokenizer());
    let encoder = Encoder::of(&Checkpoint::open(folder.dir.path()).unwrap()).unwrap();
    assert_eq!(encoder.encode("ab</s>").unwrap(), [2, 5]);

    let file = folder.dir.path().join("model.gguf");
    planish_formats::gguf::create(&file, &byte_level("gpt-2"), &[], None).unwrap().finish().unwrap();
    let encoder = Encoder::of(&Checkpoint::open(&file).unwrap()).unwrap();
    assert_eq!(encoder.encode("12<s>").unwrap(), [2, 4]);
}
