//! What can be wrong with a PyTorch file, and where.

use crate::error::Kind;

/// What is wrong, and how far the reader had come.
#[derive(Debug, thiserror::Error)]
#[error("{what} (PyTorch, near byte {at})")]
pub struct Problem {
    /// Bytes from the start of the file.
    pub at: u64,
    /// What is wrong.
    pub what: What,
}

impl Problem {
    pub(crate) fn kind(&self) -> Kind {
        match self.what {
            What::Legacy
            | What::Compressed { .. }
            | What::Encrypted { .. }
            | What::BigEndian
            | What::Strided { .. }
            | What::NotATensor { .. }
            | What::NotADict { .. } => Kind::Unsupported,
            _ => Kind::Bad,
        }
    }

    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self.what {
            What::Legacy | What::BigEndian | What::Strided { .. } | What::NotATensor { .. } | What::NotADict { .. } => {
                Some("load it in PyTorch and save the state dict's contiguous tensors with safetensors")
            }
            What::Refused { .. } => Some("do not load this file in Python either, unless you trust whoever made it"),
            What::NoDirectory | What::End { .. } => Some("the file looks truncated: download or copy it again"),
            _ => None,
        }
    }
}

/// What can be wrong with a PyTorch file.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message is the documentation; fields are what it names")]
#[non_exhaustive]
pub enum What {
    #[error("a pickle without a zip around it (PyTorch before 1.6) is not supported")]
    Legacy,
    #[error("neither a zip nor a pickle")]
    NotAZip,
    #[error("the zip has no central directory at its end")]
    NoDirectory,
    #[error("the file ends in {reading}")]
    End { reading: &'static str },
    #[error("{found} entries cannot fit into the zip's central directory of {bytes} bytes")]
    EntryCount { found: u64, bytes: u64 },
    #[error("bad signature of {reading}")]
    Signature { reading: &'static str },
    #[error("entry {name:?} is compressed (method {method}), expected a stored one")]
    Compressed { name: String, method: u16 },
    #[error("entry {name:?} is encrypted")]
    Encrypted { name: String },
    #[error("entry {name:?} has an unsafe name")]
    UnsafeName { name: String },
    #[error("entry {name:?} occurs twice")]
    DuplicateEntry { name: String },
    #[error("entry {name:?} has another name where its data is")]
    OtherName { name: String },
    #[error("entry {name:?} of {bytes} bytes goes beyond the file's end")]
    EntryEnd { name: String, bytes: u64 },
    #[error("{reading} is not UTF-8")]
    Utf8 { reading: &'static str },
    #[error("the zip has {found} entries named data.pkl, expected one")]
    Pickles { found: usize },
    #[error("big-endian storages are not supported")]
    BigEndian,
    #[error("the pickle names {name}, which builds no tensor: refused, nothing was run")]
    Refused { name: String },
    #[error("pickle instruction 0x{found:02x} is refused, no state dict needs it")]
    Opcode { found: u8 },
    #[error("the pickle takes from an empty stack")]
    Stack,
    #[error("the pickle recalls {index}, which it has not memorized")]
    Memo { index: u32 },
    #[error("the pickle gives {to} what is not its due")]
    Arguments { to: &'static str },
    #[error("the pickle's result is {found}, expected a dict of tensors")]
    NotADict { found: &'static str },
    #[error("entry {name:?} of the state dict is {found}, expected a tensor")]
    NotATensor { name: String, found: &'static str },
    #[error("tensor {tensor:?} occurs twice")]
    DuplicateTensor { tensor: String },
    #[error("tensor {tensor:?}: the zip has no entry {entry:?}")]
    NoStorage { tensor: String, entry: String },
    #[error("tensor {tensor:?}: shape {shape:?} has strides {strides:?}; only contiguous tensors are supported")]
    Strided { tensor: String, shape: Vec<usize>, strides: Vec<i64> },
    #[error("tensor {tensor:?}: the size of {shape:?} elements overflows")]
    Overflow { tensor: String, shape: Vec<usize> },
    #[error("tensor {tensor:?}: {bytes} bytes at {start} of a storage of {found} bytes")]
    StorageEnd { tensor: String, start: u64, bytes: u64, found: u64 },
}
