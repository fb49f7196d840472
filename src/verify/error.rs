//! What can go wrong while two models are compared.

use std::fmt;
use std::path::PathBuf;

use planish_formats::Kind;

use super::Protocol;
use crate::run::executor;
use crate::{checkpoint, run, text};

/// A result of comparing.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One of the two that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The original.
    Reference,
    /// The one under test.
    Candidate,
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Which::Reference => "reference",
            Which::Candidate => "candidate",
        })
    }
}

/// What can go wrong while two models are compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message says what each field is")]
pub enum Error {
    /// One of them is no model that can be run.
    #[error("the {which}: {source}")]
    Open { which: Which, source: run::Error },
    /// A weight of one of them cannot be read, or is not a number.
    #[error("the {which}: {source}")]
    Weights { which: Which, source: run::Error },
    /// A text that cannot be read, or is not UTF-8.
    #[error("{path}: cannot read the text")]
    Text { path: PathBuf, source: std::io::Error },
    /// A file of gates that does not hold.
    #[error("{path}: {why}")]
    Policy { path: PathBuf, why: String },
    /// A baseline that is no report of this version.
    #[error("{path}: not a report to compare with: {why}")]
    Baseline { path: PathBuf, why: String },
    /// A baseline without the metric that is asked for.
    #[error("the baseline has no {metric}")]
    BaselineMetric { metric: String },
    /// A tokenizer that gave up on a text.
    #[error("the {which}'s tokenizer: {source}")]
    Tokenizer { which: Which, source: Box<text::Error> },
    /// No tokenizer at all.
    #[error("neither model's tokenizer can be run: {why}")]
    NoTokenizer { why: String },
    /// One of them cannot be run.
    #[error("the {which}: {source}")]
    Run { which: Which, source: Box<executor::Error> },
    /// They are not the same kind of model.
    #[error("{what} is {reference} in the reference and {candidate} in the candidate")]
    Incomparable { what: &'static str, reference: usize, candidate: usize },
    /// A model without logits.
    #[error("the {which} has no head: nothing to score")]
    NoHead { which: Which },
    /// A way of making vectors that is not known.
    #[error("the {which}: {source}")]
    Pooling { which: Which, source: Box<checkpoint::Error> },
    /// Texts without a line.
    #[error("the texts have no line with a token")]
    NoLines,
    /// A model that guesses masked tokens, and a vocabulary without a mask.
    #[error("neither tokenizer names a token that masks others")]
    NoMask,
    /// Such a model, and windows that overlap.
    #[error("a model that guesses masked tokens is scored in chunks, not by `--stride` or `--full`")]
    MaskedStride,
    /// Arithmetic that went over.
    #[error("the {which}'s vector of sequence {sequence} is not finite")]
    NotFiniteVector { which: Which, sequence: usize },
    /// Arithmetic that went over.
    #[error("the {which}'s logits for token {token} of sequence {sequence} are not finite")]
    NotFinite { which: Which, sequence: usize, token: usize },
    /// A text shorter than one sequence.
    #[error("the text has {tokens} tokens, less than one sequence of {context}")]
    TooShort { tokens: usize, context: usize },
    /// One of several texts that is shorter than one sequence.
    #[error("{file} has {tokens} tokens, less than one sequence of {context}")]
    ShortFile { file: String, tokens: usize, context: usize },
    /// A line that is no pair.
    #[error("{file}, line {line}: no pair of a source and a target")]
    Pair { file: String, line: usize },
    /// A file without any.
    #[error("{file}: no pair in it")]
    NoPairs { file: String },
    /// A text of a pair that the tokenizer gave up on.
    #[error("{file}: {source}")]
    PairText { file: String, source: Box<text::Error> },
    /// A way of scoring that scores nothing.
    #[error("{protocol}: at least 4 tokens of context, and a stride of 1 up to that")]
    Protocol { protocol: Protocol },
    /// Somebody asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// A target that no logit belongs to.
    #[error("the token id {id} is not in the vocabulary of {vocab}")]
    Target { id: u32, vocab: usize },
}

impl Error {
    /// Whose fault it is. [`Error::Incomparable`] is nobody's: callers give it a status of its own.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Run { source, .. } => source.kind(),
            Error::Open { source, .. } | Error::Weights { source, .. } => source.kind(),
            Error::Tokenizer { source, .. } | Error::PairText { source, .. } => source.kind(),
            Error::Pooling { source, .. } => source.kind(),
            Error::Text { source, .. } if source.kind() == std::io::ErrorKind::InvalidData => Kind::Bad,
            Error::Incomparable { .. }
            | Error::NotFinite { .. }
            | Error::NotFiniteVector { .. }
            | Error::NoLines
            | Error::TooShort { .. }
            | Error::ShortFile { .. }
            | Error::NoTokenizer { .. }
            | Error::Pair { .. }
            | Error::NoPairs { .. }
            | Error::Policy { .. }
            | Error::Baseline { .. }
            | Error::BaselineMetric { .. }
            | Error::Protocol { .. }
            | Error::Target { .. } => Kind::Bad,
            Error::NoHead { .. } | Error::NoMask | Error::MaskedStride => Kind::Unsupported,
            Error::Interrupted | Error::Text { .. } => Kind::Io,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Run { source, .. } => source.hint(),
            Error::Open { source, .. } | Error::Weights { source, .. } => source.hint(),
            Error::Tokenizer { source, .. } | Error::PairText { source, .. } => source.hint(),
            Error::Pair { .. } | Error::NoPairs { .. } => {
                Some("a line is a source, a tab and a target, or {\"source\": ..., \"target\": ...}".to_owned())
            }
            Error::NoTokenizer { .. } => Some("one of the two has to bring its tokenizer".to_owned()),
            Error::Incomparable { .. } => Some("compare a model with a release made from it".to_owned()),
            Error::Pooling { source, .. } => source.hint(),
            Error::NoLines => Some("each line of a text becomes a vector".to_owned()),
            Error::NoMask => Some("`mask_token` in tokenizer_config.json names it".to_owned()),
            Error::NotFinite { .. } | Error::NotFiniteVector { .. } => {
                Some("a weight or a scale is far out of range".to_owned())
            }
            Error::TooShort { .. } | Error::ShortFile { .. } => {
                Some("give a longer text or a smaller `--ctx`".to_owned())
            }
            Error::Target { .. } => Some("the tokenizer belongs to another model".to_owned()),
            Error::Baseline { .. } | Error::BaselineMetric { .. } => {
                Some("make it with `planish verify --json`".to_owned())
            }
            Error::Policy { .. }
            | Error::NoHead { .. }
            | Error::MaskedStride
            | Error::Protocol { .. }
            | Error::Interrupted
            | Error::Text { .. } => None,
        }
    }
}
