//! What every container is made of: tensors to read and tensors to write.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::gguf::Kv;
use crate::{Error, Result, Storage};

/// Name, element type and shape of one tensor. What says how elements are stored is a [`Storage`] in files; whoever
/// looks at several tensors as one has more to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info<S = Storage> {
    /// The name in the file.
    pub name: String,
    /// How its elements are stored.
    pub storage: S,
    /// Dimensions, outermost first (torch order: a linear weight is `[out, in]`). Empty for a scalar.
    pub shape: Vec<usize>,
}

impl<S> Info<S> {
    /// Number of elements. Readers have checked that it does not overflow.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Length of the innermost dimension, along which blocks lie; 1 for a scalar.
    pub fn cols(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Number of rows of [`Info::cols`] elements.
    pub fn rows(&self) -> usize {
        self.shape.split_last().map_or(1, |(_, outer)| outer.iter().product())
    }
}

impl Info {
    /// Size of the data in bytes, or `None` where the row is not a whole number of blocks or the product overflows.
    pub fn bytes(&self) -> Option<usize> {
        self.storage.bytes(&self.shape)
    }
}

/// One tensor's bytes, borrowed from the mapping. `bytes.len()` is what `info` says.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// What the bytes are.
    pub info: &'a Info,
    /// The bytes, in no particular alignment.
    pub bytes: &'a [u8],
}

/// What a container says beside its tensors.
#[derive(Clone, Debug, PartialEq)]
pub enum Meta {
    /// The `__metadata__` of safetensors, or nothing.
    Strings(BTreeMap<String, String>),
    /// The key-value section of a GGUF.
    Gguf(Kv),
}

/// An opened checkpoint: one file, or all shards of one.
pub trait Source: Send + Sync {
    /// All tensors, in file order.
    fn infos(&self) -> &[Info];
    /// The bytes of one tensor. Fails for a name that is not in [`Source::infos`].
    fn view(&self, name: &str) -> Result<View<'_>>;
    /// Beside the tensors.
    fn meta(&self) -> &Meta;
    /// The files that hold the data, in shard order.
    fn files(&self) -> &[PathBuf];

    /// The record of one tensor.
    fn info(&self, name: &str) -> Option<&Info> {
        self.infos().iter().find(|info| info.name == name)
    }

    /// The view of one tensor, with an error that names the files searched.
    fn require(&self, name: &str) -> Result<View<'_>> {
        if self.info(name).is_none() {
            return Err(Error::MissingTensor { files: self.files().to_vec(), tensor: name.to_owned() });
        }
        self.view(name)
    }
}

/// A container being written. Tensors are known by their index in the list given when it was created.
pub trait Sink: Send + Sync {
    /// Writes `bytes` at `offset` bytes into tensor `tensor`. Callable from any thread; parts may come in any order.
    fn write_at(&self, tensor: usize, offset: usize, bytes: &[u8]) -> Result<()>;
    /// Flushes to disk and gives the files their final names. Without this call nothing appears under a final name.
    fn finish(self: Box<Self>) -> Result<Vec<PathBuf>>;
}
