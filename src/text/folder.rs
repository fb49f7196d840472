//! The tokenizer's files, read once, with errors that name file and field.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::Error;

/// The start of the placeholder that git-LFS leaves where a file was not downloaded.
const LFS: &[u8] = b"version https://git-lfs.github.com/spec/";

/// The bytes of `dir/name`, or `None` if there is no such file.
pub(super) fn bytes(dir: &Path, name: &str) -> Result<Option<Vec<u8>>, Error> {
    let path = dir.join(name);
    match std::fs::read(&path) {
        Ok(bytes) if bytes.starts_with(LFS) => Err(Error::LfsPointer { path }),
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Io { path, source }),
    }
}

/// The text of `dir/name`, or `None` if there is no such file.
pub(super) fn text(dir: &Path, name: &str) -> Result<Option<String>, Error> {
    let Some(bytes) = bytes(dir, name)? else { return Ok(None) };
    let text = String::from_utf8(bytes)
        .map_err(|e| Error::Text { path: dir.join(name), offset: e.utf8_error().valid_up_to() })?;
    Ok(Some(text))
}

/// A JSON file whose top level is an object.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) path: PathBuf,
    root: Value,
}

impl Document {
    /// Reads `dir/name`, or gives `None` if there is no such file.
    pub(super) fn read(dir: &Path, name: &str) -> Result<Option<Document>, Error> {
        let Some(bytes) = bytes(dir, name)? else { return Ok(None) };
        let path = dir.join(name);
        let root = match serde_json::from_slice::<Map<String, Value>>(&bytes) {
            Ok(map) => Value::Object(map),
            Err(source) => return Err(Error::Json { path, source }),
        };
        Ok(Some(Document { path, root }))
    }

    /// A document that is in memory already; `path` is for messages.
    pub(super) fn of(path: PathBuf, map: Map<String, Value>) -> Document {
        Document { path, root: Value::Object(map) }
    }

    pub(super) fn root(&self) -> Node<'_> {
        Node { path: &self.path, field: String::new(), value: &self.root }
    }

    /// [`Node::get`] at the top level.
    pub(super) fn get(&self, key: &str) -> Option<Node<'_>> {
        self.root().get(key)
    }
}

/// A value in a document that knows its place. JSON's `null` counts as absent.
#[derive(Clone, Debug)]
pub(super) struct Node<'a> {
    pub(super) path: &'a Path,
    pub(super) field: String,
    pub(super) value: &'a Value,
}

impl<'a> Node<'a> {
    /// The member `key`, if this is an object that has it and it is not `null`.
    pub(super) fn get(&self, key: &str) -> Option<Node<'a>> {
        let value = self.value.get(key).filter(|v| !v.is_null())?;
        let field = if self.field.is_empty() { key.to_owned() } else { format!("{}.{key}", self.field) };
        Some(Node { path: self.path, field, value })
    }

    /// The member `key`, which has to be there.
    pub(super) fn need(&self, key: &str, expected: &'static str) -> Result<Node<'a>, Error> {
        let missing = || Node { path: self.path, field: self.name(key), value: &Value::Null }.wrong(expected);
        self.get(key).ok_or_else(missing)
    }

    fn name(&self, key: &str) -> String {
        if self.field.is_empty() { key.to_owned() } else { format!("{}.{key}", self.field) }
    }

    pub(super) fn object(&self) -> Result<&'a Map<String, Value>, Error> {
        self.value.as_object().ok_or_else(|| self.wrong("an object"))
    }

    /// The elements, each knowing its index.
    pub(super) fn items(&self) -> Result<impl Iterator<Item = Node<'a>> + use<'a, '_>, Error> {
        Ok(self.array()?.iter().enumerate().map(|(i, value)| self.item(i, value)))
    }

    pub(super) fn array(&self) -> Result<&'a [Value], Error> {
        self.value.as_array().map(Vec::as_slice).ok_or_else(|| self.wrong("an array"))
    }

    /// Element `i` of this array, which is `value`.
    pub(super) fn item(&self, i: usize, value: &'a Value) -> Node<'a> {
        Node { path: self.path, field: format!("{}[{i}]", self.field), value }
    }

    pub(super) fn string(&self) -> Result<&'a str, Error> {
        self.value.as_str().ok_or_else(|| self.wrong("a string"))
    }

    pub(super) fn bool(&self) -> Result<bool, Error> {
        self.value.as_bool().ok_or_else(|| self.wrong("true or false"))
    }

    /// A token id or a count.
    pub(super) fn id(&self) -> Result<u64, Error> {
        self.value.as_u64().ok_or_else(|| self.wrong("a token id"))
    }

    /// The bool under `key`, if it is there; an error if it is something else.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, Error> {
        self.get(key).map(|node| node.bool()).transpose()
    }

    /// The string under `key`, if it is there; an error if it is something else.
    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, Error> {
        self.get(key).map(|node| node.string()).transpose()
    }

    /// The error that this is not what was expected.
    pub(super) fn wrong(&self, expected: &'static str) -> Error {
        Error::Field { path: self.path.to_owned(), field: self.field.clone(), found: brief(self.value), expected }
    }

    /// The error that this is of a kind that is not handled.
    pub(super) fn unsupported(&self, supported: &'static str) -> Error {
        Error::Kind { path: self.path.to_owned(), field: self.field.clone(), found: brief(self.value), supported }
    }
}

/// A value as a message shows it: short.
fn brief(value: &Value) -> String {
    match value {
        Value::Null => "missing".to_owned(),
        Value::Array(items) => format!("an array of {}", items.len()),
        Value::Object(_) => "an object".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            let full = value.to_string();
            match full.char_indices().nth(60) {
                Some((end, _)) => format!("{}...", &full[..end]),
                None => full,
            }
        }
    }
}
