//! Quantized checkpoints: those of other tools, broken ones, and planish's own.

mod attacks;
mod consumers;
mod golden;
mod made;
mod packed;
#[path = "../support/mod.rs"]
mod support;
mod written;
