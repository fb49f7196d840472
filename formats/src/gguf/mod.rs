//! GGUF: the container of llama.cpp and Ollama. Format: ggml's `docs/gguf.md`.
//!
//! Read: versions 2 and 3, little-endian, one file or a split set. Written: version 3, alignment 32.
//!
//! Strings are UTF-8, as the format demands, so a file that is read and written again keeps every byte of its metadata.
//! A string that is not UTF-8 is an error that names the key. Keys and tensor names may not hold NUL, because C readers
//! would see a shorter name; in values NUL is data.

mod kv;
mod problem;
mod read;
mod split;
mod wire;
mod write;

use crate::containers::Container;

pub use kv::{Array, Kv, Value};
pub use problem::{Problem, What};
pub use read::parse;
pub use split::open;
use split::open_parts;
pub use write::{create, layout};

/// In the registry.
pub(crate) static CONTAINER: Container = Container {
    name: "GGUF",
    begins: |bytes| bytes.starts_with(&MAGIC),
    names_end: &[".gguf"],
    looks_for: &["*.gguf"],
    open,
    open_parts,
};

/// The first four bytes of every file.
const MAGIC: [u8; 4] = *b"GGUF";
/// The version that is written.
const VERSION: u32 = 3;
/// Where tensors start, in bytes, when the file does not say otherwise; the alignment of every file written here.
const DEFAULT_ALIGNMENT: u64 = 32;
/// The key that says otherwise.
const ALIGNMENT_KEY: &str = "general.alignment";
/// GGML keeps tensor names in 64 bytes, the last of which is NUL.
const NAME_BYTES: usize = 63;
/// GGML's tensors have four dimensions.
const MAX_DIMS: usize = 4;

/// Keys that describe one file of a split set, not the model.
const SPLIT_NO: &str = "split.no";
const SPLIT_COUNT: &str = "split.count";
const SPLIT_TENSORS: &str = "split.tensors.count";
