//! What can be wrong with a container, named by file, tensor and place.

use std::path::{Path, PathBuf};

/// A result whose error names the file.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can be wrong with a container.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("{path}: {doing}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done, as in "cannot open".
        doing: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// A tensor that the caller needs is not there.
    #[error("tensor {tensor} is in none of: {}", list(files))]
    MissingTensor {
        /// Where it was looked for.
        files: Vec<PathBuf>,
        /// Its name.
        tensor: String,
    },
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
}

impl Error {
    /// For `map_err` on I/O: `Error::io(path, "cannot open")`.
    pub fn io(path: &Path, doing: &'static str) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { path, doing, source }
    }
}
