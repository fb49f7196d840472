//! The keys of a GGUF's tokenizer, checked against each other.

use std::collections::HashMap;
use std::path::Path;

use planish_formats::gguf::{Kv, Value as Gguf};

use super::super::Error;
use super::super::special::Role;
use super::super::table::Kind;
use super::Around;

/// A token of the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'a> {
    pub(super) id: u32,
    pub(super) text: &'a str,
    pub(super) kind: Kind,
    /// Higher is merged first; 0 where the file has no scores.
    pub(super) score: f32,
}

impl Token<'_> {
    /// Whether it is found in the text before anything else is done to it.
    pub(super) fn added(&self) -> bool {
        matches!(self.kind, Kind::Control | Kind::UserDefined | Kind::Unknown)
    }
}

/// The keys, read.
pub(super) struct Keys<'a> {
    pub(super) path: &'a Path,
    pub(super) kv: &'a Kv,
    /// `tokenizer.ggml.model`.
    pub(super) model: &'a str,
    /// All tokens but those that fill the embedding up.
    pub(super) tokens: Vec<Token<'a>>,
    pub(super) warnings: Vec<String>,
    ids: HashMap<&'a str, u32>,
    texts: &'a [String],
}

impl<'a> Keys<'a> {
    pub(super) fn read(path: &'a Path, kv: &'a Kv) -> Result<Keys<'a>, Error> {
        let missing = |key: &str, expected| wrong(path, key, None, expected);
        let model = kv.str("tokenizer.ggml.model").ok_or_else(|| missing("model", "the kind of tokenizer"))?;
        let texts = kv.strings("tokenizer.ggml.tokens").ok_or_else(|| missing("tokens", "the tokens"))?;
        let kinds = list(path, kv, "token_type", texts.len(), Kv::i32s)?;
        let scores = list(path, kv, "scores", texts.len(), Kv::f32s)?;
        let mut tokens = Vec::with_capacity(texts.len());
        let mut ids: HashMap<&str, u32> = HashMap::with_capacity(texts.len());
        for (at, text) in texts.iter().enumerate() {
            let kind = match kinds.map(|kinds| kinds[at]) {
                None => Kind::Normal,
                Some(number) => {
                    Kind::of(number).ok_or_else(|| wrong_item(path, "token_type", at, &number, "1 to 6"))?
                }
            };
            let score = scores.map_or(0.0, |scores| scores[at]);
            if !score.is_finite() {
                return Err(wrong_item(path, "scores", at, &score, "a finite score"));
            }
            let id = u32::try_from(at).map_err(|_| wrong_item(path, "tokens", at, &text, "an id of 32 bits"))?;
            // Ids without a token, as converters name them.
            if text.is_empty() || (kind == Kind::Unused && *text == format!("[PAD{id}]")) {
                continue;
            }
            if let Some(first) = ids.insert(text, id) {
                let (path, first) = (path.to_owned(), first as usize);
                return Err(Error::SameText { path, text: text.clone(), first, second: at });
            }
            tokens.push(Token { id, text, kind, score });
        }
        Ok(Keys { path, kv, model, tokens, warnings: vec![], ids, texts })
    }

    /// The id of the token with this text.
    pub(super) fn find(&self, text: &str) -> Option<u32> {
        self.ids.get(text).copied()
    }

    /// The token that the file names for `role`.
    pub(super) fn special(&self, role: Role) -> Option<(u32, &'a str)> {
        self.token(u32::try_from(self.kv.unsigned(role.key()?)?).ok()?)
    }

    /// The token under `id`, if it has a text.
    pub(super) fn token(&self, id: u32) -> Option<(u32, &'a str)> {
        let text = self.texts.get(usize::try_from(id).ok()?)?;
        (!text.is_empty()).then_some((id, text.as_str()))
    }

    /// `tokenizer.ggml.{key}`, a bool.
    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        self.kv.bool(&format!("tokenizer.ggml.{key}"))
    }

    /// What stands around a text: the named tokens where the file's `add_*_token` say so, or `begins` where it is silent.
    pub(super) fn around(&self, begins: bool) -> Around<'a> {
        let bos = self.flag("add_bos_token").unwrap_or(begins);
        let eos = self.flag("add_eos_token").unwrap_or(false);
        Around {
            bos: bos.then(|| self.special(Role::Bos)).flatten(),
            eos: eos.then(|| self.special(Role::Eos)).flatten(),
            between: false,
        }
    }
}

/// An array with an element for every token, if it is there.
fn list<'a, T>(
    path: &Path,
    kv: &'a Kv,
    key: &str,
    tokens: usize,
    read: impl Fn(&'a Kv, &str) -> Option<&'a [T]>,
) -> Result<Option<&'a [T]>, Error> {
    let full = format!("tokenizer.ggml.{key}");
    let Some(there) = kv.get(&full) else { return Ok(None) };
    match read(kv, &full) {
        Some(list) if list.len() == tokens => Ok(Some(list)),
        _ => Err(wrong(path, key, Some(there), "one number for every token")),
    }
}

fn wrong(path: &Path, key: &str, found: Option<&Gguf>, expected: &'static str) -> Error {
    let found = match found {
        None => "missing".to_owned(),
        Some(Gguf::Array(array)) => format!("{} x {}", array.len(), array.type_name()),
        Some(value) => value.type_name().to_owned(),
    };
    Error::Field { path: path.to_owned(), field: format!("tokenizer.ggml.{key}"), found, expected }
}

fn wrong_item(path: &Path, key: &str, at: usize, found: &dyn std::fmt::Debug, expected: &'static str) -> Error {
    let field = format!("tokenizer.ggml.{key}[{at}]");
    Error::Field { path: path.to_owned(), field, found: format!("{found:?}"), expected }
}
