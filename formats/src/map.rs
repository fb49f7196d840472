//! The memory mapping of a file: the only unsafe code of this crate.
#![allow(unsafe_code)]

use std::fs::File;
use std::ops::Deref;
use std::path::Path;

use crate::{Error, Result};

/// How every git-LFS pointer file begins.
const LFS: &[u8] = b"version https://git-lfs.github.com/spec/";

/// A file's bytes, paged in as they are touched.
#[derive(Debug)]
pub(crate) struct Map(memmap2::Mmap);

impl Map {
    /// Maps a file. Refuses git-LFS pointers and empty files, which no reader could say anything better about.
    pub(crate) fn open(path: &Path) -> Result<Map> {
        let file = File::open(path).map_err(Error::io(path, "cannot open"))?;
        let meta = file.metadata().map_err(Error::io(path, "cannot read the size of"))?;
        if !meta.is_file() {
            return Err(Error::NotAFile { path: path.to_owned() });
        }
        if meta.len() == 0 {
            return Err(Error::Empty { path: path.to_owned() });
        }
        // SAFETY: the mapping is read-only and private to this process. Another process that shrinks the file while it is
        // mapped would stop this one by SIGBUS, as it would any program that maps; nothing in this crate writes to a file
        // under a name that a reader opens (writers fill a sibling and rename it).
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(Error::io(path, "cannot map"))?;
        if map.starts_with(LFS) {
            return Err(Error::LfsPointer { path: path.to_owned() });
        }
        Ok(Map(map))
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
