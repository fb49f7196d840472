//! safetensors: Hugging Face's container. A length, a JSON header, and the tensors without gaps.

mod problem;
mod read;
mod write;

pub use problem::Problem;
use read::open_parts;
pub use read::{open, parse};
pub use write::{create, layout};

use crate::containers::Container;

/// In the registry.
pub(crate) static CONTAINER: Container = Container {
    name: "safetensors",
    // An object behind its length, which is far below 4 GiB.
    begins: |bytes| matches!(bytes, [_, _, _, _, 0, 0, 0, 0, b'{', ..]),
    names_end: &[".safetensors", ".safetensors.index.json"],
    looks_for: &["model.safetensors.index.json", "model.safetensors", "*.safetensors.index.json", "*.safetensors"],
    open,
    open_parts,
};

/// The key of the header's string map; every other key is a tensor's name.
const METADATA: &str = "__metadata__";
