//! Doing what a plan says: read a band of rows, encode it, write it at its place.

mod error;
pub mod executor;
mod folder;
mod gather;
mod memory;
mod provisional;
mod quantize;
mod subject;

pub use error::{Error, Result};
pub use folder::restore_folder;
pub use gather::{Scratch, Weight};
pub use memory::PeakAnon;
pub use provisional::Provisional;
pub use quantize::{Outcome, Run, buffer_bytes, check_room, quantize};
pub use subject::{Subject, divisors};
