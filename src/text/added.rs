//! Tokens that were added to a trained vocabulary: `tokenizer.json`'s list, `tokenizer_config.json`'s
//! `added_tokens_decoder`, and `added_tokens.json`.

use super::folder::{Document, Node};
use super::sources::Sources;
use super::table::{ADDED_SCORE, Kind, Token};
use super::{Error, byte_level};

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct Added<'a> {
    pub(super) id: u64,
    pub(super) text: &'a str,
    special: bool,
    normalized: bool,
    /// Where it stands.
    pub(super) node: Node<'a>,
}

impl<'a> Added<'a> {
    /// A special token that the class of the tokenizer implies; `node` is where its id stands.
    pub(super) fn special(id: u64, text: &'a str, node: Node<'a>) -> Added<'a> {
        Added { id, text, special: true, normalized: true, node }
    }

    /// The token as llama.cpp wants it: matched in the raw text, so written as it appears there.
    ///
    /// `byte_level`: the tokenizer decodes through the byte-level alphabet, as then do added texts that are not normalized.
    pub(super) fn token(&self, byte_level: bool) -> Token {
        let decoded = if byte_level && !self.normalized { byte_level::decode(self.text) } else { None };
        let text = decoded.unwrap_or_else(|| self.text.to_owned());
        if self.special || looks_special(&text) {
            return Token { text, score: ADDED_SCORE, kind: Kind::Control };
        }
        Token { text: text.replace('\u{2581}', " "), score: ADDED_SCORE, kind: Kind::UserDefined }
    }
}

/// Some checkpoints do not mark all of their control tokens. These are taken for such, as llama.cpp does.
fn looks_special(text: &str) -> bool {
    let framed = |start, end| text.starts_with(start) && text.ends_with(end);
    ["<pad>", "<mask>", "<2mass>", "[@BOS@]"].contains(&text)
        || framed("<|", "|>")
        || framed("<｜", "｜>")
        || framed("<unused", ">")
}

/// The `added_tokens` of tokenizer.json.
pub(super) fn listed(json: &Document) -> Result<Vec<Added<'_>>, Error> {
    let Some(list) = json.get("added_tokens") else { return Ok(Vec::new()) };
    list.items()?
        .map(|node| {
            let id = node.need("id", "a token id")?.id()?;
            one(node, id)
        })
        .collect()
}

/// The `added_tokens_decoder` of tokenizer_config.json: an object whose keys are ids.
pub(super) fn decoder(config: Option<&Document>) -> Result<Vec<Added<'_>>, Error> {
    let Some(node) = config.and_then(|config| config.get("added_tokens_decoder")) else { return Ok(Vec::new()) };
    let mut list = Vec::new();
    for (key, value) in node.object()? {
        let entry = Node { path: node.path, field: format!("added_tokens_decoder[{key:?}]"), value };
        let id = key.parse().map_err(|_| entry.wrong("a token id as the key"))?;
        list.push(one(entry, id)?);
    }
    Ok(list)
}

/// added_tokens.json: an object from texts to ids. These are not known to be special.
pub(super) fn plain(document: Option<&Document>) -> Result<Vec<Added<'_>>, Error> {
    let Some(document) = document else { return Ok(Vec::new()) };
    let root = document.root();
    let mut list = Vec::new();
    for (text, value) in root.object()? {
        let node = Node { path: root.path, field: format!("[{text:?}]"), value };
        list.push(Added { id: node.id()?, text, special: false, normalized: true, node });
    }
    Ok(list)
}

fn one(node: Node<'_>, id: u64) -> Result<Added<'_>, Error> {
    let text = node.need("content", "the text of the token")?.string()?;
    let special = node.flag("special")?.unwrap_or(false);
    Ok(Added { id, text, special, normalized: node.flag("normalized")?.unwrap_or(!special), node })
}

/// tokenizer.json's list, and what only tokenizer_config.json or added_tokens.json have, in this order of rank.
pub(super) fn all<'a>(sources: &'a Sources) -> Result<Vec<Added<'a>>, Error> {
    let mut list = sources.json.as_ref().map_or(Ok(Vec::new()), listed)?;
    let mut seen: std::collections::HashSet<u64> = list.iter().map(|added| added.id).collect();
    for added in decoder(sources.config.as_ref())? {
        if seen.insert(added.id) {
            list.push(added);
        }
    }
    if sources.json.is_none() {
        list.extend(plain(sources.added.as_ref())?.into_iter().filter(|added| seen.insert(added.id)));
    }
    Ok(list)
}
