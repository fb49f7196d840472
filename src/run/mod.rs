//! Doing what a plan says: read a band of rows, encode it, write it at its place.

mod error;
mod gather;
mod memory;
mod quantize;

pub use error::{Error, Result};
pub use gather::{Scratch, Weight};
pub use memory::PeakAnon;
pub use quantize::{Outcome, Run, check_room, quantize};
