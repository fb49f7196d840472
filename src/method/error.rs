//! What can go wrong while a matrix is rounded.

use planish_formats::Kind;

/// A result of rounding.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong while a matrix is rounded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Second moments with a value that is no number.
    #[error("what flows into {tensor} is not finite in channel {channel}")]
    Activation {
        /// The matrix.
        tensor: String,
        /// The first such channel.
        channel: usize,
    },
    /// Moments that no damping makes positive definite.
    #[error("the second moments of what flows into {tensor} have no factor, even with a damping of {damping}")]
    Singular {
        /// The matrix.
        tensor: String,
        /// The last share of the mean diagonal that was tried.
        damping: f64,
    },
    /// A type whose columns do not round alone.
    #[error("{ty} rounds several weights to one code, so {tensor} cannot be rounded column by column")]
    NoRounder {
        /// The matrix.
        tensor: String,
        /// The type.
        ty: String,
    },
}

impl Error {
    /// Whose fault it is.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Activation { .. } | Error::Singular { .. } => Kind::Bad,
            Error::NoRounder { .. } => Kind::Unsupported,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Activation { .. } => Some("a weight or a scale is far out of range".to_owned()),
            Error::Singular { .. } => Some("calibrate on a longer text".to_owned()),
            Error::NoRounder { .. } => Some("take `--method nearest`, or another type for it".to_owned()),
        }
    }
}
