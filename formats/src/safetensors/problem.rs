//! What can be wrong with a safetensors file.

use crate::error::Kind;

/// What can be wrong with a safetensors file. Offsets count from the start of the data, as they do in the header.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message is the documentation; fields are what it names")]
#[non_exhaustive]
pub enum Problem {
    #[error("{found} bytes are too few for a safetensors file")]
    Short { found: usize },
    #[error("the header is {found} bytes long, but only {left} bytes follow")]
    HeaderLength { found: u64, left: u64 },
    #[error("the header is {found} bytes long, at most {limit} are allowed")]
    HeaderLimit { found: u64, limit: u64 },
    #[error("the header is not UTF-8 (byte {at})")]
    Utf8 { at: usize },
    #[error("bad header: {0}")]
    Json(serde_json::Error),
    #[error("tensor {tensor:?}: unknown dtype {dtype:?}")]
    Dtype { tensor: String, dtype: String },
    #[error("tensor {tensor:?}: data_offsets {start}..{end} run backwards")]
    Backwards { tensor: String, start: usize, end: usize },
    #[error("tensor {tensor:?}: data_offsets {start}..{end} go beyond the {data} bytes of data")]
    Beyond { tensor: String, start: usize, end: usize, data: usize },
    #[error("tensor {tensor:?}: {dtype} {shape:?} has no size in bytes (it overflows, or ends within a byte)")]
    NoSize { tensor: String, dtype: &'static str, shape: Vec<usize> },
    #[error("tensor {tensor:?}: {dtype} {shape:?} needs {needed} bytes, data_offsets span {found}")]
    Size { tensor: String, dtype: &'static str, shape: Vec<usize>, needed: usize, found: usize },
    #[error("tensor {tensor:?} starts at {start}, inside {other:?}, which ends at {end}")]
    Overlap { tensor: String, start: usize, other: String, end: usize },
    #[error("{bytes} bytes at {at} belong to no tensor")]
    Hole { at: usize, bytes: usize },
}

impl Problem {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Problem::Dtype { .. } => Kind::Unsupported,
            Problem::Short { .. }
            | Problem::HeaderLength { .. }
            | Problem::HeaderLimit { .. }
            | Problem::Utf8 { .. }
            | Problem::Json(_)
            | Problem::Backwards { .. }
            | Problem::Beyond { .. }
            | Problem::NoSize { .. }
            | Problem::Size { .. }
            | Problem::Overlap { .. }
            | Problem::Hole { .. } => Kind::Bad,
        }
    }

    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Problem::Short { .. } | Problem::HeaderLength { .. } | Problem::Beyond { .. } => {
                Some("the file looks truncated: download or copy it again")
            }
            _ => None,
        }
    }
}
