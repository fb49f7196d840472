//! What can be wrong with a tokenizer, named by file and field.

use std::path::PathBuf;

use planish_formats::Kind;

/// What can be wrong with a tokenizer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message says what each field is")]
pub enum Error {
    /// The operating system refused.
    #[error("{path}: cannot read")]
    Io { path: PathBuf, source: std::io::Error },
    /// A placeholder that git-LFS left.
    #[error("{path} is a git-LFS pointer, not the file itself")]
    LfsPointer { path: PathBuf },
    /// Not JSON, or not the object that it should be.
    #[error("{path} is not valid JSON")]
    Json { path: PathBuf, source: serde_json::Error },
    /// Not UTF-8.
    #[error("{path} is not UTF-8 text (byte {offset})")]
    Text { path: PathBuf, offset: usize },
    /// A field of the wrong type, or with a value that it cannot have.
    #[error("{path}: {field} is {found}, expected {expected}")]
    Field { path: PathBuf, field: String, found: String, expected: &'static str },
    /// A SentencePiece model that does not hold.
    #[error("{path}: {problem} at byte {offset}")]
    Protobuf { path: PathBuf, offset: usize, problem: &'static str },
    /// A merge that cannot be applied.
    #[error("{path}: {field} is {merge:?}, but {missing:?} is not in the vocabulary")]
    Merge { path: PathBuf, field: String, merge: String, missing: String },
    /// A token without a row in the embedding.
    #[error("{path}: {field} has id {id}, but the embedding has {rows} rows")]
    OutOfRows { path: PathBuf, field: String, id: u64, rows: usize },
    /// Two tokens under one id.
    #[error("{path}: {field} has id {id}, which is {other:?} already")]
    SameId { path: PathBuf, field: String, id: u64, other: String },
    /// One text under two ids.
    #[error("{path}: token {text:?} has two ids, {first} and {second}")]
    SameText { path: PathBuf, text: String, first: usize, second: usize },
    /// The config and the weights disagree.
    #[error("{path}: {field} is {found}, but the embedding has {rows} rows")]
    VocabSize { path: PathBuf, field: &'static str, found: String, rows: usize },
    /// No tokenizer at all.
    #[error("{dir}: no tokenizer found; looked for {looked_for}")]
    Missing { dir: PathBuf, looked_for: &'static str },
    /// One half of a pair of files.
    #[error("{path} is missing, but {because} needs it")]
    MissingFile { path: PathBuf, because: &'static str },
    /// A kind of tokenizer that has no place in a GGUF, or is not read here.
    #[error("{path}: {field} is {found}, which is not supported ({supported} are)")]
    Kind { path: PathBuf, field: String, found: String, supported: &'static str },
    /// A splitting into words that llama.cpp is not known to have.
    #[error("{path}: no pre-tokenizer of llama.cpp is known to split as this one does:\n{structure}")]
    UnknownStructure { path: PathBuf, structure: String },
    /// Nothing says how text is split into words.
    #[error("{path}: nothing says how text is split into words (tokenizer_class is {class})")]
    UnknownClass { path: PathBuf, class: String },
    /// A GGUF whose tokenizer cannot be brought back.
    #[error("{path}: {what} cannot be turned back into tokenizer files ({supported} can)")]
    NotRestored { path: PathBuf, what: String, supported: &'static str },
    /// A tokenizer that cannot be run.
    #[error("{path}: the tokenizer cannot be run: {why}")]
    Run { path: PathBuf, why: String },
    /// A text that cannot be turned into ids.
    #[error("cannot tokenize the text: {why}")]
    Encode { why: String },
    /// `--pre` with a name that llama.cpp would refuse.
    #[error("{name:?} is not a pre-tokenizer of llama.cpp")]
    UnknownName { name: String, known: String },
}

impl Error {
    /// Whose fault it is.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Io { .. } => Kind::Io,
            Error::LfsPointer { .. }
            | Error::Json { .. }
            | Error::Text { .. }
            | Error::Field { .. }
            | Error::Protobuf { .. }
            | Error::Merge { .. }
            | Error::OutOfRows { .. }
            | Error::SameId { .. }
            | Error::SameText { .. }
            | Error::VocabSize { .. }
            | Error::Missing { .. }
            | Error::Run { .. }
            | Error::Encode { .. }
            | Error::MissingFile { .. } => Kind::Bad,
            Error::Kind { .. }
            | Error::UnknownStructure { .. }
            | Error::UnknownClass { .. }
            | Error::NotRestored { .. }
            | Error::UnknownName { .. } => Kind::Unsupported,
        }
    }

    /// Whether the input may be sound, but is of a kind that is not handled.
    pub fn unsupported(&self) -> bool {
        self.kind() == Kind::Unsupported
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Error::LfsPointer { .. } => "run git lfs pull in the folder, or download the file itself",
            Error::Missing { .. } | Error::MissingFile { .. } => {
                "download the checkpoint again with its tokenizer files, or save the tokenizer from transformers"
            }
            Error::Json { .. } | Error::Run { .. } | Error::Protobuf { .. } | Error::Text { .. } => {
                "the file may be incomplete; download it again"
            }
            Error::OutOfRows { .. } | Error::VocabSize { .. } => {
                "take the tokenizer, the config and the weights from the same checkpoint"
            }
            Error::Kind { .. } => {
                "loading the tokenizer with transformers and saving it again may give a tokenizer.json that is supported"
            }
            Error::UnknownStructure { .. } | Error::UnknownClass { .. } => {
                "if you know which pre-tokenizer of llama.cpp splits text this way, name it: --pre NAME"
            }
            Error::UnknownName { known, .. } => return Some(format!("known names: {known}")),
            Error::Io { .. }
            | Error::Field { .. }
            | Error::Merge { .. }
            | Error::Encode { .. }
            | Error::NotRestored { .. }
            | Error::SameId { .. }
            | Error::SameText { .. } => {
                return None;
            }
        };
        Some(hint.to_owned())
    }
}
