//! What tells a run from others, so that none goes on where another was.

use std::fs;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::dialect::Tensors;

/// What a run is of, a hash or a name for each part. Runs that agree in all make the same files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Of the tensors' names and shapes, and of the files' sizes and times.
    pub source: String,
    /// Of the token ids.
    pub text: String,
    /// Of the type of each weight.
    pub recipe: String,
    /// How weights are rounded.
    pub method: String,
    /// The version of planish.
    pub tool: String,
}

impl Fingerprint {
    /// Of a run over `ids` in chunks of `tokens`; `types` names each weight with its type.
    pub fn new(source: &Tensors, ids: &[u32], tokens: usize, types: &[(String, String)], method: String) -> Self {
        let (mut of_source, mut text) = (Sha256::new(), Sha256::new());
        add_source(&mut of_source, source);
        add_ids(&mut text, ids, tokens);
        let mut recipe = Sha256::new();
        for (name, ty) in types {
            recipe.update(format!("{name}={ty}\n"));
        }
        let tool = env!("CARGO_PKG_VERSION").to_owned();
        Fingerprint { source: hex(of_source), text: hex(text), recipe: hex(recipe), method, tool }
    }

    /// What is not the same in `other`.
    pub(super) fn differs(&self, other: &Fingerprint) -> Vec<&'static str> {
        let parts = [
            ("the source", self.source == other.source),
            ("the calibration text", self.text == other.text),
            ("the types", self.recipe == other.recipe),
            ("the method", self.method == other.method),
            ("the version of planish", self.tool == other.tool),
        ];
        parts.into_iter().filter_map(|(name, same)| (!same).then_some(name)).collect()
    }
}

/// Adds the names, types and shapes of the tensors, and the sizes and times of the files.
pub(super) fn add_source(hasher: &mut Sha256, source: &Tensors) {
    for info in source.infos() {
        hasher.update(format!("{}{:?}{}\n", info.name, info.shape, info.storage.name()));
    }
    for file in source.files() {
        let about = fs::metadata(file).ok();
        let changed = about.as_ref().and_then(|about| about.modified().ok());
        hasher.update(format!("{:?}{changed:?}\n", about.map(|about| about.len())));
    }
}

/// Adds token ids in chunks of `tokens`.
pub(super) fn add_ids(hasher: &mut Sha256, ids: &[u32], tokens: usize) {
    hasher.update((tokens as u64).to_le_bytes());
    for id in ids {
        hasher.update(id.to_le_bytes());
    }
}

/// In hexadecimal digits.
pub(super) fn hex(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
