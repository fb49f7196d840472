//! What can be wrong with a container, named by file, tensor and place.

use std::path::{Path, PathBuf};

use crate::{gguf, index, safetensors, torch};

/// A result whose error names the file.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Whose fault an error is, and so which exit code a program gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The operating system refused.
    Io,
    /// The file is damaged, incomplete or hostile.
    Bad,
    /// The file may be sound, but is of a kind that is not read or written here.
    Unsupported,
}

/// What can be wrong with a container.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message says what each field is")]
pub enum Error {
    /// The operating system refused.
    #[error("{path}: {doing}")]
    Io { path: PathBuf, doing: &'static str, source: std::io::Error },
    /// A folder or a device where a file is needed.
    #[error("{path} is not a regular file")]
    NotAFile { path: PathBuf },
    /// Nothing in it.
    #[error("{path} is empty")]
    Empty { path: PathBuf },
    /// A placeholder that git-LFS left.
    #[error("{path} is a git-LFS pointer, not the file itself (run git lfs pull)")]
    LfsPointer { path: PathBuf },
    /// No container knows it.
    #[error("{path}: no checkpoint recognised; looked for {looked_for}")]
    Unrecognised { path: PathBuf, looked_for: String },
    /// A folder with several candidates and nothing to say which.
    #[error("{folder}: which of these is meant? {}", list(files))]
    Ambiguous { folder: PathBuf, files: Vec<PathBuf> },
    /// A GGUF that does not hold.
    #[error("{path}: {problem}")]
    Gguf { path: PathBuf, problem: gguf::Problem },
    /// A safetensors file that does not hold.
    #[error("{path}: {problem}")]
    Safetensors { path: PathBuf, problem: safetensors::Problem },
    /// A PyTorch file that does not hold, or is not safe.
    #[error("{path}: {problem}")]
    Torch { path: PathBuf, problem: torch::Problem },
    /// An index that does not match its shards.
    #[error("{path}: {problem}")]
    Index { path: PathBuf, problem: index::Problem },
    /// Split files that do not belong together.
    #[error("{path}: {what}")]
    Split { path: PathBuf, what: String },
    /// An index or a split file names files that are not there.
    #[error("{path} needs files that are missing: {}", list(missing))]
    MissingFiles { path: PathBuf, missing: Vec<PathBuf> },
    /// One name in two files.
    #[error("tensor {tensor} is in both {} and {}", files[0].display(), files[1].display())]
    DuplicateTensor { files: [PathBuf; 2], tensor: String },
    /// A tensor that the caller needs is not there.
    #[error("tensor {tensor} is in none of: {}", list(files))]
    MissingTensor { files: Vec<PathBuf>, tensor: String },
    /// A tensor that the format cannot hold.
    #[error("{path}: tensor {tensor} cannot be written to {format}: {why}")]
    Unwritable { path: PathBuf, tensor: String, format: &'static str, why: String },
    /// More parts than names.
    #[error("{path} would need {files} files; allow larger ones")]
    TooManyFiles { path: PathBuf, files: usize },
    /// Another run is writing the same file.
    #[error("{path} is being written by another process")]
    Busy { path: PathBuf },
    /// A tensor that the sink was not created with.
    #[error("tensor number {tensor} of {tensors}")]
    NoSuchSlot { tensor: usize, tensors: usize },
    /// More bytes than the tensor has.
    #[error("{path}: {len} bytes at {offset} of tensor {tensor}, which has {bytes} bytes")]
    OutsideTensor { path: PathBuf, tensor: String, offset: u64, len: u64, bytes: u64 },
    /// Fewer or more bytes than the tensor has.
    #[error("{path}: {written} of the {bytes} bytes of tensor {tensor} were written")]
    Incomplete { path: PathBuf, tensor: String, written: u64, bytes: u64 },
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

    /// Whose fault it is.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Io { .. } | Error::Busy { .. } => Kind::Io,
            Error::Gguf { problem, .. } => problem.kind(),
            Error::Safetensors { problem, .. } => problem.kind(),
            Error::Torch { problem, .. } => problem.kind(),
            Error::Index { problem, .. } => problem.kind(),
            Error::Unrecognised { .. } | Error::Unwritable { .. } | Error::TooManyFiles { .. } => Kind::Unsupported,
            Error::NotAFile { .. }
            | Error::Empty { .. }
            | Error::LfsPointer { .. }
            | Error::Ambiguous { .. }
            | Error::Split { .. }
            | Error::MissingFiles { .. }
            | Error::DuplicateTensor { .. }
            | Error::MissingTensor { .. }
            | Error::NoSuchSlot { .. }
            | Error::OutsideTensor { .. }
            | Error::Incomplete { .. } => Kind::Bad,
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Error::LfsPointer { .. } => "run git lfs pull in the folder, or download the file itself",
            Error::Empty { .. } | Error::MissingFiles { .. } => "download the checkpoint again, with all of its files",
            Error::Ambiguous { .. } => "name the file instead of the folder",
            Error::Busy { .. } => "wait for the other run, or write to another name",
            Error::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                "free some space, or write to another disk"
            }
            Error::Gguf { problem, .. } => problem.hint()?,
            Error::Safetensors { problem, .. } => problem.hint()?,
            Error::Torch { problem, .. } => problem.hint()?,
            Error::Index { problem, .. } => problem.hint()?,
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
