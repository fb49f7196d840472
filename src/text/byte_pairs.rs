//! Byte-level BPE: GPT-2's kind, from tokenizer.json or from vocab.json with merges.txt.

use std::path::Path;

use foldhash::fast::RandomState;
use planish_formats::gguf::Kv;
use rayon::prelude::*;

use super::added::{self, Added};
use super::byte_level;
use super::folder::{self, Document, Node};
use super::pre;
use super::sources::{Sources, has_type};
use super::table::{Ids, Place, Table, Token};
use super::{Base, Error, SpecialIds};

/// Model types whose converter in llama.cpp also takes over `add_prefix_space`, whatever the kind of tokenizer.
const LLAMA_FAMILY: [&str; 3] = ["llama", "mistral", "mixtral"];

pub(super) fn from_json(sources: &Sources, json: &Document, warnings: &mut Vec<String>) -> Result<Base, Error> {
    let model = json.root().need("model", "the model of the tokenizer")?;
    for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
        if let Some(node) = model.get(key).filter(|node| node.value != "") {
            return Err(node.unsupported("no marks on parts of words"));
        }
    }
    let pre = match sources.pre {
        Some(name) => name.to_owned(),
        None => pre::of(sources, json, warnings)?.to_owned(),
    };
    let vocab = model.need("vocab", "the vocabulary")?;
    let decodes = has_type(json.get("decoder").map(|node| node.value), "ByteLevel");
    let (table, ids) = table(sources, &vocab, decodes)?;
    let merges = json_merges(&ids, &model.need("merges", "the merges")?)?;
    base(sources, json.path.clone(), pre, table, merges)
}

pub(super) fn from_vocab_and_merges(sources: &Sources, vocab: &Document) -> Result<Base, Error> {
    let path = sources.dir.join("merges.txt");
    let Some(text) = folder::text(sources.dir, "merges.txt")? else {
        return Err(Error::MissingFile { path, because: "vocab.json" });
    };
    let pre = match sources.pre {
        Some(name) => name.to_owned(),
        None => pre::of_class(sources)?.to_owned(),
    };
    let vocab_node = vocab.root();
    let (table, ids) = table(sources, &vocab_node, true)?;
    let merges = text_merges(&ids, &path, &text)?;
    base(sources, vocab.path.clone(), pre, table, merges)
}

fn base(
    sources: &Sources,
    path: std::path::PathBuf,
    pre: String,
    table: Table,
    merges: Vec<String>,
) -> Result<Base, Error> {
    let mut own = Kv::new();
    if let Some(prefix) = sources.config_flag("add_prefix_space")?
        && sources.model.root().text("model_type")?.is_some_and(|kind| LLAMA_FAMILY.contains(&kind))
    {
        own.set("tokenizer.ggml.add_space_prefix", prefix);
    }
    let ids = SpecialIds::default();
    Ok(Base { path, model: "gpt2", pre, table, scored: false, merges: Some(merges), ids, own })
}

/// The vocabulary and the added tokens, which may repeat entries of the vocabulary to give them a type.
fn table<'a>(sources: &Sources, vocab: &Node<'a>, decodes: bool) -> Result<(Table, Ids<'a>), Error> {
    let mut table = Table::new(sources.rows);
    let ids = put_vocabulary(&mut table, vocab)?;
    let mut list = added::all(sources)?;
    let end = default_end(sources, &ids, vocab)?;
    if let Some(end) = end.filter(|end| list.iter().all(|added| added.id != end.id)) {
        list.push(end);
    }
    put_added(&mut table, &list, &ids, decodes)?;
    Ok((table, ids))
}

/// Puts an object from texts to ids, and gives it back as a map.
pub(super) fn put_vocabulary<'a>(table: &mut Table, vocab: &Node<'a>) -> Result<Ids<'a>, Error> {
    let vocabulary = vocab.object()?;
    let mut ids = Ids::with_capacity_and_hasher(vocabulary.len(), RandomState::default());
    for (text, value) in vocabulary {
        let field = || format!("{}[{text:?}]", vocab.field);
        let Some(id) = value.as_u64() else {
            return Err(Node { path: vocab.path, field: field(), value }.wrong("a token id"));
        };
        table.put(&Place { path: vocab.path, field: &field }, id, Token::normal(text))?;
        ids.insert(text.as_str(), id);
    }
    Ok(ids)
}

/// Puts added tokens over or beside the vocabulary `ids`.
pub(super) fn put_added(table: &mut Table, list: &[Added], ids: &Ids<'_>, decodes: bool) -> Result<(), Error> {
    let mut seen = std::collections::HashSet::new();
    for added in list {
        let place = Place { path: added.node.path, field: &|| added.node.field.clone() };
        let repeats = ids.get(added.text) == Some(&added.id);
        if !repeats && let Some(&first) = ids.get(added.text) {
            let (path, text) = (added.node.path.to_owned(), added.text.to_owned());
            return Err(Error::SameText { path, text, first: first as usize, second: added.id as usize });
        }
        let first = seen.insert(added.id);
        if repeats && first {
            table.replace(&place, added.id, added.token(decodes))?;
        } else {
            table.put(&place, added.id, added.token(decodes))?;
        }
    }
    Ok(())
}

/// GPT-2's slow tokenizer has an end token that no file names.
fn default_end<'a>(sources: &Sources, ids: &Ids<'a>, vocab: &Node<'a>) -> Result<Option<Added<'a>>, Error> {
    if sources.json.is_some() || !matches!(sources.class()?, None | Some("GPT2Tokenizer" | "Qwen2Tokenizer")) {
        return Ok(None);
    }
    let end = ids.get_key_value("<|endoftext|>");
    Ok(end.map(|(text, &id)| Added::special(id, text, vocab.clone())))
}

/// The merge as GGUF has it, once its halves and what they make are known to be tokens.
fn check(ids: &Ids, path: &Path, field: impl Fn() -> String, left: &str, right: &str) -> Result<String, Error> {
    let mut merge = String::with_capacity(left.len() + right.len() + 1);
    merge.push_str(left);
    merge.push_str(right);
    for text in [left, right, &merge] {
        if !ids.contains_key(text) {
            let (merge, missing) = (format!("{left} {right}"), text.to_owned());
            return Err(Error::Merge { path: path.to_owned(), field: field(), merge, missing });
        }
    }
    if left.contains(' ') || right.contains(' ') {
        return Ok(format!("{} {}", left.replace(' ', byte_level::SPACE), right.replace(' ', byte_level::SPACE)));
    }
    merge.insert(left.len(), ' ');
    Ok(merge)
}

/// The two halves of every merge of tokenizer.json: `"a b"`, or `["a", "b"]` since transformers 4.45.
pub(super) fn pairs<'a>(merges: &Node<'a>) -> Result<Vec<(&'a str, &'a str)>, Error> {
    merges
        .array()?
        .iter()
        .enumerate()
        .map(|(i, value)| {
            let halves = match value {
                serde_json::Value::String(merge) => merge.split_once(' ').filter(|(_, right)| !right.contains(' ')),
                serde_json::Value::Array(pair) => match pair.as_slice() {
                    [left, right] => left.as_str().zip(right.as_str()),
                    _ => None,
                },
                _ => None,
            };
            halves.ok_or_else(|| merges.item(i, value).wrong("a pair of tokens"))
        })
        .collect()
}

fn json_merges(ids: &Ids, merges: &Node) -> Result<Vec<String>, Error> {
    let field = |i| move || format!("model.merges[{i}]");
    let pairs = pairs(merges)?;
    let checked: Vec<Result<String, Error>> =
        pairs.par_iter().enumerate().map(|(i, (left, right))| check(ids, merges.path, field(i), left, right)).collect();
    // The first error of the file, not of the threads.
    checked.into_iter().collect()
}

fn text_merges(ids: &Ids, path: &Path, text: &str) -> Result<Vec<String>, Error> {
    let mut merges = Vec::new();
    for (i, line) in text.lines().enumerate() {
        if line.is_empty() || (i == 0 && line.starts_with("#version")) {
            continue;
        }
        let field = || format!("line {}", i + 1);
        let Some((left, right)) = line.split_once(' ').filter(|(_, right)| !right.trim_end().contains(' ')) else {
            let found = format!("{line:?}");
            return Err(Error::Field { path: path.to_owned(), field: field(), found, expected: "two tokens" });
        };
        merges.push(check(ids, path, field, left, right.trim_end())?);
    }
    Ok(merges)
}
