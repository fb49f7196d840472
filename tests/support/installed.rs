//! What tests compare planish with, found where it is installed: stock llama.cpp, real models, shared data.
//!
//! `tests/fetch-oracle` fills `.oracle/` at the workspace root; `$PLANISH_ORACLE` names another folder, and
//! `$PLANISH_MODELS` one with models. What is not there is skipped with a word about it; `PLANISH_REQUIRE_ORACLE=1` makes
//! that a failure.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]
#![allow(clippy::case_sensitive_file_extension_comparisons, reason = "names of libraries have one case")]

use std::path::{Path, PathBuf};

/// The folder of llama.cpp's libraries.
pub fn libraries() -> Option<PathBuf> {
    let folders = bases().into_iter().flat_map(|base| [base.join("llama"), base]);
    let found = folders.into_iter().find(|folder| library(folder, "libggml-base").is_some());
    if found.is_none() {
        skip("oracle not installed");
    }
    found
}

/// The library of this name in `folder`, with or without a version: `libllama.so`, `libllama.v0.5.0.so`.
pub fn library(folder: &Path, stem: &str) -> Option<PathBuf> {
    let is = |name: &str| {
        name.strip_prefix(stem).is_some_and(|rest| rest == ".so" || (rest.starts_with(".v") && rest.ends_with(".so")))
    };
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    entries.map(|entry| entry.path()).find(|path| path.file_name().and_then(|n| n.to_str()).is_some_and(is))
}

/// A folder of real input, such as `smollm2` or `tokenizers/llama3`.
pub fn installed(name: &str) -> Option<PathBuf> {
    let models = std::env::var_os("PLANISH_MODELS").map(PathBuf::from);
    let found = models.into_iter().chain(bases()).map(|base| base.join(name)).find(|folder| folder.is_dir());
    if found.is_none() {
        skip(&format!("{name} not installed"));
    }
    found
}

/// A file or folder of the data that lies beside the repository, which not everybody may have.
pub fn shared(name: &str) -> Option<PathBuf> {
    let path = root().join("../shared").join(name);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: ../shared/{name} is not there");
    None
}

/// The root of the workspace.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().find(|dir| dir.join("fixtures").is_dir()).unwrap_or(here).to_owned()
}

fn skip(why: &str) {
    assert!(std::env::var_os("PLANISH_REQUIRE_ORACLE").is_none_or(|v| v != "1"), "{why}, but it is required");
    println!("skipped: {why}");
}

fn bases() -> Vec<PathBuf> {
    let named = std::env::var_os("PLANISH_ORACLE").map(PathBuf::from);
    named.into_iter().chain([root().join(".oracle")]).collect()
}
