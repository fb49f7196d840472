//! What can go wrong while a program is run.

use planish_formats::Kind;

/// A result of running a program.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong while a program is run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A weight could not be read, or is not a number.
    #[error(transparent)]
    Weight(#[from] crate::run::Error),
    /// A matrix could not be rounded.
    #[error(transparent)]
    Method(#[from] crate::method::Error),
    /// The device that it runs on.
    #[error(transparent)]
    Device(#[from] planish_kernels::device::Error),
    /// The hidden states' temporary file.
    #[error("the temporary file of hidden states")]
    Spill(#[source] std::io::Error),
    /// A value that has no sum of squares.
    #[error("what flows into {tensor} is not finite, or too large, in channel {channel}")]
    Activation {
        /// A weight that reads it.
        tensor: String,
        /// The first such channel.
        channel: usize,
    },
    /// More than can be addressed.
    #[error("{rows} tokens with {width} elements each are too many")]
    TooMany {
        /// Tokens.
        rows: usize,
        /// Elements of a hidden state.
        width: usize,
    },
    /// Ids that are no whole number of sequences.
    #[error("{ids} token ids are no whole number of sequences of {tokens}")]
    Sequences {
        /// How many ids.
        ids: usize,
        /// Tokens of a sequence.
        tokens: usize,
    },
    /// An id that the embedding has no row for.
    #[error("token {at} has the id {id}, and the embedding has {rows} rows")]
    Token {
        /// The id.
        id: u32,
        /// Which token.
        at: usize,
        /// Rows of the embedding.
        rows: usize,
    },
    /// Sequences longer than the learned positions.
    #[error("sequences of {tokens} tokens, and the model has {rows} positions")]
    Positions {
        /// Tokens of a sequence.
        tokens: usize,
        /// Positions that the model learned.
        rows: usize,
    },
    /// Layers that share their weights, and a method that decides on each by what one layer shows.
    #[error("{tensor} is the weight of several layers: no method rounds it by what flows through one of them")]
    Shared {
        /// A weight of both.
        tensor: String,
    },
    /// An image that is not as large as its tower has them.
    #[error("an image has {found} numbers, and the tower reads {expected}")]
    Image {
        /// How many there are.
        found: usize,
        /// How many it should have.
        expected: usize,
    },
    /// Image tokens in a text that are not as many as the rows that come into their place.
    #[error("{found} image tokens in the text, {expected} rows of its images")]
    ImageTokens {
        /// How many there are.
        found: usize,
        /// How many there should be.
        expected: usize,
    },
    /// A program without an embedding.
    #[error("the program does not embed its tokens")]
    NoEmbedding,
    /// A causal program that does not end with a linear layer.
    #[error("the program does not end with a linear layer that makes logits")]
    NoHead,
}

impl From<planish_formats::Error> for Error {
    fn from(error: planish_formats::Error) -> Self {
        Error::Weight(error.into())
    }
}

impl Error {
    /// Whose fault it is.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Weight(error) => error.kind(),
            Error::Method(error) => error.kind(),
            Error::Spill(_) => Kind::Io,
            Error::Activation { .. }
            | Error::Token { .. }
            | Error::Sequences { .. }
            | Error::Positions { .. }
            | Error::Image { .. }
            | Error::ImageTokens { .. }
            | Error::TooMany { .. } => Kind::Bad,
            Error::Device(_) | Error::Shared { .. } | Error::NoEmbedding | Error::NoHead => Kind::Unsupported,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Weight(error) => error.hint(),
            Error::Method(error) => error.hint(),
            Error::Device(error) => error.hint(),
            Error::Spill(_) => {
                Some("give `TMPDIR` a folder with room, or keep more in memory with `--memory`".to_owned())
            }
            Error::Positions { rows, .. } => Some(format!("`--ctx {rows}` at most")),
            Error::Token { .. } => Some("the tokenizer belongs to another model".to_owned()),
            Error::Activation { .. } => Some("a weight or a scale is far out of range".to_owned()),
            Error::Shared { .. } => Some("leave `--method` out: each weight goes to its nearest code".to_owned()),
            Error::Image { .. } | Error::ImageTokens { .. } => {
                Some("images and text should come from the processor of this checkpoint".to_owned())
            }
            Error::TooMany { .. } | Error::Sequences { .. } | Error::NoEmbedding | Error::NoHead => None,
        }
    }
}
