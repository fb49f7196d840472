//! Why quantized weights cannot be read.

use planish_formats::Kind;

use crate::model;

/// A result of reading how weights are packed.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why quantized weights cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A key of `quantization_config` that is missing, of a wrong value or not understood.
    #[error(transparent)]
    Config(#[from] model::Error),
    /// The file itself.
    #[error(transparent)]
    Container(#[from] planish_formats::Error),
    /// Nobody registered reads this method.
    #[error("config.json: the weights are quantized by {method}, which is not read; known are {known}")]
    UnknownMethod {
        /// `quantization_config.quant_method`.
        method: String,
        /// Those that are.
        known: String,
    },
    /// A known method in a form that is not read.
    #[error("config.json: {what} is not read")]
    Unsupported {
        /// The key and its value, or what they ask for.
        what: String,
    },
    /// Packed weights that config.json says nothing of.
    #[error("{tensor} is packed, but config.json has no quantization_config that says how")]
    NoConfig {
        /// The first of them.
        tensor: String,
    },
    /// A tensor without which another cannot be read.
    #[error("{tensor} is missing beside {beside}")]
    Missing {
        /// The tensor that is not there.
        tensor: String,
        /// The one that needs it.
        beside: String,
    },
    /// A tensor of a wrong element type.
    #[error("{tensor}: elements of type {found}, expected {expected}")]
    Dtype {
        /// The tensor.
        tensor: String,
        /// Its type.
        found: &'static str,
        /// What would do.
        expected: &'static str,
    },
    /// A tensor that does not fit what it is packed with.
    #[error("{tensor}: shape {found:?}, expected {expected}")]
    Shape {
        /// The tensor.
        tensor: String,
        /// Its shape.
        found: Vec<usize>,
        /// The right one, and what makes it right.
        expected: String,
    },
    /// A value of `g_idx` that is no group.
    #[error("{tensor}: column {column} is in group {found} of {groups}")]
    Group {
        /// The tensor.
        tensor: String,
        /// The input channel.
        column: usize,
        /// What stands there.
        found: i64,
        /// How many groups there are.
        groups: usize,
    },
    /// A number that cannot be what it stands for.
    #[error("{tensor}: {found}, expected {expected}")]
    Value {
        /// The tensor.
        tensor: String,
        /// What stands there.
        found: String,
        /// What would do.
        expected: &'static str,
    },
    /// A module that the configuration leaves out and the file has packed, or the other way round.
    #[error("{tensor}: {what}")]
    AtOdds {
        /// The tensor.
        tensor: String,
        /// With what.
        what: String,
    },
}

impl Error {
    /// Whose fault it is.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Config(error) => error.kind(),
            Error::Container(error) => error.kind(),
            Error::UnknownMethod { .. } | Error::Unsupported { .. } => Kind::Unsupported,
            Error::NoConfig { .. }
            | Error::Missing { .. }
            | Error::Dtype { .. }
            | Error::Shape { .. }
            | Error::Group { .. }
            | Error::Value { .. }
            | Error::AtOdds { .. } => Kind::Bad,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Error::Config(model::Error::UnknownKeys { .. }) => {
                "they may change how weights are read; remove them only if they do not"
            }
            Error::Config(_) => "quantization_config should be the one that was saved with the weights",
            Error::Container(error) => return error.hint(),
            Error::UnknownMethod { .. } | Error::Unsupported { .. } => "take the checkpoint that it was made from",
            Error::Missing { .. } => "check that all shards are there",
            Error::NoConfig { .. } | Error::Dtype { .. } | Error::Shape { .. } | Error::AtOdds { .. } => {
                "config.json should be the one that was saved with the weights"
            }
            Error::Group { .. } | Error::Value { .. } => "the file is damaged, or made by a tool that is not known yet",
        };
        Some(hint.to_owned())
    }
}
