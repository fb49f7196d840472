//! Where everything will lie in the files that are going to be written, decided before the first byte.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::statvfs;

use crate::staged::{Staged, folder};
use crate::{Error, Info, Result, Sink};

/// The files of a checkpoint to be written: names, sizes, headers, and a place for every tensor.
#[derive(Debug, Default)]
pub struct Layout {
    pub(crate) files: Vec<PlannedFile>,
    pub(crate) slots: Vec<Slot>,
}

#[derive(Debug)]
pub(crate) struct PlannedFile {
    pub(crate) path: PathBuf,
    /// What the file starts with.
    pub(crate) head: Vec<u8>,
    /// All of it, head included.
    pub(crate) bytes: u64,
}

#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) tensor: String,
    pub(crate) file: usize,
    /// From the start of the file.
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

impl Layout {
    /// Every file under its final name, with its size in bytes.
    pub fn files(&self) -> impl ExactSizeIterator<Item = (&Path, u64)> {
        self.files.iter().map(|file| (file.path.as_path(), file.bytes))
    }

    /// All files together, in bytes.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Reserves the room on disk, under temporary names, and writes the headers.
    pub fn create(self) -> Result<Box<dyn Sink>> {
        let mut staged = Staged::new();
        for file in &self.files {
            staged.add(&file.path, file.bytes)?;
        }
        for (index, file) in self.files.iter().enumerate() {
            staged.write_at(index, 0, &file.head)?;
        }
        let written = self.slots.iter().map(|_| AtomicU64::new(0)).collect();
        let paths = self.files.into_iter().map(|file| file.path).collect();
        Ok(Box::new(Output { staged, paths, slots: self.slots, written }))
    }
}

/// Refuses to write two tensors of one name.
pub(crate) fn unique_names(path: &Path, infos: &[Info], format: &'static str) -> Result<()> {
    let mut seen = HashSet::new();
    match infos.iter().find(|info| !seen.insert(&info.name)) {
        None => Ok(()),
        Some(twice) => {
            let (path, tensor) = (path.to_owned(), twice.name.clone());
            Err(Error::Unwritable { path, tensor, format, why: "the name occurs twice".to_owned() })
        }
    }
}

/// The first tensor of every file, when tensors of these sizes fill files of at most `max` bytes one after another.
pub(crate) fn fill(sizes: &[u64], max: Option<u64>) -> Vec<usize> {
    let mut starts = vec![0];
    let mut filled = 0u64;
    for (i, &bytes) in sizes.iter().enumerate() {
        filled += bytes;
        if max.is_some_and(|max| filled > max) && starts.last() != Some(&i) {
            starts.push(i);
            filled = bytes;
        }
    }
    starts
}

/// Bytes that an unprivileged user may still write where `path` is, or will be.
pub fn free_space(path: &Path) -> Result<u64> {
    let place = path.ancestors().find(|p| p.exists()).unwrap_or_else(|| folder(path));
    let place = if place.as_os_str().is_empty() { Path::new(".") } else { place };
    let stat = statvfs(place).map_err(|errno| Error::io(place, "cannot read the free space of")(errno.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// The sink behind every container.
struct Output {
    staged: Staged,
    paths: Vec<PathBuf>,
    slots: Vec<Slot>,
    /// Bytes written of each tensor.
    written: Vec<AtomicU64>,
}

impl Sink for Output {
    fn write_at(&self, tensor: usize, offset: usize, bytes: &[u8]) -> Result<()> {
        let slot = self.slots.get(tensor).ok_or(Error::NoSuchSlot { tensor, tensors: self.slots.len() })?;
        let len = bytes.len() as u64;
        let offset = offset as u64;
        if offset.checked_add(len).is_none_or(|end| end > slot.bytes) {
            let path = self.paths[slot.file].clone();
            return Err(Error::OutsideTensor { path, tensor: slot.tensor.clone(), offset, len, bytes: slot.bytes });
        }
        self.staged.write_at(slot.file, slot.offset + offset, bytes)?;
        self.written[tensor].fetch_add(len, Ordering::Relaxed);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Vec<PathBuf>> {
        for (slot, written) in self.slots.iter().zip(&self.written) {
            let written = written.load(Ordering::Relaxed);
            if written != slot.bytes {
                let (path, tensor) = (self.paths[slot.file].clone(), slot.tensor.clone());
                return Err(Error::Incomplete { path, tensor, written, bytes: slot.bytes });
            }
        }
        self.staged.finish()
    }
}
