//! Model containers as named, typed, shaped byte views.
//!
//! A [`Source`] is an opened file (or a folder of shards): a list of tensors and a mapped view of each one's bytes.
//! A [`Sink`] is a file being written: the place of every tensor is fixed before the first byte, so tensors arrive from
//! any thread in any order. Nothing here does arithmetic on weights or knows a model's name.

mod containers;
mod dtype;
mod error;
mod flush;
pub mod gguf;
pub mod index;
mod info;
mod layout;
mod map;
mod mapped;
mod numbered;
pub mod packing;
pub mod safetensors;
mod staged;
pub mod torch;
mod unique;

pub use containers::{CONTAINERS, Container, open};
pub use dtype::{Dtype, GgmlType, Storage};
pub use error::{Error, Kind, Result};
pub use info::{Info, Meta, Sink, Source, View};
pub use layout::{Layout, free_space};
pub use mapped::Contents;
pub use staged::write;
