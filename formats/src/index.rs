//! Sharded checkpoints: `*.index.json` says which file holds which tensor. Every word of it is checked against the files.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use crate::error::Kind;
use crate::map::Map;
use crate::mapped::Mapped;
use crate::unique::Unique;
use crate::{Error, Result, Source, numbered};

/// The end of every index's name.
pub(crate) const SUFFIX: &str = ".index.json";
/// Whether a file is an index, by its name.
pub(crate) fn is_index(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(SUFFIX))
}

/// How many names an error shows.
const SHOWN: usize = 5;

/// What can be wrong with an index.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message is the documentation; fields are what it names")]
#[non_exhaustive]
pub enum Problem {
    #[error("bad index: {0}")]
    Json(serde_json::Error),
    #[error("the index has no tensors")]
    NoTensors,
    #[error("shard {shard:?} is not a file of the folder")]
    Outside { shard: String },
    #[error("the index puts {} into {}, which lacks {}", names(tensors), shard.display(), them(tensors))]
    Missing { shard: PathBuf, tensors: Vec<String> },
    #[error("{} holds {}, which the index does not put there", shard.display(), names(tensors))]
    Extra { shard: PathBuf, tensors: Vec<String> },
    #[error("{} {} beside the shards but not in the index", names(shards), if shards.len() == 1 { "lies" } else { "lie" })]
    ExtraShards { shards: Vec<String> },
}

impl Problem {
    #[expect(clippy::unused_self, reason = "the kinds of all containers' problems are asked for in one way")]
    pub(crate) fn kind(&self) -> Kind {
        Kind::Bad
    }

    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Problem::Missing { .. } | Problem::Extra { .. } | Problem::ExtraShards { .. } => {
                Some("index and shards come from different downloads or exports: fetch all of them again")
            }
            Problem::Json(_) | Problem::NoTensors | Problem::Outside { .. } => None,
        }
    }
}

fn names(names: &[String]) -> String {
    let shown = names.iter().take(SHOWN).map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN { format!("{shown} and {} more", names.len() - SHOWN) } else { shown }
}

fn them(names: &[String]) -> &'static str {
    if names.len() == 1 { "it" } else { "them" }
}

#[derive(Deserialize)]
struct Index {
    weight_map: Unique<String>,
}

/// Opens all shards of the index at `path`, in order of their names, each with `open_one`.
pub(crate) fn open(path: &Path, open_one: fn(&Path) -> Result<Mapped>) -> Result<Box<dyn Source>> {
    let bad = |problem| Error::Index { path: path.to_owned(), problem };
    let map = Map::open(path)?;
    let Index { weight_map: Unique(weight_map) } = serde_json::from_slice(&map).map_err(|e| bad(Problem::Json(e)))?;
    if weight_map.is_empty() {
        return Err(bad(Problem::NoTensors));
    }
    let names: BTreeSet<&str> = weight_map.iter().map(|(_, shard)| shard.as_str()).collect();
    if let Some(shard) = names.iter().find(|name| !is_plain(name)) {
        return Err(bad(Problem::Outside { shard: (*shard).to_owned() }));
    }
    let shards: Vec<PathBuf> = names.iter().map(|name| path.with_file_name(name)).collect();
    let missing: Vec<PathBuf> = shards.iter().filter(|shard| !shard.exists()).cloned().collect();
    if !missing.is_empty() {
        return Err(Error::MissingFiles { path: path.to_owned(), missing });
    }
    let extra = extra_shards(path, &names)?;
    if !extra.is_empty() {
        return Err(bad(Problem::ExtraShards { shards: extra }));
    }

    let mut promised: HashMap<&str, Vec<&str>> = HashMap::new();
    for (tensor, shard) in &weight_map {
        promised.entry(shard).or_default().push(tensor);
    }
    let opened = names.iter().zip(&shards).map(|(name, shard)| {
        let mapped = open_one(shard)?;
        compare(shard, promised.get(name).map_or(&[], Vec::as_slice), &mapped).map_err(bad)?;
        Ok(mapped)
    });
    Ok(Box::new(Mapped::join(opened)?))
}

/// Opens parts that have no index.
pub(crate) fn open_parts(parts: &[PathBuf], open_one: fn(&Path) -> Result<Mapped>) -> Result<Box<dyn Source>> {
    Ok(Box::new(Mapped::join(parts.iter().map(|part| open_one(part)))?))
}

/// A shard's tensors must be those that the index puts there.
fn compare(shard: &Path, promised: &[&str], mapped: &Mapped) -> Result<(), Problem> {
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let missing: Vec<&str> = promised.iter().copied().filter(|name| mapped.info(name).is_none()).collect();
    if !missing.is_empty() {
        return Err(Problem::Missing { shard: shard.to_owned(), tensors: owned(missing) });
    }
    let promised: BTreeSet<&str> = promised.iter().copied().collect();
    let extra: Vec<&str> =
        mapped.infos().iter().map(|info| info.name.as_str()).filter(|name| !promised.contains(name)).collect();
    if extra.is_empty() { Ok(()) } else { Err(Problem::Extra { shard: shard.to_owned(), tensors: owned(extra) }) }
}

/// Whether a name stays in its folder. Symbolic links may leave it: Hugging Face's cache is made of them.
fn is_plain(name: &str) -> bool {
    let mut components = Path::new(name).components();
    matches!((components.next(), components.next()), (Some(Component::Normal(only)), None) if only == name)
}

/// Files that are numbered like the shards but that the index does not know.
fn extra_shards(path: &Path, known: &BTreeSet<&str>) -> Result<Vec<String>> {
    let sets: BTreeSet<(PathBuf, usize)> = known.iter().filter_map(|name| set(name)).collect();
    let folder = crate::staged::folder(path);
    let mut extra = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder, "cannot list"))? {
        let entry = entry.map_err(Error::io(folder, "cannot list"))?;
        if let Ok(name) = entry.file_name().into_string()
            && !known.contains(name.as_str())
            && set(&name).is_some_and(|set| sets.contains(&set))
        {
            extra.push(name);
        }
    }
    extra.sort();
    Ok(extra)
}

fn set(name: &str) -> Option<(PathBuf, usize)> {
    numbered::parse(Path::new(name)).map(|(whole, _, count)| (whole, count))
}
