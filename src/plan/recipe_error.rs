//! What can be wrong with a recipe, or with a recipe for these tensors.

use planish_formats::GgmlType;

/// What can be wrong with a recipe, or with a recipe for these tensors.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecipeError {
    /// A recipe file says something that is not understood.
    #[error("{origin}, line {line}: {message}")]
    File {
        /// The file.
        origin: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// `--tensor-type` takes `REGEX=TYPE`.
    #[error("{spec:?} is not REGEX=TYPE: {message}")]
    Override {
        /// As given.
        spec: String,
        /// What is wrong.
        message: String,
    },
    /// The type exists but holds no weights: integers, and the types that only activations take.
    #[error("{} is not a type for weights", ty.name())]
    NotForWeights {
        /// The type.
        ty: GgmlType,
    },
    /// A rule asks for the layer of a tensor that has none. With experts, layers are counted by the number in the name.
    #[error("tensor {tensor}: no layer below {layers} in its name, but the recipe decides by layer")]
    NoLayer {
        /// The tensor.
        tensor: String,
        /// How many layers the model has.
        layers: usize,
    },
    /// Rows do not fit the type, and nothing stands in for it.
    #[error(
        "tensor {tensor}: {} needs rows of a multiple of {} elements, found {cols}, and no other type stands in for it",
        ty.name(),
        ty.block_len()
    )]
    NoFallback {
        /// The tensor.
        tensor: String,
        /// The type wanted.
        ty: GgmlType,
        /// Elements a row.
        cols: usize,
    },
    /// A tensor that is kept as it is has a type that GGUF cannot hold.
    #[error("tensor {tensor} is not quantized, and GGUF has no type for its {storage}")]
    Unholdable {
        /// The tensor.
        tensor: String,
        /// What it is stored as.
        storage: &'static str,
    },
    /// Types that are garbage without importance.
    #[error(
        "recipe {recipe} needs importance for {} of the tensors, the first being {}",
        tensors.len(),
        tensors.first().map_or("none", String::as_str)
    )]
    NeedsImportance {
        /// The recipe's name.
        recipe: String,
        /// All of these tensors.
        tensors: Vec<String>,
    },
}
