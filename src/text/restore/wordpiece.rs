//! `bert`: WordPiece. llama.cpp marks where a word starts (U+2581), BERT where it goes on (`##`).

use serde_json::{Map, Value, json};

use super::super::special::Role;
use super::super::table::Kind;
use super::config;
use super::keys::{Keys, Token};
use super::{Around, Built};

pub(super) fn build<'a>(keys: &Keys<'a>) -> Built<'a> {
    let added: Vec<Value> = keys.tokens.iter().filter(|t| t.added()).map(|t| config::added(t, false)).collect();
    let vocab: Map<String, Value> = keys.tokens.iter().map(|token| (original(token), token.id.into())).collect();
    let named = |role, text| keys.special(role).or_else(|| keys.find(text).and_then(|id| keys.token(id)));
    // Both stand around every text, whatever the keys say of adding them.
    let around = Around { bos: named(Role::Bos, "[CLS]"), eos: named(Role::Sep, "[SEP]"), between: true };
    let lowercase = keys.flag("normalizer.lowercase").unwrap_or(true);
    let json = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": true,
            "handle_chinese_chars": true,
            "strip_accents": keys.flag("normalizer.strip_accents"),
            "lowercase": lowercase,
        },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": config::post_processor(&around),
        "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": true },
        "model": {
            "type": "WordPiece",
            "unk_token": named(Role::Unk, "[UNK]").map_or("[UNK]", |(_, text)| text),
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": vocab,
        },
    });
    Built { json, around, clean: Some(true), pieces: None }
}

/// The token as BERT writes it.
fn original(token: &Token) -> String {
    match token.text.strip_prefix('\u{2581}') {
        Some(start) => start.to_owned(),
        None if token.kind != Kind::Normal => token.text.to_owned(),
        // Placeholders; converters leave them alone.
        None if token.text.starts_with('[') && token.text.ends_with(']') => token.text.to_owned(),
        None => format!("##{}", token.text),
    }
}
