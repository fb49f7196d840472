//! safetensors: Hugging Face's container. A length, a JSON header, and the tensors without gaps.

mod problem;
mod read;
mod write;

pub use problem::Problem;
use read::open_parts;
pub use read::{open, parse};
pub use write::{create, layout};

use std::path::Path;

use crate::containers::Container;
use crate::index::SUFFIX;
use crate::map::beginning;

/// In the registry.
pub(crate) static CONTAINER: Container = Container {
    name: "safetensors",
    recognises,
    looks_for: &["model.safetensors.index.json", "model.safetensors", "*.safetensors.index.json", "*.safetensors"],
    open,
    open_parts,
};

/// The key of the header's string map; every other key is a tensor's name.
const METADATA: &str = "__metadata__";

/// The header is an object behind its length.
fn recognises(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let start = beginning(path, 9);
    name.ends_with(".safetensors")
        || name.ends_with(&format!(".safetensors{SUFFIX}"))
        || (start.len() == 9 && start[8] == b'{')
}
