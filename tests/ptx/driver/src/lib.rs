//! A stand-in `libcuda.so`: the part of the CUDA driver API that cudarc calls, over an interpreter of PTX.
//!
//! Everything runs at once: a launch or an asynchronous copy has happened when the call returns.

mod config;
mod error;
mod ffi;
mod state;
