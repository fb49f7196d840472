//! Why an adapter cannot be merged.

use std::path::PathBuf;

use planish_formats::Kind;

/// A result of reading an adapter.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an adapter cannot be merged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Its files.
    #[error(transparent)]
    Container(#[from] planish_formats::Error),
    /// Its configuration.
    #[error(transparent)]
    Config(#[from] Box<crate::checkpoint::Error>),
    /// No adapter of PEFT's.
    #[error("{folder}: neither adapter_model.safetensors nor adapter_model.bin beside adapter_config.json")]
    NoWeights {
        /// The folder.
        folder: PathBuf,
    },
    /// A key of adapter_config.json that is missing or wrong, or asks for what is not done.
    #[error("adapter_config.json: `{key}` is {found}, expected {expected}")]
    Key {
        /// The key.
        key: String,
        /// Its value.
        found: String,
        /// What would do.
        expected: &'static str,
    },
    /// Keys that may change what is added.
    #[error("adapter_config.json has keys that are not understood: {}", keys.join(", "))]
    UnknownKeys {
        /// The keys.
        keys: Vec<String>,
    },
    /// A tensor of the adapter that is no part of what is known.
    #[error("the adapter's {tensor} is neither half of a low-rank matrix nor a weight of its own")]
    Strange {
        /// The tensor.
        tensor: String,
    },
    /// One half without the other.
    #[error("the adapter's {tensor} lacks its other half")]
    Half {
        /// The tensor.
        tensor: String,
    },
    /// A tensor for which the checkpoint has no weight.
    #[error("the adapter's {tensor} is for {weight}, which the checkpoint does not have")]
    NoWeight {
        /// The tensor.
        tensor: String,
        /// The weight.
        weight: String,
    },
    /// A tensor that does not fit the weight.
    #[error("the adapter's {tensor} makes {found:?}, {weight} is {expected:?}")]
    Shape {
        /// The tensor.
        tensor: String,
        /// The shape that it adds to.
        found: Vec<usize>,
        /// The weight.
        weight: String,
        /// Its shape.
        expected: Vec<usize>,
    },
    /// A weight that is not stored plainly.
    #[error("{weight} is stored as {found}, to which nothing can be added")]
    Quantized {
        /// The weight.
        weight: String,
        /// How it is stored.
        found: String,
    },
    /// Elements that are no plain numbers.
    #[error("the adapter's {tensor} has elements of type {found}, expected F32, F16 or BF16")]
    Elements {
        /// The tensor.
        tensor: String,
        /// Their type.
        found: &'static str,
    },
    /// A GGUF, whose weights have other names.
    #[error("an adapter is merged into a checkpoint folder, not into a GGUF")]
    Gguf,
}

impl Error {
    /// Whose fault it is.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Container(error) => error.kind(),
            Error::Config(error) => error.kind(),
            Error::Key { .. } | Error::UnknownKeys { .. } | Error::Strange { .. } | Error::Quantized { .. } => {
                Kind::Unsupported
            }
            Error::Gguf => Kind::Unsupported,
            Error::NoWeights { .. }
            | Error::Half { .. }
            | Error::NoWeight { .. }
            | Error::Shape { .. }
            | Error::Elements { .. } => Kind::Bad,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Error::Container(error) => return error.hint(),
            Error::Config(error) => return error.hint(),
            Error::NoWeights { .. } => "give the folder that PEFT's save_pretrained wrote",
            Error::Key { .. } | Error::UnknownKeys { .. } | Error::Strange { .. } => {
                "merge it with PEFT (merge_and_unload) and give the result"
            }
            Error::NoWeight { .. } | Error::Shape { .. } => "is this the model that the adapter was trained on?",
            Error::Quantized { .. } | Error::Gguf => "give the unquantized checkpoint that the adapter was trained on",
            Error::Half { .. } | Error::Elements { .. } => "the adapter's file is damaged or not PEFT's",
        };
        Some(hint.to_owned())
    }
}
