//! A checkpoint's folder that appears whole or not at all: written as `NAME.partial`, renamed when everything is on disk.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use planish_formats::{Layout, Sink};

use super::{Error, Outcome, Result, Run, check_room, quantize};
use crate::dialect::Tensors;
use crate::plan::Restoration;

/// A folder to be written.
pub(super) struct Folder<'a> {
    /// What is read.
    pub source: &'a Tensors,
    /// Its final name.
    pub output: &'a Path,
    /// Whether it may take the place of another model's.
    pub force: bool,
    /// The files beside the weights: name and content.
    pub files: Vec<(String, Vec<u8>)>,
}

/// Writes the folder `output`, its weights in files of at most `shard_max` bytes of data.
///
/// # Errors
/// A folder that is there already, unless `force` is given and it is a model's; weights that are no numbers; a full disk.
/// Whatever fails, nothing is left under the final name that was not there before.
pub fn restore_folder(
    run: &Run,
    plan: &Restoration,
    output: &Path,
    shard_max: Option<u64>,
    force: bool,
) -> Result<Outcome> {
    let folder = Folder { source: run.source, output, force, files: plan.files() };
    write_folder(&folder, |partial| Ok(plan.layout(partial, shard_max)?), |sink| quantize(run, sink), |_| Ok(true))
}

/// Writes the files of `folder`, and its weights with `write` where `layout` says. The whole folder, under its temporary
/// name, is shown to `earns_name`; if it does not, it is removed, and no file is in the outcome.
pub(super) fn write_folder<E: From<Error>>(
    folder: &Folder<'_>,
    layout: impl FnOnce(&Path) -> Result<Layout>,
    write: impl FnOnce(Box<dyn Sink>) -> Result<Outcome, E>,
    earns_name: impl FnOnce(&Path) -> Result<bool, E>,
) -> Result<Outcome, E> {
    let output = folder.output;
    check_place(folder)?;
    let partial = Partial::create(output)?;
    let layout = layout(&partial.path)?;
    check_room(&layout, false)?;
    let (mut files, mut small) = (vec![], 0);
    for (name, content) in &folder.files {
        let path = partial.path.join(name);
        let write = |path: &Path| {
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            let mut file = File::create(path)?;
            file.write_all(content)?;
            file.sync_all()
        };
        write(&path).map_err(failed(&path, "write"))?;
        files.push(output.join(name));
        small += content.len() as u64;
    }
    let outcome = write(layout.create().map_err(Error::from)?)?;
    if !earns_name(&partial.path)? {
        return Ok(Outcome { files: vec![], ..outcome });
    }
    partial.rename(output)?;
    files.extend(outcome.files.iter().filter_map(|file| Some(output.join(file.file_name()?))));
    Ok(Outcome { files, bytes: outcome.bytes + small, ..outcome })
}

/// Refuses to start where the folder cannot be put in the end.
fn check_place(folder: &Folder<'_>) -> Result<()> {
    let Folder { source, output, force, .. } = folder;
    let path = || output.to_path_buf();
    if fs::symlink_metadata(output).is_err() {
        return Ok(());
    }
    if !*force {
        return Err(Error::Exists { path: path() });
    }
    if output.file_name().is_none() || !output.join("config.json").is_file() {
        return Err(Error::NotAModel { path: path() });
    }
    let inside = |file: &PathBuf| {
        file.canonicalize().ok().zip(output.canonicalize().ok()).is_some_and(|(file, output)| file.starts_with(output))
    };
    if source.files().iter().any(inside) { Err(Error::HoldsSource { path: path() }) } else { Ok(()) }
}

/// The folder under its temporary name. Dropped before it is renamed, it is removed.
struct Partial {
    path: PathBuf,
    /// Holds the lock that keeps another run out.
    folder: File,
}

impl Partial {
    fn create(output: &Path) -> Result<Partial> {
        let path = beside(output, "partial");
        match fs::create_dir(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(failed(&path, "create")(error));
            }
            _ => {}
        }
        let folder = File::open(&path).map_err(failed(&path, "open"))?;
        let busy = || planish_formats::Error::Busy { path: path.clone() };
        folder.try_lock().map_err(|_| busy())?;
        // The other run may have finished between the two calls: then this is its finished folder.
        let ours = folder.metadata().map_err(failed(&path, "open"))?;
        if fs::metadata(&path).map_or(true, |now| (now.ino(), now.dev()) != (ours.ino(), ours.dev())) {
            return Err(busy().into());
        }
        // What a killed run left; what else is there is somebody else's.
        let left = left_over(&path).map_err(failed(&path, "read"))?;
        for path in left.ok_or_else(|| Error::Exists { path: path.clone() })? {
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(failed(&path, "remove"))?;
        }
        Ok(Partial { path, folder })
    }

    /// Gives the folder its final name; what stood there is removed.
    fn rename(self, output: &Path) -> Result<()> {
        self.folder.sync_all().map_err(failed(&self.path, "flush"))?;
        let replaced = beside(output, "replaced");
        let replaces = fs::symlink_metadata(output).is_ok();
        if replaces {
            if fs::symlink_metadata(&replaced).is_ok() {
                return Err(Error::Exists { path: replaced });
            }
            fs::rename(output, &replaced).map_err(failed(output, "replace"))?;
        }
        if let Err(error) = fs::rename(&self.path, output) {
            if replaces {
                // Better the old one than none.
                let _ = fs::rename(&replaced, output);
            }
            return Err(failed(output, "give the final name to")(error));
        }
        let parent = folder_of(output);
        File::open(parent).and_then(|folder| folder.sync_all()).map_err(failed(parent, "flush"))?;
        if replaces {
            let removed =
                if replaced.is_symlink() { fs::remove_file(&replaced) } else { fs::remove_dir_all(&replaced) };
            removed.map_err(failed(&replaced, "remove"))?;
        }
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After the renaming there is nothing under this name. Else nobody is left to tell; the next run clears it.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// The files in `folder`, and its folders where they hold one config.json each, as an embedding's modules do; `None` if
/// there is anything else.
fn left_over(folder: &Path) -> std::io::Result<Option<Vec<PathBuf>>> {
    let list = |folder: &Path| fs::read_dir(folder)?.collect::<std::io::Result<Vec<_>>>();
    let mut left = vec![];
    for entry in list(folder)? {
        let kind = entry.file_type()?;
        let is_module = |inner: &[fs::DirEntry]| {
            inner
                .iter()
                .all(|file| file.file_name() == "config.json" && file.file_type().is_ok_and(|kind| kind.is_file()))
        };
        let ours = kind.is_file() || (kind.is_dir() && is_module(&list(&entry.path())?));
        if !ours {
            return Ok(None);
        }
        left.push(entry.path());
    }
    Ok(Some(left))
}

fn failed(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Folder { path: path.to_owned(), action, source }
}

/// `NAME.EXTENSION` beside `NAME`.
fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or(path.as_os_str()).to_owned();
    name.push(".");
    name.push(extension);
    folder_of(path).join(name)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
