//! Files that appear whole or not at all: written under `NAME.partial`, renamed when everything is on disk.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::flush::{Flusher, Written};
use crate::{Error, Result};

/// Files being written together. Dropped before [`Staged::finish`], they are removed.
#[derive(Debug)]
pub(crate) struct Staged {
    files: Vec<Partial>,
    flusher: Flusher,
}

#[derive(Debug)]
struct Partial {
    path: PathBuf,
    /// Its name until it is complete.
    interim: PathBuf,
    file: Arc<File>,
    written: Written,
}

impl Staged {
    pub(crate) fn new() -> Staged {
        Staged { files: Vec::new(), flusher: Flusher::start() }
    }

    /// Adds a file of `bytes` zero bytes, with their room on the disk.
    pub(crate) fn add(&mut self, path: &Path, bytes: u64) -> Result<()> {
        let mut interim = path.as_os_str().to_owned();
        interim.push(".partial");
        let interim = PathBuf::from(interim);
        let file = Arc::new(lock(&interim)?);
        // From here on a failure removes the file.
        self.files.push(Partial { path: path.to_owned(), interim, file, written: Written::default() });
        let Some(Partial { interim, file, .. }) = self.files.last() else { return Ok(()) };
        // A run that was killed may have left something.
        file.set_len(0).map_err(Error::io(interim, "cannot empty"))?;
        if bytes > 0 {
            match fallocate(file, FallocateFlags::empty(), 0, bytes) {
                Ok(()) => {}
                // File systems without it still grow the file; a full disk then shows when it is written.
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                    file.set_len(bytes).map_err(Error::io(interim, "cannot set the size of"))?;
                }
                Err(errno) => return Err(Error::io(interim, "cannot reserve room for")(errno.into())),
            }
        }
        Ok(())
    }

    /// Writes at a place of one file. Callable from any thread.
    pub(crate) fn write_at(&self, file: usize, offset: u64, bytes: &[u8]) -> Result<()> {
        let Partial { interim, file, written, .. } = &self.files[file];
        file.write_all_at(bytes, offset).map_err(Error::io(interim, "cannot write"))?;
        self.flusher.wrote(file, written, bytes.len() as u64);
        Ok(())
    }

    /// Flushes all, then renames all, then flushes the folders.
    pub(crate) fn finish(mut self) -> Result<Vec<PathBuf>> {
        if let Err((which, error)) = self.flusher.finish() {
            let whose = self.files.iter().find(|partial| Arc::ptr_eq(&partial.file, &which));
            let path = whose.map_or(Path::new(""), |partial| &partial.interim);
            return Err(Error::io(path, "cannot flush")(error));
        }
        for Partial { interim, file, .. } in &self.files {
            file.sync_all().map_err(Error::io(interim, "cannot flush"))?;
        }
        for Partial { path, interim, .. } in &self.files {
            fs::rename(interim, path).map_err(Error::io(path, "cannot give its final name to"))?;
        }
        let paths: Vec<PathBuf> = std::mem::take(&mut self.files).into_iter().map(|file| file.path).collect();
        let mut folders: Vec<&Path> = paths.iter().map(|path| folder(path)).collect();
        folders.dedup();
        for folder in folders {
            File::open(folder).and_then(|f| f.sync_all()).map_err(Error::io(folder, "cannot flush the folder"))?;
        }
        Ok(paths)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        for Partial { interim, .. } in &self.files {
            // Nobody is left to tell; a leftover is overwritten by the next run.
            let _ = fs::remove_file(interim);
        }
    }
}

/// Writes a file of these bytes, whole or not at all: under `NAME.partial` first.
///
/// # Errors
/// Where the file cannot be written, and if another run is writing it.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut staged = Staged::new();
    staged.add(path, 0)?;
    staged.write_at(0, 0, bytes)?;
    staged.finish().map(|_| ())
}

/// The folder that a file lies in.
pub(crate) fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Opens a partial file that no other run is writing.
fn lock(interim: &Path) -> Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(interim)
        .map_err(Error::io(interim, "cannot create"))?;
    let busy = || Error::Busy { path: interim.to_owned() };
    file.try_lock().map_err(|_| busy())?;
    // The other run may have finished between the two calls: then this is its finished file.
    let ours = file.metadata().map_err(Error::io(interim, "cannot read the size of"))?;
    match fs::metadata(interim) {
        Ok(now) if now.ino() == ours.ino() && now.dev() == ours.dev() => Ok(file),
        _ => Err(busy()),
    }
}
