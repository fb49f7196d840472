//! What can be wrong with a GGUF, and where.

use super::{ALIGNMENT_KEY, MAX_DIMS, NAME_BYTES, VERSION};
use crate::error::Kind;

/// What is wrong, and how far the reader had come.
#[derive(Debug, thiserror::Error)]
#[error("{what} (GGUF, near byte {at})")]
pub struct Problem {
    /// Bytes from the start of the file: the end of what was read last.
    pub at: u64,
    /// What is wrong.
    pub what: What,
}

impl Problem {
    pub(crate) fn kind(&self) -> Kind {
        match self.what.root() {
            What::Version1
            | What::Future { .. }
            | What::BigEndian
            | What::RemovedType { .. }
            | What::UnknownType { .. } => Kind::Unsupported,
            _ => Kind::Bad,
        }
    }

    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self.what.root() {
            What::Version1 => {
                Some("convert the model again from its original checkpoint; no current tool reads version 1")
            }
            What::BigEndian => Some("convert it with gguf-py's gguf_convert_endian.py"),
            What::RemovedType { .. } => {
                Some("quantize the model again; llama.cpp repacks these layouts when it loads Q4_0 or IQ4_NL")
            }
            What::End { .. } | What::TensorEnd { .. } => Some("the file looks truncated: download or copy it again"),
            _ => None,
        }
    }
}

/// What can be wrong with a GGUF.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message is the documentation; fields are what it names")]
#[non_exhaustive]
pub enum What {
    #[error("bad magic {found:02x?}, expected 47 47 55 46 (\"GGUF\")")]
    Magic { found: [u8; 4] },
    #[error("version 1 is not supported, expected 2 or 3")]
    Version1,
    #[error("bad version {found}, expected 2 or 3")]
    Version { found: u32 },
    #[error("version {found} is newer than the newest known, {VERSION}")]
    Future { found: u32 },
    #[error("big-endian files are not supported")]
    BigEndian,
    #[error("the file ends in {reading}: {needed} more bytes needed, {left} left")]
    End { reading: &'static str, needed: u64, left: u64 },
    #[error("{found} {what} cannot fit into the {left} bytes left")]
    Count { what: &'static str, found: u64, left: u64 },
    #[error("{reading} is {found} bytes long, at most {limit} are allowed")]
    TooLong { reading: &'static str, found: u64, limit: u64 },
    #[error("{reading} is empty")]
    EmptyString { reading: &'static str },
    #[error("{reading} holds a NUL byte")]
    Nul { reading: &'static str },
    #[error("{reading} is not UTF-8")]
    Utf8 { reading: &'static str },
    #[error("bool {found} is neither 0 nor 1")]
    Bool { found: u8 },
    #[error("an array of {found} elements, at most {limit} are allowed")]
    ArrayLength { found: u64, limit: u64 },
    #[error("an array of arrays")]
    NestedArray,
    #[error("bad value type {found}, expected 0 to 12")]
    ValueType { found: u32 },
    #[error("key {key:?}: {what}")]
    InKey { key: String, what: Box<What> },
    #[error("key {key:?} occurs twice")]
    DuplicateKey { key: String },
    #[error("{ALIGNMENT_KEY} is of type {found}, expected u32")]
    AlignmentType { found: &'static str },
    #[error("{ALIGNMENT_KEY} is {found}, expected a power of two up to {limit}")]
    Alignment { found: u64, limit: u64 },
    #[error("tensor {tensor:?}: {what}")]
    InTensor { tensor: String, what: Box<What> },
    #[error("the name occurs twice")]
    DuplicateName,
    #[error("{found} dimensions, at most {MAX_DIMS} are allowed")]
    Dims { found: u32 },
    #[error("the name is {found} bytes long, at most {NAME_BYTES} are allowed")]
    NameLength { found: usize },
    #[error("a dimension of {found} elements")]
    Dim { found: u64 },
    #[error("type {found} ({name}) has been removed from GGML")]
    RemovedType { found: u32, name: &'static str },
    #[error("unknown tensor type {found}")]
    UnknownType { found: u32 },
    #[error("the size of {shape:?} elements overflows")]
    Overflow { shape: Vec<usize> },
    #[error("a row of {cols} elements is not a multiple of {ty}'s block of {block}")]
    Row { cols: usize, ty: &'static str, block: usize },
    #[error("data at offset {found}, expected {expected}: tensors follow each other, each padded to {alignment} bytes")]
    Offset { found: u64, expected: u64, alignment: u64 },
    #[error("data of {bytes} bytes at byte {start} goes beyond the file's end at {length}")]
    TensorEnd { start: u64, bytes: u64, length: u64 },
}

impl What {
    /// Without the key or tensor that it was found in.
    fn root(&self) -> &What {
        match self {
            What::InKey { what, .. } | What::InTensor { what, .. } => what.root(),
            what => what,
        }
    }
}
