//! Tokens by id, as many as the embedding has rows.

use std::collections::HashMap;
use std::path::Path;

use foldhash::fast::RandomState;

use super::Error;

/// Ids by text. There are a hundred thousand and more, and each is looked up several times: the standard hash would take
/// most of the time of reading a tokenizer.
pub(super) type Ids<'a> = HashMap<&'a str, u64, RandomState>;

/// What a token is to the tokenizer, by GGUF's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}

impl Kind {
    /// The kind with this number.
    pub(super) fn of(number: i32) -> Option<Kind> {
        [Kind::Normal, Kind::Unknown, Kind::Control, Kind::UserDefined, Kind::Unused, Kind::Byte]
            .into_iter()
            .find(|kind| *kind as i32 == number)
    }
}

/// Score of an id that no token has.
const UNUSED_SCORE: f32 = -10000.0;
/// Score of a token that was added to a trained vocabulary.
pub(super) const ADDED_SCORE: f32 = -1000.0;

#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) score: f32,
    pub(super) kind: Kind,
}

impl Token {
    /// A token of the trained vocabulary.
    pub(super) fn normal(text: &str) -> Token {
        Token { text: text.to_owned(), score: 0.0, kind: Kind::Normal }
    }
}

/// Where a token stands, for messages. The field is only written out when something is wrong.
pub(super) struct Place<'a> {
    pub(super) path: &'a Path,
    pub(super) field: &'a dyn Fn() -> String,
}

pub(super) struct Table {
    slots: Vec<Option<Token>>,
}

impl Table {
    pub(super) fn new(rows: usize) -> Table {
        Table { slots: vec![None; rows] }
    }

    pub(super) fn rows(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn get(&self, id: u64) -> Option<&Token> {
        self.slots.get(usize::try_from(id).ok()?)?.as_ref()
    }

    /// All tokens with their ids, in the order of ids.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Token)> {
        self.slots.iter().enumerate().filter_map(|(id, slot)| Some((id as u32, slot.as_ref()?)))
    }

    /// The first id with this text.
    pub(super) fn find(&self, text: &str) -> Option<u32> {
        self.iter().find(|(_, token)| token.text == text).map(|(id, _)| id)
    }

    fn slot(&mut self, place: &Place, id: u64) -> Result<&mut Option<Token>, Error> {
        let rows = self.slots.len();
        usize::try_from(id).ok().and_then(|at| self.slots.get_mut(at)).ok_or_else(|| Error::OutOfRows {
            path: place.path.to_owned(),
            field: (place.field)(),
            id,
            rows,
        })
    }

    /// Puts a token where none is yet.
    pub(super) fn put(&mut self, place: &Place, id: u64, token: Token) -> Result<(), Error> {
        let slot = self.slot(place, id)?;
        if let Some(there) = slot {
            let (path, field, other) = (place.path.to_owned(), (place.field)(), there.text.clone());
            return Err(Error::SameId { path, field, id, other });
        }
        *slot = Some(token);
        Ok(())
    }

    /// Puts a token, whatever was there.
    pub(super) fn replace(&mut self, place: &Place, id: u64, token: Token) -> Result<(), Error> {
        *self.slot(place, id)? = Some(token);
        Ok(())
    }

    /// Names the ids that have no token `[PADn]`. Every text has to be there once: llama.cpp aborts otherwise.
    ///
    /// `path` is the file that most tokens came from.
    pub(super) fn fill(self, path: &Path, warnings: &mut Vec<String>) -> Result<Vec<Token>, Error> {
        let last = self.slots.iter().rposition(Option::is_some).map_or(0, |at| at + 1);
        let holes = self.slots[..last].iter().filter(|slot| slot.is_none()).count();
        if holes > 0 {
            let first = self.slots.iter().position(Option::is_none).unwrap_or(0);
            warnings.push(format!("{}: {holes} ids have no token (the first is {first})", path.display()));
        }
        let pad = |id| Token { text: format!("[PAD{id}]"), score: UNUSED_SCORE, kind: Kind::Unused };
        let tokens: Vec<Token> =
            self.slots.into_iter().enumerate().map(|(id, slot)| slot.unwrap_or_else(|| pad(id))).collect();
        let mut seen = Ids::with_capacity_and_hasher(tokens.len(), RandomState::default());
        for (second, token) in tokens.iter().enumerate().filter(|(_, token)| !token.text.is_empty()) {
            if let Some(first) = seen.insert(token.text.as_str(), second as u64) {
                return Err(Error::SameText {
                    path: path.to_owned(),
                    text: token.text.clone(),
                    first: first as usize,
                    second,
                });
            }
        }
        Ok(tokens)
    }
}

/// The byte that a token text of the form `<0xNN>` stands for.
pub(super) fn byte(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    let two = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    if two { u8::from_str_radix(digits, 16).ok() } else { None }
}
