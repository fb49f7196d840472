//! What the user brought: a Hugging Face folder or a GGUF, opened but not read.

mod card;
mod describe;
mod error;
mod locate;
mod pooling;
mod sampling;

use std::path::{Path, PathBuf};

pub use card::Card;
pub use describe::{Description, brief, describe};
pub use error::{Error, Result};
use planish_formats::Meta;
use planish_formats::gguf::Kv;
pub use pooling::Pooling;
pub(crate) use pooling::{embedding_files, further_modules};
pub use sampling::{sampling_keys, sampling_parameters, sampling_settings};
use serde_json::{Map, Value};

use crate::dialect::{self, Tensors};
use crate::lora::{self, Adapter};

/// A JSON object, keys in file order.
pub type Json = Map<String, Value>;

/// An opened model.
pub struct Checkpoint {
    /// The folder or file that was opened.
    pub path: PathBuf,
    /// Its tensors.
    pub source: Tensors,
    /// What it says about itself.
    pub about: About,
}

/// Where a model's description comes from.
pub enum About {
    /// A folder with `config.json`; the tokenizer and the rest are files beside it.
    HuggingFace {
        /// `config.json`, but for what it says of how the weights are stored.
        config: Json,
        /// `generation_config.json`, if there is one.
        generation: Json,
    },
    /// The key-value section of the GGUF itself.
    Gguf(Kv),
}

impl Checkpoint {
    /// Opens a folder, a file, or the `owner/name` of a model in the local Hugging Face cache.
    pub fn open(path: &Path) -> Result<Checkpoint> {
        match Checkpoint::open_as_stored(path)? {
            (checkpoint, None) => Ok(checkpoint),
            (_, Some(error)) => Err(error.into()),
        }
    }

    /// The same, with the tensors of the files themselves where nobody knows how they are quantized, and why not.
    pub fn open_as_stored(path: &Path) -> Result<(Checkpoint, Option<dialect::Error>)> {
        let path = locate::locate(path)?;
        let source = planish_formats::open(&path)?;
        let mut unread = None;
        let (source, about) = match source.meta() {
            Meta::Gguf(kv) => {
                let about = About::Gguf(kv.clone());
                (Tensors::plain(source), about)
            }
            Meta::Strings(_) => {
                let dir = if path.is_dir() { path.as_path() } else { path.parent().unwrap_or(Path::new(".")) };
                let mut config = read_json(&dir.join("config.json"))?;
                let generation = optional_json(&dir.join("generation_config.json"))?;
                let tensors = match Tensors::open(source, &config) {
                    Ok(tensors) => tensors,
                    Err(failed) => {
                        unread = Some(failed.error);
                        Tensors::plain(failed.source)
                    }
                };
                // Read, and none of the architecture's business.
                config.shift_remove("quantization_config");
                (tensors, About::HuggingFace { config, generation })
            }
        };
        Ok((Checkpoint { path, source, about }, unread))
    }

    /// Merges the adapter in `folder`, times `scale`, into the weights: they are read with it from now on.
    pub fn merge(&mut self, folder: &Path, scale: f64) -> Result<()> {
        match &self.about {
            About::HuggingFace { .. } => Ok(self.source.merge(Adapter::open(folder, scale)?)?),
            About::Gguf(_) => Err(lora::Error::Gguf.into()),
        }
    }

    /// The folder that holds the files beside the tensors.
    pub fn dir(&self) -> &Path {
        if self.path.is_dir() { &self.path } else { self.path.parent().unwrap_or(Path::new(".")) }
    }

    /// A name for people: the folder's or file's, or the repository's where the folder is a cache snapshot.
    pub fn name(&self) -> String {
        locate::model_name(&self.path)
    }

    /// Bytes of all its tensors.
    pub fn tensor_bytes(&self) -> u64 {
        self.source.bytes()
    }
}

/// Reads a JSON object that must be there.
pub fn read_json(path: &Path) -> Result<Json> {
    let text = std::fs::read_to_string(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Error::MissingFile { path: path.to_owned() },
        _ => Error::Read { path: path.to_owned(), source },
    })?;
    if text.starts_with("version https://git-lfs") {
        return Err(Error::LfsPointer { path: path.to_owned() });
    }
    serde_json::from_str(&text).map_err(|source| Error::Json { path: path.to_owned(), source })
}

/// Reads a JSON object; an absent file is an empty one.
pub fn optional_json(path: &Path) -> Result<Json> {
    match read_json(path) {
        Err(Error::MissingFile { .. }) => Ok(Json::new()),
        other => other,
    }
}
