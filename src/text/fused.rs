//! BPE over SentencePiece's alphabet in tokenizer.json, as Llama 2 and Mistral have it: becomes llama.cpp's `llama`.
//!
//! llama.cpp joins the pair whose result has the highest score; tokenizer.json joins the pair of the earliest merge. So a
//! token's score is minus the rank of the first merge that makes it.

use std::collections::HashMap;

use planish_formats::gguf::Kv;
use serde_json::Value;

use super::byte_pairs::{pairs, put_added, put_vocabulary};
use super::folder::{Document, Node};
use super::sources::{Sources, parts};
use super::table::{self, Ids, Kind, Place, Table, Token};
use super::{Base, Error, SpecialIds, added};

/// SentencePiece's space.
const SPACE: &str = "\u{2581}";

pub(super) fn read(sources: &Sources, json: &Document) -> Result<Base, Error> {
    let prefix = prefixed(json)?;
    let model = json.root().need("model", "the model of the tokenizer")?;
    let vocab = model.need("vocab", "the vocabulary")?;
    let mut table = Table::new(sources.rows);
    let ids = put_vocabulary(&mut table, &vocab)?;
    let merges = model.need("merges", "the merges")?;
    let ranks = ranks(&ids, &merges)?;
    let unknown = model.text("unk_token")?;
    for (&text, &id) in &ids {
        let (kind, score) = match ranks.get(text) {
            _ if table::byte(text).is_some() => (Kind::Byte, 0.0),
            _ if unknown == Some(text) => (Kind::Unknown, 0.0),
            Some(&rank) => (Kind::Normal, -(rank as f32)),
            // No merge makes it, so it must not be preferred to anything that a merge makes.
            None => (Kind::Normal, -(ranks.len() as f32) - 1.0),
        };
        let place = Place { path: &json.path, field: &|| format!("model.vocab[{text:?}]") };
        table.replace(&place, id, Token { text: text.to_owned(), score, kind })?;
    }
    put_added(&mut table, &added::all(sources)?, &ids, false)?;

    let mut own = Kv::new();
    if let Some(prefix) = sources.config_flag("add_prefix_space")?.or((!prefix).then_some(false)) {
        own.set("tokenizer.ggml.add_space_prefix", prefix);
    }
    let find = |text| ids.get(text).and_then(|&id| u32::try_from(id).ok());
    let ids = SpecialIds { unk: unknown.and_then(find), ..SpecialIds::default() };
    let (path, pre) = (json.path.clone(), "default".to_owned());
    Ok(Base { path, model: "llama", pre, table, scored: true, merges: None, ids, own })
}

/// The first merge that makes each text.
fn ranks(ids: &Ids<'_>, merges: &Node) -> Result<HashMap<String, usize>, Error> {
    let mut ranks = HashMap::new();
    for (rank, (left, right)) in pairs(merges)?.into_iter().enumerate() {
        let joined = format!("{left}{right}");
        if let Some(missing) = [left, right, &joined].into_iter().find(|text| !ids.contains_key(text)) {
            let (merge, missing) = (format!("{left} {right}"), missing.to_owned());
            let field = format!("model.merges[{rank}]");
            return Err(Error::Merge { path: merges.path.to_owned(), field, merge, missing });
        }
        ranks.entry(joined).or_insert(rank);
    }
    Ok(ranks)
}

/// Whether a space is put before the text. Fails unless spaces become U+2581 and nothing else is done to the text: the
/// runtime can do no more.
fn prefixed(json: &Document) -> Result<bool, Error> {
    let (mut prefix, mut escaped) = (false, false);
    let mut refuse = None;
    for (key, node) in [("normalizer", json.get("normalizer")), ("pre_tokenizer", json.get("pre_tokenizer"))] {
        for part in parts(node.as_ref().map(|node| node.value)) {
            let text = |key: &str| part.get(key).and_then(Value::as_str);
            let pattern = part.get("pattern").and_then(|pattern| pattern.get("String")).and_then(Value::as_str);
            match text("type") {
                Some("Prepend") if text("prepend") == Some(SPACE) => prefix = true,
                Some("Replace") if pattern == Some(" ") && text("content") == Some(SPACE) => escaped = true,
                Some("Metaspace") if text("replacement") == Some(SPACE) => {
                    let old = part.get("add_prefix_space").and_then(Value::as_bool).unwrap_or(true);
                    prefix |= text("prepend_scheme").map_or(old, |scheme| scheme != "never");
                    escaped = true;
                }
                // Never finds a space: the normalizer has replaced them all.
                Some("Split") if pattern == Some(" ") && escaped => {}
                _ => refuse = Some((key, Value::Object(part.clone()).to_string())),
            }
        }
    }
    let supported = "replacing spaces by U+2581 and putting one before the text";
    match refuse {
        Some((field, found)) => Err(Error::Kind { path: json.path.clone(), field: field.into(), found, supported }),
        None if !escaped => {
            let (field, found) = ("normalizer".into(), "without a replacement of spaces".into());
            Err(Error::Kind { path: json.path.clone(), field, found, supported })
        }
        None => Ok(prefix),
    }
}
