//! Rules of the tokenizer's keys, one by one, on tokenizers of a few tokens; and what is refused.

mod pieces;
mod refusals;
mod restored;
mod rules;

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
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        "post_processor": null,
        "decoder": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true },
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
