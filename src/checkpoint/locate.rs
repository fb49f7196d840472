//! From what the user typed to a path: a file, a folder, or `owner/name` in the local Hugging Face cache.

use std::path::{Component, Path, PathBuf};

use super::{Error, Result};

/// The path itself if it exists, else the newest snapshot of the model `owner/name` in the Hugging Face cache.
pub(super) fn locate(path: &Path) -> Result<PathBuf> {
    if path.exists() {
        return Ok(path.to_owned());
    }
    let cached = repository(path).and_then(|name| Some(cache_folder()?.join(name)));
    if let Some(snapshot) = cached.as_deref().and_then(snapshot) {
        return Ok(snapshot);
    }
    Err(Error::NoSuchPath { path: path.to_owned(), cache: cached })
}

/// `owner/name` as the cache spells it.
fn repository(path: &Path) -> Option<String> {
    let mut parts = path.components().map(|part| match part {
        Component::Normal(name) => name.to_str(),
        _ => None,
    });
    match (parts.next()??, parts.next()??, parts.next()) {
        (owner, name, None) => Some(format!("models--{owner}--{name}")),
        _ => None,
    }
}

/// `$HF_HUB_CACHE`, `$HF_HOME/hub` or `~/.cache/huggingface/hub`.
fn cache_folder() -> Option<PathBuf> {
    let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    var("HF_HUB_CACHE")
        .or_else(|| var("HF_HOME").map(|home| home.join("hub")))
        .or_else(|| var("HOME").map(|home| home.join(".cache/huggingface/hub")))
}

fn snapshot(model: &Path) -> Option<PathBuf> {
    let revision = std::fs::read_to_string(model.join("refs/main")).ok()?;
    let folder = model.join("snapshots").join(revision.trim());
    folder.is_dir().then_some(folder)
}

/// The last part of the path; for a cache snapshot, whose last part is a hash, the repository's name.
pub(super) fn model_name(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let repository = path.ancestors().find_map(|folder| {
        let name = folder.file_name()?.to_str()?.strip_prefix("models--")?;
        Some(name.rsplit("--").next()?.to_owned())
    });
    let last = if path.is_dir() { path.file_name() } else { path.file_stem() };
    repository.or_else(|| Some(last?.to_str()?.to_owned())).unwrap_or_else(|| "model".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_snapshot_has_its_repositorys_name() {
        let dir = tempfile::tempdir().unwrap();
        let snapshot = dir.path().join("models--Owner--Some-Model-1B/snapshots/0123abcd");
        std::fs::create_dir_all(&snapshot).unwrap();
        assert_eq!(model_name(&snapshot), "Some-Model-1B");
        assert_eq!(model_name(dir.path()), dir.path().file_name().unwrap().to_str().unwrap());
    }

    #[test]
    fn only_two_plain_parts_are_a_repository() {
        assert_eq!(repository(Path::new("a/b")).as_deref(), Some("models--a--b"));
        for other in ["a", "a/b/c", "../b", "/a/b"] {
            assert_eq!(repository(Path::new(other)), None, "{other}");
        }
    }
}
