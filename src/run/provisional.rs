//! Files that are complete but have not earned their name yet.

use std::path::{Path, PathBuf};

use planish_formats::Error as FileError;
use tempfile::TempDir;

use super::Result;

/// A folder beside the output, on the same disk, in which the output is made and looked at. Dropped, it is removed with
/// all that is in it.
pub struct Provisional {
    folder: TempDir,
    target: PathBuf,
}

impl Provisional {
    /// For a file that shall stand at `output`.
    pub fn beside(output: &Path) -> Result<Provisional> {
        let target = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = tempfile::Builder::new().prefix(".planish-").tempdir_in(target);
        let folder = folder.map_err(FileError::io(target, "cannot make a folder in"))?;
        Ok(Provisional { folder, target: target.to_owned() })
    }

    /// Where a file of this output is made.
    pub fn path(&self, output: &Path) -> PathBuf {
        self.folder.path().join(output.file_name().unwrap_or_default())
    }

    /// Gives `files`, which are in the folder, their final places, and says where these are.
    pub fn keep(self, files: &[PathBuf]) -> Result<Vec<PathBuf>> {
        let mut kept = vec![];
        for file in files {
            let place = self.target.join(file.file_name().unwrap_or_default());
            std::fs::rename(file, &place).map_err(FileError::io(&place, "cannot give its final name to"))?;
            kept.push(place);
        }
        let flushed = std::fs::File::open(&self.target).and_then(|folder| folder.sync_all());
        flushed.map_err(FileError::io(&self.target, "cannot flush the folder"))?;
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_kept_remains() {
        let dir = tempfile::tempdir().expect("a folder");
        let output = dir.path().join("a.gguf");
        let make = || {
            let provisional = Provisional::beside(&output).expect("a folder");
            let path = provisional.path(&output);
            std::fs::write(&path, "weights").expect("a file");
            (provisional, path)
        };
        let names = || std::fs::read_dir(dir.path()).expect("the folder").count();
        drop(make());
        assert_eq!(names(), 0);
        let (provisional, path) = make();
        let kept = provisional.keep(&[path]).expect("a rename");
        assert_eq!(kept, std::slice::from_ref(&output));
        assert_eq!((names(), std::fs::read(&output).expect("the file")), (1, b"weights".to_vec()));
    }
}
