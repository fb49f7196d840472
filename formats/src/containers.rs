//! The formats that a checkpoint can be opened from, and how one is found.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::map::Map;
use crate::{Error, Result, Source, gguf, numbered, safetensors, torch};

/// A format to open checkpoints from.
pub struct Container {
    /// Its name, as reports use it.
    pub name: &'static str,
    /// Whether a file that begins with these bytes is one.
    pub begins: fn(&[u8]) -> bool,
    /// How the names end of files that are meant to be one, asked when no beginning is known.
    pub names_end: &'static [&'static str],
    /// Names of the files to open in a folder: earlier ones win, `*` stands for anything.
    pub looks_for: &'static [&'static str],
    /// Opens one file, with the others that it names.
    pub open: fn(&Path) -> Result<Box<dyn Source>>,
    /// Opens all parts of a numbered set.
    pub open_parts: fn(&[PathBuf]) -> Result<Box<dyn Source>>,
}

/// All formats, those that win in a mixed folder first.
pub static CONTAINERS: &[&Container] = &[&safetensors::CONTAINER, &torch::CONTAINER, &gguf::CONTAINER];

/// Opens a checkpoint: a file of any format, or a folder that holds one.
pub fn open(path: &Path) -> Result<Box<dyn Source>> {
    if path.is_dir() {
        return open_folder(path);
    }
    // Missing files, empty files and git-LFS pointers are named as such before any format is guessed.
    let map = Map::open(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let by_bytes = CONTAINERS.iter().find(|container| (container.begins)(&map));
    let by_name = || CONTAINERS.iter().find(|container| container.names_end.iter().any(|end| name.ends_with(end)));
    match by_bytes.or_else(by_name) {
        Some(container) => (container.open)(path),
        None => Err(unrecognised(path)),
    }
}

fn open_folder(folder: &Path) -> Result<Box<dyn Source>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder, "cannot list"))? {
        let entry = entry.map_err(Error::io(folder, "cannot list"))?;
        // What is not UTF-8 is none of the names looked for.
        names.extend(entry.file_name().into_string());
    }
    names.sort();
    for container in CONTAINERS {
        for pattern in container.looks_for {
            let found: Vec<PathBuf> =
                names.iter().filter(|name| matches(pattern, name)).map(|name| folder.join(name)).collect();
            match &found[..] {
                [] => {}
                [one] if numbered::parse(one).is_none() => return (container.open)(one),
                parts => return open_parts(container, folder, parts),
            }
        }
    }
    Err(unrecognised(folder))
}

/// Numbered files, fine if they are all parts of one set; else the user must choose.
fn open_parts(container: &Container, folder: &Path, files: &[PathBuf]) -> Result<Box<dyn Source>> {
    let sets: BTreeSet<_> =
        files.iter().map(|file| numbered::parse(file).map(|(whole, _, count)| (whole, count))).collect();
    let [Some((whole, count))] = &sets.into_iter().collect::<Vec<_>>()[..] else {
        return Err(Error::Ambiguous { folder: folder.to_owned(), files: files.to_vec() });
    };
    let all: Vec<PathBuf> = (0..*count).map(|no| numbered::name(whole, no, *count)).collect();
    let missing: Vec<PathBuf> = all.iter().filter(|part| !files.contains(part)).cloned().collect();
    if missing.is_empty() {
        (container.open_parts)(&all)
    } else {
        Err(Error::MissingFiles { path: folder.to_owned(), missing })
    }
}

/// Whether `name` is what `pattern` means; it has one `*` at most.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => name == pattern,
        Some((start, end)) => name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end),
    }
}

fn unrecognised(path: &Path) -> Error {
    let looked_for: Vec<&str> = CONTAINERS.iter().flat_map(|c| c.looks_for).copied().collect();
    Error::Unrecognised { path: path.to_owned(), looked_for: looked_for.join(", ") }
}
