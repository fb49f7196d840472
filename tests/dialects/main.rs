//! Quantized checkpoints: those of other tools, broken ones, and planish's own.

mod golden;
#[path = "../support/mod.rs"]
mod support;
