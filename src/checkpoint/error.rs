//! What can be wrong with a model's folder.

use std::path::PathBuf;

use planish_formats::Kind;

/// A result whose error names the file.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can be wrong with a model's folder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The container with the tensors.
    #[error(transparent)]
    Container(#[from] planish_formats::Error),
    /// How its weights are stored.
    #[error(transparent)]
    Dialect(#[from] crate::dialect::Error),
    /// An adapter.
    #[error(transparent)]
    Adapter(#[from] crate::lora::Error),
    /// Neither a path nor a model in the local cache.
    #[error("{path}: no such file or folder")]
    NoSuchPath {
        /// What was asked for.
        path: PathBuf,
        /// Where the local Hugging Face cache would have it, if the path looks like `owner/name`.
        cache: Option<PathBuf>,
    },
    /// A file that every checkpoint has.
    #[error("{path}: missing")]
    MissingFile {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("{path}: cannot read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Not a JSON object.
    #[error("{path}: not a JSON object")]
    Json {
        /// The file.
        path: PathBuf,
        /// Line and column.
        source: serde_json::Error,
    },
    /// Hidden states become a vector in another way.
    #[error("{path}: a way of pooling that is not known: {found}")]
    Pooling {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: String,
    },
    /// Git left the pointer instead of the file.
    #[error("{path}: a git-lfs pointer, not the file itself")]
    LfsPointer {
        /// The file.
        path: PathBuf,
    },
}

impl Error {
    /// Whose fault it is.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Container(error) => error.kind(),
            Error::Dialect(error) => error.kind(),
            Error::Adapter(error) => error.kind(),
            Error::Read { .. } => Kind::Io,
            Error::Pooling { .. } => Kind::Unsupported,
            Error::NoSuchPath { .. } | Error::MissingFile { .. } | Error::Json { .. } | Error::LfsPointer { .. } => {
                Kind::Bad
            }
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Container(error) => error.hint(),
            Error::Dialect(error) => error.hint(),
            Error::Adapter(error) => error.hint(),
            Error::NoSuchPath { cache: Some(cache), .. } => {
                Some(format!("looked for a downloaded model in {} too; download it first", cache.display()))
            }
            Error::MissingFile { path } => Some(format!(
                "a Hugging Face checkpoint needs {} beside its weights",
                path.file_name().unwrap_or_default().display()
            )),
            Error::LfsPointer { .. } => Some("run `git lfs pull` in the checkout".to_owned()),
            Error::Pooling { .. } => Some("known are the mean of all tokens, the first token and the last".to_owned()),
            Error::NoSuchPath { cache: None, .. } | Error::Read { .. } | Error::Json { .. } => None,
        }
    }
}
