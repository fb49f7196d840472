//! Sets of files named `NAME-00001-of-00003.gguf`, as llama.cpp's gguf-split makes them.

use std::path::{Path, PathBuf};

use super::{Kv, SPLIT_COUNT, SPLIT_NO, SPLIT_TENSORS, parse};
use crate::mapped::Mapped;
use crate::{Error, Meta, Result, Source, numbered};

/// Opens one file, or all files of the set that it belongs to. What [`Source::meta`] gives of a set has no `split.*` keys.
pub fn open(path: &Path) -> Result<Box<dyn Source>> {
    let one = open_one(path)?;
    let count = match kv(&one).unsigned(SPLIT_COUNT) {
        None | Some(0 | 1) => return Ok(Box::new(one)),
        Some(count) => count,
    };
    let bad = |what: String| Error::Split { path: path.to_owned(), what };
    let misnamed = || bad(format!("{SPLIT_COUNT} is {count}, but the file is not named NAME-00001-of-{count:05}.gguf"));
    let (whole, _, of) = numbered::parse(path).ok_or_else(misnamed)?;
    if of as u64 != count {
        return Err(bad(format!("{SPLIT_COUNT} is {count}, but the name says {of}")));
    }
    let parts: Vec<PathBuf> = (0..of).map(|no| numbered::name(&whole, no, of)).collect();
    let missing: Vec<PathBuf> = parts.iter().filter(|part| !part.exists()).cloned().collect();
    if !missing.is_empty() {
        return Err(Error::MissingFiles { path: path.to_owned(), missing });
    }
    drop(one);
    open_parts(&parts)
}

/// Opens all files of a set, in order.
pub(super) fn open_parts(parts: &[PathBuf]) -> Result<Box<dyn Source>> {
    let shards = parts.iter().enumerate().map(|(no, part)| {
        let shard = open_one(part)?;
        check_part(part, kv(&shard), no as u64, parts.len() as u64)?;
        Ok(shard)
    });
    let mut all = Mapped::join(shards)?;
    let found = all.infos().len() as u64;
    if let (Some(total), Some(first)) =
        (kv(&all).unsigned(SPLIT_TENSORS).filter(|&total| total != found), parts.first())
    {
        let what = format!("{SPLIT_TENSORS} is {total}, but the files hold {found} tensors");
        return Err(Error::Split { path: first.clone(), what });
    }
    if let Meta::Gguf(kv) = all.meta_mut() {
        for key in [SPLIT_NO, SPLIT_COUNT, SPLIT_TENSORS] {
            kv.remove(key);
        }
    }
    Ok(Box::new(all))
}

fn open_one(path: &Path) -> Result<Mapped> {
    Mapped::open(path, parse, |path, problem| Error::Gguf { path, problem })
}

fn kv(mapped: &Mapped) -> &Kv {
    static NONE: Kv = Kv::new();
    match mapped.meta() {
        Meta::Gguf(kv) => kv,
        Meta::Strings(_) => &NONE,
    }
}

fn check_part(path: &Path, kv: &Kv, no: u64, count: u64) -> Result<()> {
    for (key, expected) in [(SPLIT_NO, no), (SPLIT_COUNT, count)] {
        let found = kv.unsigned(key);
        if found != Some(expected) {
            let found = found.map_or("missing".to_owned(), |found| found.to_string());
            return Err(Error::Split { path: path.to_owned(), what: format!("{key} is {found}, expected {expected}") });
        }
    }
    Ok(())
}
