//! Why a release cannot be planned.

use planish_formats::Kind;

use super::RecipeError;

/// A result of planning.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a release cannot be planned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The folder or file itself.
    #[error(transparent)]
    Checkpoint(#[from] crate::checkpoint::Error),
    /// Its architecture or configuration.
    #[error(transparent)]
    Model(#[from] crate::model::Error),
    /// Its tokenizer.
    #[error(transparent)]
    Text(#[from] crate::text::Error),
    /// The mix.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// A tensor that the architecture needs.
    #[error(transparent)]
    Weights(#[from] crate::run::Error),
    /// An importance matrix.
    #[error(transparent)]
    Importance(#[from] crate::imatrix::Error),
    /// An entry that is not for this tensor's rows.
    #[error("tensor {tensor}: its importance has {found} weights, expected {expected}, one a column of each matrix")]
    ImportanceSize {
        /// The tensor.
        tensor: String,
        /// Weights found.
        found: usize,
        /// Weights that its shape takes.
        expected: usize,
    },
    /// Tensors that the importance matrix says nothing of.
    #[error(
        "the importance matrix has nothing for {} of the tensors, {} first",
        tensors.len(),
        tensors.first().map_or("", String::as_str)
    )]
    Uncovered {
        /// Their names.
        tensors: Vec<String>,
    },
    /// A GGUF that does not say what it is.
    #[error("the GGUF has no key general.architecture")]
    NoArchitecture,
    /// The job needs a Hugging Face folder.
    #[error("the source is a GGUF; a Hugging Face folder is needed")]
    NotAFolder,
    /// The job is about towers, and the checkpoint has none.
    #[error("the checkpoint has no vision tower that planish knows")]
    NoTower,
    /// A recipe that towers do not get.
    #[error("{recipe}: towers and adapters get F32, F16, BF16 or Q8_0")]
    NotForTowers {
        /// The recipe's name.
        recipe: String,
    },
    /// Nothing was merged.
    #[error("no adapter was given")]
    NoAdapter,
    /// What an adapter does to a tensor has no place in a GGUF adapter.
    #[error("a GGUF adapter cannot hold what is done to {tensor}: {why}")]
    NotInAdapter {
        /// The checkpoint's tensor.
        tensor: String,
        /// Why not.
        why: String,
    },
    /// The job needs a GGUF.
    #[error("the source is a Hugging Face folder already; a GGUF is needed")]
    NotAGguf,
    /// Nothing embeds the tokens.
    #[error("the model has no token_embd.weight")]
    NoEmbedding,
    /// A type set by hand whose blocks do not fit.
    #[error("tensor {tensor} {shape:?}: its rows are no whole number of {ty} blocks")]
    DoesNotFit {
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
        /// The type.
        ty: &'static str,
    },
    /// A linear that a quantized checkpoint cannot hold.
    #[error("tensor {tensor} cannot be {target}: {why}")]
    NotPacked {
        /// The tensor.
        tensor: String,
        /// The name of what was asked for.
        target: &'static str,
        /// Why not.
        why: String,
    },
    /// A model without linears that can be quantized.
    #[error("the model has no linear stored [out, in] in its layers that could be {target}")]
    NothingToPack {
        /// The name of what was asked for.
        target: &'static str,
    },
    /// A type that can be copied but not made.
    #[error("tensor {tensor}: {ty} cannot be encoded yet")]
    NoEncoder {
        /// The tensor.
        tensor: String,
        /// The type.
        ty: &'static str,
    },
}

impl Error {
    /// Whose fault it is.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Checkpoint(error) => error.kind(),
            Error::Model(error) => error.kind(),
            Error::Text(error) if error.unsupported() => Kind::Unsupported,
            Error::Text(_)
            | Error::Recipe(_)
            | Error::NoArchitecture
            | Error::NoEmbedding
            | Error::ImportanceSize { .. }
            | Error::Uncovered { .. }
            | Error::DoesNotFit { .. } => Kind::Bad,
            Error::Importance(error) => error.kind(),
            Error::Weights(error) => error.kind(),
            Error::NotAFolder
            | Error::NoTower
            | Error::NotForTowers { .. }
            | Error::NoAdapter
            | Error::NotInAdapter { .. }
            | Error::NotAGguf
            | Error::NoEncoder { .. }
            | Error::NotPacked { .. }
            | Error::NothingToPack { .. } => Kind::Unsupported,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Checkpoint(error) => error.hint(),
            Error::Model(error) => Some(error.hint().to_owned()),
            Error::Text(error) => error.hint(),
            Error::Weights(error) => error.hint(),
            Error::Recipe(RecipeError::NeedsImportance { .. }) => {
                let hint = "give an importance matrix with `--imatrix FILE` or have one made with `--calibrate TEXT`, or choose a \
                            mix that works without, such as q2_k or q3_k_m";
                Some(hint.to_owned())
            }
            Error::Importance(error) => error.hint(),
            Error::ImportanceSize { .. } => Some("it was made of another model".to_owned()),
            Error::Uncovered { .. } => {
                Some("`--uncovered uniform` encodes them as if all of their channels counted alike".to_owned())
            }
            Error::NoEncoder { .. } => Some("`planish inspect --types` lists the types that can be written".to_owned()),
            Error::DoesNotFit { .. } => Some("name a type of smaller blocks for it with `--tensor-type`".to_owned()),
            Error::NotPacked { .. } => Some("choose other groups with `--group-size`, or another target".to_owned()),
            Error::NoAdapter => Some("name its folder with `--lora DIR`".to_owned()),
            Error::NotInAdapter { .. } => {
                Some("merge the adapter into a release instead: `planish quantize --lora DIR`".to_owned())
            }
            Error::NothingToPack { .. } => {
                Some("`--to gptq-int4` and its like take those that are stored [in, out] as well".to_owned())
            }
            Error::Recipe(_)
            | Error::NoArchitecture
            | Error::NotAFolder
            | Error::NoTower
            | Error::NotForTowers { .. }
            | Error::NotAGguf
            | Error::NoEmbedding => None,
        }
    }
}
