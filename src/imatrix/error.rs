//! What can be wrong with an importance matrix.

use std::path::PathBuf;

use planish_formats::Kind;

/// A result whose error names the file.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can be wrong with an importance matrix.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file itself.
    #[error(transparent)]
    Container(#[from] planish_formats::Error),
    /// The operating system refused.
    #[error("{path}: cannot read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// What it says.
    #[error("{path}: {problem}")]
    Bad {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: Problem,
    },
}

/// What is wrong with what an importance matrix says.
#[derive(Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message is the documentation; fields are what it names")]
pub enum Problem {
    #[error("neither a GGUF of type imatrix nor a legacy importance matrix: {why}")]
    NotOne { why: String },
    #[error("the key {key} is {found}, expected {expected}")]
    Key { key: &'static str, found: &'static str, expected: &'static str },
    #[error("tensor {tensor} is of type {found}, expected {expected}")]
    Type { tensor: String, found: &'static str, expected: &'static str },
    #[error("{there} has no {missing} beside it")]
    Unpaired { there: String, missing: String },
    #[error("{sums} sums for {counts} counts")]
    Shape { sums: usize, counts: usize },
    #[error("sum {at} is {found}, expected a number from 0 on")]
    Sum { at: usize, found: f32 },
    #[error("count {at} is {found}, expected a number from 0 on")]
    Count { at: usize, found: f32 },
    #[error("the exact sums are not those that were rounded")]
    NotTheSame,
    #[error("the file ends in {reading}: {needed} more bytes needed, {left} left (near byte {at})")]
    End { reading: &'static str, needed: u64, left: usize, at: usize },
    #[error("{reading} is {found} (near byte {at})")]
    Number { reading: &'static str, found: i32, at: usize },
    #[error("the name of entry {entry} is not UTF-8 or empty (near byte {at})")]
    Name { entry: usize, at: usize },
    #[error("it occurs twice")]
    Twice,
    #[error("{left} bytes follow the end (near byte {at})")]
    Trailing { left: usize, at: usize },
    #[error("{theirs} sums in one and {ours} in the other")]
    Lengths { ours: usize, theirs: usize },
    #[error("{theirs} matrices in one and {ours} in the other")]
    Matrices { ours: usize, theirs: usize },
    #[error("the sums are too large to add")]
    TooMuch,
    #[error("{tensor}: {problem}")]
    At { tensor: String, problem: Box<Problem> },
}

impl Problem {
    /// With the name of the weight.
    pub(super) fn at(self, tensor: &str) -> Problem {
        Problem::At { tensor: tensor.to_owned(), problem: Box::new(self) }
    }
}

impl Error {
    /// Whose fault it is.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Container(error) => error.kind(),
            Error::Read { .. } => Kind::Io,
            Error::Bad { .. } => Kind::Bad,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Container(error) => error.hint(),
            Error::Bad { problem: Problem::NotOne { .. }, .. } => {
                Some("`planish calibrate MODEL --text FILE` makes one".to_owned())
            }
            Error::Bad { problem: Problem::Lengths { .. } | Problem::Matrices { .. }, .. } => {
                Some("they were made of different models".to_owned())
            }
            Error::Bad { .. } | Error::Read { .. } => None,
        }
    }
}
