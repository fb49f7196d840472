//! The tiny models of fixtures/golden-logits with a tokenizer: their 96 tokens are the newline and the printable ASCII
//! characters.

#![allow(dead_code)]

use std::path::{Path, PathBuf};

use serde_json::{Map, json};

/// The folders of all of them.
#[allow(dead_code, reason = "each test binary uses its part")]
pub(crate) fn models() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/golden-logits");
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("fixtures").map(|entry| entry.expect("an entry").path()).collect();
    folders.sort();
    folders
}

/// The checkpoint at `from` with a tokenizer beside it, in `to`.
pub(crate) fn lettered(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(from.join(name), to.join(name)).expect("a copy");
    }
    // A byte-level alphabet has other characters for the newline and the space.
    let pieces = ['\u{10a}', '\u{120}'].into_iter().chain('!'..='~').enumerate();
    let vocab: Map<String, serde_json::Value> = pieces.map(|(id, piece)| (piece.to_string(), json!(id))).collect();
    let level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": level, "post_processor": null, "decoder": level,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "vocab": vocab, "merges": []},
    });
    std::fs::write(to.join("tokenizer.json"), tokenizer.to_string()).expect("written");
    // A model that guesses masked tokens needs one that masks.
    let config = std::fs::read_to_string(to.join("config.json")).expect("a configuration");
    if ["ForMaskedLM", "ForPreTraining"].iter().any(|class| config.contains(class)) {
        std::fs::write(to.join("tokenizer_config.json"), r#"{"mask_token": "~"}"#).expect("written");
    }
}
