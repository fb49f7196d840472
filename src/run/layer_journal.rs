//! What an interrupted run over the layers has done, so that the next one goes on there.
//!
//! A folder: `layer-N` has what became of the weights of layer `N`, `hidden-N` the hidden states after it, and
//! `journal.json` says how many layers are done and of which run. Each file is on disk before the next one speaks of it, so
//! whatever moment a run ends at, at most the layer in work is lost.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use planish_formats::{Error as FileError, Kind};
use serde::{Deserialize, Serialize};

use super::fingerprint::Fingerprint;

/// What can go wrong with a journal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error(transparent)]
    File(Box<FileError>),
    /// A journal of another run.
    #[error("{path}: the interrupted run was another: {} changed", .differs.join(", "))]
    Other {
        /// The journal.
        path: PathBuf,
        /// What differs.
        differs: Vec<&'static str>,
    },
    /// No journal to go on from.
    #[error("{path}: no interrupted run to go on with")]
    Missing {
        /// Where it would be.
        path: PathBuf,
    },
    /// A journal that says what cannot be.
    #[error("{path}: the journal is damaged: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

impl From<FileError> for Error {
    fn from(error: FileError) -> Error {
        Error::File(Box::new(error))
    }
}

impl Error {
    /// Whose fault it is.
    pub fn kind(&self) -> Kind {
        match self {
            Error::File(error) => error.kind(),
            Error::Other { .. } | Error::Missing { .. } | Error::Damaged { .. } => Kind::Bad,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::File(error) => error.hint(),
            Error::Other { .. } | Error::Missing { .. } | Error::Damaged { .. } => {
                Some("without `--resume` it begins again".to_owned())
            }
        }
    }
}

/// A result of keeping a journal.
pub(super) type Result<T, E = Error> = std::result::Result<T, E>;

/// The first file, which the others hang on.
#[derive(Serialize, Deserialize)]
struct Index {
    fingerprint: Fingerprint,
    layers: usize,
}

/// One weight that is done: the bytes that it became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name in the program.
    pub name: String,
    /// The largest weight, f32, and blocks of its type; of a vector, f32 values.
    pub bytes: Vec<u8>,
}

/// A journal, open for one run.
pub struct Journal {
    folder: PathBuf,
    fingerprint: Fingerprint,
    layers: usize,
    /// Of the layer in work.
    entries: Vec<Entry>,
}

const INDEX: &str = "journal.json";
/// More bytes than a name or a matrix has: a length beyond is damage.
const LONGEST: u64 = 1 << 40;

impl Journal {
    /// Where the journal of an output is.
    pub fn beside(output: &Path) -> PathBuf {
        let mut name = output.as_os_str().to_owned();
        name.push(".journal");
        name.into()
    }

    /// A new one; what an older run left is removed.
    pub fn begin(folder: &Path, fingerprint: Fingerprint) -> Result<Journal> {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(FileError::io(folder, "cannot remove")(error).into());
            }
            _ => {}
        }
        fs::create_dir(folder).map_err(FileError::io(folder, "cannot make"))?;
        let journal = Journal { folder: folder.to_owned(), fingerprint, layers: 0, entries: vec![] };
        journal.write_index()?;
        Ok(journal)
    }

    /// The one that an interrupted run of the same kind left.
    pub fn resume(folder: &Path, fingerprint: Fingerprint) -> Result<Journal> {
        let path = folder.join(INDEX);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(Error::Missing { path }),
            other => other.map_err(FileError::io(&path, "cannot read"))?,
        };
        let index: Index = serde_json::from_str(&text)
            .map_err(|error| Error::Damaged { path: path.clone(), what: error.to_string() })?;
        let differs = fingerprint.differs(&index.fingerprint);
        if !differs.is_empty() {
            return Err(Error::Other { path: folder.to_owned(), differs });
        }
        Ok(Journal { folder: folder.to_owned(), fingerprint, layers: index.layers, entries: vec![] })
    }

    /// Layers that are done.
    pub fn layers(&self) -> usize {
        self.layers
    }

    /// What became of the weights of layer `layer`, which is done.
    pub fn entries(&self, layer: usize) -> Result<Vec<Entry>> {
        let path = self.folder.join(format!("layer-{layer}"));
        let damaged = |what: &str| Error::Damaged { path: path.clone(), what: what.to_owned() };
        let file = File::open(&path).map_err(FileError::io(&path, "cannot open"))?;
        let length = file.metadata().map_err(FileError::io(&path, "cannot read"))?.len();
        let mut file = BufReader::new(file);
        let mut entries = vec![];
        let mut left = length;
        let mut take = |file: &mut BufReader<File>| -> Result<Vec<u8>> {
            let mut size = [0; 8];
            file.read_exact(&mut size).map_err(FileError::io(&path, "cannot read"))?;
            let size = u64::from_le_bytes(size);
            left =
                left.checked_sub(8).and_then(|left| left.checked_sub(size)).ok_or_else(|| damaged("it ends early"))?;
            if size > LONGEST {
                return Err(damaged("a length that cannot be"));
            }
            let mut bytes = vec![0; size as usize];
            file.read_exact(&mut bytes).map_err(FileError::io(&path, "cannot read"))?;
            Ok(bytes)
        };
        while !file.fill_buf().map_err(FileError::io(&path, "cannot read"))?.is_empty() {
            let name = String::from_utf8(take(&mut file)?).map_err(|_| damaged("a name that is not UTF-8"))?;
            entries.push(Entry { name, bytes: take(&mut file)? });
        }
        Ok(entries)
    }

    /// Reads the hidden states after the last layer that is done, piece after piece.
    pub fn hidden(&self) -> Result<impl FnMut(&mut [f32]) -> Result<()> + use<>> {
        let path = self.hidden_path(self.layers);
        let mut file = BufReader::new(File::open(&path).map_err(FileError::io(&path, "cannot open"))?);
        Ok(move |out: &mut [f32]| {
            let mut bytes = [0; 4];
            for value in out {
                file.read_exact(&mut bytes).map_err(FileError::io(&path, "cannot read"))?;
                *value = f32::from_le_bytes(bytes);
            }
            Ok(())
        })
    }

    /// Notes a weight of the layer in work.
    pub fn note(&mut self, name: &str, bytes: &[u8]) {
        self.entries.push(Entry { name: name.to_owned(), bytes: bytes.to_vec() });
    }

    /// The layer in work is done, and these are the hidden states after it: `next` fills a buffer and says how many values
    /// of it, 0 at the end.
    pub fn layer_done(&mut self, mut next: impl FnMut(&mut Vec<f32>) -> bool) -> Result<()> {
        let path = self.folder.join(format!("layer-{}", self.layers));
        let entries = std::mem::take(&mut self.entries);
        write(&path, |file| {
            for Entry { name, bytes } in &entries {
                for part in [name.as_bytes(), bytes] {
                    file.write_all(&(part.len() as u64).to_le_bytes())?;
                    file.write_all(part)?;
                }
            }
            Ok(())
        })?;
        let mut values = vec![];
        write(&self.hidden_path(self.layers + 1), |file| {
            while next(&mut values) {
                for value in &values {
                    file.write_all(&value.to_le_bytes())?;
                }
            }
            Ok(())
        })?;
        self.layers += 1;
        self.write_index()?;
        // What the index no longer speaks of. It may be absent: the first layer reads token ids.
        let _ = fs::remove_file(self.hidden_path(self.layers - 1));
        Ok(())
    }

    /// The result is safe: nothing of the journal is needed any more.
    pub fn remove(self) -> Result<()> {
        Ok(fs::remove_dir_all(&self.folder).map_err(FileError::io(&self.folder, "cannot remove"))?)
    }

    fn hidden_path(&self, layers: usize) -> PathBuf {
        self.folder.join(format!("hidden-{layers}"))
    }

    fn write_index(&self) -> Result<()> {
        let index = Index { fingerprint: self.fingerprint.clone(), layers: self.layers };
        let path = self.folder.join(INDEX);
        let new = self.folder.join("journal.new");
        let text = serde_json::to_vec_pretty(&index)
            .map_err(|error| Error::Damaged { path: path.clone(), what: error.to_string() })?;
        write(&new, |file| file.write_all(&text))?;
        fs::rename(&new, &path).map_err(FileError::io(&path, "cannot give its name to"))?;
        let folder = File::open(&self.folder).and_then(|folder| folder.sync_all());
        Ok(folder.map_err(FileError::io(&self.folder, "cannot flush the folder"))?)
    }
}

/// Writes a file and sees it on disk.
fn write(path: &Path, content: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>) -> Result<()> {
    let written = File::create(path).and_then(|file| {
        let mut file = BufWriter::with_capacity(1 << 20, file);
        content(&mut file)?;
        file.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()
    });
    Ok(written.map_err(FileError::io(path, "cannot write"))?)
}
