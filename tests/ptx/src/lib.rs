//! An interpreter of PTX that looks for the errors a GPU would hide.
//!
//! It parses what NVRTC writes, runs it on the processor, and stops at accesses out of bounds, reads of memory that
//! nothing wrote, races and misuse of barriers and warp operations. `libcuda.so` of the `driver` crate next to this one
//! puts the CUDA driver API over it, so that planish's own host code runs unchanged.

mod bytes;
mod exec;
mod heap;
mod inst;
mod module;
mod parse;
mod report;
mod round;
mod shared;
mod types;

pub use exec::{Config, Options, Stats, launch};
pub use heap::{ALIGNMENT, AllocError, Heap};
pub use module::{Kernel, Module, Param, Variable};
pub use parse::{ParseError, parse};
pub use report::{Kind, Report};
