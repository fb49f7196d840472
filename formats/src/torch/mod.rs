//! PyTorch's `.bin`, `.pt` and `.pth`: a zip of stored entries, one of which is a pickle that names the tensors.
//!
//! A pickle is a program. The machine here knows the instructions that build dicts of tensors and a short list of names;
//! anything else is refused by its name and nothing is ever run. Tensors are views of the zip's entries.

mod node;
mod pickle;
mod problem;
mod read;
mod zip;

pub use problem::{Problem, What};
use read::open_parts;
pub use read::{open, parse};

use crate::containers::Container;

/// In the registry.
pub(crate) static CONTAINER: Container = Container {
    name: "torch",
    begins: |bytes| bytes.starts_with(zip::MAGIC) || matches!(bytes, [pickle::PROTO, 2..=5, ..]),
    names_end: &[".bin", ".pt", ".pth", ".bin.index.json"],
    looks_for: &["pytorch_model.bin.index.json", "pytorch_model.bin", "consolidated*.pth"],
    open,
    open_parts,
};
