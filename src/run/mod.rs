//! Doing what a plan says: read a band of rows, encode it, write it at its place.

mod calibrate;
mod error;
pub mod executor;
mod fingerprint;
mod folder;
mod gather;
mod into_folder;
mod into_gguf;
mod journal;
mod layer_journal;
mod layerwise;
mod memory;
mod pack;
mod place;
mod provisional;
mod quantize;
mod share;
mod stats;
mod subject;

pub use calibrate::{Calibration, Chunks, Error as CalibrateError, calibrate};
pub use error::{Error, Result};
pub use fingerprint::Fingerprint;
pub use folder::restore_folder;
pub use gather::{Scratch, Weight};
pub use into_folder::IntoFolder;
pub use into_gguf::IntoGguf;
pub use journal::calibrate_in_parts;
pub use layer_journal::{Error as JournalError, Journal};
pub use layerwise::{Destination, Layerwise, Log, Scaled, Solved};
pub use memory::PeakAnon;
pub use pack::{Pack, pack_folder};
pub use place::Place;
pub use provisional::Provisional;
pub use quantize::{Outcome, Run, buffer_bytes, check_name, check_room, quantize, quantize_after};
pub use stats::Squares;
pub use subject::{Subject, rope_tables};
