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

use crate::containers::{Container, starts_or_ends};

/// In the registry.
pub(crate) static CONTAINER: Container = Container {
    name: "torch",
    recognises: |path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        starts_or_ends(path, zip::MAGIC, "bin")
            || starts_or_ends(path, &[pickle::PROTO], "pth")
            || [".pt", ".bin.index.json", ".pth.index.json"].iter().any(|end| name.ends_with(end))
    },
    looks_for: &["pytorch_model.bin.index.json", "pytorch_model.bin", "consolidated*.pth"],
    open,
    open_parts,
};
