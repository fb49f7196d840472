//! BERT's WordPiece, from tokenizer.json or vocab.txt: becomes llama.cpp's `bert`.
//!
//! llama.cpp marks where a word starts (U+2581), BERT where it goes on (`##`): the texts are rewritten.

use std::path::PathBuf;

use planish_formats::gguf::Kv;
use serde_json::Value;

use super::byte_pairs::{put_added, put_vocabulary};
use super::folder::Document;
use super::sources::{Sources, parts};
use super::table::{Kind, Place, Table, Token};
use super::{Base, Error, SpecialIds, added};

/// BERT's control tokens, for vocabularies without a list of added tokens.
const CONTROL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
const LOWERCASE: &str = "tokenizer.ggml.normalizer.lowercase";
const STRIP_ACCENTS: &str = "tokenizer.ggml.normalizer.strip_accents";

pub(super) fn from_json(sources: &Sources, json: &Document) -> Result<Base, Error> {
    let model = json.root().need("model", "the model of the tokenizer")?;
    if let Some(node) = model.get("continuing_subword_prefix").filter(|node| node.value != "##") {
        return Err(node.unsupported("words that go on with ##"));
    }
    let mut table = Table::new(sources.rows);
    let ids = put_vocabulary(&mut table, &model.need("vocab", "the vocabulary")?)?;
    put_added(&mut table, &added::all(sources)?, &ids, false)?;

    let mut own = Kv::new();
    for part in parts(json.get("normalizer").map(|node| node.value)) {
        let flag = |key: &str| part.get(key).and_then(Value::as_bool);
        let (lowercase, strip) = match part.get("type").and_then(Value::as_str) {
            Some("BertNormalizer") => (flag("lowercase"), flag("strip_accents")),
            Some("Lowercase") => (Some(true), None),
            Some("StripAccents") => (None, Some(true)),
            _ => (None, None),
        };
        for (key, value) in [(LOWERCASE, lowercase), (STRIP_ACCENTS, strip)] {
            if let Some(value) = value {
                own.set(key, value);
            }
        }
    }
    base(sources, json.path.clone(), &table, own)
}

pub(super) fn from_text(sources: &Sources, path: PathBuf, text: &str) -> Result<Base, Error> {
    let mut table = Table::new(sources.rows);
    for (id, line) in text.lines().enumerate() {
        let place = Place { path: &path, field: &|| format!("line {}", id + 1) };
        let kind = if CONTROL.contains(&line) { Kind::Control } else { Kind::Normal };
        table.put(&place, id as u64, Token { kind, ..Token::normal(line) })?;
    }
    for added in added::all(sources)? {
        let place = Place { path: added.node.path, field: &|| added.node.field.clone() };
        table.replace(&place, added.id, added.token(false))?;
    }
    let mut own = Kv::new();
    // The tokenizer lowers unless it is told not to.
    own.set(LOWERCASE, sources.config_flag("do_lower_case")?.unwrap_or(true));
    if let Some(strip) = sources.config_flag("strip_accents")? {
        own.set(STRIP_ACCENTS, strip);
    }
    base(sources, path, &table, own)
}

fn base(sources: &Sources, path: PathBuf, table: &Table, mut own: Kv) -> Result<Base, Error> {
    let mut marked = Table::new(table.rows());
    for (id, token) in table.iter() {
        let text = match token.text.strip_prefix("##") {
            _ if token.kind == Kind::Control => token.text.clone(),
            Some(rest) => rest.to_owned(),
            None => format!("\u{2581}{}", token.text),
        };
        let place = Place { path: &path, field: &|| format!("token {:?}", token.text) };
        marked.put(&place, id.into(), Token { text, ..token.clone() })?;
    }
    // Kinds of token in the sense of BERT: first and second text.
    let types = sources.model.get("type_vocab_size").map_or(Ok(1), |node| node.id())?;
    own.set("tokenizer.ggml.token_type_count", types as u32);
    let ids = SpecialIds::default();
    let pre = "default".to_owned();
    Ok(Base { path, model: "bert", pre, table: marked, scored: false, merges: None, ids, own })
}
