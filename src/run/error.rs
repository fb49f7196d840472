//! What can go wrong while weights are read, encoded and written.

use std::borrow::Cow;
use std::path::PathBuf;

use planish_formats::Kind;

/// A result of running a job.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong while weights are read, encoded and written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A source or output file.
    #[error(transparent)]
    Container(#[from] planish_formats::Error),
    /// Quantized weights that cannot be taken apart.
    #[error(transparent)]
    Dialect(Box<crate::dialect::Error>),
    /// A checkpoint that no program runs.
    #[error(transparent)]
    Model(#[from] crate::model::Error),
    /// The record of an interrupted run.
    #[error(transparent)]
    Journal(#[from] super::JournalError),
    /// A weight that is not a number.
    #[error("tensor {tensor}: the weight at row {row}, column {column} is {value}")]
    NotFinite {
        /// Its name in the output.
        tensor: String,
        /// Row in the output tensor.
        row: usize,
        /// Column in the output tensor.
        column: usize,
        /// NaN or an infinity.
        value: f32,
    },
    /// A finite weight that the chosen type turns into an infinity.
    #[error("tensor {tensor}: the weight {value} at row {row}, column {column} is out of range of {ty}")]
    Overflow {
        /// Its name in the output.
        tensor: String,
        /// Row in the output tensor.
        row: usize,
        /// Column in the output tensor.
        column: usize,
        /// The weight.
        value: f32,
        /// The type that cannot hold it.
        ty: &'static str,
    },
    /// Elements that no weight is made of.
    #[error("tensor {tensor}: cannot read elements of type {found} as weights")]
    NotWeights {
        /// Its name in the source.
        tensor: String,
        /// Its element type.
        found: Cow<'static, str>,
    },
    /// Not enough room for the result.
    #[error("{path}: {needed} bytes are needed and {free} are free")]
    NoSpace {
        /// The first file of the output.
        path: PathBuf,
        /// Size of the output.
        needed: u64,
        /// Free for this user.
        free: u64,
    },
    /// The output is there already.
    #[error("{path}: exists already")]
    Exists {
        /// The output.
        path: PathBuf,
    },
    /// Nowhere to put the output.
    #[error("{path}: there is no folder {folder}")]
    NoFolder {
        /// The output.
        path: PathBuf,
        /// Where it is to be.
        folder: PathBuf,
    },
    /// A folder where a file is to be.
    #[error("{path}: is a folder")]
    IsAFolder {
        /// The output.
        path: PathBuf,
    },
    /// What stands in the way is no model.
    #[error("{path}: exists already and is not a model's folder")]
    NotAModel {
        /// The output.
        path: PathBuf,
    },
    /// The output would take the place of the input.
    #[error("{path}: holds the model that is read")]
    HoldsSource {
        /// The output.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("{path}: cannot {action}")]
    Folder {
        /// A file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// Somebody asked to stop.
    #[error("interrupted; nothing was written under the final name")]
    Interrupted,
}

impl From<crate::dialect::Error> for Error {
    fn from(error: crate::dialect::Error) -> Error {
        Error::Dialect(Box::new(error))
    }
}

impl Error {
    /// Whose fault it is.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Container(error) => error.kind(),
            Error::Dialect(error) => error.kind(),
            Error::Model(error) => error.kind(),
            Error::Journal(error) => error.kind(),
            Error::NotFinite { .. } | Error::Overflow { .. } => Kind::Bad,
            Error::NotWeights { .. } => Kind::Unsupported,
            Error::NoSpace { .. }
            | Error::Exists { .. }
            | Error::NoFolder { .. }
            | Error::IsAFolder { .. }
            | Error::NotAModel { .. }
            | Error::HoldsSource { .. }
            | Error::Folder { .. }
            | Error::Interrupted => Kind::Io,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Container(error) => error.hint(),
            Error::Dialect(error) => error.hint(),
            Error::Model(error) => Some(error.hint().to_owned()),
            Error::Journal(error) => error.hint(),
            Error::NotFinite { .. } => Some("the checkpoint is damaged or its training diverged".to_owned()),
            Error::Overflow { .. } => Some(
                "BF16 and F32 hold every weight; keep this tensor in one of them with \
                                            `--tensor-type REGEX=bf16`"
                    .to_owned(),
            ),
            Error::NotWeights { .. } => Some("the checkpoint is quantized in a way that is not read yet".to_owned()),
            Error::NoSpace { .. } => Some("free some space or choose another folder with `-o`".to_owned()),
            Error::Exists { .. } => Some("`--force` replaces it".to_owned()),
            Error::NoFolder { .. } => Some("make it first".to_owned()),
            Error::IsAFolder { .. } => Some("name a file in it".to_owned()),
            Error::NotAModel { .. } => Some(
                "choose another folder with `-o`; `--force` replaces only folders that have a config.json".to_owned(),
            ),
            Error::HoldsSource { .. } => Some("choose another folder with `-o`".to_owned()),
            Error::Folder { .. } | Error::Interrupted => None,
        }
    }
}
