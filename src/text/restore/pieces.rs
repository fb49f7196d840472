//! `llama`: BPE over SentencePiece's alphabet.
//!
//! llama.cpp joins the two neighbours whose joint text has the highest score. tokenizer.json joins by a list of pairs: so
//! every way to cut a piece in two pieces becomes a pair, those of the highest score first.

use serde_json::{Map, Value, json};

use super::super::special::Role;
use super::super::table;
use super::super::table::Kind;
use super::config;
use super::keys::Keys;
use super::{Built, sentencepiece};

/// SentencePiece's space.
const SPACE: &str = "\u{2581}";
/// The ids that llama.cpp takes for these where the file names none.
const DEFAULT_IDS: [(Role, u32); 2] = [(Role::Bos, 1), (Role::Eos, 2)];

pub(super) fn build<'a>(keys: &Keys<'a>) -> Built<'a> {
    let prefix = keys.flag("add_space_prefix").unwrap_or(true);
    let unknown = unknown(keys);
    let added: Vec<Value> = keys.tokens.iter().filter(|t| t.added()).map(|t| config::added(t, false)).collect();
    let vocab: Map<String, Value> = keys.tokens.iter().map(|token| (token.text.to_owned(), token.id.into())).collect();
    let mut around = keys.around(true);
    for (role, id) in DEFAULT_IDS {
        let named = role.key().is_some_and(|key| keys.kv.get(key).is_some());
        let add = keys.flag(&format!("add_{}_token", role.name())).unwrap_or(role == Role::Bos);
        if add && !named {
            let slot = if role == Role::Bos { &mut around.bos } else { &mut around.eos };
            *slot = keys.token(id);
        }
    }
    let escape = json!({ "type": "Replace", "pattern": { "String": " " }, "content": SPACE });
    let normalizer = if prefix {
        json!({ "type": "Sequence", "normalizers": [{ "type": "Prepend", "prepend": SPACE }, escape] })
    } else {
        escape
    };
    let mut decoders = vec![
        json!({ "type": "Replace", "pattern": { "String": SPACE }, "content": " " }),
        json!({ "type": "ByteFallback" }),
        json!({ "type": "Fuse" }),
    ];
    if prefix {
        decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
    }
    let json = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": normalizer,
        "pre_tokenizer": null,
        "post_processor": config::post_processor(&around),
        "decoder": { "type": "Sequence", "decoders": decoders },
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": unknown,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": true,
            "byte_fallback": true,
            "ignore_merges": false,
            "vocab": vocab,
            "merges": merges(keys),
        },
    });
    Built { json, around, clean: Some(false), pieces: sentencepiece::model(keys, prefix) }
}

/// The text of the token for what no piece covers.
fn unknown<'a>(keys: &Keys<'a>) -> Option<&'a str> {
    let marked = || keys.tokens.iter().find(|token| token.kind == Kind::Unknown).map(|token| token.text);
    keys.special(Role::Unk).map(|(_, text)| text).or_else(marked)
}

/// Pairs of pieces that join to a piece, the first to be joined first.
fn merges(keys: &Keys) -> Vec<Value> {
    let part = |text: &str| keys.find(text).filter(|_| table::byte(text).is_none());
    let mut merges = vec![];
    for token in keys.tokens.iter().filter(|token| matches!(token.kind, Kind::Normal | Kind::Unused)) {
        let cuts = token.text.char_indices().skip(1).map(|(at, _)| token.text.split_at(at));
        merges.extend(cuts.filter_map(|(left, right)| Some((token, left, right, part(left)?, part(right)?))));
    }
    // The order of transformers' own conversion.
    merges.sort_by(|a, b| {
        let ids = (a.3, a.4).cmp(&(b.3, b.4));
        let lengths = (b.1.chars().count(), b.2.chars().count()).cmp(&(a.1.chars().count(), a.2.chars().count()));
        b.0.score.total_cmp(&a.0.score).then(lengths).then(a.0.id.cmp(&b.0.id)).then(ids)
    });
    merges.into_iter().map(|(_, left, right, ..)| json!([left, right])).collect()
}
