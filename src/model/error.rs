//! What can be wrong with a configuration, a program or a checkpoint's list of tensors.

use planish_formats::Kind;

use super::HeaderError;

/// The result of this module's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can be wrong with a configuration, a program or a checkpoint's list of tensors.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// Neither `architectures` nor `model_type` is there.
    #[error("config.json names no architecture: neither `architectures` nor `model_type` is in it")]
    NoArchitecture,
    /// Nobody registered reads this class.
    #[error("unknown architecture {class}; the nearest known is {nearest}{}", which_lacks(keys))]
    UnknownArchitecture {
        /// What config.json names.
        class: String,
        /// The known class of the most similar name.
        nearest: &'static str,
        /// Keys of this config.json that the nearest one does not understand, with their values.
        keys: Vec<String>,
    },
    /// A class that is known, and not supported.
    #[error("{class} is not supported: {why}")]
    Refused {
        /// What config.json names.
        class: String,
        /// Why not.
        why: &'static str,
    },
    /// A key that the architecture cannot do without.
    #[error("config.json: `{key}` is missing")]
    MissingKey {
        /// The key; that of a nested object after a dot.
        key: String,
    },
    /// A value of the wrong type, out of range, or at odds with another.
    #[error("config.json: `{key}` is {found}, expected {expected}")]
    BadValue {
        /// The key; that of a nested object after a dot.
        key: String,
        /// The value as JSON.
        found: String,
        /// What would do.
        expected: String,
    },
    /// Keys that may change the maths and that the architecture does not read.
    #[error("config.json: {architecture} does not understand {}", listed(keys))]
    UnknownKeys {
        /// The architecture that read the file.
        architecture: &'static str,
        /// Each key with its value.
        keys: Vec<String>,
    },
    /// llama.cpp's graph for the architecture cannot do what the configuration asks.
    #[error("GGUF cannot hold this {architecture} model: {what}")]
    NotInGguf {
        /// The architecture.
        architecture: &'static str,
        /// What llama.cpp cannot do.
        what: &'static str,
    },
    /// A program whose parts do not fit: a mistake in an architecture's file, or a configuration at odds with itself.
    #[error("{layer} op {op}: {what}")]
    Width {
        /// The layer's name.
        layer: String,
        /// The op's place in the layer.
        op: usize,
        /// What does not fit, with both sizes.
        what: String,
    },
    /// Tensors that config.json asks for.
    #[error("the checkpoint lacks {}", listed(tensors))]
    MissingTensors {
        /// Their names.
        tensors: Vec<String>,
    },
    /// A tensor that is not as large as config.json says.
    #[error("{tensor}: shape {found:?}, but config.json makes it {expected:?}")]
    Shape {
        /// Its name in the checkpoint.
        tensor: String,
        /// The checkpoint's shape.
        found: Vec<usize>,
        /// The program's.
        expected: Vec<usize>,
    },
    /// A GGUF's header that cannot be read back.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A tensor that was assembled in a way that is not taken apart.
    #[error("{tensor}: {architecture} assembled it from several tensors, which is not undone")]
    NotRestored {
        /// The architecture.
        architecture: &'static str,
        /// Its name in the GGUF.
        tensor: String,
    },
    /// Tensors that the program has no use for: leaving them out would change the model.
    #[error("the checkpoint has tensors that {architecture} has no use for: {}", listed(tensors))]
    UnexpectedTensors {
        /// The architecture.
        architecture: &'static str,
        /// Their names.
        tensors: Vec<String>,
    },
}

/// [`Error::NotInGguf`] of an architecture that no graph is for.
pub(super) const NO_GRAPH: &str = "llama.cpp does not know the architecture";

impl Error {
    /// Whether the checkpoint is at fault, or asks for what is not supported.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Header(header) if header.unsupported() => Kind::Unsupported,
            Error::UnknownArchitecture { .. }
            | Error::Refused { .. }
            | Error::UnknownKeys { .. }
            | Error::NotInGguf { .. }
            | Error::NotRestored { .. }
            | Error::UnexpectedTensors { .. } => Kind::Unsupported,
            Error::Header(_)
            | Error::NoArchitecture
            | Error::MissingKey { .. }
            | Error::BadValue { .. }
            | Error::Width { .. }
            | Error::MissingTensors { .. }
            | Error::Shape { .. } => Kind::Bad,
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Error::UnknownArchitecture { .. } => "a fine-tune of a known model can be saved again under its class",
            Error::Refused { .. } => "a model of another family, or the language model alone, can be released",
            Error::MissingKey { .. } | Error::BadValue { .. } => "compare config.json with that of the base model",
            Error::UnknownKeys { .. } => "they may change the result; remove them only if the model ignores them",
            Error::Header(_) => "the GGUF may be of a newer kind, or made by another tool",
            Error::NotRestored { .. } => "convert the original checkpoint instead",
            Error::NotInGguf { what: NO_GRAPH, .. } => {
                "`--to w8a16` and its like write a quantized safetensors folder for transformers and vLLM"
            }
            Error::NotInGguf { .. } => "llama.cpp would run another model than this one",
            Error::Width { .. } => "config.json is at odds with itself; compare it with that of the base model",
            Error::MissingTensors { .. } => {
                "check that all shards are there, and `tie_word_embeddings` if only lm_head is missing"
            }
            Error::NoArchitecture | Error::Shape { .. } => {
                "config.json should be the one that was saved with the weights"
            }
            Error::UnexpectedTensors { .. } => "adapters must be merged, and quantized weights unpacked, first",
        }
    }
}

/// The first of many names and how many more there are.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn which_lacks(keys: &[String]) -> String {
    if keys.is_empty() { String::new() } else { format!(", which does not understand {}", listed(keys)) }
}
