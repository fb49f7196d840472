//! Numbers to numbers: block codecs, groups of integers and small floats, CPU kernels. No files, no model names.
//!
//! Every kernel gives the same bits on every instruction set and any number of threads; [`Isa`] picks once, at run time,
//! and `PLANISH_ISA=scalar|avx2|avx512` overrides it so that tests run every path.

pub mod block;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod device;
mod finite;
pub mod fp8;
pub mod group;
mod isa;
mod lanes;

pub use finite::{first_beyond, first_non_finite};
pub use isa::Isa;
