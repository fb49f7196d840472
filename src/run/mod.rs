//! Doing what a plan says: read a band of rows, encode it, write it at its place.

mod calibrate;
mod error;
pub mod executor;
mod folder;
mod gather;
mod journal;
mod memory;
mod pack;
mod provisional;
mod quantize;
mod share;
mod stats;
mod subject;

pub use calibrate::{Calibration, Chunks, Error as CalibrateError, calibrate};
pub use error::{Error, Result};
pub use folder::restore_folder;
pub use gather::{Scratch, Weight};
pub use journal::calibrate_in_parts;
pub use memory::PeakAnon;
pub use pack::{Matrix, Nearest, Pack, Rounding, pack_folder, pack_into};
pub use provisional::Provisional;
pub use quantize::{Outcome, Run, buffer_bytes, check_room, quantize};
pub use stats::Squares;
pub use subject::{Subject, divisors};
